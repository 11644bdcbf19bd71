"""The same autoencoder as `vae_deep`, trained by the tighter bound of 50 samples (Burda et al. 2016, IWAE)."""

from __future__ import annotations

from lgcodec.models.zoo import System, vae_deep

SYSTEM = System(
    "IWAE, 50 samples", vae_deep.graph, "bits", posterior=vae_deep.posterior, objective={"samples": 50},
    published="84.78 nats by 5000 samples (Burda et al. 2016)", batch=40, rate=0.4, decay=0.0, minutes=25,
)  # fmt: skip

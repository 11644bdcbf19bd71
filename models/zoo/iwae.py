"""The same autoencoder, trained with a tighter bound of several samples (Burda et al. 2016, IWAE)."""

from __future__ import annotations

from lgcodec.models.zoo import System, vae

SYSTEM = System(
    "IWAE, 5 samples", vae.graph, "bits", posterior=vae.posterior, objective={"samples": 5},
    published="84.78 nats (50 samples, 50 latents; Burda et al. 2016)", batch=40, rate=0.4, minutes=6,
)  # fmt: skip

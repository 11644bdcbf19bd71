"""The Helmholtz machine of `bits`, trained by wake and sleep (Hinton et al. 1995).

Awake, the nets from latents to pixels learn from pictures, with latents as the recognition net draws them; asleep, the
recognition net learns from the model's own pictures, whose latents are known. No gradient goes through a draw, and none
is of the bound.
"""

from __future__ import annotations

from lgcodec.models.zoo import System, bits

SYSTEM = System(
    "Helmholtz machine, 200 bits, wake-sleep", bits.graph, "bits", posterior=bits.posterior, prior=bits.prior,
    objective={"wake_sleep": True}, batch=50, rate=0.4, minutes=6,
)  # fmt: skip

"""Bits-back: latent-variable models on one stack (Hinton & van Camp 1993; Townsend et al. 2019, BB-ANS).

A latent z costs its code under the prior, and is *chosen* by popping the posterior from what the stack holds already:
a decoder, who then knows both the value and z, pushes those bits back.

    push(value):  pop z ~ posterior(value)     push value | z     push z ~ prior
    pop:          push z ~ posterior(value)    pop value | z      pop z ~ prior           the same, from right to left

So a value takes log prior + log likelihood - log posterior in bits: its -ELBO, for one z. Where the prior is a latent
program itself, its own z is popped after the value was pushed: the order of Bit-Swap (Kingma et al. 2019), which needs
less on the stack to begin with. The first latents need bits to pop: see `chain.py` for where they come from.
"""

from __future__ import annotations

import math
from typing import Any, Protocol, TypeVar, runtime_checkable

from lgcodec.errors import InputError
from lgcodec.models.entropy.program import pop_value, push_value
from lgcodec.models.interface import Distribution, Explicit, IntArray, Intervals, Stack, Words

T = TypeVar("T")
Z = TypeVar("Z")


@runtime_checkable
class Latent(Protocol[T, Z]):
    """A latent-variable model of a value, for bits-back."""

    def prior(self) -> Program[Z]: ...

    def posterior(self, value: T) -> Explicit[Z]: ...

    def likelihood(self, latent: Z) -> Explicit[T]: ...


Program = Explicit[T] | Latent[T, Any]


def push(stack: Stack, program: Program[T], value: T) -> None:
    """Codes `value` on top of the stack."""
    if isinstance(program, Latent):
        z = pop(stack, program.posterior(value))
        push(stack, program.likelihood(z), value)
        push(stack, program.prior(), z)
        return
    push_value(stack, program, value)


def pop(stack: Stack, program: Program[T]) -> T:
    """The inverse of `push`: the value, and the stack as it was before. Any stack gives some value."""
    if isinstance(program, Latent):
        z = pop(stack, program.prior())
        value: T = pop(stack, program.likelihood(z))
        push(stack, program.posterior(value), z)
        return value
    return pop_value(stack, program)


class DryError(InputError):
    """A chain began with too little on the stack for its latents to be popped from."""


SPARE = 128  # bits that stay on the stack: below, what is popped is no longer as good as random


class Meter:
    """A stack that knows how much is on it. bits: by ideal code lengths; lowest: the least that was left by a pop.

    Raises DryError where a pop leaves fewer than SPARE bits; without this it would pop zeros, still reversibly.
    """

    def __init__(self, stack: Stack, bits: float) -> None:
        self.stack, self.bits, self.lowest = stack, bits, math.inf

    def intervals(self, distribution: Distribution, symbols: IntArray) -> list[Intervals]:
        return self.stack.intervals(distribution, symbols)

    def push(self, intervals: Intervals) -> None:
        self.bits += intervals.ideal_bits()
        self.stack.push(intervals)

    def pop(self, distribution: Distribution) -> IntArray:
        symbols = self.stack.pop(distribution)
        self.bits -= sum(part.ideal_bits() for part in self.stack.intervals(distribution, symbols))
        self.lowest = min(self.lowest, self.bits)
        if self.bits < SPARE:
            raise DryError("a chain needs more bits to begin with")
        return symbols

    def words(self) -> Words:
        return self.stack.words()

    def is_empty(self) -> bool:
        return self.stack.is_empty()

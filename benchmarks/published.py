"""Published times of the authors' loop, and the required speed in comparison with the plain loop."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PUBLISHED", "RATE", "WITHIN", "Published"]

RATE = 245e9
"""Operations per second in a matrix product, of the machine on which the authors' loop was timed: two cores, fp32."""

WITHIN = 0.25
"""Maximum relative deviation of the reference's time from the authors', scaled by the two machines' speeds."""


@dataclass(frozen=True)
class Published:
    """Published and required times of a shape at the paper's K.

    Arguments:
        loop: Seconds per step of the authors' loop.
        at_least: How many times as fast as the reference a step here must be.
    """

    loop: float
    at_least: float


PUBLISHED = {
    "polymnist": Published(3.7, 2.6),
    "mhd": Published(0.85, 3.3),
    "cub": Published(4.4, 3.6),
    "celeba": Published(2.5, 1.9),
}
"""By shape."""

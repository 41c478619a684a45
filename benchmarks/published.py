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
        at_least: Required speed of a step, as a multiple of the reference's.
    """

    loop: float
    at_least: float


PUBLISHED = {
    "polymnist": Published(3.7, 2.6),
    "mhd": Published(0.85, 3.3),
    "cub": Published(4.4, 3.6),
    "celeba": Published(2.5, 1.9),
}
"""Published and required times by shape."""

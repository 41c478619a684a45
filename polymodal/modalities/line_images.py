"""Images of curves, for the display of long vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, linspace

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["draw_curve"]

SIDE, EDGE = 96, 4
"""Side of the image of a curve, and the margin around the curve before the image is scaled by half, in pixels."""


def draw_curve(value: Tensor, unit: bool) -> PIL.Image.Image:
    """Draws a curve through `(size,)` numbers on a white background; it is straight over missing ones (NaN)."""
    import PIL.Image
    from PIL.ImageDraw import Draw

    low, high = (0.0, 1.0) if unit else (-3.0, 3.0)
    value = value.detach().cpu().double()
    seen = ~value.isnan()
    across, value = linspace(EDGE, 2 * SIDE - EDGE, len(value))[seen].tolist(), value[seen]
    low, high = min([low, *value.tolist()]), max([high, *value.tolist()])
    down = (EDGE + (high - value) / (high - low) * (2 * SIDE - 2 * EDGE)).tolist()
    image = PIL.Image.new("RGB", (2 * SIDE, 2 * SIDE), "white")  # at twice the size, for anti-aliasing
    Draw(image).line(list(zip(across, down, strict=True)), fill="#1f4e79", width=3)
    return image.resize((SIDE, SIDE))

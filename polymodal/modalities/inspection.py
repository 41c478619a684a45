"""Inspection of the images in a column."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from polymodal.modalities.pixels import array_image, image_source, open_image, show_pixels, upright_size
from polymodal.modalities.profile import Profile, ends_as
from polymodal.runtime.formatting import brief

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["IMAGE_ENDINGS", "Seen", "choose_size", "inspect_images", "is_image"]

INSPECTED = 32
"""Number of images whose size and colours are inspected."""
LONGEST_SIDE = 64
"""Largest default for the longer side of an image, in pixels."""
IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".jp2", ".pgm", ".ppm")
SIGNATURES = re.compile(
    rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|GIF8[79]a|RIFF....WEBP|BM|II\*\0|MM\0\*|\0\0\0\x0cjP  |P[2356]\s", re.DOTALL
)
GREY = ("1", "L", "LA", "La", "F")


class Seen(NamedTuple):
    """Size and colours of an inspected image."""

    sides: tuple[int, int]
    """Height and width in pixels."""
    grey: bool
    """Whether the image has no colours."""


def choose_size(seen: list[Seen], side: int | None = None) -> tuple[int, int, int]:
    """Returns channels, height and width for inspected images: 1 channel if all of them are grey, else 3.

    Arguments:
        seen: The inspected images.
        side: Height and width in pixels. By default, the size is that of the first image, scaled to a longer side of 64
            pixels if it is larger or if the images differ in size.
    """
    channels = 1 if all(one.grey for one in seen) else 3
    height, width = seen[0].sides
    if side is not None:
        return channels, side, side
    longest = max(height, width)
    if longest > LONGEST_SIDE or any(one.sides != seen[0].sides for one in seen):
        height, width = (max(1, round(length * LONGEST_SIDE / longest)) for length in (height, width))
    return channels, height, width


def inspect_images(profile: Profile) -> list[Seen]:
    """Inspects the first images of a column that can be read.

    Raises:
        ValueError: None of the images can be read.
    """
    failed: list[str] = []
    seen = list(islice(_inspect_readable(profile, failed), INSPECTED))
    if not seen:
        raise ValueError(f"none of the images in {profile.name!r} can be read: {failed[0]}")
    return seen


def _inspect_readable(profile: Profile, failed: list[str]) -> Iterator[Seen]:
    for cell in profile.first:
        try:
            with _open_image(cell, profile.root) as image:
                yield _inspect_image(image)
        except (OSError, SyntaxError, ValueError, TypeError) as error:
            failed.append(brief(error, 100))


@contextmanager
def _open_image(cell: Any, root: Path) -> Iterator[PIL.Image.Image]:
    """Opens an image as an object that may be changed."""
    source = image_source(cell, root)
    if isinstance(source, bytes | Path):
        with open_image(source) as image:
            yield image
    else:
        yield array_image(source) if isinstance(source, np.ndarray) else source.copy()


def _inspect_image(image: PIL.Image.Image) -> Seen:
    width, height = upright_size(image)
    if image.mode in GREY or image.mode.startswith("I"):
        return Seen((height, width), True)
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))  # far faster than inspecting every pixel of a photograph
    colours = np.asarray(show_pixels(image, "RGB"))
    return Seen((height, width), bool((colours == colours[..., :1]).all()))


def is_image(cell: Any) -> bool:
    """Returns whether a cell is an image, or a dict with an image or the name of its file; a name alone is a text."""
    import PIL.Image

    if isinstance(cell, Mapping):
        cell = cell.get("bytes") or cell.get("path")
        if isinstance(cell, str):
            return ends_as(IMAGE_ENDINGS)(cell)
    if isinstance(cell, bytes):
        return bool(SIGNATURES.match(cell))
    if isinstance(cell, np.ndarray):
        return cell.dtype in (np.uint8, np.uint16) and cell.ndim in (2, 3)
    return isinstance(cell, PIL.Image.Image)

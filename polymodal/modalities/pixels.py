"""Images as people see them, in 8 bits: upright, and scaled by the range of their numbers.

Pixels of 8 bits stay as they are. All others are scaled to 0..255: 16 bits are divided by 257, fewer bits (a TIFF file
of 12) by their own range. Where the type of the numbers does not say the range, as for 32-bit integers and for floats,
it is the smallest of 0..1 (floats only), 0..255 and 0..65535 that holds all of an image, and otherwise goes from its
lowest to its highest number.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from polymodal.io.untrusted import UNREADABLE
from polymodal.runtime.formatting import brief
from polymodal.runtime.validation import check_file

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["array_image", "opened", "show_pixels", "upright_size"]

BITS_PER_SAMPLE, ORIENTATION = 0x0102, 0x0112
"""Tags of TIFF and EXIF."""

BROKEN = (*UNREADABLE, AssertionError)
"""What Pillow raises of files that are damaged, or something else."""


@contextmanager
def opened(raw: str | Path | bytes) -> Iterator[PIL.Image.Image]:
    """An image from its file's name or its bytes: the first one, where there are several.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no image, or damaged; also of what fails within.
    """
    from PIL import Image, UnidentifiedImageError

    named = isinstance(raw, str | Path)
    if named:
        check_file(raw)
    try:
        with Image.open(raw if named else io.BytesIO(raw)) as image:
            yield image
    except (*BROKEN, Image.DecompressionBombError) as error:
        why = "its format is unknown" if isinstance(error, UnidentifiedImageError) else brief(error, 100)
        raise ValueError(f"this is no image that can be read: {why}" + f"; {brief(raw)}" * named) from error


def upright_size(image: PIL.Image.Image) -> tuple[int, int]:
    """Width and height of an image as it is shown."""
    from PIL.Image import Transpose

    width, height = image.size
    sideways = (Transpose.TRANSPOSE, Transpose.TRANSVERSE, Transpose.ROTATE_90, Transpose.ROTATE_270)
    return (height, width) if _turn(image) in sideways else (width, height)


def show_pixels(image: PIL.Image.Image, mode: str) -> PIL.Image.Image:
    """An image as it is shown: upright, in 8 bits, on white where it is transparent and the mode is not.

    Arguments:
        image: Of any mode.
        mode: "L", "RGB" or "RGBA".

    Raises:
        ValueError: A number is not finite, or Pillow cannot convert the mode.

    Example:
        >>> import PIL.Image
        >>> deep = PIL.Image.fromarray(np.array([[0, 257, 65535]], np.uint16))
        >>> deep.mode, np.asarray(show_pixels(deep, "L")).tolist()
        ('I;16', [[0, 1, 255]])
    """
    import PIL.Image

    image.load()
    turn = _turn(image)
    image = _eight_bits(image)
    if turn is not None:
        image = image.transpose(turn)
    if image.has_transparency_data and mode != "RGBA":
        image = PIL.Image.alpha_composite(PIL.Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image.convert(mode)


def array_image(array: np.ndarray) -> PIL.Image.Image:
    """An array `(height, width[, channels])` of numbers as an image; a single channel has no axis of its own there.

    Raises:
        ValueError: It has another shape, holds no numbers, or one that is not finite.
    """
    import PIL.Image

    if array.dtype.kind not in "buif" or array.ndim not in (2, 3) or 0 in array.shape:
        raise ValueError(
            "an image must be an array (height, width[, channels]) of numbers, best uint8; "
            f"got {array.dtype} {array.shape}"
        )
    array = array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array
    try:
        return PIL.Image.fromarray(array if array.dtype == np.uint8 else _scaled(array, 16))
    except TypeError:
        raise ValueError(f"an image array must have 1, 3 or 4 channels, behind the sides; got {array.shape}") from None


def _turn(image: PIL.Image.Image) -> PIL.Image.Transpose | None:
    """How an image must be turned to be upright, by its EXIF data; None where it need not be.

    Pillow's own `exif_transpose` also writes the other tags anew, which fails where one of them is damaged.
    """
    from PIL.Image import Transpose
    from PIL.TiffImagePlugin import TiffImageFile

    if isinstance(image, TiffImageFile):  # which Pillow has turned
        return None

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    try:
        return turns.get(image.getexif().get(ORIENTATION))  # pyright: ignore[reportArgumentType]
    except BROKEN:
        return None


def _eight_bits(image: PIL.Image.Image) -> PIL.Image.Image:
    """An image in a mode of 8 bits that Pillow converts into all others."""
    import PIL.Image

    if image.mode == "LAB":
        from PIL import ImageCms

        profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, *profiles, outputMode="RGB") or image
    if image.mode == "La":  # which converts into LA alone
        return image.convert("LA")
    key = image.info.get("transparency")
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        numbers = np.asarray(image)
        made = PIL.Image.fromarray(_scaled(numbers, _bits(image)))
        if isinstance(key, int):
            made.putalpha(PIL.Image.fromarray(np.where(numbers == key, 0, 255).astype(np.uint8)))
        return made
    if isinstance(key, tuple) and max(key) > 255:  # of a file of 16 bits, of which Pillow reads the upper 8
        image = image.copy()
        image.info["transparency"] = tuple(part >> 8 for part in key)
    return image


def _bits(image: PIL.Image.Image) -> int:
    """Of 16, how many bits the numbers of an image have: files of TIFF say it."""
    found: Any = getattr(image, "tag_v2", {}).get(BITS_PER_SAMPLE, (16,))
    return int(found[0]) if 8 <= int(found[0]) <= 16 else 16


def _scaled(numbers: np.ndarray, bits: int) -> np.ndarray:
    """Numbers as uint8; `bits` are those of uint16."""
    if numbers.dtype.kind == "b":
        return numbers.astype(np.uint8) * np.uint8(255)
    if numbers.dtype.kind == "u" and numbers.dtype.itemsize == 2:
        low, high = 0.0, 2.0**bits - 1
    else:
        low, high = _range(numbers)
    return ((np.asarray(numbers, np.float64) - low) * (255 / (high - low))).round().clip(0, 255).astype(np.uint8)


def _range(numbers: np.ndarray) -> tuple[float, float]:
    """What becomes 0 and 255, of numbers whose type does not say it."""
    low, high = float(numbers.min()), float(numbers.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError(f"the numbers of an image must be finite; got {high if np.isfinite(low) else low}")
    if low >= 0:
        for top in (1.0, 255.0, 65535.0)[numbers.dtype.kind != "f" :]:
            if high <= top:
                return 0.0, top
    return low, high

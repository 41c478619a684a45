"""Converts images to 8 bits per channel and upright orientation.

8-bit pixels are not changed. All others are scaled to 0..255. 16-bit pixels are divided by 257, and fewer bits (such as
those of a 12-bit TIFF file) are scaled by their range. The range of 32-bit integers and floats is the smallest of 0..1
(floats only), 0..255 and 0..65535 that contains all pixels of the image. If none does, it is the range from the lowest
to the highest pixel.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from polymodal.io.json_files import UNREADABLE
from polymodal.runtime.formatting import brief
from polymodal.runtime.validation import check_file

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["array_image", "image_source", "open_image", "show_pixels", "upright_size"]

BITS_PER_SAMPLE, ORIENTATION = 0x0102, 0x0112
"""TIFF and EXIF tags."""

BROKEN = (*UNREADABLE, AssertionError)
"""Exceptions that Pillow raises for damaged files and for files that are not images."""


@contextmanager
def open_image(raw: str | Path | bytes) -> Iterator[PIL.Image.Image]:
    """Opens an image from a file name or the bytes of a file. If it contains several images, it is the first one.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: It is not an image, or is damaged. Such errors in the body of the `with` statement count too.
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


def image_source(cell: Any, root: Path) -> Any:
    """Converts a cell to an argument of `Image.read`.

    Arguments:
        cell: Image, array, bytes of a file, file name, or mapping with "bytes" or "path".
        root: Folder to which file names are relative.

    Raises:
        FileNotFoundError: The cell is a mapping that has neither bytes nor a path.
        TypeError: The cell has another type.
    """
    import PIL.Image

    if isinstance(cell, Mapping):
        cell = cell.get("bytes") or cell.get("path")
        if cell is None:
            raise FileNotFoundError("an image must have bytes, or a file's name; this one has neither")
    if isinstance(cell, bytearray | memoryview):
        return bytes(cell)
    if isinstance(cell, str | Path):
        return root / cell
    if isinstance(cell, bytes | np.ndarray | PIL.Image.Image):
        return cell
    raise TypeError(f"the value must be an image, its bytes or its file name; got {type(cell).__name__}")


def upright_size(image: PIL.Image.Image) -> tuple[int, int]:
    """Returns the width and height of an image in its upright orientation."""
    from PIL.Image import Transpose

    width, height = image.size
    sideways = (Transpose.TRANSPOSE, Transpose.TRANSVERSE, Transpose.ROTATE_90, Transpose.ROTATE_270)
    return (height, width) if _turn(image) in sideways else (width, height)


def show_pixels(image: PIL.Image.Image, mode: str) -> PIL.Image.Image:
    """Converts an image to upright orientation and 8 bits per channel.

    Transparent images are placed on a white background, unless the mode is "RGBA".

    Arguments:
        image: Image of any mode.
        mode: Mode of the result: "L", "RGB" or "RGBA".

    Raises:
        ValueError: A pixel is not finite, or Pillow cannot convert the mode.

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
    """Converts an array `(height, width[, channels])` of numbers to an image. The axis of a single channel is optional.

    Raises:
        ValueError: The array has another shape, does not contain numbers, or contains one that is not finite.
    """
    import PIL.Image

    if array.dtype.kind not in "buif" or array.ndim not in (2, 3) or 0 in array.shape:
        raise ValueError(
            "an image must be an array (height, width[, channels]) of numbers, best uint8; "
            f"got {array.dtype} {array.shape}"
        )
    array = array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array
    try:
        return PIL.Image.fromarray(array if array.dtype == np.uint8 else _to_uint8(array, 16))
    except TypeError:
        raise ValueError(f"an image array must have 1, 3 or 4 channels, behind the sides; got {array.shape}") from None


def _turn(image: PIL.Image.Image) -> PIL.Image.Transpose | None:
    """Returns the transposition that makes an image upright, based on its EXIF data; None if it is not needed.

    Pillow's `exif_transpose` also rewrites the other tags, which fails if one of them is damaged.
    """
    from PIL.Image import Transpose
    from PIL.TiffImagePlugin import TiffImageFile

    if isinstance(image, TiffImageFile):  # Pillow has already turned it
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
    """Converts an image to an 8-bit mode that Pillow can convert to all others."""
    import PIL.Image

    if image.mode == "LAB":
        from PIL import ImageCms

        profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, *profiles, outputMode="RGB") or image
    if image.mode == "La":  # Pillow converts it only to LA
        return image.convert("LA")
    key = image.info.get("transparency")
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        numbers = np.asarray(image)
        made = PIL.Image.fromarray(_to_uint8(numbers, _bits(image)))
        if isinstance(key, int):
            made.putalpha(PIL.Image.fromarray(np.where(numbers == key, 0, 255).astype(np.uint8)))
        return made
    if isinstance(key, tuple) and max(key) > 255:  # Pillow reads only the upper 8 bits of a 16-bit file
        image = image.copy()
        image.info["transparency"] = tuple(part >> 8 for part in key)
    return image


def _bits(image: PIL.Image.Image) -> int:
    """Returns the number of bits used by an image's 16-bit pixels, which TIFF files state; 16 by default."""
    found: Any = getattr(image, "tag_v2", {}).get(BITS_PER_SAMPLE, (16,))
    return int(found[0]) if 8 <= int(found[0]) <= 16 else 16


def _to_uint8(numbers: np.ndarray, bits: int) -> np.ndarray:
    """Scales numbers to uint8; `bits` is the number of bits used if they are uint16."""
    if numbers.dtype.kind == "b":
        return numbers.astype(np.uint8) * np.uint8(255)
    if numbers.dtype.kind == "u" and numbers.dtype.itemsize == 2:
        low, high = 0.0, 2.0**bits - 1
    else:
        low, high = _range(numbers)
    return ((np.asarray(numbers, np.float64) - low) * (255 / (high - low))).round().clip(0, 255).astype(np.uint8)


def _range(numbers: np.ndarray) -> tuple[float, float]:
    """Returns the numbers that are scaled to 0 and 255, if the type does not determine them."""
    low, high = float(numbers.min()), float(numbers.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError(f"the numbers of an image must be finite; got {high if np.isfinite(low) else low}")
    if low >= 0:
        for top in (1.0, 255.0, 65535.0)[numbers.dtype.kind != "f" :]:
            if high <= top:
                return 0.0, top
    return low, high

"""Reads images from files: a single image, or many into a tensor with several threads and one error for all files."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from polymodal.runtime.formatting import brief
from polymodal.runtime.progress import show_progress

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["fill_images", "read", "refuse_damaged", "refuse_missing"]

THREADS = min(8, os.cpu_count() or 1)
"""Number of threads; PIL releases the global interpreter lock while it decodes and resizes."""
PIECE = 256
"""Number of images that are passed to the threads at once."""
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
"""Accepted file formats, independent of the file's suffix.

PIL knows further formats, but starts other programs to read some of them.
"""


def read(path: Path) -> PIL.Image.Image:
    """Reads an image from a file.

    Raises:
        ValueError: The file is no image, damaged, truncated, or of another format than `FORMATS`.
    """
    image = _read(path)
    if isinstance(image, Exception):
        raise ValueError(
            f"{path} must be an image, {' or '.join(FORMATS)}: {brief(image)}; download it again"
        ) from image
    return image


def fill_images(
    into: Tensor,
    folder: Path,
    names: Sequence[str] | np.ndarray,
    frame: Callable[[int, PIL.Image.Image], PIL.Image.Image],
    what: str,
) -> dict[Path, str]:
    """Fills a tensor with images from files, with a progress bar.

    Arguments:
        into: Tensor `(N, 3, height, width)` uint8, filled in place.
        folder: Folder of the files.
        names: Names of the N files, relative to the folder.
        frame: Function of a row index and its RGB image, which returns the image of `width` x `height` pixels to store.
        what: Activity, for the progress bar.

    Returns:
        Reasons why files cannot be used, by path. Their rows of `into` are left unchanged.
    """

    def one(row: int) -> tuple[Path, str] | None:
        image = _read(folder / names[row], partial(frame, row))
        if isinstance(image, Exception):
            return folder / names[row], brief(image)
        into[row] = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        return None

    troubles: dict[Path, str] = {}
    pieces = [range(start, min(start + PIECE, len(names))) for start in range(0, len(names), PIECE)]
    with ThreadPoolExecutor(THREADS, "polymodal-images") as pool:
        for piece in show_progress(pieces, what, len(pieces)):
            troubles.update(filter(None, pool.map(one, piece)))
    return troubles


def refuse_missing(folder: Path, names: Sequence[str] | np.ndarray, what: str, get: str) -> None:
    """Checks that a folder contains all files of a list.

    Raises:
        FileNotFoundError: Files are missing; names the first, and the number of missing files.
    """
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder / missing[0]} must exist, and does not; {len(missing)} of {len(names)} {what} are missing; {get}"
        )


def refuse_damaged(troubles: dict[Path, str], count: int, what: str, get: str) -> None:
    """Raises an error if there are unusable files.

    Raises:
        ValueError: Files cannot be used; names the first, and how many of `count` files are unusable.
    """
    for path, trouble in troubles.items():
        raise ValueError(f"{path} cannot be used: {trouble}; {len(troubles)} of {count} {what} are damaged; {get}")


def _read(path: Path, frame: Callable[[PIL.Image.Image], PIL.Image.Image] | None = None) -> PIL.Image.Image | Exception:
    """Returns the image as it is, or the framed RGB image if `frame` is given, or the exception of an unusable file."""
    import PIL.Image

    try:
        with PIL.Image.open(path, formats=FORMATS) as file:
            return file.copy() if frame is None else frame(file.convert("RGB"))
    except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError) as error:
        return error

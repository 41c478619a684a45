"""Pictures from files: one, or many into one tensor, read by threads, with one error for all that cannot be used."""

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
from polymodal.runtime.progress import shown

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["draw", "read", "refuse_damaged", "refuse_missing"]

THREADS = min(8, os.cpu_count() or 1)
"""PIL lets go of Python's lock while it decodes and resizes."""
PIECE = 256
"""Pictures that are handed to the threads in one go."""
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
"""That are read, whatever a file is called. Not all that PIL knows: for some it starts another program."""


def read(path: Path) -> PIL.Image.Image:
    """A picture from a file.

    Raises:
        ValueError: It is none, damaged, cut short, or of a format that is not read.
    """
    picture = _read(path)
    if isinstance(picture, Exception):
        raise ValueError(
            f"{path} must be a picture, {' or '.join(FORMATS)}: {brief(picture)}; get it anew"
        ) from picture
    return picture


def draw(
    into: Tensor,
    folder: Path,
    names: Sequence[str] | np.ndarray,
    frame: Callable[[int, PIL.Image.Image], PIL.Image.Image],
    what: str,
) -> dict[Path, str]:
    """Fills a tensor with pictures from files, with a progress bar.

    Arguments:
        into: `(N, 3, height, width)` uint8, filled in place.
        folder: Of the files.
        names: Of the N files, beneath it.
        frame: From a row's number and its picture in RGB to the part that is kept, of `width` x `height` pixels.
        what: Is being done, for the bar.

    Returns:
        The files that cannot be used, and why: their rows are left as they are.
    """

    def one(row: int) -> tuple[Path, str] | None:
        picture = _read(folder / names[row], partial(frame, row))
        if isinstance(picture, Exception):
            return folder / names[row], brief(picture)
        into[row] = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
        return None

    troubles: dict[Path, str] = {}
    pieces = [range(start, min(start + PIECE, len(names))) for start in range(0, len(names), PIECE)]
    with ThreadPoolExecutor(THREADS, "polymodal-pictures") as pool:
        for piece in shown(pieces, what, len(pieces)):
            troubles.update(filter(None, pool.map(one, piece)))
    return troubles


def refuse_missing(folder: Path, names: Sequence[str] | np.ndarray, what: str, get: str) -> None:
    """Refuses a folder that lacks some of the files that a list names.

    Raises:
        FileNotFoundError: Names the first, and says how many.
    """
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder / missing[0]} must exist, and does not; {len(missing)} of {len(names)} {what} are missing; {get}"
        )


def refuse_damaged(troubles: dict[Path, str], count: int, what: str, get: str) -> None:
    """Refuses files that cannot be used.

    Raises:
        ValueError: Names the first, and says how many of `count` there are.
    """
    for path, trouble in troubles.items():
        raise ValueError(f"{path} cannot be used: {trouble}; {len(troubles)} of {count} {what} are damaged; {get}")


def _read(path: Path, frame: Callable[[PIL.Image.Image], PIL.Image.Image] | None = None) -> PIL.Image.Image | Exception:
    """A picture as it is, or the framed part of it in RGB; or what is wrong with the file."""
    from PIL import Image as Pictures

    try:
        with Pictures.open(path, formats=FORMATS) as file:
            return file.copy() if frame is None else frame(file.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Pictures.DecompressionBombError) as error:
        return error

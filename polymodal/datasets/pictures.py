"""Many files of pictures into one tensor: read by threads, and one error for all that cannot be used."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from polymodal.names import brief
from polymodal.progress import shown

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["draw", "refuse_damaged", "refuse_missing"]

THREADS = min(8, os.cpu_count() or 1)
"""PIL lets go of Python's lock while it decodes and resizes."""
PIECE = 256
"""Pictures that are handed to the threads in one go."""
FORMATS = ("JPEG", "PNG", "GIF")
"""Whatever a file is called; PIL would start a program for some others."""


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
    from PIL import Image as Pictures

    def one(row: int) -> tuple[Path, str] | None:
        path = folder / names[row]
        try:
            with Pictures.open(path, formats=FORMATS) as file:
                picture = np.array(frame(row, file.convert("RGB")))
        except (OSError, SyntaxError, ValueError, Pictures.DecompressionBombError) as error:
            return path, brief(error)
        into[row] = torch.from_numpy(picture).permute(2, 0, 1)
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

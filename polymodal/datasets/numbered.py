"""Images in several folders, with numbers and classes as file names."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import permutations
from pathlib import Path
from typing import NamedTuple

import numpy as np

from polymodal.datasets.image_files import read
from polymodal.datasets.storage import digest

__all__ = ["Numbered", "index"]


class Numbered(NamedTuple):
    """Rows of images, one image per folder."""

    folders: tuple[Path, ...]
    keys: list[tuple[int, int]]
    """Number and class of each row, ascending; numbers are unique only within a class."""
    digest: str
    """Hash of the names and sizes of all files; hashing the contents of so many files would be slow."""

    @property
    def labels(self) -> np.ndarray:
        """The classes, `(N,)` int64."""
        return np.array([label for _, label in self.keys], np.int64)

    def read_images(self, side: int, folder: int, rows: np.ndarray) -> np.ndarray:
        """Reads the images of some rows from one of the folders, `(R, 3, side, side)` uint8.

        Raises:
            ValueError: An image is damaged, not RGB, or of another size.
        """
        names = [f"{number}.{label}.png" for number, label in (self.keys[row] for row in rows)]
        return np.stack([_colours(self.folders[folder] / name, side) for name in names])


def index(folders: Sequence[Path]) -> Numbered:
    """Lists the rows of folders whose files are named `<number>.<class>.png`.

    A row consists of the files with the same number and class in all folders, independent of the order in which the
    file system lists them. Files that are not PNG files are ignored.

    Raises:
        ValueError: A PNG file has another name, or is missing from a folder, or there are no PNG files.
    """
    first, *others = [_sizes(folder) for folder in folders]
    for folder, sizes in zip(folders[1:], others, strict=True):
        for (owner, present), (other, partners) in permutations(((folders[0], first), (folder, sizes))):
            if alone := sorted(present.keys() - partners.keys()):
                raise _make_unpaired_error(alone[0], owner, other, partners)
    if not first:
        raise ValueError(f"{folders[0]} must hold files <number>.<class>.png; it holds none")
    keys = sorted(first)
    described = [f"{key} {[sizes[key] for sizes in (first, *others)]}" for key in keys]
    return Numbered(tuple(folders), keys, digest("\n".join(described)))


def _colours(path: Path, side: int) -> np.ndarray:
    image = read(path)
    if image.size != (side, side) or image.mode != "RGB":
        raise ValueError(
            f"{path} must be {side}x{side} pixels of mode RGB; it is {image.width}x{image.height} of {image.mode}"
        )
    return np.asarray(image).transpose(2, 0, 1)


def _sizes(folder: Path) -> dict[tuple[int, int], int]:
    """Returns the sizes in bytes of the files in a folder, by number and class."""
    sizes = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.endswith(".png") or entry.name.startswith("."):
                continue
            number, _, label = entry.name.removesuffix(".png").partition(".")
            if not (_plain(number) and _plain(label) and int(label) < 10):
                raise ValueError(f"{folder / entry.name} must be called <number>.<class>.png, such as 12.7.png")
            sizes[int(number), int(label)] = entry.stat().st_size
    return sizes


def _plain(digits: str) -> bool:
    """Returns whether a text is a number as Python writes it, so each number has exactly one spelling."""
    return digits.isascii() and digits.isdigit() and str(int(digits)) == digits and len(digits) < 16


def _make_unpaired_error(
    key: tuple[int, int], owner: Path, other: Path, sizes: Mapping[tuple[int, int], int]
) -> ValueError:
    number, label = key
    near = [f"{number}.{other_label}.png" for n, other_label in sorted(sizes) if n == number]
    there = f"there are {', '.join(near)}, of other classes" if near else "there is no image of that number"
    return ValueError(
        f"{owner / f'{number}.{label}.png'} must have a partner {other / f'{number}.{label}.png'}; {there}; "
        "download the images again"
    )

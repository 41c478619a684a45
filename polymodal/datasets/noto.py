"""Noto emoji images with Unicode names and keywords: reads the files, and splits them by emoji without skin tones."""

from __future__ import annotations

import csv
from collections import Counter
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from polymodal.datasets.base import Facts
from polymodal.datasets.npz import read_arrays
from polymodal.datasets.storage import SPLITS
from polymodal.modalities import Image

__all__ = ["GET", "GROUPS", "IMAGE", "IMAGES", "TEXTS", "Emoji", "composite_on_white", "facts", "read", "split"]

IMAGES, TEXTS = "emoji/noto_emoji_rgba72.npz", "emoji/emoji_text.csv"
SIDE = 72
IMAGE = Image(3, 64, 64)
COLUMNS = ("codepoints", "emoji_test_name", "cldr_keywords", "group", "subgroup")
GROUPS = (
    "Smileys & Emotion",
    "People & Body",
    "Component",
    "Animals & Nature",
    "Food & Drink",
    "Travel & Places",
    "Activities",
    "Objects",
    "Symbols",
    "Flags",
)
"""Unicode's groups, in Unicode's order."""

DEAL = ("test", *["train"] * 4, "validation", *["train"] * 4)
"""Splits to which base emoji are assigned in turn."""

TONES = {"1F3FB", "1F3FC", "1F3FD", "1F3FE", "1F3FF"}
ALIASES = {
    "1F468-200D-1F91D-200D-1F468": "1F46C",  # men holding hands
    "1F469-200D-1F91D-200D-1F468": "1F46B",  # woman and man holding hands
    "1F469-200D-1F91D-200D-1F469": "1F46D",  # women holding hands
    "1F9D1-200D-2764-200D-1F48B-200D-1F9D1": "1F48F",  # kiss
    "1F9D1-200D-2764-200D-1F9D1": "1F491",  # couple with heart
    "1FAF1-200D-1FAF2": "1F91D",  # handshake
    "1F468-200D-1F468-200D-1F466": "1F46A",  # family: Noto has one image for both
}
"""Sequences of code points that are variants of another emoji.

A couple with two different skin tones has another spelling than a couple with one.
"""

GET = (
    "make them, as the docstring of emoji says, from the images of https://github.com/googlefonts/noto-emoji "
    "(png/72), the names and groups of https://unicode.org/Public/emoji/15.0/emoji-test.txt and the keywords of "
    "https://github.com/unicode-org/cldr-json"
)


class Emoji(NamedTuple):
    """All N emoji, in Unicode's order."""

    images: np.ndarray
    """`(N, 72, 72, 4)` uint8: red, green, blue, and alpha."""
    bases: list[str]
    """Code points of each emoji without its skin tones."""
    names: list[str]
    """English names."""
    keywords: list[tuple[str, ...]]
    """Keywords of each emoji."""
    groups: np.ndarray
    """Indices in `GROUPS`, `(N,)` int64."""
    subgroups: list[str]
    """Unicode's subgroups."""


def facts(shapes: str, rows: tuple[int, int, int], shares: str = "") -> Facts:
    """Returns the facts of a data set of emoji."""
    return Facts(
        shapes=shapes,
        rows=rows,
        licence="images Apache-2.0 (Noto), names and keywords Unicode License V3",
        size="7 MB",
        origin="Google, Noto Emoji; Unicode, emoji-test.txt 15.0 and CLDR annotations",
        layouts=((IMAGES, TEXTS),),
        get=GET,
        shares=shares,
    )


def read(root: Path) -> Emoji:
    """Reads the emoji from the files beneath a root.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is damaged, or has other content.
    """
    images = read_arrays(root / IMAGES, {"images": ("uint8", (None, SIDE, SIDE, 4))}, GET)["images"]
    rows = _rows(root / TEXTS)
    if len(rows) != len(images):
        raise ValueError(
            f"{root / TEXTS} must have one row for each of the {len(images)} images of {root / IMAGES}; "
            f"it has {len(rows)}; {GET}"
        )
    return Emoji(
        images,
        [base(row["codepoints"]) for row in rows],
        [row["emoji_test_name"] for row in rows],
        [tuple(word for word in row["cldr_keywords"].split("|") if word) for row in rows],
        np.array([GROUPS.index(row["group"]) for row in rows], np.int64),
        [row["subgroup"] for row in rows],
    )


def base(codepoints: str) -> str:
    """Returns the code points of an emoji without its skin tones; a skin tone by itself remains as it is.

    Example:
        >>> base("1F575-1F3FF-200D-2640-FE0F") == base("1F575-FE0F-200D-2640-FE0F"), base("1F3FF")
        (True, '1F3FF')
    """
    bare = "-".join(point for point in codepoints.split("-") if point not in {*TONES, "FE0F"})
    return ALIASES.get(bare, bare) or codepoints


def split(emoji: Emoji, seed: int) -> dict[str, np.ndarray]:
    """Splits rows by base emoji: of each group, a tenth is for validation, a tenth for test, and the rest for training.

    All skin tones of a base emoji are in the same split. Base emoji of the same subgroup and with equally many tones
    are shuffled and then assigned to the splits in turn, so the splits also have similar proportions of these.

    Returns:
        Row indices of each split, ascending.

    Raises:
        ValueError: A group has fewer than six base emoji.
    """
    rng = np.random.default_rng(seed)
    tones = Counter(emoji.bases)
    where: dict[str, str] = {}
    for number, group in enumerate(GROUPS):
        rows = np.flatnonzero(emoji.groups == number)
        kinds = {emoji.bases[row]: emoji.subgroups[row] for row in reversed(rows)}  # the subgroup of its first row
        shuffled = [list(kinds)[i] for i in rng.permutation(len(kinds))]
        if len(shuffled) < len(DEAL) // 2 + 1:
            raise ValueError(f"{TEXTS} must have at least 6 emoji of each group; {group} has {len(shuffled)}; {GET}")
        alike = sorted(shuffled, key=lambda base: (kinds[base], tones[base]))
        where |= dict(zip(alike, cycle(DEAL), strict=False))
    splits = np.array([where[base] for base in emoji.bases])
    return {name: np.flatnonzero(splits == name) for name in SPLITS}


def composite_on_white(images: np.ndarray) -> Tensor:
    """Composites images `(n, 72, 72, 4)` on white and resizes them to `(n, 3, 64, 64)` uint8.

    Compositing before resizing keeps the colours of fully transparent pixels from showing.
    """
    resized = torch.empty(len(images), *IMAGE.shape, dtype=torch.uint8)
    for one, image in zip(resized, images, strict=True):
        cover = image[..., 3:] / np.float32(255)
        one[:] = IMAGE.read((image[..., :3] * cover + 255 * (1 - cover)).round().astype(np.uint8))
    return resized


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} must be a CSV file in UTF-8: {error}; {GET}") from error
    for number, row in enumerate(rows):
        lacking = [name for name in COLUMNS if not row.get(name) and name != "cldr_keywords"]
        if lacking or None in row or None in row.values():
            raise ValueError(
                f"{path} must have {', '.join(COLUMNS)} in every row, and as many values as names of columns; "
                f"row {number} has {list(row.values())}; {GET}"
            )
        if row["group"] not in GROUPS:
            raise ValueError(f"{path} must have one of {', '.join(GROUPS)} as group; row {number} has {row['group']!r}")
    return rows

"""PolyDigits: five pictures of one digit, each in another handwriting on another background, and its label.

The recipe of PolyMNIST (Sutter, Daunhawer and Vogt, 2021) at the size of the handwritten digits that
scikit-learn ships (UCI optical recognition of handwritten digits; 8x8, enlarged to 16x16), on backgrounds cut
from the two photographs that scikit-learn ships (CC BY 2.0, by danielbuechele and by vultilion). Only the
digit is shared between the modalities of a row.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from polymodal.datasets.base import Dataset, Facts
from polymodal.modalities import Image, Label
from polymodal.runtime.formatting import brief
from polymodal.schema import Schema
from polymodal.table.table import Table

__all__ = ["polydigits"]

SIDE = 16
MOST_ROWS = 1_000_000
"""Of a split: more would not fit in memory."""
SPLITS = {"test": 30, "validation": 20}
"""Handwritings of each digit that are held out; the other ones, 124 or more, are for training."""


class Background(NamedTuple):
    """Where a background is cut from, and how it is made to differ."""

    photograph: int
    box: tuple[int, int, int, int]  # left, top, right, bottom, in pixels
    shrink: float
    tint: tuple[float, float, float]


BACKGROUNDS = (
    Background(0, (335, 40, 545, 235), 2.5, (1.0, 1.0, 0.8)),  # the lake under its sky, pale
    Background(0, (90, 90, 330, 330), 3.0, (0.9, 0.35, 0.6)),  # the pagoda, red and purple
    Background(0, (330, 290, 570, 427), 2.0, (0.35, 0.6, 0.1)),  # the trees, dark green
    Background(1, (185, 100, 430, 340), 4.0, (1.0, 1.0, 0.9)),  # the petals, orange
    Background(1, (0, 0, 180, 330), 3.5, (0.8, 0.9, 1.3)),  # the leaves, dark blue
)


FACTS = Facts(
    shapes="m0..m4 3x16x16, label 10",
    rows=(12_800, 2_000, 2_000),
    licence="digits CC BY 4.0 (E. Alpaydin, C. Kaynak), photographs CC BY 2.0 (danielbuechele, vultilion)",
    size="nothing to fetch",
    origin="the recipe of PolyMNIST (Sutter, Daunhawer and Vogt, 2021), on the UCI optical recognition of handwritten "
    "digits (1998) and two photographs",
    get="made from scikit-learn's own pictures",
)


@FACTS
def polydigits(rows: int = 12_800, *, held_out_rows: int = 2_000, seed: int = 0) -> Dataset:
    """Five pictures of one digit, each in another handwriting on another background, and its label.

    The pictures are m0..m4, 3x16x16; the label is the sixth modality; all rows are complete. A handwriting is
    reused with other partners and on other crops, within its split alone. Its ink inverts the colours of the
    background, as in PolyMNIST. Every split has each digit equally often.

    Arguments:
        rows: Training rows; a multiple of 10.
        held_out_rows: Validation rows, and as many test rows; a multiple of 10.
        seed: Of everything that is drawn.

    Returns:
        The data set.

    Raises:
        ValueError: A number of rows is no positive multiple of 10, or more than 1,000,000.

    Example:
        >>> polydigits(100, held_out_rows=50)
        <polydigits: 100 training, 50 validation, 50 test rows of m0, m1, m2, m3, m4, label>
    """
    from sklearn.datasets import load_digits

    for name, number in {"rows": rows, "held_out_rows": held_out_rows}.items():
        if not 10 <= number <= MOST_ROWS or number % 10:
            raise ValueError(
                f"{name} must be a positive multiple of 10, for ten digits, and at most {MOST_ROWS:,}; got "
                f"{brief(number, 40)}"
            )
    digits: Any = load_digits()
    ink = np.stack([_enlarge(image) for image in digits.images / 16])
    rng = np.random.default_rng(seed)
    writings = _split(digits.target, rng)
    backgrounds = _backgrounds()
    schema = Schema({f"m{i}": Image(3, SIDE, SIDE) for i in range(len(BACKGROUNDS))} | {"label": Label(10)})
    sizes = {"train": rows, "validation": held_out_rows, "test": held_out_rows}
    tables = {}
    for split, size in sizes.items():
        label = rng.permutation(np.arange(size) % 10)
        values = {
            name: _pictures(ink, label, writings[split], background, rng)
            for name, background in zip(schema, backgrounds, strict=False)
        }
        arguments = {"rows": rows, "held_out_rows": held_out_rows, "seed": seed}
        source = {"dataset": "polydigits", "split": split, "arguments": arguments}
        tables[split] = Table(values | {"label": torch.from_numpy(label)}, schema=schema, source=source)
    return Dataset("polydigits", **tables)


def _split(target: np.ndarray, rng: np.random.Generator) -> dict[str, list[np.ndarray]]:
    """Indices of handwritings by split and digit."""
    writings: dict[str, list[np.ndarray]] = {"test": [], "validation": [], "train": []}
    for digit in range(10):
        shuffled = rng.permutation(np.flatnonzero(target == digit))
        parts = np.split(shuffled, np.cumsum(list(SPLITS.values())))
        for split, part in zip(writings, parts, strict=True):
            writings[split].append(part)
    return writings


def _pictures(
    ink: np.ndarray,
    label: np.ndarray,
    writings: list[np.ndarray],
    background: np.ndarray,
    rng: np.random.Generator,
) -> torch.Tensor:
    """One picture for each label, `(N, 3, SIDE, SIDE)` uint8."""
    chosen = np.array([rng.choice(writings[digit]) for digit in label])
    top, left = (rng.integers(0, side - SIDE + 1, len(label)) for side in background.shape[:2])
    crops = np.lib.stride_tricks.sliding_window_view(background, (SIDE, SIDE), axis=(0, 1))[top, left]
    mask = ink[chosen][:, None]
    pictures = crops * (1 - mask) + (1 - crops) * mask
    return torch.from_numpy((pictures * 255).round().astype(np.uint8))


def _backgrounds() -> list[np.ndarray]:
    """The five backgrounds, `(height, width, 3)` in [0, 1]."""
    from PIL import Image as Pictures
    from sklearn.datasets import load_sample_images

    photographs = [Pictures.fromarray(photograph) for photograph in load_sample_images().images]
    backgrounds = []
    for photograph, box, shrink, tint in BACKGROUNDS:
        cut = photographs[photograph].crop(box)
        small = cut.resize((round(cut.width / shrink), round(cut.height / shrink)))
        backgrounds.append((np.asarray(small) / 255 * tint).clip(0, 1))
    return backgrounds


def _enlarge(digit: np.ndarray) -> np.ndarray:
    from PIL import Image as Pictures

    picture = Pictures.fromarray(digit.astype(np.float32)).resize((SIDE, SIDE), Pictures.Resampling.BICUBIC)
    return np.asarray(picture).clip(0, 1)

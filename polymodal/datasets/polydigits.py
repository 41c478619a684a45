"""PolyDigits: five images of one digit in different handwriting on different backgrounds, and its label.

Follows the recipe of PolyMNIST (Sutter, Daunhawer and Vogt, 2021) with the handwritten digits that scikit-learn
ships (UCI optical recognition of handwritten digits; 8x8, enlarged to 16x16), on backgrounds cropped from the two
photographs that scikit-learn ships (CC BY 2.0, by danielbuechele and by vultilion). The modalities of a row share
only the digit.
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
"""Largest number of rows of a split; more would not fit in memory."""
SPLITS = {"test": 30, "validation": 20}
"""Number of held-out handwriting samples per digit and split; the other 124 or more are for training."""


class Background(NamedTuple):
    """Photograph and crop of a background, its downscaling factor, and its tint."""

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
    size="no download",
    origin="the recipe of PolyMNIST (Sutter, Daunhawer and Vogt, 2021), on the UCI optical recognition of handwritten "
    "digits (1998) and two photographs",
    get="generated from images that scikit-learn contains",
)


@FACTS
def polydigits(rows: int = 12_800, *, held_out_rows: int = 2_000, seed: int = 0) -> Dataset:
    """Five images of one digit on different backgrounds, and its label.

    The images are the modalities m0..m4, 3x16x16, and the label is the sixth modality. All rows are complete.
    Handwriting samples are reused in different combinations and on different crops, but only within their split. As in
    PolyMNIST, the digit inverts the colours of the background. In every split, all digits are equally frequent.

    Arguments:
        rows: Number of training rows, a multiple of 10.
        held_out_rows: Number of validation rows, and of test rows, a multiple of 10.
        seed: Random seed for the data set.

    Returns:
        The data set.

    Raises:
        ValueError: A number of rows is no positive multiple of 10, or is more than 1,000,000.

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
            name: _compose_images(ink, label, writings[split], background, rng)
            for name, background in zip(schema, backgrounds, strict=False)
        }
        arguments = {"rows": rows, "held_out_rows": held_out_rows, "seed": seed}
        source = {"dataset": "polydigits", "split": split, "arguments": arguments}
        tables[split] = Table(values | {"label": torch.from_numpy(label)}, schema=schema, source=source)
    return Dataset("polydigits", **tables)


def _split(target: np.ndarray, rng: np.random.Generator) -> dict[str, list[np.ndarray]]:
    """Returns the indices of handwriting samples by split and digit."""
    writings: dict[str, list[np.ndarray]] = {"test": [], "validation": [], "train": []}
    for digit in range(10):
        shuffled = rng.permutation(np.flatnonzero(target == digit))
        parts = np.split(shuffled, np.cumsum(list(SPLITS.values())))
        for split, part in zip(writings, parts, strict=True):
            writings[split].append(part)
    return writings


def _compose_images(
    ink: np.ndarray,
    label: np.ndarray,
    writings: list[np.ndarray],
    background: np.ndarray,
    rng: np.random.Generator,
) -> torch.Tensor:
    """Composes one image for each label, `(N, 3, SIDE, SIDE)` uint8."""
    chosen = np.array([rng.choice(writings[digit]) for digit in label])
    top, left = (rng.integers(0, side - SIDE + 1, len(label)) for side in background.shape[:2])
    crops = np.lib.stride_tricks.sliding_window_view(background, (SIDE, SIDE), axis=(0, 1))[top, left]
    mask = ink[chosen][:, None]
    images = crops * (1 - mask) + (1 - crops) * mask
    return torch.from_numpy((images * 255).round().astype(np.uint8))


def _backgrounds() -> list[np.ndarray]:
    """Returns the five backgrounds, `(height, width, 3)` in [0, 1]."""
    import PIL.Image
    from sklearn.datasets import load_sample_images

    photographs = [PIL.Image.fromarray(photograph) for photograph in load_sample_images().images]
    backgrounds = []
    for photograph, box, shrink, tint in BACKGROUNDS:
        cut = photographs[photograph].crop(box)
        small = cut.resize((round(cut.width / shrink), round(cut.height / shrink)))
        backgrounds.append((np.asarray(small) / 255 * tint).clip(0, 1))
    return backgrounds


def _enlarge(digit: np.ndarray) -> np.ndarray:
    import PIL.Image

    image = PIL.Image.fromarray(digit.astype(np.float32)).resize((SIDE, SIDE), PIL.Image.Resampling.BICUBIC)
    return np.asarray(image).clip(0, 1)

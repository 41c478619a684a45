"""Emoji: a picture, and which of 40 keywords it stands for."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from polymodal.datasets import noto
from polymodal.datasets.base import Dataset
from polymodal.datasets.shards import fill
from polymodal.datasets.storage import SPLITS, kept, place
from polymodal.modalities import Label
from polymodal.schema import Schema

__all__ = ["emoji_attributes"]

ATTRIBUTES = 40
ALIKE = 0.7
"""Of the emoji that have one of two keywords, how many may have both; with more the keywords are one."""
TAKEN = ("image", "attributes")
"""Names that no attribute may have."""

FACTS = noto.facts("image 3x64x64, 40 attributes of 2", (2730, 336, 337), shares="emoji")


@FACTS
def emoji_attributes(root: str | Path | None = None, *, seed: int = 0) -> Dataset:
    """Emoji: a picture, and which of 40 keywords it stands for.

    The modalities are like CelebA's: image 3x64x64, and 40 attributes, Labels of 2, "no" and "yes", in one group,
    `attributes`; all rows are complete. The attributes are the most frequent keywords of the training rows, most
    frequent first, where all skin tones of an emoji count as much as one emoji without. Singular and plural are one
    keyword. Of keywords that mark nearly the same emoji ("bird" and "ornithology": more than 70 % of those that
    have either have both) only the most frequent is an attribute.

    The splits are those of `emoji`: all skin tones of an emoji are in one.

    Arguments:
        root: The folder of the files, as for `emoji`.
        seed: Of the splits.

    Returns:
        The data set, from the cache if it was made before.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is damaged, or holds something else.
    """
    folder = place("emoji", root)
    FACTS.require(folder)

    files = [folder / noto.PICTURES, folder / noto.TEXTS]
    return kept("emoji-attributes", {"root": root, "seed": seed}, files, partial(_make, folder, seed))


def _make(root: Path, seed: int, folder: Path, told: Callable[[str], dict[str, Any]]) -> None:
    every = noto.read(root)
    rows = noto.split(every, seed)
    known = {word for row in rows["train"] for word in every.keywords[row]}
    words = [{_singular(word, known) for word in each} for each in every.keywords]
    bases = [every.bases[row] for row in rows["train"]]
    names = _chosen([words[row] for row in rows["train"]], bases)
    answers = {name: Label(2, ("no", "yes")) for name in names}
    schema = Schema({"image": noto.PICTURE, **answers}, {"attributes": names})
    for split in SPLITS:
        with fill(folder / f"{split}.safetensors", schema, len(rows[split]), **told(split)) as table:
            table.values["image"][:] = noto.pictures(every.images[rows[split]])
            for name in names:
                table.values[name][:] = torch.tensor([name in words[row] for row in rows[split]])
            table.observed[:] = True


def _singular(word: str, known: Iterable[str]) -> str:
    """The word without the plural's "s" or "es", if that is a keyword too.

    Example:
        >>> [_singular(word, {"eye", "eyes", "glasses"}) for word in ("eyes", "glasses")]
        ['eye', 'glasses']
    """
    bare = [word.removesuffix(ending) for ending in ("s", "es") if word.endswith(ending)]
    return next((each for each in bare if each in known), word)


def _chosen(words: list[set[str]], bases: list[str]) -> list[str]:
    """The most frequent keywords of rows, each base counting as one row, that mark rows of their own.

    Raises:
        ValueError: There are too few.
    """
    size = Counter(bases)
    weight = np.array([1 / size[base] for base in bases])
    frequency: defaultdict[str, float] = defaultdict(float)
    for each, one in zip(words, weight.tolist(), strict=True):
        for word in each.difference(TAKEN):
            frequency[word] += one
    chosen: dict[str, np.ndarray] = {}
    for word in sorted(frequency, key=lambda word: (-round(frequency[word], 6), word)):
        marks = np.array([word in each for each in words])
        if all(_overlap(marks, other, weight) <= ALIKE for other in chosen.values()):
            chosen[word] = marks
        if len(chosen) == ATTRIBUTES:
            return list(chosen)
    raise ValueError(
        f"{noto.TEXTS} must have {ATTRIBUTES} keywords that differ; its training rows have {len(chosen)}; {noto.GET}"
    )


def _overlap(one: np.ndarray, other: np.ndarray, weight: np.ndarray) -> float:
    """Of the weight of what is in either, the part that is in both."""
    return float(weight @ (one & other) / (weight @ (one | other)))

"""Emoji: images with 40 keywords as binary attributes."""

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
from polymodal.datasets.storage import SPLITS, load_or_build, place
from polymodal.modalities import Label
from polymodal.schema import Schema

__all__ = ["emoji_attributes"]

ATTRIBUTES = 40
ALIKE = 0.7
"""Largest Jaccard similarity of the emoji that two attributes mark; more similar keywords count as one."""
TAKEN = ("image", "attributes")
"""Names that an attribute must not have."""

FACTS = noto.facts("image 3x64x64, 40 attributes of 2", (2730, 336, 337), shares="emoji")


@FACTS
def emoji_attributes(root: str | Path | None = None, *, seed: int = 0) -> Dataset:
    """Emoji: images with 40 keywords as binary attributes.

    The modalities are like those of CelebA: `image` 3x64x64, and 40 attributes in the group `attributes`, which are
    labels with the classes "no" and "yes". All rows are complete. The attributes are the most frequent keywords of the
    training rows, most frequent first, where all skin tones of an emoji together count as one emoji. The singular and
    the plural of a word count as one keyword. Of keywords that mark nearly the same emoji ("bird" and "ornithology":
    more than 70 % of the emoji with either keyword have both), only the most frequent one is an attribute.

    The splits are those of `emoji`: all skin tones of an emoji are in the same split.

    Arguments:
        root: Folder of the files, as for `emoji`.
        seed: Random seed for the splits.

    Returns:
        The data set, from the cache if it was built before.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is damaged, or has other content.
    """
    folder = place("emoji", root)
    FACTS.require(folder)

    files = [folder / noto.IMAGES, folder / noto.TEXTS]
    return load_or_build("emoji-attributes", {"root": root, "seed": seed}, files, partial(_make, folder, seed))


def _make(root: Path, seed: int, folder: Path, describe: Callable[[str], dict[str, Any]]) -> None:
    every = noto.read(root)
    rows = noto.split(every, seed)
    known = {word for row in rows["train"] for word in every.keywords[row]}
    words = [{_singular(word, known) for word in each} for each in every.keywords]
    bases = [every.bases[row] for row in rows["train"]]
    names = _select_keywords([words[row] for row in rows["train"]], bases)
    answers = {name: Label(2, ("no", "yes")) for name in names}
    schema = Schema({"image": noto.IMAGE, **answers}, {"attributes": names})
    for split in SPLITS:
        with fill(folder / f"{split}.safetensors", schema, len(rows[split]), **describe(split)) as table:
            table.values["image"][:] = noto.composite_on_white(every.images[rows[split]])
            for name in names:
                table.values[name][:] = torch.tensor([name in words[row] for row in rows[split]])
            table.observed[:] = True


def _singular(word: str, known: Iterable[str]) -> str:
    """Returns a word without the plural ending "s" or "es", if that is a keyword too, else the word.

    Example:
        >>> [_singular(word, {"eye", "eyes", "glasses"}) for word in ("eyes", "glasses")]
        ['eye', 'glasses']
    """
    bare = [word.removesuffix(ending) for ending in ("s", "es") if word.endswith(ending)]
    return next((each for each in bare if each in known), word)


def _select_keywords(words: list[set[str]], bases: list[str]) -> list[str]:
    """Returns the most frequent keywords that mark sufficiently different sets of rows.

    All rows of one base emoji together count as one row.

    Raises:
        ValueError: There are fewer than 40 such keywords.
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
    """Returns the weighted Jaccard similarity of two sets: the weight of the intersection over that of the union."""
    return float(weight @ (one & other) / (weight @ (one | other)))

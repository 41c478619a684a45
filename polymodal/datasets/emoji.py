"""Emoji: images, their names and keywords as text, and their groups."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from polymodal.datasets import noto
from polymodal.datasets.base import Dataset
from polymodal.datasets.shards import fill
from polymodal.datasets.storage import SPLITS, load_or_build, place
from polymodal.modalities import Label, Text
from polymodal.schema import Schema

__all__ = ["emoji"]

FACTS = noto.facts("img 3x64x64, text 40 tokens, label 10", (2730, 336, 337))


@FACTS
def emoji(root: str | Path | None = None, *, length: int = 40, seed: int = 0) -> Dataset:
    """Emoji: images, their names and keywords as text, and their groups.

    The modalities have the names of CUB's: `img` 3x64x64, `text`, and `label` with 10 classes. All rows are complete. A
    text is the name, followed by the keywords that add a word to it, separated by commas: "soccer ball, football,
    sport". The vocabulary is that of the training rows. The ten groups are those of Unicode.

    All skin tones of an emoji are in the same split; the variants for a man, a woman, and a person count as three
    emoji. Without skin tones, the splits contain about 80, 10, and 10 % of the emoji of each group.

    Arguments:
        root: Folder of the files. `emoji/noto_emoji_rgba72.npz` contains `images` `(N, 72, 72, 4)` uint8 with the
            channels red, green, blue, and alpha. Row i of `emoji/emoji_text.csv` describes image i in the columns
            `codepoints` ("1F44B-1F3FB"), `emoji_test_name`, `cldr_keywords` ("hand|wave"), `group`, and `subgroup`.
        length: Length of a text in tokens. The default of 40 fits 98 % of the texts; longer ones are truncated.
        seed: Random seed for the splits.

    Returns:
        The data set, from the cache if it was built before.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is damaged or has other content, or `length` is less than 1.
    """
    if length < 1:
        raise ValueError(f"length must be at least 1; got {length}")
    folder = place("emoji", root)
    FACTS.require(folder)

    arguments = {"root": root, "length": length, "seed": seed}
    files = [folder / noto.IMAGES, folder / noto.TEXTS]
    return load_or_build("emoji", arguments, files, partial(_make, folder, length, seed))


def _make(root: Path, length: int, seed: int, folder: Path, describe: Callable[[str], dict[str, Any]]) -> None:
    every = noto.read(root)
    rows = noto.split(every, seed)
    texts = [_text(name, keywords) for name, keywords in zip(every.names, every.keywords, strict=True)]
    words = Text.learn([texts[row] for row in rows["train"]], length)
    schema = Schema({"img": noto.IMAGE, "text": words, "label": Label(len(noto.GROUPS), noto.GROUPS)})
    for split in SPLITS:
        with fill(folder / f"{split}.safetensors", schema, len(rows[split]), **describe(split)) as table:
            table.values["img"][:] = noto.composite_on_white(every.images[rows[split]])
            table.values["text"][:] = torch.stack([words.read(texts[row]) for row in rows[split]])
            table.values["label"][:] = torch.from_numpy(every.groups[rows[split]])
            table.observed[:] = True


def _text(name: str, keywords: tuple[str, ...]) -> str:
    """Joins a name and the keywords that contain at least one word that the name does not.

    Example:
        >>> _text("grinning face", ("cheerful", "cheery", "face", "Grinning"))
        'grinning face, cheerful, cheery'
    """
    known = _words(name)
    return ", ".join([name, *(keyword for keyword in keywords if not _words(keyword) <= known)])


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))

"""Construction of modalities from the cells of a column, chosen by the user or by the rules."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, log2
from typing import Any

import numpy as np

from polymodal.modalities import Audio, Image, Label, Modality, Text, Vector
from polymodal.modalities.cells import CellError, class_name, numbers, texts
from polymodal.modalities.label import sort_names
from polymodal.modalities.text import count_tokens
from polymodal.runtime.formatting import brief
from polymodal.tabular.images import image_of, inspect_images
from polymodal.tabular.profile import Column
from polymodal.tabular.proposal import Proposal

__all__ = [
    "MOST_WORDS",
    "as_said",
    "combine_columns",
    "cut_of",
    "is_list",
    "label_of",
    "number_of",
    "text_of",
    "vector_of",
]

WORDS = (
    "label, number, log, text, text:24, image, image:64, image:3x64x64, vector, audio, audio:32x128 or ignore, "
    "or a modality"
)
"""The words with which a user may choose the modality of a column."""
LONGEST_TEXT = 64
"""Default for the largest length of a text, in tokens."""
MOST_TOKENS = 512
"""Largest length of a text that a message suggests, in tokens."""
MOST_WORDS = 5000
"""Largest size of a vocabulary; a decoder has one output for each word at each position."""
COUNTED = 10_000
"""Largest number of texts whose tokens are counted to choose a length."""
SMALL: dict[str, Any] = {"width": 64, "layers": 1, "feedforward": 128, "dropout": 0.1, "hidden": (128,)}
"""Network settings for texts in tables, which are usually shorter and fewer than the captions in the paper."""


def as_said(column: Column, said: str) -> Proposal:
    """Returns the modality that a user chose for a column, with units, classes and words learned from its cells.

    Raises:
        ValueError: The modality does not exist, or does not fit the column.
    """
    if not len(column.values):
        raise ValueError(f"{column.name!r} must have a value to be {said}; no row has one; ignore it")
    word, _, rest = str(said).partition(":")
    sizes = tuple(int(part) if part.isdecimal() else 0 for part in rest.split("x")) if rest else ()
    modality = _make_modality(column, word, sizes) if all(sizes) and not str(said).endswith(":") else None
    if modality is None:
        raise ValueError(f"modality of {column.name!r} must be one of {WORDS}; got {said!r}")
    cut = cut_of(column, modality.length) if isinstance(modality, Text) else ""
    return column.proposed(modality, "as you say", cut)


def _make_modality(column: Column, word: str, sizes: tuple[int, ...]) -> Modality | None:
    """Returns the modality for a word and sizes; None if it does not exist."""
    match word, sizes:
        case "label", ():
            return label_of(column)
        case (("number" | "log"), ()):
            return number_of(column, log=word == "log")
        case "vector", ():
            return number_of(column) if column.comparable else vector_of(column)
        case "text", ():
            return text_of(column)
        case "text", (length,):
            return text_of(column, length)
        case "image", (channels, height, width):
            return Image(channels, height, width)
        case "image", ((_,) | ()):
            return image_of(inspect_images(column), *sizes)
        case "audio", ((_, _) | ()):
            return Audio(*(sizes or (32, 128)))
    return None


def label_of(column: Column) -> Label:
    """Returns a label modality with the classes of a column in order.

    Numbers, also those in texts, are sorted by size, categories by their order, and all other values alphabetically.
    """
    if not column.comparable:
        raise ValueError(f"{column.name!r} must hold texts or numbers to be a label; got {column.types}")
    if column.kind == "boolean":
        return Label(2, names=("False", "True"))
    if column.kind == "category":
        found = list(column.cells.cat.remove_unused_categories().cat.categories)
    elif column.kind in ("integer", "number"):
        found = column.cells.iloc[np.unique(column.values, return_index=True)[1]].tolist()
    else:
        found = sort_names(map(class_name, column.cells.unique()))
    names = tuple(dict.fromkeys(map(class_name, found)))
    return Label(len(names), names=names)


def number_of(column: Column, log: bool = False) -> Vector:
    """Returns a number modality that scales the cells, or log(1 + x) if `log` is true, to mean 0 and deviation 1."""
    values = _numbers(column)
    if log:
        if len(odd := np.flatnonzero(values <= -1)):
            why = f"numbers with log must be above -1; got {values[odd[0]]:g}; write {column.otherwise('number')}"
            raise column.wrong(odd[0], why)
        values = np.log1p(values)
    center, scale = _units(values)
    return Vector(1, center=(center,), scale=(scale,), log=log)


def _numbers(column: Column) -> np.ndarray:
    """Returns the cells as float64 numbers; dates become days since 1970.

    Raises:
        ValueError: A cell is not a number; the error names its row.
    """
    if column.kind in ("integer", "number"):
        return column.values.to_numpy(np.float64)
    try:
        return numbers(column.cells)
    except CellError as error:
        raise column.wrong(error.row, error.why) from error


def _units(values: np.ndarray) -> tuple[float, float]:
    """Returns the mean and the standard deviation; the latter is 1 if all numbers are the same."""
    power = int(np.frexp(np.abs(values).max())[1])  # a power of 2 avoids overflow and loses no precision
    small = np.ldexp(values, -power)
    center, scale = (float(np.ldexp(number, power)) for number in (small.mean(), small.std()))
    return center, scale if values.min() < values.max() and 0 < scale < np.inf else 1.0


def combine_columns(columns: Sequence[Column]) -> Vector:
    """Returns a vector modality for several columns of numbers, each scaled separately."""
    center, scale = zip(*(_units(_numbers(column)) for column in columns), strict=True)
    return Vector(len(columns), center=center, scale=scale, names=tuple(column.name for column in columns))


def vector_of(column: Column) -> Vector:
    """Returns a vector modality for lists of numbers; each position is scaled to mean 0 and standard deviation 1.

    Raises:
        ValueError: The cells are not lists of equally many finite numbers.
    """
    if not all(is_list(cell) for cell in column.values):
        raise ValueError(f"{column.name!r} must hold lists of numbers to be a vector; got {column.types}")
    sizes = column.values.map(len).to_numpy()
    if len(odd := np.flatnonzero(sizes != sizes[0])):
        raise column.wrong(
            odd[0],
            f"lists must be as long as in row {column.values.index[0]}, {sizes[0]}; got {sizes[odd[0]]}; cut or fill "
            f"them, or write {column.otherwise('ignore')}",
        )
    try:
        values = np.array(column.values.tolist(), np.float64)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{column.name!r} must hold lists of numbers to be a vector; {brief(error)}") from error
    if len(odd := np.flatnonzero(~np.isfinite(values).all(1))):
        lacks = np.isnan(values[odd[0]]).any()
        what = "a list must have all its numbers, and one is missing; write it" if lacks else "numbers must be finite"
        way = "" if lacks else "; replace those that are not"
        raise column.wrong(odd[0], f"{what}{way}, leave the whole cell empty, or write {column.otherwise('ignore')}")
    center, scale = zip(*map(_units, values.T), strict=True)
    return Vector(len(center), center=center, scale=scale)


def text_of(column: Column, length: int | None = None) -> Text:
    """Returns a text modality with the vocabulary of a column.

    Arguments:
        column: Column of texts.
        length: Length in tokens; by default long enough to cut at most 1 in 50 texts, but at most 64.
    """
    if not column.comparable:
        raise ValueError(f"{column.name!r} must hold texts to be a text; got {column.types}")
    held = texts(column.cells).tolist()
    return Text.learn(held, length or min(LONGEST_TEXT, _usual(_counts(held)) + 1), MOST_WORDS, **SMALL)


def cut_of(column: Column, length: int) -> str:
    """Returns a message about the number of cut texts; an empty string if at most 1 in 50 is cut.

    Arguments:
        column: Column of texts.
        length: Length in tokens.
    """
    counts = _counts(texts(column.cells).tolist())
    cut = sum(count >= length for count in counts)
    if cut <= len(counts) / 50:
        return ""
    enough = min(MOST_TOKENS, 2 ** ceil(log2(_usual(counts) + 1)))
    more = f": for more write {column.otherwise(f'text:{enough}')}" if enough > length else ""
    are = "is" if cut == 1 else "are"
    return f"{cut:,} of {len(counts):,} texts {are} longer than {length} tokens and {are} cut{more}"


def _counts(held: list[str]) -> list[int]:
    """Returns the numbers of tokens of the texts, or of a regular subset of many texts."""
    return count_tokens(held[:: -(-len(held) // COUNTED)])


def _usual(counts: list[int]) -> int:
    """Returns the 98th percentile of the lengths, rounded up."""
    return int(np.ceil(np.quantile(counts, 0.98)))


def is_list(cell: Any) -> bool:
    """Returns whether a cell is a list, a tuple, or an array with one axis."""
    return isinstance(cell, list | tuple) or (isinstance(cell, np.ndarray) and cell.ndim == 1)

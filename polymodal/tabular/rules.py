"""The rules that infer the type of a column."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any

import numpy as np

from polymodal.modalities import Audio
from polymodal.modalities.text import count_tokens, is_unspaced
from polymodal.runtime.formatting import brief, value_repr
from polymodal.tabular.ambiguities import (
    NumberTexts,
    doubt_date,
    doubt_identifier,
    doubt_missing,
    doubt_padded,
    doubt_same,
    is_row_number,
    is_skewed,
    way_missing,
)
from polymodal.tabular.candidates import MOST_WORDS, cut_of, is_list, label_of, number_of, text_of, vector_of
from polymodal.tabular.images import PICTURE_ENDINGS, image_of, inspect_images, is_picture
from polymodal.tabular.profile import MOST, Column, ends_as, mostly
from polymodal.tabular.proposal import Proposal

__all__ = ["propose_modality"]

FEWEST = 10
"""Minimum number of rows for texts that all differ to be identifiers."""
SUSPECT = 100
"""Minimum number of rows for a warning that whole numbers that all differ may be identifiers."""
LARGEST_SHORT = 40
"""Identifiers have fewer characters than this."""
SOUND_ENDINGS = (".wav", ".flac", ".ogg", ".mp3")


def propose_modality(column: Column, same: str) -> Proposal:
    """Returns the modality that the rules infer for a column, with the reason and warnings.

    Arguments:
        column: The column.
        same: Name of the first column with the same values.
    """
    if not len(column.values):
        return column.left_out("no row has a value")
    if column.comparable and len(column.counts) == 1:
        value = brief(value_repr(column.counts.index[0]), 30)
        return column.left_out(
            f"the same value in every row that has one, {value}",
            f"to take it all the same write {_nevertheless(column)}",
        )
    if same != column.name:
        return column.left_out(f"the same as {same}", f"to take it all the same write {_nevertheless(column)}")
    made = JUDGES[column.kind](column)
    return made if made.modality is None else made._replace(doubt=_join_doubts(made.doubt, doubt_same(column)))


def _join_doubts(*doubts: str) -> str:
    return "; ".join(filter(None, doubts))


def _nevertheless(column: Column) -> str:
    return column.otherwise("number" if column.kind in ("integer", "number") else "label")


def _propose_boolean(column: Column) -> Proposal:
    return column.proposed(label_of(column), f"true or false in {column.there}")


def _propose_category(column: Column) -> Proposal:
    why = f"{len(column.counts)} categories in {column.there}"
    return column.proposed(label_of(column), why, _join_doubts(doubt_padded(column), doubt_missing(column)))


def _propose_integer(column: Column) -> Proposal:
    values, different = column.values, len(column.counts)
    if is_row_number(column):
        consecutive = different == int(values.max()) - int(values.min()) + 1
        numbers = f"{'consecutive ' if consecutive else ''}whole numbers {column.span}, each in one row"
        return column.left_out(
            f"an identifier: {numbers}{'' if consecutive else ', as row numbers are'}",
            f"to take it all the same write {column.otherwise('number')}",
        )
    if different > 2 and (different > 10 or column.each < 5):
        return _propose_number(column)
    why = f"{different} whole numbers {column.span} in {column.there}"
    plain = different == 2 and int(values.max()) - int(values.min()) == 1
    doubt = "" if plain else f"for a number write {column.otherwise('number')}"
    return column.proposed(label_of(column), why, _join_doubts(doubt_missing(column), doubt))


def _propose_number(column: Column) -> Proposal:
    whole, different = column.kind == "integer", len(column.counts)
    many = f"{different} " if whole and different <= 20 else ""
    named = doubt_identifier(column) if whole else ""
    doubts = [doubt_missing(column), doubt_date(column) if whole else "", named]
    if whole and different <= 20 and different < len(column.values):
        doubts.append(f"for classes write {column.otherwise('label')}")
    if whole and SUSPECT <= different == len(column.values) and not named:
        doubts.append(f"no two rows have the same: if it is an identifier write {column.otherwise('ignore')}")
    if is_skewed(column.values.to_numpy(np.float64)):
        doubts.append(
            f"a few values are far larger than the others: to take logarithms write {column.otherwise('log')}"
        )
    why = f"{many}{'whole ' if whole else ''}numbers {column.span} in {column.there}"
    return column.proposed(number_of(column), why, _join_doubts(*doubts))


def _propose_text(column: Column) -> Proposal:
    if column.kind == "text" and mostly(column.first, ends_as(PICTURE_ENDINGS)):
        return _propose_image(column)
    if column.kind == "text" and mostly(column.first, ends_as(SOUND_ENDINGS)):
        longer = column.otherwise("audio:96x128")
        return column.proposed(
            Audio(32, 128), f"sound files in {column.there}", f"their first second: for 3 write {longer}"
        )
    different, each = len(column.counts), column.each
    words = _words(column)
    written = None if column.dated else NumberTexts.of(column)
    if (different <= 20 and each >= 2) or (different <= 200 and each >= 5):
        sentences = words >= 4 and different > 5
        return _as_classes(column, f"for texts write {column.otherwise('text')}" if sentences else "", written)
    if written is not None:
        return column.left_out(
            f"texts that look like numbers {written.what}, such as {written.example!r}",
            f"for numbers {written.way}; for classes write {column.otherwise('label')}",
        )
    if (
        not column.coded
        and all(map(_is_number, column.first))
        and not all(text.strip().isdecimal() for text in column.first)
    ):
        return column.left_out(
            f"texts that are numbers, such as {column.first[0].strip()!r}, in {column.there}",
            f"to take them for numbers write {column.otherwise('number')}",
        )
    if not column.dated and _identifies(column):
        same = f"to take it all the same write {column.otherwise('text')}"
        return column.left_out(
            f"an identifier: short texts, another in each of {column.there}",
            _join_doubts(same, _doubt_of_texts(column, "texts")),
        )
    if column.coded and each < 2:
        return column.left_out(
            f"an identifier: codes, {different:,} different ones in {column.there}", _doubt_of_codes(column)
        )
    if words >= 2 and different >= len(column.values) / 2:
        return _as_text(column, words, "")
    if different <= 1000 and each >= 2:
        return _as_classes(column, f"for texts write {column.otherwise('text')}")
    doubt = f"for classes write {column.otherwise('label')}; to leave it out, {column.otherwise('ignore')}"
    if different >= MOST * len(column.values) >= FEWEST and words < 2:
        own = f"{different:,} of {len(column.values):,} rows have a text of their own"
        doubt = f"{own}: if it is an identifier write {column.otherwise('ignore')}; {doubt.partition(';')[0]}"
    return _as_text(column, words, "" if column.dated else doubt)


def _words(column: Column) -> float:
    """Returns the mean number of words per text; for scripts without spaces, half the mean number of tokens."""
    if is_unspaced(column.first):
        return float(np.mean(count_tokens(column.first))) / 2
    return float(np.mean([len(text.split()) for text in column.first]))


def _identifies(column: Column) -> bool:
    """Returns whether all texts differ, are short, and mostly have no white space, in a script that uses spaces."""
    texts = column.values
    if not FEWEST <= len(column.counts) == len(texts) or is_unspaced(column.first):
        return False
    return bool(texts.str.len().max() < LARGEST_SHORT and (~texts.str.contains(r"\s")).mean() >= MOST)


def _as_classes(column: Column, doubt: str, written: NumberTexts | None = None) -> Proposal:
    what = "dates" if column.dated else "texts"
    alone = int((column.counts == 1).sum())
    why = f"{len(column.counts):,} different {what} in {column.there}"
    why += f", {alone:,} in a single row" if alone else ""
    numbers = (
        ""
        if written is None
        else (f"these look like numbers {written.what}, such as {written.example!r}: for numbers {written.way}")
    )
    doubts = _join_doubts(numbers, _doubt_of_texts(column, "classes"), doubt_padded(column), doubt)
    return column.proposed(label_of(column), why, doubts)


def _as_text(column: Column, words: float, doubt: str) -> Proposal:
    text = text_of(column)
    long = f"{2 * words:.1f} letters or words" if is_unspaced(column.first) else f"{words:.1f} words"
    what = "dates" if column.dated else f"texts of {long} on average"
    why = f"{what}, {len(column.counts):,} different ones in {column.there}"
    if len(text.vocabulary) == MOST_WORDS:
        why += f"; of their words the {MOST_WORDS:,} most frequent"
    doubts = _join_doubts(_doubt_of_texts(column, "texts"), cut_of(column, text.length), doubt)
    return column.proposed(text, why, doubts)


def _doubt_of_texts(column: Column, taken: str) -> str:
    """Returns a warning about what else the texts may be: dates, codes, numbers, or missing values."""
    if column.dated:
        otherwise = {"for classes": "label", "for texts": "text"}
        otherwise.pop(f"for {taken}", None)
        if column.cells.dtype.kind == "M":
            otherwise["for a number of days"] = "number"
        ways = ", ".join(f"{what} write {column.otherwise(word)}" for what, word in otherwise.items())
        return f"dates are taken as {taken}: {ways}"
    if column.coded:
        return _doubt_of_codes(column)
    odd = [text for text in column.first if not _is_number(text)]
    share = len(odd) / len(column.first)
    if not odd:
        return f"these texts are numbers: to take them for that write {column.otherwise('number')}"
    written = NumberTexts.of_texts(odd) if share < 1 else None
    if written is not None:
        return f"some of these numbers are {written.what}, such as {written.example!r}: for numbers {written.way}"
    if share <= 1 - MOST or (share <= 0.5 and len({*odd}) == 1):
        return (
            f"most of these texts are numbers: if {odd[0]!r} is for an empty cell, say so when the file is read: "
            f"{way_missing(odd[0])}"
        )
    return doubt_missing(column)


def _doubt_of_codes(column: Column) -> str:
    """Returns a warning if texts look like codes but can be read as numbers; an empty string for other texts."""
    if not column.coded:
        return ""
    number = column.otherwise("number")
    return f"cells {column.coded}, so these look like codes, not numbers; {number} reads them as numbers"


def _propose_image(column: Column) -> Proposal:
    try:
        seen = inspect_images(column)
    except ValueError as error:
        return column.left_out(str(error), f"to take them for pictures write {column.otherwise('image:3x64x64')}")
    image = image_of(seen)
    sides = {picture.sides for picture in seen}
    if sides == {(image.height, image.width)}:
        return column.proposed(image, f"pictures in {column.there}")
    height, width = seen[0].sides
    first = f"the first of {height}x{width}" if len(sides) > 1 else f"of {height}x{width}"
    doubt = f"for other sides write such as {column.otherwise(f'image:{image.channels}x128x128')}"
    return column.proposed(image, f"pictures in {column.there}, {first}, made smaller", doubt)


def _propose_object(column: Column) -> Proposal:
    if mostly(column.first, is_picture):
        return _propose_image(column)
    if all(is_list(cell) for cell in column.values):
        return _propose_list(column)
    doubt = "take what is of use out of it into columns of their own" if column.kind == "object" else ""
    return column.left_out(f"it holds {column.types}", doubt)


def _propose_list(column: Column) -> Proposal:
    first = column.values.iloc[0]
    if not len(first) or not all(number is None or _is_real(number) for number in first):
        return column.left_out("lists of something else than numbers")
    return column.proposed(vector_of(column), f"lists of {len(first)} numbers in {column.there}")


def _is_real(number: Any) -> bool:
    return isinstance(number, int | float | np.integer | np.floating)


def _is_number(text: str) -> bool:
    """Returns whether a text is a finite number; "Nan" and "Infinity" are not, because they may be names."""
    try:
        return isfinite(float(text))
    except ValueError:
        return False


JUDGES: dict[str, Callable[[Column], Proposal]] = {
    "boolean": _propose_boolean,
    "category": _propose_category,
    "integer": _propose_integer,
    "number": _propose_number,
    "text": _propose_text,
    "date": _propose_text,
    "bytes": _propose_object,
    "object": _propose_object,
}
"""The rule for each kind of column."""

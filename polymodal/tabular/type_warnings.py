"""Warnings about the inferred type of a column: what else its cells may be, and how to choose that."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from polymodal.modalities import Label, Modality, Text, Vector
from polymodal.modalities.column_statistics import message_cut
from polymodal.modalities.profile import MOST, Profile
from polymodal.modalities.tokens import mean_words
from polymodal.tabular.ambiguities import (
    NumberTexts,
    doubt_date,
    doubt_identifier,
    doubt_missing,
    doubt_padded,
    doubt_same,
    is_number,
    is_skewed,
    missing_option,
)

__all__ = ["IDENTIFIER", "doubt_codes", "doubt_texts", "join_doubts", "warn_about_type"]

IDENTIFIER = 0.8
"""Suitability up to which a column is left out if it looks like an identifier; see `Modality.suitability`."""
FEWEST = 10
"""Minimum number of rows for a warning that texts that mostly differ may be identifiers."""
SUSPECT = 100
"""Minimum number of rows for a warning that whole numbers that all differ may be identifiers."""


def warn_about_type(profile: Profile, modality: Modality, doubt: str) -> str:
    """Returns the warnings about an inferred type, or an empty text if nothing is ambiguous.

    Arguments:
        profile: The column.
        modality: Its inferred modality.
        doubt: The modality's own warning.
    """
    warn = WARNINGS.get(type(modality))
    return join_doubts("" if warn is None else warn(profile, modality), doubt, doubt_same(profile))


def join_doubts(*doubts: str) -> str:
    """Joins warnings that are not empty."""
    return "; ".join(filter(None, doubts))


def _warn_about_label(profile: Profile, label: Modality) -> str:
    if profile.kind == "boolean":
        return ""
    if profile.kind == "category":
        return join_doubts(doubt_padded(profile), doubt_missing(profile))
    if profile.kind == "integer":
        values = profile.values
        plain = len(profile.counts) == 2 and int(values.max()) - int(values.min()) == 1
        return join_doubts(doubt_missing(profile), "" if plain else f"for a number write {profile.otherwise('number')}")
    repeated = Label.suitability(profile) > IDENTIFIER
    sentences = mean_words(profile.first) >= 4 and len(profile.counts) > 5
    written = None if profile.dated else NumberTexts.of(profile)
    return join_doubts(
        f"these look like numbers {written.what}, such as {written.example!r}: for numbers {written.way}"
        if written
        else "",
        doubt_texts(profile, "classes"),
        doubt_padded(profile),
        "" if repeated and not sentences else f"for texts write {profile.otherwise('text')}",
    )


def _warn_about_number(profile: Profile, vector: Modality) -> str:
    if profile.kind == "object":
        return ""
    whole, different, rows = profile.kind == "integer", len(profile.counts), len(profile.values)
    named = doubt_identifier(profile) if whole else ""
    doubts = [doubt_missing(profile), doubt_date(profile) if whole else "", named]
    if whole and different <= 20 and different < rows:
        doubts.append(f"for classes write {profile.otherwise('label')}")
    if whole and SUSPECT <= different == rows and not named:
        doubts.append(f"no two rows have the same: if it is an identifier write {profile.otherwise('ignore')}")
    if is_skewed(profile.values.to_numpy(np.float64)):
        doubts.append(
            f"a few values are far larger than the others: to take logarithms write {profile.otherwise('log')}"
        )
    return join_doubts(*doubts)


def _warn_about_text(profile: Profile, text: Modality) -> str:
    doubts = join_doubts(doubt_texts(profile, "texts"), message_cut(profile, text.shape[0]))
    if profile.dated or Text.suitability(profile) > 0.5:
        return doubts
    classes, ignored = f"for classes write {profile.otherwise('label')}", profile.otherwise("ignore")
    different, rows = len(profile.counts), len(profile.values)
    if different >= MOST * rows >= FEWEST and mean_words(profile.first) < 2:
        own = f"{different:,} of {rows:,} rows have a text of their own"
        return join_doubts(doubts, f"{own}: if it is an identifier write {ignored}", classes)
    return join_doubts(doubts, classes, f"to leave it out, {ignored}")


WARNINGS: dict[type[Modality], Callable[[Profile, Modality], str]] = {
    Label: _warn_about_label,
    Text: _warn_about_text,
    Vector: _warn_about_number,
}
"""Warnings about types whose cells may as well be of another of polymodal's types."""


def doubt_texts(profile: Profile, used: str) -> str:
    """Returns a warning about what else texts may be: dates, codes, numbers, or missing values.

    Arguments:
        profile: Column of texts or dates.
        used: What the cells are used as, "classes" or "texts".
    """
    if profile.dated:
        otherwise = {"for classes": "label", "for texts": "text"}
        otherwise.pop(f"for {used}", None)
        if profile.cells.dtype.kind == "M":
            otherwise["for a number of days"] = "number"
        ways = ", ".join(f"{what} write {profile.otherwise(word)}" for what, word in otherwise.items())
        return f"dates are used as {used}: {ways}"
    if profile.coded:
        return doubt_codes(profile)
    odd = [text for text in profile.first if not is_number(text)]
    share = len(odd) / len(profile.first)
    if not odd:
        return f"these texts are numbers: to use them as numbers write {profile.otherwise('number')}"
    written = NumberTexts.of_texts(odd) if share < 1 else None
    if written is not None:
        return f"some of these numbers are {written.what}, such as {written.example!r}: for numbers {written.way}"
    if share <= 1 - MOST or (share <= 0.5 and len({*odd}) == 1):
        return (
            f"most of these texts are numbers: if {odd[0]!r} is for an empty cell, say so when the file is read: "
            f"{missing_option(odd[0])}"
        )
    return doubt_missing(profile)


def doubt_codes(profile: Profile) -> str:
    """Returns a warning if texts look like codes but can be read as numbers; an empty string for other texts."""
    if not profile.coded:
        return ""
    number = profile.otherwise("number")
    return f"cells {profile.coded}, so these look like codes, not numbers; {number} reads them as numbers"

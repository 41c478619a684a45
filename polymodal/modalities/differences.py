"""The first difference between two modalities of the same name, for error messages."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from polymodal.modalities.base import Modality
from polymodal.runtime.formatting import brief

__all__ = ["find_difference"]

MOST_SHOWN = 120
"""Maximum number of characters with which a message shows each side of a difference between two schemas."""


def find_difference(name: str, one: Modality, other: Modality) -> tuple[str, str, str] | None:
    """Compares two modalities of the same name.

    Arguments:
        name: Name of the modalities.
        one: Modality of a model.
        other: Modality of other rows.

    Returns:
        The broken rule, the expected and the given value, or None if the modalities represent values in the same way.

    Example:
        >>> from polymodal.modalities import Label
        >>> find_difference("kind", Label(2, names=("ash", "oak")), Label(2, names=("oak", "ash")))
        ("have the model's classes", 'ash, oak', 'oak, ash')
    """
    if type(one).__name__ == type(other).__name__:
        ours, theirs = ({**modality.representation, "columns": modality.columns(name)} for modality in (one, other))
        for part in {**ours, **theirs}:
            expected, given = ours.get(part), theirs.get(part)
            if expected != given and not (isinstance(expected, range) and isinstance(given, range)):
                return f"have the model's {part}", *_format_difference(expected, given)
    ours, theirs = ((type(modality).__name__, modality.shape, modality.levels) for modality in (one, other))
    return None if ours == theirs else ("be the model's", brief(repr(one)), brief(repr(other)))


def _format_difference(expected: Any, given: Any) -> tuple[str, str]:
    """Formats two different values for a message; for long lists, it adds the first position where they differ."""
    if not (isinstance(expected, Sequence) and isinstance(given, Sequence)):
        return brief(expected, MOST_SHOWN), brief(given, MOST_SHOWN)
    listed = [", ".join(map(str, items)) for items in (expected, given)]
    ours, theirs = (brief(text, MOST_SHOWN) if text else "none" for text in listed)
    if max(map(len, listed)) <= MOST_SHOWN:
        return ours, theirs
    place = next(i for i, pair in enumerate(zip_longest(expected, given, fillvalue=object())) if pair[0] != pair[1])
    ours, theirs = f"{len(expected):,} of them, {ours}", f"{len(given):,} of them, {theirs}"
    there, here = (repr(items[place]) if place < len(items) else "none" for items in (expected, given))
    return ours, f"{theirs} (number {place + 1} is {brief(here, 40)}, and must be {brief(there, 40)})"

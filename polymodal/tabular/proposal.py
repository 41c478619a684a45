"""Proposed modalities of columns, and their presentation as text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from textwrap import wrap
from typing import NamedTuple

from polymodal.modalities import Audio, Image, Label, Modality, Text, Vector
from polymodal.runtime.formatting import brief, printable

__all__ = ["Proposal", "format_count", "format_proposals"]

COLUMNS = 100
"""Number of characters per line in the output of `format_proposals`."""


class Proposal(NamedTuple):
    """The proposed modality of a column or of a group of columns."""

    name: str
    """Name of the modality: the name of the column, or the prefix of the group."""
    columns: tuple[str, ...]
    """Names of the columns that the modality reads."""
    modality: Modality | None
    """The modality; None if the column is left out."""
    why: str
    """Reason for the proposal, such as "3 different texts in 344 rows"."""
    doubt: str = ""
    """Warning about an ambiguity, with the way to choose otherwise; empty if nothing is ambiguous."""


def format_proposals(proposals: Iterable[Proposal]) -> str:
    """Returns proposals as text: a line for each proposal, and a line below it for an ambiguity.

    Example:
        >>> print(format_proposals([Proposal("sex", ("sex",), Label(2), "2 different texts in 9 rows"),
        ...             Proposal("id", ("id",), None, "an identifier", "write --modality id=number")]))
        sex  label, 2 classes  2 different texts in 9 rows
        id   left out          an identifier
             ? write --modality id=number
    """
    lines = [(brief(made.name, 60), _kind_told(made.modality), made.why, made.doubt) for made in proposals]
    first = min(28, max((len(name) for name, *_ in lines), default=0))
    second = max((len(kind) for _, kind, *_ in lines), default=0)
    return "\n".join(line for parts in lines for line in _lines(*parts, first, second))


def _lines(name: str, kind: str, why: str, doubt: str, first: int, second: int) -> Iterator[str]:
    """Yields the lines of one proposal; a long name has a separate line."""
    if len(name) > first:
        yield name
        name = ""
    margin, indent = " " * (first + second + 4), " " * (first + 2)
    yield from _wrap_sentence(f"{name:{first}}  {kind:{second}}  ", margin, why)
    if doubt:
        yield from _wrap_sentence(f"{indent}? ", f"{indent}  ", doubt)


def _wrap_sentence(begin: str, margin: str, sentence: str) -> list[str]:
    """Wraps a sentence into lines, without breaking a command-line option that the user is to type."""
    advice = r"--modality (\$?'(?:[^']|'\"'\"')*'|\S+)"
    whole = re.sub(advice, lambda match: match[0].replace(" ", "\0"), printable(sentence))
    width = max(COLUMNS, len(margin) + 30)
    lines = wrap(whole, width, initial_indent=begin, subsequent_indent=margin, break_on_hyphens=False)
    return [line.replace("\0", " ") for line in lines]


def _kind_told(modality: Modality | None) -> str:
    match modality:
        case None:
            return "left out"
        case Label():
            return f"label, {format_count(modality.classes, 'class', 'classes')}"
        case Vector(size=1):
            return "number, logarithm" if modality.log else "number"
        case Vector():
            return f"vector of {modality.size}"
        case Text():
            return f"text, {format_count(modality.length, 'token')}"
        case Image():
            return f"picture {modality.channels}x{modality.height}x{modality.width}"
        case Audio():
            return f"sound {modality.frames}x{modality.mels}"
    return type(modality).__name__.lower()


def format_count(number: int, one: str, several: str | None = None) -> str:
    """Returns a number with a noun in the singular or plural.

    Example:
        >>> format_count(1, "row"), format_count(2000, "row"), format_count(2, "class", "classes")
        ('1 row', '2,000 rows', '2 classes')
    """
    return f"{number:,} {one if number == 1 else several or one + 's'}"

"""Proposed modalities of columns, and their presentation as text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from textwrap import wrap
from typing import NamedTuple

from polymodal.modalities import Modality
from polymodal.runtime.formatting import brief, printable

__all__ = ["Proposal", "format_proposals"]

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
        >>> from polymodal.modalities import Label
        >>> print(format_proposals([Proposal("sex", ("sex",), Label(2), "2 different texts in 9 rows"),
        ...             Proposal("id", ("id",), None, "an identifier", "write --modality id=number")]))
        sex  label, 2 classes  2 different texts in 9 rows
        id   left out          an identifier
             ? write --modality id=number
    """
    lines = [
        (brief(one.name, 60), one.modality.description if one.modality else "left out", one.why, one.doubt)
        for one in proposals
    ]
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

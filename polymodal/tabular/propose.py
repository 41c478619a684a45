"""A data frame's columns, each taken for something."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from polymodal.modalities import Modality
from polymodal.runtime.formatting import brief
from polymodal.runtime.registry import unknown
from polymodal.runtime.validation import check_frame
from polymodal.tabular.candidates import as_said, joined
from polymodal.tabular.profile import Column
from polymodal.tabular.proposal import Proposal
from polymodal.tabular.rules import judged

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["propose"]


def propose(
    frame: pd.DataFrame,
    *,
    modalities: Mapping[str, str | Modality] | None = None,
    ignore: Iterable[str] = (),
    groups: Iterable[str] = (),
    root: str | Path | None = None,
) -> list[Proposal]:
    """A modality for each column of a data frame, and why.

    None, NaN, NaT, NA and blank texts are no values; only values are looked at. The first rule that fits holds:

    - No value, one value in every row that has one, or the values of an earlier column: left out.
    - True and false: a label of 2 classes. A category: a label of those that occur.
    - Whole numbers, also as floats: left out as an identifier if they are at least 3 numbers, each once, that are
      consecutive in any order, go with the numbers of their rows, or are so dense that they count the rows of a table
      of which these are some; a label if there are 2 different ones, or at most 10 in at least 5 rows each on
      average; else a number.
    - Other numbers: a number.
    - Texts that look like numbers (decimal commas, marks between thousands, currencies, units, per cent): left out,
      unless they are a label by the next rule.
    - Texts: pictures if 9 in 10 end as names of pictures do, and sounds if they end as names of sounds do; a
      label of at most 20 classes in at least 2 rows each on average, or of at most 200 in at least 5; left out as an
      identifier if at least 10 are all different, 9 in 10 have no white space, none has 40 characters, and their
      script puts blanks between words; a text
      if there are at least 2 words on average and half of the texts are different; a label of at most 1000
      classes in at least 2 rows each on average; else a text.
    - Dates: as texts, but never an identifier.
    - Arrays of bytes with 2 or 3 axes, files of pictures as bytes, dicts of these under "bytes" or "path", and PIL
      pictures: pictures, of the sides of the first ones if they are all alike and at most 64 pixels, else with the
      longer side of 64 pixels.
    - Lists of equally many numbers: a vector.
    - Anything else: left out.

    Arguments:
        frame: The training rows, or many of them.
        modalities: What columns are, by name: a modality, or "label", "number", "log" (a number, of which the
            logarithm is taken), "text", "text:24" (tokens), "image", "image:64" (both sides), "image:3x64x64",
            "vector", "audio", "audio:32x128" or "ignore".
        ignore: Columns to leave out, whatever else is said of them.
        groups: Prefixes; the columns of numbers whose names begin with one become a single vector, unless
            `modalities` says otherwise of them.
        root: The folder that files in cells are named from; by default the working folder.

    Returns:
        What each column is taken for, in order; a group stands in the place of its first column.

    Raises:
        ValueError: The frame has no rows or columns, or their names are not texts of their own; a name is unknown; a
            number is infinite; lists differ in length; a column cannot be what `modalities` says; or a group has
            fewer than 2 columns.

    Example:
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"kind": ["owl", "emu"] * 10, "grams": [180.5, 36_000.25, 170.0, 41_000.0] * 5})
        >>> kind, grams = propose(frame)
        >>> kind.modality
        Label(classes=2, names=('emu', 'owl'), hidden=(32,), cost='categorical')
        >>> kind.why
        '2 different texts in 20 rows'
        >>> propose(frame, modalities={"grams": "log"})[1].modality.log
        True
    """
    _check_frame(frame)
    ignore, groups = _listed(ignore, "ignore"), _listed(groups, "groups")
    if not isinstance(modalities, Mapping | None):
        raise TypeError(f"modalities must say by name what columns are, as {{'grams': 'log'}}; got {modalities!r}")
    words = {name: word for name, word in (modalities or {}).items() if not isinstance(word, Modality)}
    words |= dict.fromkeys(ignore, "ignore")
    words = {name if name in frame.columns else name.strip(): word for name, word in words.items()}
    for name in words:
        if name not in frame.columns:
            raise unknown(name, frame.columns, "column")
    whole = [
        _given(frame, name, modality)
        for name, modality in (modalities or {}).items()
        if isinstance(modality, Modality) and name not in words
    ]
    for prefix in groups:
        taken = {*words} | {name for made in whole for name in made.columns}
        whole.append(_group(frame, prefix, taken))
    return _check_names(list(_in_order(frame, words, whole, Path(root or "."))))


def _listed(names: Iterable[str], what: str) -> list[str]:
    """Names of which there may be none, and which are not one text."""
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise TypeError(f"{what} must be a list of texts; got {names!r}; write [{names!r}]")
    names = list(names)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"{what} must be a list of texts; got {name!r} in it")
    return names


def _check_frame(frame: pd.DataFrame) -> None:
    check_frame(frame)
    if not frame.shape[1]:
        raise ValueError("a data frame must have at least one column; got none; name what it should hold")
    if not len(frame):
        raise ValueError("a data frame must have at least one row to take its columns for something; got none")
    for name in frame.columns:
        if not isinstance(name, str):
            raise ValueError(
                f"columns must have texts for names; got {name!r}; set them, as by frame.columns = ['age', ...]"
            )
    if len(twice := frame.columns[frame.columns.duplicated()]):
        raise ValueError(f"columns must have names of their own; {twice[0]!r} stands twice; rename one of them")


def _check_names(made: list[Proposal]) -> list[Proposal]:
    """Refuses a group that is called like a column."""
    names: set[str] = set()
    for proposal in made:
        if proposal.name in names:
            raise ValueError(
                f"modalities must have names of their own; {proposal.name!r} is a group's and a column's; rename the "
                "column, or ignore it"
            )
        names.add(proposal.name)
    return made


def _in_order(frame: pd.DataFrame, words: dict[str, str], whole: list[Proposal], root: Path) -> Iterator[Proposal]:
    """Proposals in the order of the columns; those of several columns where their first one stands."""
    places = {name: made for made in whole for name in made.columns}
    begun: set[str] = set()
    earlier: dict[bytes, str] = {}
    for name in frame.columns:
        if name in places:
            made = places[name]
            if made.name not in begun:
                yield made
            begun.add(made.name)
        elif words.get(name) == "ignore":
            yield Proposal(name, (name,), None, "ignored, as you say")
        else:
            column = Column.of(frame, name, root)
            same = earlier.setdefault(column.digest, name) if column.comparable else name
            yield as_said(column, words[name]) if name in words else judged(column, same)


def _given(frame: pd.DataFrame, name: str, modality: Modality) -> Proposal:
    """A modality that a user made."""
    columns = modality.columns(name)
    for column in columns:
        if column not in frame.columns:
            raise unknown(column, frame.columns, "column")
    return Proposal(name, columns, modality, "as you say")


def _group(frame: pd.DataFrame, prefix: str, taken: set[str]) -> Proposal:
    """The columns of numbers whose names begin with a prefix, as one vector."""
    begun = [name for name in frame.columns if name.startswith(prefix) and name not in taken]
    columns = [Column.of(frame, name, Path()) for name in begun]
    columns = [column for column in columns if column.kind in ("integer", "number") and len(column.values)]
    names = tuple(column.name for column in columns)
    called = prefix.rstrip("_-. ")
    if len(names) < 2 or not called:
        raise ValueError(
            f"a group must be a prefix of the names of at least 2 columns of numbers; {prefix!r} begins "
            f"{', '.join(names) or 'none'} of {brief(', '.join(frame.columns))}"
        )
    return Proposal(called, names, joined(columns), f"{len(names)} columns of numbers begin with {prefix!r}")

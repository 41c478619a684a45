"""Proposal of a modality for each column of a data frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from polymodal.modalities import MODALITIES, Audio, Image, Label, Modality, Text, Vector
from polymodal.modalities.column_statistics import format_partial_rows
from polymodal.modalities.profile import Profile
from polymodal.runtime.formatting import brief
from polymodal.runtime.registry import lookup, unknown
from polymodal.runtime.validation import check_frame
from polymodal.tabular.candidates import make_chosen
from polymodal.tabular.proposal import Proposal
from polymodal.tabular.rules import infer_modality

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["propose"]

DEFAULT: dict[str, type[Modality]] = {"audio": Audio, "image": Image, "label": Label, "text": Text, "vector": Vector}
"""Types that are considered by default, so that what a program registers does not change how tables are read."""


def propose(
    frame: pd.DataFrame,
    *,
    modalities: Mapping[str, str | Modality] | None = None,
    ignore: Iterable[str] = (),
    groups: Iterable[str] = (),
    root: str | Path | None = None,
    kinds: Iterable[str] | None = None,
) -> list[Proposal]:
    """Proposes a modality for each column of a data frame, with a reason.

    None, NaN, NaT, NA and blank texts are missing values; only the other values are used. The first matching rule
    decides:

    - No value, the same value in every row that has one, or the same values as an earlier column: left out.
    - Booleans: a label of 2 classes. Categories: a label of the categories that occur.
    - Whole numbers, also those stored as floats: left out as an identifier if they are at least 3 numbers that all
      differ, and are consecutive in any order, differ from the row index by a constant, or are so dense that they seem
      to be sampled row numbers; a label if there are 2 different numbers, or at most 10 with at least 5 rows each on
      average; else a number.
    - Other numbers: a number.
    - Texts that are decimal numbers, or look like numbers (decimal commas, thousands marks, currencies, units, per
      cent): left out, unless they are a label by the next rule.
    - Texts: an image if 9 in 10 end like names of image files, and audio if they end like names of audio files; a
      label of at most 20 classes with at least 2 rows each on average, or of at most 200 classes with at least 5; left
      out as an identifier if there are at least 10 texts that all differ, 9 in 10 have no white space, all are shorter
      than 40 characters, and their script has spaces between words, or if they are codes such as 007 with fewer than
      2 rows each on average; a text if there are at least 2 words on average and at least half of the texts differ; a
      label of at most 1000 classes with at least 2 rows each on average; else a text.
    - Dates: like texts, but never an identifier.
    - Arrays of uint8 or uint16 with 2 or 3 axes, image files as bytes, dicts with such files under "bytes" or "path",
      and PIL images: an image. Its size is that of the first images if they have the same size of at most 64 pixels
      per side; else the longer side is 64 pixels.
    - Lists of equally many numbers, some of which may be missing: a vector.
    - Anything else: left out.

    Arguments:
        frame: The training rows, or many of them.
        modalities: Modalities of columns by name: a modality, or "label", "number", "log" (a number on a logarithmic
            scale), "text", "text:24" (24 tokens), "image", "image:64" (64 pixels per side), "image:3x64x64", "vector",
            "audio", "audio:32x128", "ignore", or the name of a user-defined type in `MODALITIES`.
        ignore: Columns to leave out, even if `modalities` contains them.
        groups: Prefixes of column names. The columns of numbers whose names begin with a prefix become a single vector,
            except columns in `modalities`.
        root: Folder that file names in cells are relative to; by default the working folder.
        kinds: Names of the types to consider, in `MODALITIES`; by default those of polymodal: "audio", "image",
            "label", "text" and "vector". A column gets the type with the largest `Modality.suitability`.

    Returns:
        One proposal for each column, in order; a group has the position of its first column.

    Raises:
        ValueError: The frame has no rows or columns; column names are not unique texts; a name is unknown; a number is
            infinite; lists differ in length; a column does not fit its entry in `modalities`; or a group has fewer than
            2 columns.

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
    ignore, groups = _check_name_list(ignore, "ignore"), _check_name_list(groups, "groups")
    if not isinstance(modalities, Mapping | None):
        raise TypeError(f"modalities must say by name what columns are, as {{'grams': 'log'}}; got {modalities!r}")
    words = {name: word for name, word in (modalities or {}).items() if not isinstance(word, Modality)}
    words |= dict.fromkeys(ignore, "ignore")
    words = {name if name in frame.columns else name.strip(): word for name, word in words.items()}
    for name in words:
        if name not in frame.columns:
            raise unknown(name, frame.columns, "column")
    whole = [
        _propose_specified(frame, name, modality)
        for name, modality in (modalities or {}).items()
        if isinstance(modality, Modality) and name not in words
    ]
    for prefix in groups:
        taken = {*words} | {name for made in whole for name in made.columns}
        whole.append(_group(frame, prefix, taken))
    return _check_names(list(_in_order(frame, words, whole, Path(root or "."), _look_up_kinds(kinds))))


def _look_up_kinds(kinds: Iterable[str] | None) -> dict[str, type[Modality]]:
    names = DEFAULT if kinds is None else _check_name_list(kinds, "kinds")
    if not names:
        raise ValueError(f"kinds must name at least one type to consider, such as {', '.join(DEFAULT)}; got none")
    known = DEFAULT | MODALITIES
    return {name: lookup(known, name, "modality type") for name in names}


def _check_name_list(names: Iterable[str], what: str) -> list[str]:
    """Returns names as a list, after checking that they are a list of texts and not a single text."""
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
        raise ValueError("a data frame must have at least one row to infer the types of its columns; got none")
    for name in frame.columns:
        if not isinstance(name, str):
            raise ValueError(
                f"columns must have texts for names; got {name!r}; set them, as by frame.columns = ['age', ...]"
            )
    if len(twice := frame.columns[frame.columns.duplicated()]):
        raise ValueError(f"columns must have names of their own; {twice[0]!r} occurs twice; rename one of them")


def _check_names(made: list[Proposal]) -> list[Proposal]:
    """Returns the proposals, after checking that no group has the name of a column."""
    names: set[str] = set()
    for proposal in made:
        if proposal.name in names:
            raise ValueError(
                f"modalities must have names of their own; {proposal.name!r} is a group's and a column's; rename the "
                "column, or ignore it"
            )
        names.add(proposal.name)
    return made


def _in_order(
    frame: pd.DataFrame,
    words: dict[str, str],
    whole: list[Proposal],
    root: Path,
    kinds: dict[str, type[Modality]],
) -> Iterator[Proposal]:
    """Yields proposals in the order of the columns; one with several columns has the position of its first column."""
    places = {name: made for made in whole for name in made.columns}
    custom = {name: kind for name, kind in MODALITIES.items() if name not in DEFAULT}
    begun: set[str] = set()
    earlier: dict[bytes, str] = {}
    for name in frame.columns:
        if name in places:
            made = places[name]
            if made.name not in begun:
                yield made
            begun.add(made.name)
        elif words.get(name) == "ignore":
            yield Proposal(name, (name,), None, "ignored, as specified")
        else:
            profile = Profile.of(frame, name, root)
            same = earlier.setdefault(profile.digest, name) if profile.comparable else name
            word = words.get(name)
            found = infer_modality(profile, same, kinds) if word is None else make_chosen(profile, word, custom)
            yield Proposal(name, (name,), *found)


def _propose_specified(frame: pd.DataFrame, name: str, modality: Modality) -> Proposal:
    """Returns the proposal for a modality that the user defined."""
    columns = modality.columns(name)
    for column in columns:
        if column not in frame.columns:
            raise unknown(column, frame.columns, "column")
    return Proposal(name, columns, modality, "as specified")


def _group(frame: pd.DataFrame, prefix: str, taken: set[str]) -> Proposal:
    """Returns the proposal of one vector for the columns of numbers whose names begin with a prefix."""
    begun = [name for name in frame.columns if name.startswith(prefix) and name not in taken]
    columns = [Profile.of(frame, name) for name in begun]
    columns = [column for column in columns if column.kind in ("integer", "number") and len(column.values)]
    names = tuple(column.name for column in columns)
    called = prefix.rstrip("_-. ")
    if len(names) < 2 or not called:
        raise ValueError(
            f"a group must be a prefix of the names of at least 2 columns of numbers; {prefix!r} begins "
            f"{', '.join(names) or 'none'} of {brief(', '.join(frame.columns))}"
        )
    vector, lack = Vector.from_profile(*columns), format_partial_rows(*columns)
    return Proposal(called, names, vector, f"{len(names)} columns of numbers begin with {prefix!r}{lack}")

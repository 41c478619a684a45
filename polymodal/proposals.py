"""What the columns of a data frame are taken for, and why."""

from __future__ import annotations

import hashlib
import io
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path, PurePath
from textwrap import wrap
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from polymodal.modalities import Audio, Image, Label, Modality, Text, Vector
from polymodal.modalities.column import CellError, class_name, missing, numbers, texts
from polymodal.names import brief, unknown

if TYPE_CHECKING:
    import pandas as pd
    import PIL.Image

__all__ = ["Proposal", "propose", "told"]

WORDS = (
    "label, number, log, text, text:24, image, image:64, image:3x64x64, vector, audio, audio:32x128 or ignore, "
    "or a modality"
)
"""What people may say that a column is."""

LOOKED_AT = 1000
"""Cells that say what kind a column of texts or objects is."""
MOST = 0.9
"""The share of them that must be of a kind."""
PICTURES = 32
"""Pictures of which sides and colours are looked at."""
LONGEST_SIDE = 64
"""Of a picture, in pixels, unless a user says another."""
LONGEST_TEXT = 64
"""In tokens, unless a user says another."""
MOST_WORDS = 5000
"""Of a vocabulary: a decoder has an output for each word at each place."""
COUNTED = 10_000
"""Texts whose tokens are counted to find how long they are."""
FEWEST = 10
"""Rows in which different texts say that they are identifiers."""
SUSPECT = 100
"""Rows in which different whole numbers may well be identifiers."""
EXACT = 2**53
"""Floats below it are whole only where people meant whole numbers."""
LARGEST_SHORT = 40
"""Characters of an identifier, at most."""
FAR = 20
"""Times the 90th percentile, and so far from 0, is a number that is far larger than the others."""
COLUMNS = 100
"""Characters in a line of what `told` gives."""

SMALL: dict[str, Any] = {"width": 64, "layers": 1, "feedforward": 128, "dropout": 0.1, "hidden": (128,)}
"""Networks of texts in tables: these are short, and seldom as many as the paper's captions."""

PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff")
SOUND_ENDINGS = (".wav", ".flac", ".ogg", ".mp3")
SIGNATURES = re.compile(rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|GIF8[79]a|RIFF....WEBP|BM", re.DOTALL)
DATE = re.compile(
    r"(\d{4}([-/.])\d{1,2}\2\d{1,2}|\d{1,2}([-/.])\d{1,2}\3\d{4}|\d{1,2}([-/])\d{1,2}\4\d{2})([T ]\d.*)?\s*"
)
MARKS = ("?", "-", "--", ".", "*")
"""What stands for an empty cell in many files."""
GREY = ("1", "L", "LA", "F")


class Proposal(NamedTuple):
    """What a column, or a group of columns, is taken for."""

    name: str
    """The modality's: the column's, or the group's prefix."""
    columns: tuple[str, ...]
    """Those that hold it."""
    modality: Modality | None
    """None if it is left out."""
    why: str
    """What was seen, such as "3 different texts in 344 rows"."""
    doubt: str = ""
    """What is ambiguous, and how to say otherwise; empty if nothing is."""


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
    - Whole numbers, also as floats: left out as an identifier if they are at least 3 consecutive numbers, each once,
      in any order; a label if there are 2 different ones, or at most 10 in at least 5 rows each on average; else a
      number.
    - Other numbers: a number.
    - Texts: pictures if 9 in 10 end as names of pictures do, and left out if they end as names of sounds do; a
      label of at most 20 classes in at least 2 rows each on average, or of at most 200 in at least 5; left out as an
      identifier if at least 10 are all different, 9 in 10 have no white space and none has 40 characters; a text
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
    words = {name: word for name, word in (modalities or {}).items() if not isinstance(word, Modality)}
    words |= dict.fromkeys(ignore, "ignore")
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


def told(proposals: Iterable[Proposal]) -> str:
    """Proposals as people read them: a line for each, and one beneath for what is ambiguous.

    Example:
        >>> print(told([Proposal("sex", ("sex",), Label(2), "2 different texts in 9 rows"),
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
    """The lines of one proposal; a long name has a line of its own."""
    if len(name) > first:
        yield name
        name = ""
    margin, indent = " " * (first + second + 4), " " * (first + 2)
    yield from _wrapped(f"{name:{first}}  {kind:{second}}  ", margin, why)
    if doubt:
        yield from _wrapped(f"{indent}? ", f"{indent}  ", doubt)


def _wrapped(begin: str, margin: str, sentence: str) -> list[str]:
    """A sentence in lines of which no one ends within what people are to type."""
    whole = re.sub(r"--modality ('[^']*'|\S+)", lambda match: match[0].replace(" ", "\0"), sentence)
    width = max(COLUMNS, len(margin) + 30)
    lines = wrap(whole, width, initial_indent=begin, subsequent_indent=margin, break_on_hyphens=False)
    return [line.replace("\0", " ") for line in lines]


def _kind_told(modality: Modality | None) -> str:
    match modality:
        case None:
            return "left out"
        case Label():
            return f"label, {_counted(modality.classes, 'class', 'classes')}"
        case Vector(size=1):
            return "number, logarithm" if modality.log else "number"
        case Vector():
            return f"vector of {modality.size}"
        case Text():
            return f"text, {_counted(modality.length, 'token')}"
        case Image():
            return f"picture {modality.channels}x{modality.height}x{modality.width}"
        case Audio():
            return f"sound {modality.frames}x{modality.mels}"
    return type(modality).__name__.lower()


@dataclass(frozen=True)
class _Column:
    """The cells of a column that hold something, by their rows from 0."""

    name: str
    cells: pd.Series
    """As they are in the frame."""
    kind: str
    """Of boolean, category, integer, number, text, date, bytes and object."""
    values: pd.Series
    """The cells as values of their kind."""
    rows: int
    """Of the frame."""
    root: Path

    @cached_property
    def counts(self) -> pd.Series:
        """In how many rows each different value stands."""
        return self.values.value_counts(sort=False)

    @property
    def comparable(self) -> bool:
        """Whether values can be told apart by a hash."""
        return self.kind not in ("bytes", "object")

    @property
    def each(self) -> float:
        """Rows per different value."""
        return len(self.values) / len(self.counts)

    @property
    def first(self) -> list[Any]:
        """The values that say what kind they are."""
        return self.values.iloc[:LOOKED_AT].tolist()

    @cached_property
    def dated(self) -> bool:
        """Whether the values are dates, or texts of dates."""
        return self.kind == "date" or (self.kind == "text" and _mostly(self.first, DATE.fullmatch))

    @property
    def there(self) -> str:
        """The rows that have a value, in words."""
        some, rows = len(self.values), _counted(self.rows, "row")
        return rows if some == self.rows else f"{some:,} of {rows}"

    @property
    def span(self) -> str:
        """From the smallest to the largest number, in words."""
        low, high = self.values.min(), self.values.max()
        if self.kind == "integer":
            return f"from {low} to {high}"
        return f"from {low:.5g} to {high:.5g}"

    def otherwise(self, *words: str) -> str:
        """How to say that it is something else."""
        return " or ".join(f"--modality {shlex.quote(f'{self.name}={word}')}" for word in words)

    def left_out(self, why: str, doubt: str = "") -> Proposal:
        """Not proposed."""
        return self.proposed(None, why, doubt)

    def proposed(self, modality: Modality | None, why: str, doubt: str = "") -> Proposal:
        """Proposed as a modality of the column's name."""
        return Proposal(self.name, (self.name,), modality, why, doubt)


def _check_frame(frame: pd.DataFrame) -> None:
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
            column = _column(frame, name, root)
            same = earlier.setdefault(_digest(column), name) if column.comparable else name
            yield _as_said(column, words[name]) if name in words else _judged(column, same)


def _given(frame: pd.DataFrame, name: str, modality: Modality) -> Proposal:
    """A modality that a user made."""
    columns = modality.columns(name)
    for column in columns:
        if column not in frame.columns:
            raise unknown(column, frame.columns, "column")
    return Proposal(name, columns, modality, "as you say")


def _group(frame: pd.DataFrame, prefix: str, taken: set[str]) -> Proposal:
    """The columns of numbers whose names begin with a prefix, as one vector."""
    columns = [_column(frame, name, Path()) for name in frame.columns if name.startswith(prefix) and name not in taken]
    columns = [column for column in columns if column.kind in ("integer", "number") and len(column.values)]
    names = tuple(column.name for column in columns)
    called = prefix.rstrip("_-. ")
    if len(names) < 2 or not called:
        raise ValueError(
            f"a group must be a prefix of the names of at least 2 columns of numbers; {prefix!r} begins "
            f"{', '.join(names) or 'none'} of {brief(', '.join(frame.columns))}"
        )
    center, scale = zip(*(_units(_numbers(column)) for column in columns), strict=True)
    vector = Vector(len(names), center=center, scale=scale, names=names)
    return Proposal(called, names, vector, f"{len(names)} columns of numbers begin with {prefix!r}")


def _column(frame: pd.DataFrame, name: str, root: Path) -> _Column:
    numbered = frame.index.dtype.kind == "i" and frame.index.is_unique
    cells = frame[name] if numbered else frame[name].reset_index(drop=True)
    cells = cells[~missing(cells)]
    try:
        kind, values = _sorted_out(cells)
    except CellError as error:
        raise ValueError(f"{name}, row {cells.index[error.row]}: {error.why}") from error
    return _Column(name, cells, kind, values, len(frame), root)


def _sorted_out(cells: pd.Series) -> tuple[str, pd.Series]:
    """The kind of a column's cells, and their values.

    Raises:
        CellError: A number is infinite.
    """
    import pandas as pd

    kind = cells.dtype
    if isinstance(kind, pd.CategoricalDtype):
        return "category", cells.astype(object)
    if pd.api.types.is_bool_dtype(kind):
        return "boolean", cells.astype(bool)
    if pd.api.types.is_integer_dtype(kind):
        return "integer", cells.astype("uint64" if str(kind).lower().startswith("uint64") else "int64")
    if pd.api.types.is_float_dtype(kind):
        return _whole(_floats(cells))
    if pd.api.types.is_datetime64_any_dtype(kind):
        return "date", _texts(cells)
    return _of_objects(cells.astype(object))


def _of_objects(cells: pd.Series) -> tuple[str, pd.Series]:
    """As `_sorted_out`, of cells that pandas knows nothing of."""
    import pandas as pd

    match pd.api.types.infer_dtype(cells):
        case "string":
            return "text", cells
        case "boolean":
            return "boolean", cells.astype(bool)
        case "integer" | "floating" | "mixed-integer-float":
            return _whole(_floats(cells))
        case "decimal":
            return "number", _floats(cells)
        case "date" | "datetime" | "datetime64":
            return "date", _texts(cells)
        case "bytes":
            return "bytes", cells
    if len(cells) and all(isinstance(cell, PurePath) for cell in cells):
        return "text", cells.astype(str)
    return "object", cells


def _floats(cells: pd.Series) -> pd.Series:
    import pandas as pd

    return pd.Series(numbers(cells), index=cells.index)


def _whole(values: pd.Series) -> tuple[str, pd.Series]:
    """Floats as whole numbers where all of them are: pandas makes floats of those beside an empty cell."""
    if len(values) and (values.abs() < EXACT).all() and (values % 1 == 0).all():
        return "integer", values.astype("int64")
    return "number", values


def _texts(cells: pd.Series) -> pd.Series:
    """Cells as texts, dates as ISO 8601 writes them, with a time only where one has one."""
    import pandas as pd

    return pd.Series(texts(cells), cells.index, dtype=object)


def _digest(column: _Column) -> bytes:
    """The same for columns of the same values in the same rows."""
    import pandas as pd

    return hashlib.blake2b(
        pd.util.hash_pandas_object(column.values, index=False).to_numpy().tobytes()
        + column.values.index.to_numpy("int64").tobytes()
    ).digest()


def _judged(column: _Column, same: str) -> Proposal:
    """What the rules make of a column; `same` is the first column of its values."""
    if not len(column.values):
        return column.left_out("no row has a value")
    if column.comparable and len(column.counts) == 1:
        value = brief(repr(column.counts.index[0]), 30)
        return column.left_out(
            f"the same value in every row that has one, {value}",
            f"to take it all the same write {_nevertheless(column)}",
        )
    if same != column.name:
        return column.left_out(f"the same as {same}", f"to take it all the same write {_nevertheless(column)}")
    return JUDGES[column.kind](column)


def _nevertheless(column: _Column) -> str:
    return column.otherwise("number" if column.kind in ("integer", "number") else "label")


def _judged_boolean(column: _Column) -> Proposal:
    return column.proposed(_label(column), f"true or false in {column.there}")


def _judged_category(column: _Column) -> Proposal:
    return column.proposed(_label(column), f"{len(column.counts)} categories in {column.there}")


def _judged_integer(column: _Column) -> Proposal:
    values, different = column.values, len(column.counts)
    if 3 <= different == len(values) == int(values.max()) - int(values.min()) + 1:
        return column.left_out(
            f"an identifier: consecutive whole numbers {column.span}, each in one row",
            f"to take it all the same write {column.otherwise('number')}",
        )
    if different > 2 and (different > 10 or column.each < 5):
        return _judged_number(column)
    why = f"{different} whole numbers {column.span} in {column.there}"
    plain = different == 2 and int(values.max()) - int(values.min()) == 1
    return column.proposed(_label(column), why, "" if plain else f"for a number write {column.otherwise('number')}")


def _judged_number(column: _Column) -> Proposal:
    whole, different = column.kind == "integer", len(column.counts)
    many = f"{different} " if whole and different <= 20 else ""
    doubts = []
    if whole and different <= 20 and different < len(column.values):
        doubts.append(f"for classes write {column.otherwise('label')}")
    if whole and SUSPECT <= different == len(column.values):
        doubts.append(f"no two rows have the same: if it is an identifier write {column.otherwise('ignore')}")
    if _far_above(column.values.to_numpy(np.float64)):
        doubts.append(
            f"a few values are far larger than the others: to take logarithms write {column.otherwise('log')}"
        )
    why = f"{many}{'whole ' if whole else ''}numbers {column.span} in {column.there}"
    return column.proposed(_number(column), why, "; ".join(doubts))


def _far_above(values: np.ndarray) -> bool:
    """Whether the largest number is at least 20, and above 20 times the 90th percentile; all must have a logarithm."""
    largest = values.max()
    return bool(values.min() > -1 and largest >= FAR and largest / FAR > np.quantile(np.abs(values), 0.9))


def _judged_text(column: _Column) -> Proposal:
    if column.kind == "text" and _mostly(column.first, _ends_as(PICTURE_ENDINGS)):
        return _judged_picture(column)
    if column.kind == "text" and _mostly(column.first, _ends_as(SOUND_ENDINGS)):
        return column.left_out("names of sound files", f"to take them for sounds write {column.otherwise('audio')}")
    different, each = len(column.counts), column.each
    words = float(np.mean([len(text.split()) for text in column.first]))
    if (different <= 20 and each >= 2) or (different <= 200 and each >= 5):
        sentences = words >= 4 and different > 5
        return _as_classes(column, f"for texts write {column.otherwise('text')}" if sentences else "")
    if not column.dated and _identifies(column):
        return column.left_out(
            f"an identifier: short texts, another in each of {column.there}",
            f"to take it all the same write {column.otherwise('text')}",
        )
    if words >= 2 and different >= len(column.values) / 2:
        return _as_text(column, words, "")
    if different <= 1000 and each >= 2:
        return _as_classes(column, f"for texts write {column.otherwise('text')}")
    doubt = f"for classes write {column.otherwise('label')}; to leave it out, {column.otherwise('ignore')}"
    return _as_text(column, words, "" if column.dated else doubt)


def _identifies(column: _Column) -> bool:
    """Whether each row has a short text of its own."""
    texts = column.values
    if not FEWEST <= len(column.counts) == len(texts):
        return False
    return bool(texts.str.len().max() < LARGEST_SHORT and (~texts.str.contains(r"\s")).mean() >= MOST)


def _as_classes(column: _Column, doubt: str) -> Proposal:
    what = "dates" if column.dated else "texts"
    alone = int((column.counts == 1).sum())
    why = f"{len(column.counts):,} different {what} in {column.there}"
    why += f", {alone:,} in a single row" if alone else ""
    return column.proposed(_label(column), why, "; ".join(filter(None, [_doubt_of_texts(column, "classes"), doubt])))


def _as_text(column: _Column, words: float, doubt: str) -> Proposal:
    text = _text(column)
    what = "dates" if column.dated else f"texts of {words:.1f} words on average"
    why = f"{what}, {len(column.counts):,} different ones in {column.there}"
    if len(text.vocabulary) == MOST_WORDS:
        why += f"; of their words the {MOST_WORDS:,} most frequent"
    return column.proposed(text, why, "; ".join(filter(None, [_doubt_of_texts(column, "texts"), doubt])))


def _doubt_of_texts(column: _Column, taken: str) -> str:
    """What texts may be that are not only texts."""
    if column.dated:
        otherwise = {"for classes": "label", "for texts": "text"}
        otherwise.pop(f"for {taken}", None)
        if column.cells.dtype.kind == "M":
            otherwise["for a number of days"] = "number"
        ways = ", ".join(f"{what} write {column.otherwise(word)}" for what, word in otherwise.items())
        return f"dates are taken as {taken}: {ways}"
    odd = [text for text in column.first if not _is_number(text)]
    share = len(odd) / len(column.first)
    if not odd:
        return f"these texts are numbers: to take them for that write {column.otherwise('number')}"
    if share <= 1 - MOST or (share <= 0.5 and len({*odd}) == 1):
        return f"most of these texts are numbers: if {odd[0]!r} is for an empty cell, say so when the file is read"
    marks = [mark for mark in MARKS if mark in column.counts.index]
    return f"if {marks[0]!r} is for an empty cell, say so when the file is read" if marks else ""


def _judged_picture(column: _Column) -> Proposal:
    try:
        seen = _pictures(column)
    except ValueError as error:
        return column.left_out(str(error), f"to take them for pictures write {column.otherwise('image:3x64x64')}")
    image = _image_of(seen)
    sides = {picture.sides for picture in seen}
    if sides == {(image.height, image.width)}:
        return column.proposed(image, f"pictures in {column.there}")
    height, width = seen[0].sides
    first = f"the first of {height}x{width}" if len(sides) > 1 else f"of {height}x{width}"
    doubt = f"for other sides write such as {column.otherwise(f'image:{image.channels}x128x128')}"
    return column.proposed(image, f"pictures in {column.there}, {first}, made smaller", doubt)


def _judged_object(column: _Column) -> Proposal:
    if _mostly(column.first, _is_picture):
        return _judged_picture(column)
    if all(_is_list(cell) for cell in column.values):
        return _judged_list(column)
    kinds = sorted({type(cell).__name__ for cell in column.first})
    doubt = "take what is of use out of it into columns of their own" if column.kind == "object" else ""
    return column.left_out(f"it holds {brief(', '.join(kinds))}", doubt)


def _judged_list(column: _Column) -> Proposal:
    first = column.values.iloc[0]
    if not len(first) or not all(_is_real(number) for number in first):
        return column.left_out("lists of something else than numbers")
    return column.proposed(_vector(column), f"lists of {len(first)} numbers in {column.there}")


JUDGES: dict[str, Callable[[_Column], Proposal]] = {
    "boolean": _judged_boolean,
    "category": _judged_category,
    "integer": _judged_integer,
    "number": _judged_number,
    "text": _judged_text,
    "date": _judged_text,
    "bytes": _judged_object,
    "object": _judged_object,
}
"""What judges columns of a kind."""


def _as_said(column: _Column, said: str) -> Proposal:
    """What a user says of a column, with units, classes and words from its cells.

    Raises:
        ValueError: There is no such modality, or the column cannot be one.
    """
    if not len(column.values):
        raise ValueError(f"{column.name!r} must have a value to be {said}; no row has one; ignore it")
    word, _, rest = str(said).partition(":")
    sizes = tuple(int(part) if part.isdecimal() else 0 for part in rest.split("x")) if rest else ()
    modality = _made(column, word, sizes) if all(sizes) and not str(said).endswith(":") else None
    if modality is None:
        raise ValueError(f"modality of {column.name!r} must be one of {WORDS}; got {said!r}")
    return column.proposed(modality, "as you say")


def _made(column: _Column, word: str, sizes: tuple[int, ...]) -> Modality | None:
    """The modality of that word and those sizes; None if there is none."""
    match word, sizes:
        case "label", ():
            return _label(column)
        case (("number" | "log"), ()):
            return _number(column, log=word == "log")
        case "vector", ():
            return _number(column) if column.comparable else _vector(column)
        case "text", ():
            return _text(column)
        case "text", (length,):
            return _text(column, length)
        case "image", (channels, height, width):
            return Image(channels, height, width)
        case "image", ((_,) | ()):
            return _image_of(_pictures(column), *sizes)
        case "audio", ((_, _) | ()):
            return Audio(*(sizes or (32, 128)))
    return None


def _label(column: _Column) -> Label:
    """Classes in order: numbers by size, categories as they are ordered, texts by the alphabet."""
    if not column.comparable:
        raise ValueError(f"{column.name!r} must hold texts or numbers to be a label; got {_types(column)}")
    if column.kind == "boolean":
        return Label(2, names=("False", "True"))
    if column.kind == "category":
        found = list(column.cells.cat.remove_unused_categories().cat.categories)
    elif column.kind in ("integer", "number"):
        found = column.cells.iloc[np.unique(column.values, return_index=True)[1]].tolist()
    else:
        found = sorted(column.cells.unique())
    names = tuple(dict.fromkeys(map(class_name, found)))
    return Label(len(names), names=names)


def _number(column: _Column, log: bool = False) -> Vector:
    """A number in units in which the cells have mean 0 and standard deviation 1."""
    values = _numbers(column)
    if log:
        if len(odd := np.flatnonzero(values <= -1)):
            raise ValueError(
                f"{column.name}, row {column.values.index[odd[0]]}: numbers with log must be above -1; "
                f"got {values[odd[0]]:g}; write {column.otherwise('number')}"
            )
        values = np.log1p(values)
    center, scale = _units(values)
    return Vector(1, center=(center,), scale=(scale,), log=log)


def _numbers(column: _Column) -> np.ndarray:
    """The cells as numbers, float64; of dates the days since 1970.

    Raises:
        ValueError: One is none; names its row.
    """
    if column.kind in ("integer", "number"):
        return column.values.to_numpy(np.float64)
    try:
        return numbers(column.cells)
    except CellError as error:
        raise ValueError(f"{column.name}, row {column.cells.index[error.row]}: {error.why}") from error


def _units(values: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation, the latter 1 where all numbers are the same."""
    power = int(np.frexp(np.abs(values).max())[1])  # so that no sum and no square overflows, and all is as exact
    small = np.ldexp(values, -power)
    center, scale = (float(np.ldexp(number, power)) for number in (small.mean(), small.std()))
    return center, scale if values.min() < values.max() and 0 < scale < np.inf else 1.0


def _vector(column: _Column) -> Vector:
    """Lists of numbers in units in which each place has mean 0 and standard deviation 1."""
    if not all(_is_list(cell) for cell in column.values):
        raise ValueError(f"{column.name!r} must hold lists of numbers to be a vector; got {_types(column)}")
    sizes = column.values.map(len).to_numpy()
    if len(odd := np.flatnonzero(sizes != sizes[0])):
        raise ValueError(
            f"{column.name}, row {column.values.index[odd[0]]}: lists must be as long as in row "
            f"{column.values.index[0]}, {sizes[0]}; got {sizes[odd[0]]}; cut or fill them, or write "
            f"{column.otherwise('ignore')}"
        )
    try:
        values = np.array(column.values.tolist(), np.float64)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{column.name!r} must hold lists of numbers to be a vector; {brief(error)}") from error
    if len(odd := np.flatnonzero(~np.isfinite(values).all(1))):
        raise ValueError(
            f"{column.name}, row {column.values.index[odd[0]]}: numbers must be finite; replace those that are not, or "
            "leave the cell empty"
        )
    center, scale = zip(*map(_units, values.T), strict=True)
    return Vector(len(center), center=center, scale=scale)


def _text(column: _Column, length: int | None = None) -> Text:
    """Texts with their words, of a length that cuts at most 1 in 50."""
    if not column.comparable:
        raise ValueError(f"{column.name!r} must hold texts to be a text; got {_types(column)}")
    held = (column.values if column.kind in ("text", "date") else _texts(column.cells)).tolist()
    return Text.learn(held, length or _length(held), MOST_WORDS, **SMALL)


def _length(texts: list[str]) -> int:
    from tokenizers.pre_tokenizers import Whitespace

    split = Whitespace().pre_tokenize_str
    counts = [len(split(text)) for text in texts[:: -(-len(texts) // COUNTED)]]
    return min(LONGEST_TEXT, int(np.ceil(np.quantile(counts, 0.98))) + 1)


class _Seen(NamedTuple):
    """What was seen of a picture."""

    sides: tuple[int, int]
    grey: bool


def _image_of(seen: list[_Seen], side: int | None = None) -> Image:
    """Pictures of given sides, or of those of the seen ones: made smaller if these are large or differ."""
    channels = 1 if all(picture.grey for picture in seen) else 3
    height, width = seen[0].sides
    if side is not None:
        return Image(channels, side, side)
    longest = max(height, width)
    if longest > LONGEST_SIDE or any(picture.sides != seen[0].sides for picture in seen):
        height, width = (max(1, round(length * LONGEST_SIDE / longest)) for length in (height, width))
    return Image(channels, height, width)


def _pictures(column: _Column) -> list[_Seen]:
    """What is seen of the first pictures that can be read.

    Raises:
        ValueError: None can.
    """
    failed: list[str] = []
    seen = list(islice(_looked_at(column, failed), PICTURES))
    if not seen:
        raise ValueError(f"none of the pictures in {column.name!r} can be read: {failed[0]}")
    return seen


def _looked_at(column: _Column, failed: list[str]) -> Iterator[_Seen]:
    for cell in column.first:
        try:
            with _opened(cell, column.root) as picture:
                yield _seen(picture)
        except (OSError, SyntaxError, ValueError, TypeError) as error:  # PIL raises all of these
            failed.append(brief(error, 100))


def _opened(cell: Any, root: Path) -> PIL.Image.Image:
    """A picture of its own, that may be changed."""
    import PIL.Image

    if isinstance(cell, Mapping):
        cell = cell.get("bytes") or cell.get("path")
    if isinstance(cell, bytes):
        return PIL.Image.open(io.BytesIO(cell))
    if isinstance(cell, str | Path):
        return PIL.Image.open(root / cell)
    if isinstance(cell, np.ndarray):
        return PIL.Image.fromarray(cell[..., 0] if cell.ndim == 3 and cell.shape[-1] == 1 else cell)
    if isinstance(cell, PIL.Image.Image):
        return cell.copy()
    raise TypeError(f"a picture, its bytes or its file's name must stand there; got {type(cell).__name__}")


def _seen(picture: PIL.Image.Image) -> _Seen:
    width, height = picture.size
    if picture.mode in GREY or picture.mode.startswith("I"):
        return _Seen((height, width), True)
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))  # far faster than to look at all of a photograph
    colours = np.asarray(picture.convert("RGB"))
    return _Seen((height, width), bool((colours == colours[..., :1]).all()))


def _is_picture(cell: Any) -> bool:
    import PIL.Image

    if isinstance(cell, Mapping):
        cell = cell.get("bytes") or cell.get("path")
        if isinstance(cell, str):
            return _ends_as(PICTURE_ENDINGS)(cell)
    if isinstance(cell, bytes):
        return bool(SIGNATURES.match(cell))
    if isinstance(cell, np.ndarray):
        return cell.dtype == np.uint8 and cell.ndim in (2, 3)
    return isinstance(cell, PIL.Image.Image)


def _is_list(cell: Any) -> bool:
    return isinstance(cell, list | tuple) or (isinstance(cell, np.ndarray) and cell.ndim == 1)


def _is_real(number: Any) -> bool:
    return isinstance(number, int | float | np.integer | np.floating)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _ends_as(endings: tuple[str, ...]) -> Callable[[str], bool]:
    return lambda text: text.lower().rstrip().endswith(endings)


def _mostly(cells: list[Any], of_a_kind: Callable[[Any], object]) -> bool:
    return bool(cells) and sum(bool(of_a_kind(cell)) for cell in cells) >= MOST * len(cells)


def _types(column: _Column) -> str:
    return brief(", ".join(sorted({type(cell).__name__ for cell in column.first})))


def _counted(number: int, one: str, several: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else several or one + 's'}"

"""What may be given about a CSV file: separator, decimal mark, encoding, missing values and so on."""

from __future__ import annotations

import codecs
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["NOTHING", "PACKED", "TEXT", "Options", "kind", "usual_separator"]

TEXT = (".csv", ".tsv", ".tab", ".txt", ".data")
"""Endings of text files with a row per line."""
PACKED = (".gz", ".bz2", ".xz")
"""Endings of compressed files, which follow one of TEXT."""
NOTHING = (
    "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
    "NULL", "NaN", "None", "n/a", "nan", "null",
)  # fmt: skip
"""Texts that are read as missing values, as pandas does; an empty cell is one, too."""
WORDS = {"tab": "\t", "\\t": "\t", "space": " ", "comma": ",", "semicolon": ";", "pipe": "|", "point": "."}
"""Names of characters that are hard to type."""
NO_QUOTE = "none"


class Options(NamedTuple):
    """How a CSV file is read; what is None is taken from the file's first lines."""

    columns: Sequence[str] | None = None
    """Names of the columns, of a file whose first line does not have them."""
    missing: Sequence[str] = ()
    """Further texts that are missing values."""
    present: Sequence[str] = ()
    """Texts that are values although they are among NOTHING: "NA", or "country=NA" for one column."""
    separator: str | None = None
    """The character between cells."""
    decimal: str | None = None
    """The decimal mark of numbers."""
    thousands: str | None = None
    """The character between groups of three digits."""
    encoding: str | None = None
    """The name of the encoding, as Python has it."""
    quote: str | None = None
    """The character around quoted cells, or "none"."""
    header: bool | None = None
    """Whether the first line has the names of the columns; by default it has, unless they are given."""

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> Options:
        """The options among the arguments of a data set, in which None stands for what is not given.

        Example:
            >>> Options.of({"path": "birds.csv", "missing": None, "separator": ";"}).separator
            ';'
        """
        given = {name: arguments.get(name) for name in cls._fields}
        return cls(**{name: value for name, value in given.items() if value is not None})

    @property
    def given(self) -> dict[str, Any]:
        """The options that differ from their defaults, by name.

        Example:
            >>> Options(separator=";", missing=["?"]).given
            {'missing': ['?'], 'separator': ';'}
        """
        made = {name: value for name, value in self._asdict().items() if value is not None and value not in ((), [])}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in made.items()}

    @property
    def grouped_number(self) -> re.Pattern[str]:
        """A number with marks between thousands.

        Example:
            >>> found = Options(thousands=".", decimal=",").grouped_number
            >>> [bool(found.fullmatch(text)) for text in ("1.234,5", "-12.345.678", "1234", "01.234", "1.23")]
            [True, True, False, False, False]
        """
        mark, decimal = re.escape(self.thousands or ","), re.escape(self.decimal or ".")
        return re.compile(rf"[+-]?[1-9]\d{{0,2}}(?:{mark}\d{{3}})+(?:{decimal}\d+)?")

    def checked(self) -> Options:
        r"""The same options with characters in place of their names.

        Raises:
            ValueError: An option cannot be what it is.

        Example:
            >>> Options(separator="tab").checked().separator
            '\t'
        """
        made = self._replace(
            separator=WORDS.get(self.separator or "", self.separator),
            decimal=WORDS.get(self.decimal or "", self.decimal),
            thousands=WORDS.get(self.thousands or "", self.thousands),
        )
        for name in ("separator", "decimal", "thousands", "quote"):
            mark = getattr(made, name)
            if mark is None or (name == "quote" and mark == NO_QUOTE):
                continue
            if len(mark) != 1 or mark in "\r\n\0" or mark.isalnum() or (name == "quote" and mark.isspace()):
                more = ', or "none"' if name == "quote" else ", such as ';' or tab" * (name == "separator")
                raise ValueError(f"--{name} must be a single character{more}; got {mark!r}")
        _refuse_alike(made)
        if made.header and made.columns is not None:
            raise ValueError("--columns must be left out where --header says that the first line has the names")
        _check_encoding(made.encoding)
        return made

    @property
    def has_header(self) -> bool:
        """Whether the first line has the names of the columns."""
        return self.columns is None and self.header is not False

    def after(self, earlier: Options) -> Options:
        """These options, and where they leave it open how cells are read, earlier ones.

        Separator, decimal mark, thousands mark and encoding are left open, for each file shows its own.

        Example:
            >>> Options(missing=["-"]).after(Options(missing=["?"], quote="'", separator=";")).given
            {'missing': ['-'], 'quote': "'"}
        """
        names = ("missing", "present", "quote") if self.header else ("columns", "missing", "present", "quote", "header")
        names = [name for name in names if name not in self.given]
        if self.columns is not None and "header" in names:
            names.remove("header")
        return self._replace(**{name: getattr(earlier, name) for name in names})

    def known(self, names: Sequence[str], numbers: Sequence[str] = ()) -> dict[str, list[str]]:
        """The texts that are missing values, for each column.

        Arguments:
            names: Those of the columns.
            numbers: Those of columns of numbers, in which only what is present in this one column is a value.

        Raises:
            ValueError: What is to be present is no missing value, or a column of it does not exist.

        Example:
            >>> known = Options(present=["country=NA"]).known(["country", "kind"])
            >>> "NA" in known["country"], "NA" in known["kind"]
            (False, True)
        """
        every = list(dict.fromkeys([*NOTHING, *(text.strip() for text in self.missing)]))
        kept = {name: set[str]() for name in names}
        for said in self.present:
            column, _, text = said.rpartition("=") if said not in every else ("", "", said)
            if text not in every:
                raise ValueError(
                    f"--present must be a text that is read as missing: {', '.join(every)}; got {said!r}; leave it "
                    "out, for it is a value anyway"
                )
            if column and column not in kept:
                raise ValueError(f"--present {said}: there is no column {column!r}; the columns are {', '.join(names)}")
            for name in [column] if column else [name for name in names if name not in numbers]:
                kept[name].add(text)
        return {name: ["", *(text for text in every if text not in kept[name])] for name in names}

    def shown(self) -> str:
        """The options as they are written on the command line.

        Example:
            >>> Options(separator=";", decimal=",").shown()
            "--separator ';' --decimal ,"
        """
        names = {mark: word for word, mark in WORDS.items() if mark.isspace() and word.isalpha()}
        marks = {name: value for name, value in self.given.items() if isinstance(value, str)}
        return " ".join(f"--{name} {shlex.quote(names.get(value, value))}" for name, value in marks.items())


def kind(path: str | Path) -> str:
    """The ending that says what a file is, in small letters, with that of the compression.

    Example:
        >>> kind("a.b/birds.CSV.gz"), kind("birds.csv"), kind("birds")
        ('.csv.gz', '.csv', '')
    """
    endings = [ending.lower() for ending in Path(path).suffixes]
    if len(endings) > 1 and endings[-1] in PACKED and endings[-2] in TEXT:
        return "".join(endings[-2:])
    return endings[-1] if endings else ""


def usual_separator(path: str | Path) -> str:
    """What stands between cells in files of that ending."""
    return "\t" if kind(path).startswith((".tsv", ".tab")) else ","


def _refuse_alike(options: Options) -> None:
    marks = {name: getattr(options, name) for name in ("separator", "quote")}
    numbers = {name: getattr(options, name) for name in ("decimal", "thousands")}
    for pair in (marks, numbers):
        (one, first), (other, second) = pair.items()
        if first is not None and first == second:
            raise ValueError(f"--{one} and --{other} must be different characters; both are {first!r}")


def _check_encoding(encoding: str | None) -> None:
    if encoding is None:
        return
    try:
        "".encode(encoding)
        codecs.lookup(encoding)
    except (LookupError, ValueError, UnicodeError, TypeError):
        raise ValueError(
            "--encoding must be the name of a text encoding, such as utf-8, utf-16, cp1252 or latin-1; "
            f"got {encoding!r}"
        ) from None

"""Options for reading a CSV file: separator, decimal mark, encoding, missing values and so on."""

from __future__ import annotations

import codecs
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["NOTHING", "PACKED", "TEXT", "Options", "kind", "usual_separator"]

TEXT = (".csv", ".tsv", ".tab", ".txt", ".data")
"""Endings of text files with one row per line."""
PACKED = (".gz", ".bz2", ".xz")
"""Endings of compressed files, after one of the endings in TEXT."""
NOTHING = (
    "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
    "NULL", "NaN", "None", "n/a", "nan", "null",
)  # fmt: skip
"""Texts that are read as missing values, as in pandas; an empty cell is also a missing value."""
WORDS = {"tab": "\t", "\\t": "\t", "space": " ", "comma": ",", "semicolon": ";", "pipe": "|", "point": "."}
"""Names of characters that are hard to type."""
NO_QUOTE = "none"


class Options(NamedTuple):
    """Options for reading a CSV file; a separator or mark that is None is detected from the first lines."""

    columns: Sequence[str] | None = None
    """Names of the columns, if the first line does not contain them."""
    missing: Sequence[str] = ()
    """Further texts that mean a missing value."""
    present: Sequence[str] = ()
    """Texts that are values although they are in NOTHING: "NA", or "country=NA" for one column."""
    separator: str | None = None
    """Character between cells."""
    decimal: str | None = None
    """Decimal mark of numbers."""
    thousands: str | None = None
    """Thousands mark: the character between groups of three digits."""
    encoding: str | None = None
    """Name of the encoding, as in Python."""
    quote: str | None = None
    """Character around quoted cells, or "none"."""
    header: bool | None = None
    """Whether the first line contains the column names; by default it does, unless `columns` is given."""

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> Options:
        """Returns the options among the arguments of a data set, where None means that an option is not given.

        Example:
            >>> Options.of({"path": "birds.csv", "missing": None, "separator": ";"}).separator
            ';'
        """
        given = {name: arguments.get(name) for name in cls._fields}
        return cls(**{name: value for name, value in given.items() if value is not None})

    @property
    def given(self) -> dict[str, Any]:
        """The options that are given, by name.

        Example:
            >>> Options(separator=";", missing=["?"]).given
            {'missing': ['?'], 'separator': ';'}
        """
        made = {name: value for name, value in self._asdict().items() if value is not None and value not in ((), [])}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in made.items()}

    @property
    def grouped_number(self) -> re.Pattern[str]:
        """The pattern of a number with thousands marks.

        Example:
            >>> found = Options(thousands=".", decimal=",").grouped_number
            >>> [bool(found.fullmatch(text)) for text in ("1.234,5", "-12.345.678", "1234", "01.234", "1.23")]
            [True, True, False, False, False]
        """
        mark, decimal = re.escape(self.thousands or ","), re.escape(self.decimal or ".")
        return re.compile(rf"[+-]?[1-9]\d{{0,2}}(?:{mark}\d{{3}})+(?:{decimal}\d+)?")

    def normalize(self) -> Options:
        r"""Checks the options, and replaces names of characters, such as "tab", by the characters.

        Raises:
            ValueError: An option has an invalid value, or two options exclude each other.

        Example:
            >>> Options(separator="tab").normalize().separator
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
        """Whether the first line contains the column names."""
        return self.columns is None and self.header is not False

    def after(self, earlier: Options) -> Options:
        """Returns these options, completed with earlier options for columns, missing values, quotes and header.

        Separator, decimal mark, thousands mark and encoding do not come from earlier options, because they are
        detected in each file.

        Example:
            >>> Options(missing=["-"]).after(Options(missing=["?"], quote="'", separator=";")).given
            {'missing': ['-'], 'quote': "'"}
        """
        names = ("missing", "present", "quote") if self.header else ("columns", "missing", "present", "quote", "header")
        names = [name for name in names if name not in self.given]
        if self.columns is not None and "header" in names:
            names.remove("header")
        return self._replace(**{name: getattr(earlier, name) for name in names})

    def list_missing_texts(self, names: Sequence[str], numbers: Sequence[str] = ()) -> dict[str, list[str]]:
        """Returns the texts that mean a missing value, for each column.

        Arguments:
            names: Names of the columns.
            numbers: Names of the columns of numbers. In these, an entry of `present` applies only if it names the
                column.

        Raises:
            ValueError: An entry of `present` is not a text that means a missing value, or names an unknown column.

        Example:
            >>> texts = Options(present=["country=NA"]).list_missing_texts(["country", "kind"])
            >>> "NA" in texts["country"], "NA" in texts["kind"]
            (False, True)
        """
        every = list(dict.fromkeys([*NOTHING, *(text.strip() for text in self.missing)]))
        kept = {name: set[str]() for name in names}
        for entry in self.present:
            column, _, text = entry.rpartition("=") if entry not in every else ("", "", entry)
            if text not in every:
                raise ValueError(
                    f"--present must be a text that is read as missing: {', '.join(every)}; got {entry!r}; leave it "
                    "out, because it is a value anyway"
                )
            if column and column not in kept:
                raise ValueError(
                    f"--present {entry}: there is no column {column!r}; the columns are {', '.join(names)}"
                )
            for name in [column] if column else [name for name in names if name not in numbers]:
                kept[name].add(text)
        return {name: ["", *(text for text in every if text not in kept[name])] for name in names}

    def format(self) -> str:
        """Returns the options that are texts, as written on the command line.

        Example:
            >>> Options(separator=";", decimal=",").format()
            "--separator ';' --decimal ,"
        """
        names = {mark: word for word, mark in WORDS.items() if mark.isspace() and word.isalpha()}
        marks = {name: value for name, value in self.given.items() if isinstance(value, str)}
        return " ".join(f"--{name} {shlex.quote(names.get(value, value))}" for name, value in marks.items())


def kind(path: str | Path) -> str:
    """Returns the ending of a file name in lower case; for a compressed text file, both endings.

    Example:
        >>> kind("a.b/birds.CSV.gz"), kind("birds.csv"), kind("birds")
        ('.csv.gz', '.csv', '')
    """
    endings = [ending.lower() for ending in Path(path).suffixes]
    if len(endings) > 1 and endings[-1] in PACKED and endings[-2] in TEXT:
        return "".join(endings[-2:])
    return endings[-1] if endings else ""


def usual_separator(path: str | Path) -> str:
    """Returns the usual separator of files with this ending: a tab for .tsv and .tab, else a comma."""
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

"""A CSV file as the values of its cells, and as the characters that they are written with."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from polymodal.csvfiles.decoding import Text, pack, read_text
from polymodal.csvfiles.doubts import doubts
from polymodal.csvfiles.lines import Grammar, UnclosedError, line_number
from polymodal.csvfiles.options import Options, usual_separator
from polymodal.csvfiles.sniffing import SAID, quote_of, sniff
from polymodal.names import brief

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["INDEX", "Added", "Document", "found", "read", "suggested"]

UNNAMED = "Unnamed: {}"
"""The name of a column whose name is empty."""
INDEX = "the first column has no name and counts the rows; it is left out"
"""A sentence on `Document.index`."""


class Added(NamedTuple):
    """A column to write beside those of a file."""

    name: str
    after: str | None
    """The column before it; None for the end of the line."""
    texts: Sequence[str]
    """A text for each row."""


class Document:
    """A CSV file: what its cells hold, and every character of it.

    Arguments:
        path: The file.
        text: What it holds.
        options: How it is read, with a separator and a decimal mark.
        found: Those of the options that were not given, but found in the file, and are not the usual ones.

    Raises:
        ValueError: A line has more or fewer cells than the header, a quote does not close, or an option does not fit.
    """

    def __init__(self, path: Path, text: Text, options: Options, found: Options | None = None) -> None:
        self.path, self.text, self.options, self.found = path, text, options, found or Options()
        self.grammar = Grammar(options.separator or usual_separator(path), quote_of(options))
        self.before, self.header, self.between = "", "", ""
        """What stands before the header, the header, and what stands between it and the first row."""
        self.rows: list[str] = []
        self.ends: list[str] = []
        """The line of each row, and what stands behind it."""
        self._take_apart()
        widths = [*map(self.grammar.width, self.rows)]
        self.names = self._names(widths)
        self.surplus = self._check_widths(widths)
        """Whether a separator without a meaning ends every line."""
        self.known = options.known(self.names)
        self.frame = self._frame()

    @property
    def index(self) -> str | None:
        """The column that counts the rows and has no name, as pandas and R write it; None if there is none."""
        first = self.frame[self.names[0]] if self.header and len(self.frame) > 1 else None
        if first is None or self.grammar.value(self.grammar.cells(self.header)[0]) or first.dtype.kind != "i":
            return None
        return self.names[0] if (first.diff().iloc[1:] == 1).all() else None

    @cached_property
    def said(self) -> list[str]:
        """What a user should know of how the file was read, a sentence each."""
        name, said = self.path.name, []
        if self.found.given:
            said.append(suggested(self.path, self.found))
        if self.surplus:
            said.append(f"{name}: every line but the first ends with a separator that is left out of account")
        if self.options.columns is None and self.header:
            written = [self.grammar.value(cell) for cell in self.grammar.cells(self.header)]
            pairs = [(old, new) for old, new in zip(written, self.names, strict=True) if old and old != new]
            said += [f"{name}: another column is called {old!r}; this one is read as {new!r}" for old, new in pairs]
        return said + [f"{name}: {doubt}" for doubt in doubts(self)]

    def texts(self, columns: Sequence[str]) -> pd.DataFrame:
        """The texts of columns, without quotes and white space around them."""
        if not columns:
            return self.frame[[]]
        return self._parsed(usecols=list(columns), dtype=str, na_filter=False)[list(columns)]

    def filled(self, cells: Mapping[str, tuple[Iterable[int], Iterable[str]]], added: Sequence[Added] = ()) -> bytes:
        """The file with other texts in some cells, and with further columns; all else is as it was.

        Arguments:
            cells: For each column the numbers of rows, from 0, and a text for each of these.
            added: Columns to add.

        Raises:
            ValueError: The file's encoding lacks a character, or a text needs quotes that the file does not have.
        """
        changed: dict[int, list[tuple[int, str]]] = {}
        for name, (numbers, texts) in cells.items():
            place = self.names.index(name)
            quoted, written = self._is_quoted(place), dict[str, str]()
            for number, text in zip(numbers, texts, strict=True):
                if text not in written:
                    written[text] = self.grammar.written(text, quoted=quoted)
                changed.setdefault(int(number), []).append((place, written[text]))
        rows = list(self.rows)
        for number in range(len(rows)) if added else changed:
            parts = self.grammar.cells(rows[number])
            for place, text in changed.get(number, ()):
                parts[place] = self._placed(parts[place], text) if parts[place] else text
            rows[number] = self._joined(parts, [(one, one.texts[number]) for one in added])
        header = self.header
        if header and added:
            header = self._joined(self.grammar.cells(header), [(one, one.name) for one in added])
        lines = (part for pair in zip(rows, self.ends, strict=True) for part in pair)
        return pack(self.path, self.text.encoded("".join([self.before, header, self.between, *lines])))

    def _take_apart(self) -> None:
        """Takes the text apart into the header, the rows, and what stands between them."""
        content = self.text.content
        said = SAID.match(content)
        self.before = said[0] if said else ""
        wants_header = self.options.has_header
        try:
            for line, end in self.grammar.lines(content, len(self.before)):
                if self.grammar.is_blank(line):
                    self._put_behind(line + end)
                elif wants_header and not self.header:
                    self.header, self.between = line, end
                else:
                    self.rows.append(line)
                    self.ends.append(end)
        except UnclosedError as error:
            raise ValueError(
                f"{self.path}, line {line_number(content, error.place)}: a quote opens and must close; mend it, or "
                "write --quote none if quotes are characters like any other"
            ) from None
        if not (self.header or self.rows):
            raise ValueError(f"{self.path} must hold lines of values; it is empty")

    def _put_behind(self, text: str) -> None:
        if self.ends:
            self.ends[-1] += text
        elif self.header:
            self.between += text
        else:
            self.before += text

    def _names(self, widths: Sequence[int]) -> list[str]:
        """Names of the columns, each another."""
        if self.options.columns is not None:
            return list(self.options.columns)
        if not self.header:
            return [f"column_{place}" for place in range(widths[0])]
        names, counts = [], Counter[str]()
        written = [self.grammar.value(cell) for cell in self.grammar.cells(self.header)]
        for place, name in enumerate(written):
            plain = made = name or UNNAMED.format(place)
            while made in names or (counts[plain] and made in written):
                counts[plain] += 1
                made = f"{plain}.{counts[plain]}"
            names.append(made)
        return names

    def _check_widths(self, widths: Sequence[int]) -> bool:
        """Whether all lines have an empty cell too many.

        Raises:
            ValueError: A line does not fit the header; names the line.
        """
        many = len(self.names)
        odd = next((row for row, width in enumerate(widths) if width != many), None)
        if odd is None:
            return False
        alike = len({*widths}) == 1
        if alike and widths[0] == many + 1 and all(self._ends_empty(line) for line in self.rows):
            return True
        if alike and self.options.columns is not None:
            raise ValueError(f"there must be a name for each of the {widths[0]} columns of {self.path}; got {many}")
        place = len(self.before + self.header + self.between) + sum(
            len(line) + len(end) for line, end in zip(self.rows[:odd], self.ends[:odd], strict=True)
        )
        where = f"{self.path}, line {line_number(self.text.content, place)}"
        names = "names" if self.options.columns is not None else "cells in the first line"
        shown = brief(repr(self.rows[odd]), 80)
        if alike and widths[0] == many + 1:
            way = (
                "the first line lacks a name: that of the row names, before all others, if the file is from R's "
                "write.table; write it, or name all columns with --columns and remove the first line"
            )
        else:
            way = "mend the line, or name what stands between cells with --separator"
        raise ValueError(
            f"{where}: there must be {many} cells, as there are {names}; got {widths[odd]}: {shown}; {way}"
        )

    def _ends_empty(self, line: str) -> bool:
        return not self.grammar.value(self.grammar.cells(line)[-1])

    def _frame(self) -> pd.DataFrame:
        """The values of the cells, in types that pandas takes them for."""
        from pandas.errors import ParserError

        missing: dict[int, list[str]] = dict(enumerate(self.known.values()))
        try:
            return self._parsed(
                na_values=missing, keep_default_na=False, decimal=self.options.decimal, low_memory=False
            )
        except (ValueError, OverflowError, ParserError) as error:
            raise ValueError(f"{self.path} must hold values that can be read: {brief(error)}") from error

    def _parsed(self, usecols: Sequence[str] | None = None, **options: Any) -> pd.DataFrame:
        """What pandas makes of the lines, whose structure is known here."""
        import pandas as pd

        wanted = None if usecols is None else [self.names.index(name) for name in usecols]
        if not self.rows:
            return pd.DataFrame(columns=self.names if usecols is None else list(usecols), dtype=object)
        made = pd.read_csv(
            io.StringIO("\n".join(map(self._plain(), self.rows)) + "\n"),
            sep=self.grammar.separator,
            header=None,
            index_col=False,
            usecols=wanted,
            skip_blank_lines=False,
            **options,
        )
        made.columns = [self.names[place] for place in made.columns]
        return made

    def _plain(self) -> Callable[[str], str]:
        """What makes of a line one that any reader of CSV takes for the same values."""
        grammar, separator, surplus, lone = self.grammar, self.grammar.separator, self.surplus, len(self.names) == 1
        special = re.compile(rf'(?!{re.escape(separator)})[\s"{re.escape(grammar.quote or "")}]')
        must = re.compile(rf'["\r\n{re.escape(separator)}]')
        grouped = self._ungrouped()

        def quoted(text: str) -> str:
            text = grouped(text)
            return '"' + text.replace('"', '""') + '"' if must.search(text) or (lone and not text) else text

        def plain(line: str) -> str:
            if not (surplus or self.options.thousands or special.search(line)):
                return line
            cells = grammar.cells(line)
            return separator.join([quoted(grammar.value(cell)) for cell in (cells[:-1] if surplus else cells)])

        return plain

    def _ungrouped(self) -> Callable[[str], str]:
        """What takes the marks of thousands out of a number."""
        mark = self.options.thousands
        if mark is None:
            return lambda text: text
        number = re.compile(
            rf"[+-]?\d{{1,3}}(?:{re.escape(mark)}\d{{3}})+(?:{re.escape(self.options.decimal or '.')}\d+)?"
        )
        return lambda text: text.replace(mark, "") if number.fullmatch(text) else text

    def _is_quoted(self, place: int) -> bool:
        """Whether all cells of a column that hold something stand within quotes."""
        known = {*self.known[self.names[place]]}
        found = False
        for line in self.rows:
            cell = self.grammar.cells(line)[place]
            if self.grammar.value(cell) not in known:
                if not self.grammar.is_quoted(cell):
                    return False
                found = True
        return found

    def _placed(self, cell: str, text: str) -> str:
        """A text in place of a written cell, with the blanks and the quotes that stand there."""
        bare = cell.strip(" ")
        if self.grammar.is_quoted(bare) and not self.grammar.is_quoted(text):
            text = self.grammar.written(text, quoted=True)
        start = len(cell) - len(cell.lstrip(" "))
        return cell[:start] + text + (cell[start + len(bare) :] if bare else "")

    def _joined(self, parts: list[str], added: Sequence[tuple[Added, str]]) -> str:
        """Written cells as a line, with the texts of columns that are added."""
        behind: dict[int, list[str]] = {}
        for one, text in added:
            place = len(self.names) - 1 if one.after is None else self.names.index(one.after)
            behind.setdefault(place, []).append(self.grammar.written(text))
        made = [cell for place, part in enumerate(parts) for cell in (part, *behind.get(place, ()))]
        return self.grammar.separator.join(made)


def read(path: str | Path, options: Options | None = None, preferred: Options | None = None) -> Document:
    r"""A CSV file, read.

    Arguments:
        path: The file, which may be compressed.
        options: How it is to be read; what they leave open is taken from its first lines.
        preferred: What is taken where the first lines leave it open, such as the options of the training rows.

    Raises:
        FileNotFoundError: It does not exist.
        ValueError: It is no such file; says in which line.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "trees.csv")
        ...     _ = path.write_text("kind;height\n oak;5,25\n elm;\n")
        ...     document = read(path)
        >>> document.frame["height"].tolist(), document.frame["kind"].tolist()
        ([5.25, nan], ['oak', 'elm'])
        >>> document.filled({"height": ([1], ["8,1"])})
        b'kind;height\n oak;5,25\n elm;8,1\n'
    """
    return Document(Path(path), *_look(Path(path), options, preferred))


def found(path: str | Path, options: Options | None = None) -> Options:
    """What a CSV file's first lines say of how it is to be read, where it is not given and not as usual.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: It is no text, or seems to have a separator by which its lines do not fit.
    """
    return _look(Path(path), options, None)[2]


def suggested(path: Path, options: Options) -> str:
    """A sentence on options that were found in a file."""
    return f"{path.name} is read by {options.shown()}, as its first lines suggest"


def _look(path: Path, options: Options | None, preferred: Options | None) -> tuple[Text, Options, Options]:
    """A file's text, the options by which it is read, and those of them that were found in it."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} must be a file, and does not exist; correct the path")
    given = (options or Options()).checked()
    preferred = None if preferred is None else preferred.checked()
    text = read_text(path, given.encoding, preferred and preferred.encoding)
    made = sniff(path, text.content, given, preferred)
    usual = {"separator": usual_separator(path), "decimal": ".", "thousands": None}
    changed = {
        name: getattr(made, name)
        for name, value in usual.items()
        if getattr(given, name) is None and getattr(made, name) != value
    }
    if given.encoding is None and text.encoding != "utf-8":
        changed["encoding"] = text.encoding[:6] if text.mark else text.encoding
    return text, made, Options(**changed)

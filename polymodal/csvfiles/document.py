"""A CSV file as the values of its cells and as its original characters."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from polymodal.csvfiles.csv_warnings import doubts
from polymodal.csvfiles.decoding import Text, pack
from polymodal.csvfiles.lines import Grammar, UnclosedError, line_number
from polymodal.csvfiles.options import Options, usual_separator
from polymodal.csvfiles.sniffing import SEPARATOR_LINE, describe_detected_options, quote_of
from polymodal.modalities.cell_texts import keep_texts
from polymodal.modalities.formats import NUMBER
from polymodal.runtime.formatting import brief

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["INDEX", "Added", "Document"]

UNNAMED = "Unnamed: {}"
"""Name of a column whose name in the file is empty."""
INDEX = "the first column has no name and counts the rows; it is left out"
"""Message about the column in `Document.index`."""


class Added(NamedTuple):
    """A column to add to those of a file."""

    name: str
    after: str | None
    """Name of the column before it; None for the end of the line."""
    texts: Sequence[str]
    """The text of each row."""


class Document:
    """A CSV file: the values of its cells, and all its characters.

    Arguments:
        path: The file.
        text: Text of the file.
        options: Options for reading the file, including a separator and a decimal mark.
        found: Options that were detected in the file instead of given, and that differ from the usual ones.

    Raises:
        ValueError: A line has more or fewer cells than the header, a quote does not close, or an option does not fit.
    """

    def __init__(self, path: Path, text: Text, options: Options, found: Options | None = None) -> None:
        self.path, self.text, self.options, self.found = path, text, options, found or Options()
        self.grammar = Grammar(options.separator or usual_separator(path), quote_of(options))
        self.before, self.header, self.between = "", "", ""
        """The text before the header, the header, and the text between the header and the first row."""
        self.rows: list[str] = []
        self.ends: list[str] = []
        """The line of each row, and the text between it and the next row."""
        self._take_apart()
        widths = [*map(self.grammar.width, self.rows)]
        self.names = self._names(widths)
        self.surplus = self._check_widths(widths)
        """Whether every row ends with an extra separator, which is ignored."""
        self.known = options.list_missing_texts(self.names, self.names)
        self.frame = self._frame()

    @property
    def index(self) -> str | None:
        """Name of an unnamed first column that counts the rows, as pandas and R write it; None if there is none."""
        first = self.frame[self.names[0]] if self.header and len(self.frame) > 1 else None
        if first is None or self.grammar.value(self.grammar.cells(self.header)[0]) or first.dtype.kind != "i":
            return None
        return self.names[0] if (first.diff().iloc[1:] == 1).all() else None

    @cached_property
    def messages(self) -> list[str]:
        """Messages for the user about how the file was read."""
        name, messages = self.path.name, []
        if self.found.given:
            messages.append(describe_detected_options(self.path, self.found))
        if self.surplus:
            messages.append(f"{name}: every line but the first ends with a separator that is left out of account")
        if self.options.columns is None and self.header:
            written = [self.grammar.value(cell) for cell in self.grammar.cells(self.header)]
            pairs = [(old, new) for old, new in zip(written, self.names, strict=True) if old and old != new]
            messages += [f"{name}: another column is called {old!r}; this one is read as {new!r}" for old, new in pairs]
        return messages + [f"{name}: {doubt}" for doubt in doubts(self)]

    def texts(self, columns: Sequence[str]) -> pd.DataFrame:
        """Returns the texts of columns, without the quotes and white space around them."""
        if not columns:
            return self.frame[[]]
        return self._parse(list(columns), grouped=True, dtype=str, na_filter=False)[list(columns)]

    def localize(self, name: str, texts: Sequence[str]) -> list[str]:
        """Returns texts with numbers written as in a column of the file.

        Numbers get the decimal mark of the file, and the thousands mark if most large numbers of the column have it.

        Arguments:
            name: Name of the column.
            texts: Texts to write into the column; numbers have a decimal point.
        """
        decimal, grouped = self.options.decimal or ".", self._is_grouped(name)
        return [self._localize(text, decimal, grouped=grouped) if NUMBER.fullmatch(text) else text for text in texts]

    def fill(self, cells: Mapping[str, tuple[Iterable[int], Iterable[str]]], added: Sequence[Added] = ()) -> bytes:
        """Returns the bytes of the file with new texts in some cells and with added columns; the rest is unchanged.

        Arguments:
            cells: Row numbers, counted from 0, and a text for each of these rows, by column name.
            added: Columns to add.

        Raises:
            ValueError: The file's encoding does not have a character, or a text needs quotes and the file has none.
        """
        changed: dict[int, list[tuple[int, str]]] = {}
        for name, (numbers, texts) in cells.items():
            place = self.names.index(name)
            quoted, written = self._is_quoted(place), dict[str, str]()
            for number, text in zip(numbers, texts, strict=True):
                if text not in written:
                    written[text] = self.grammar.write(text, quoted=quoted)
                changed.setdefault(int(number), []).append((place, written[text]))
        rows = list(self.rows)
        for number in range(len(rows)) if added else changed:
            parts = self.grammar.cells(rows[number])
            for place, text in changed.get(number, ()):
                parts[place] = self._place(parts[place], text) if parts[place] else text
            rows[number] = self._join_cells(parts, [(one, one.texts[number]) for one in added])
        header = self.header
        if header and added:
            header = self._join_cells(self.grammar.cells(header), [(one, one.name) for one in added])
        lines = (part for pair in zip(rows, self.ends, strict=True) for part in pair)
        return pack(self.path, self.text.encode("".join([self.before, header, self.between, *lines])))

    def _take_apart(self) -> None:
        """Splits the text into the header, the rows, and the text between them."""
        content = self.text.content
        found = SEPARATOR_LINE.match(content)
        self.before = found[0] if found else ""
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
                f"{self.path}, line {line_number(content, error.place)}: a quote opens and does not close; close it, "
                "or write --quote none if quotes are characters like any other"
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
        """Returns unique names of the columns."""
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
        """Returns whether all rows have one extra empty cell at the end.

        Raises:
            ValueError: A line does not fit the header; the error names the line.
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
        if alike and widths[0] == many + 1 > 2:
            way = (
                "the first line has one name too few: that of the row names, before all others, if the file is "
                "from R's write.table; write it, or name all columns with --columns and remove the first line"
            )
        elif self.rows[odd].startswith("#") or self.header.startswith("#"):
            way = "remove lines of comments, which are read as any other"
        elif any(cell.lstrip().startswith("'") for cell in self.grammar.cells(self.rows[odd])):
            way = 'write --quote "\'" if cells are in such quotes, or correct the line'
        else:
            way = "correct the line, or name the character between cells with --separator"
        raise ValueError(
            f"{where}: there must be {many} cells, as there are {names}; got {widths[odd]}: {shown}; {way}"
        )

    def _ends_empty(self, line: str) -> bool:
        return not self.grammar.value(self.grammar.cells(line)[-1])

    def _frame(self) -> pd.DataFrame:
        """Returns the values of the cells with the types that pandas infers; codes such as 007 are texts."""
        from pandas.errors import ParserError

        try:
            frame = self._parse_values()
            numbers = [name for name in self.names if frame[name].dtype.kind in "iuf" and frame[name].notna().any()]
            known = self.options.list_missing_texts(self.names, numbers)
            if known != self.known:
                self.known = known
                frame = self._parse_values()
            texts = [name for name in self.names if frame[name].dtype.kind not in "biuf"]
            if self.options.thousands and texts:  # the thousands mark may be an ordinary character in texts
                frame[texts] = self._parse_values(texts, grouped=True)
        except (ValueError, OverflowError, ParserError) as error:
            raise ValueError(f"{self.path} must hold values that can be read: {brief(error)}") from error
        return keep_texts(frame, self.texts(self.names), self.options.decimal or ".", self.options.thousands)

    def _parse_values(self, columns: Sequence[str] | None = None, *, grouped: bool = False) -> pd.DataFrame:
        """Parses columns, with the known texts for missing values read as missing."""
        missing: dict[int, list[str]] = dict(enumerate(self.known.values()))
        options = {"na_values": missing, "keep_default_na": False, "decimal": self.options.decimal}
        return self._parse(columns, grouped=grouped, low_memory=False, **options)

    def _parse(self, usecols: Sequence[str] | None = None, *, grouped: bool = False, **options: Any) -> pd.DataFrame:
        """Parses the lines with pandas after normalising them; `grouped` keeps the thousands marks."""
        import pandas as pd

        wanted = None if usecols is None else [self.names.index(name) for name in usecols]
        if not self.rows:
            return pd.DataFrame(columns=self.names if usecols is None else list(usecols), dtype=object)
        made = pd.read_csv(
            io.StringIO("\n".join(map(self._plain(grouped=grouped), self.rows)) + "\n"),
            sep=self.grammar.separator,
            header=None,
            index_col=False,
            usecols=wanted,
            skip_blank_lines=False,
            **options,
        )
        made.columns = [self.names[place] for place in made.columns]
        return made

    def _plain(self, *, grouped: bool) -> Callable[[str], str]:
        """Returns a function that rewrites a line in standard CSV with the same values."""
        grammar, separator, surplus, lone = self.grammar, self.grammar.separator, self.surplus, len(self.names) == 1
        special = re.compile(rf'(?!{re.escape(separator)})[\s"{re.escape(grammar.quote or "")}]')
        must = re.compile(rf'["\r\n{re.escape(separator)}]')
        ungrouped = self._make_ungrouping() if self.options.thousands and not grouped else None

        def quote(text: str) -> str:
            text = ungrouped(text) if ungrouped else text
            return '"' + text.replace('"', '""') + '"' if must.search(text) or (lone and not text) else text

        def plain(line: str) -> str:
            if not (surplus or ungrouped or special.search(line)):
                return line
            cells = grammar.cells(line)
            return separator.join([quote(grammar.value(cell)) for cell in (cells[:-1] if surplus else cells)])

        return plain

    def _make_ungrouping(self) -> Callable[[str], str]:
        """Returns a function that removes the thousands marks from a number."""
        mark = self.options.thousands or ""
        number = self.options.grouped_number
        return lambda text: text.replace(mark, "") if number.fullmatch(text) else text

    def _localize(self, text: str, decimal: str, *, grouped: bool) -> str:
        whole, point, rest = text.partition(".")
        if grouped and "e" not in text.lower():
            whole = re.sub(r"(?<=\d)(?=(?:\d{3})+$)", self.options.thousands or "", whole)
        return whole + point.replace(".", decimal) + rest

    def _is_grouped(self, name: str) -> bool:
        """Returns whether most numbers of a column with at least 4 digits have thousands marks."""
        if not self.options.thousands:
            return False
        texts = self.texts([name])[name]
        grouped = texts.str.fullmatch(self.options.grouped_number.pattern).sum()
        return bool(
            grouped > texts.str.fullmatch(rf"[+-]?\d{{4,}}(?:{re.escape(self.options.decimal or '.')}\d*)?").sum()
        )

    def _is_quoted(self, place: int) -> bool:
        """Returns whether a column has values and all of them are in quotes."""
        known = {*self.known[self.names[place]]}
        found = False
        for line in self.rows:
            cell = self.grammar.cells(line)[place]
            if self.grammar.value(cell) not in known:
                if not self.grammar.is_quoted(cell):
                    return False
                found = True
        return found

    def _place(self, cell: str, text: str) -> str:
        """Returns a text that replaces a written cell, with the same blanks and quotes around it."""
        bare = cell.strip(" ")
        if self.grammar.is_quoted(bare) and not self.grammar.is_quoted(text):
            text = self.grammar.write(text, quoted=True)
        start = len(cell) - len(cell.lstrip(" "))
        return cell[:start] + text + (cell[start + len(bare) :] if bare else "")

    def _join_cells(self, parts: list[str], added: Sequence[tuple[Added, str]]) -> str:
        """Joins written cells and the texts of added columns to a line."""
        behind: dict[int, list[str]] = {}
        for one, text in added:
            place = len(self.names) - 1 if one.after is None else self.names.index(one.after)
            behind.setdefault(place, []).append(self.grammar.write(text))
        made = [cell for place, part in enumerate(parts) for cell in (part, *behind.get(place, ()))]
        return self.grammar.separator.join(made)

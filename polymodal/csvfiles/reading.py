"""Reading a CSV file from a path."""

from __future__ import annotations

from pathlib import Path

from polymodal.csvfiles.decoding import Text, read_text
from polymodal.csvfiles.document import Document
from polymodal.csvfiles.options import Options, usual_separator
from polymodal.csvfiles.sniffing import sniff

__all__ = ["detect_options", "read"]


def read(path: str | Path, options: Options | None = None, preferred: Options | None = None) -> Document:
    r"""Reads a CSV file.

    Arguments:
        path: The file, which may be compressed.
        options: Options for reading; unspecified ones are detected from the first lines.
        preferred: Options to use where the first lines are ambiguous, such as those of the training rows.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is not a valid CSV file; the error names the line.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "trees.csv")
        ...     _ = path.write_text("kind;height\n oak;5,25\n elm;\n")
        ...     document = read(path)
        >>> document.frame["height"].tolist(), document.frame["kind"].tolist()
        ([5.25, nan], ['oak', 'elm'])
        >>> document.fill({"height": ([1], ["8,1"])})
        b'kind;height\n oak;5,25\n elm;8,1\n'
    """
    return Document(Path(path), *_look(Path(path), options, preferred))


def detect_options(path: str | Path, options: Options | None = None) -> Options:
    """Returns the options detected from a CSV file that are not given and differ from the usual ones.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is not a text file, or its lines do not fit the separator that it seems to have.
    """
    return _look(Path(path), options, None)[2]


def _look(path: Path, options: Options | None, preferred: Options | None) -> tuple[Text, Options, Options]:
    """Returns the text of a file, the options for reading it, and those of the options that were detected."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} must be a file, and does not exist; correct the path")
    given = (options or Options()).normalize()
    preferred = None if preferred is None else preferred.normalize()
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

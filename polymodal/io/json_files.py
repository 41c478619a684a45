"""Reads JSON from untrusted files, and raises one clear error for invalid content. It does not need PyTorch."""

from __future__ import annotations

import json
import struct
import zlib
from math import isfinite
from pathlib import Path
from typing import Any

from polymodal.runtime.formatting import brief
from polymodal.runtime.validation import check_file

__all__ = ["UNREADABLE", "parse_json_object", "read_json", "refuse_endless"]

MOST_JSON = 16 * 2**20
"""Largest accepted size of a JSON file, in bytes."""

UNREADABLE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""Exceptions that libraries raise for files that are damaged, or of another format."""

DEEPEST, DIGITS = 100, 40
"""Largest accepted nesting depth, and number of digits of an integer, in a JSON document."""


def read_json(path: str | Path) -> dict[str, Any]:
    """Reads a JSON object from a file.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file has other content, is larger than 16 MiB, is nested more than 100 deep, or contains a
            number that is not finite or an integer with more than 40 digits.
    """
    path = Path(path)
    if (size := check_file(path)) > MOST_JSON:
        raise ValueError(f"{path} must be at most {MOST_JSON} bytes of JSON; it is {size}")
    try:
        text = path.read_bytes().decode("utf-8")
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} must be JSON: {brief(error)}") from error
    return parse_json_object(text, str(path))


def refuse_endless(path: Path) -> None:
    """Checks that a path is no pipe or device, which might be read forever.

    Raises:
        ValueError: The path is a pipe or a device.
    """
    if path.exists() and not path.is_dir():
        check_file(path)


def parse_json_object(text: str, where: str) -> dict[str, Any]:
    """Parses a JSON object from untrusted text; `where` names the source in errors.

    Raises:
        ValueError: The text has other content.
    """
    try:
        document = json.loads(text, parse_int=_whole, parse_float=_finite, parse_constant=_finite)
        _check_depth(document)
    except RecursionError:
        raise ValueError(f"{where} must be JSON: it holds lists or objects in each other too deep") from None
    except ValueError as error:
        raise ValueError(f"{where} must be JSON: {brief(error)}") from error
    if not isinstance(document, dict):
        raise ValueError(f"{where} must hold a JSON object; got {type(document).__name__}")
    return document


def _finite(number: str) -> float:
    if isfinite(value := float(number)):
        return value
    raise ValueError(f"numbers must be finite; got {number}")


def _whole(number: str) -> int:
    if len(number) > DIGITS:
        raise ValueError(f"whole numbers must have at most {DIGITS} digits; got {brief(number, 60)}")
    return int(number)


def _check_depth(document: Any) -> None:
    """Checks that a document is not nested so deep that recursive functions fail."""
    parts = [document]
    for _ in range(DEEPEST):
        nested = [part.values() if isinstance(part, dict) else part for part in parts if isinstance(part, dict | list)]
        parts = [part for several in nested for part in several]
        if not parts:
            return
    raise RecursionError

"""Checks of what people pass to public functions: a wrong type is one error that says what to pass instead."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sized
from numbers import Integral, Real
from typing import Any

__all__ = [
    "check_callable",
    "check_kind",
    "check_list",
    "check_mapping",
    "check_names",
    "check_number",
    "check_path",
    "check_text",
    "check_whole",
]


def check_kind(name: str, value: object, kind: type | tuple[type, ...], what: str, way: str) -> None:
    """Refuses what is of no such type.

    Arguments:
        name: The argument's.
        value: What was passed.
        kind: What it must be an instance of.
        what: The same in words, such as "a Schema".
        way: What to do.

    Raises:
        TypeError: It is none; says so.

    Example:
        >>> check_kind("schema", [3], dict, "a Schema", "write Schema({...})")
        Traceback (most recent call last):
        TypeError: schema must be a Schema; got list; write Schema({...})
    """
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be {what}; got {_shown(value)}; {way}")


def check_whole(name: str, value: object, least: int = 1) -> None:
    """Refuses what is no whole number of at least so many; numpy's count, True and False do not.

    Raises:
        TypeError: It is no whole number.
        ValueError: It is too small.

    Example:
        >>> check_whole("batch_size", 2.5)
        Traceback (most recent call last):
        TypeError: batch_size must be a whole number of at least 1; got 2.5; write it as 1
    """
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{name} must be a whole number of at least {least}; got {_shown(value)}; write it as {least}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}; got {value}")


def check_number(name: str, value: object, low: float, high: float) -> None:
    """Refuses what is no number within bounds.

    Raises:
        TypeError: It is no number.
        ValueError: It is out of bounds.
    """
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number from {low:g} to {high:g}; got {_shown(value)}; write it as {low:g}")
    if not low <= float(value) <= high:
        raise ValueError(f"{name} must be from {low:g} to {high:g}; got {value}")


def check_text(name: str, value: object, example: str) -> None:
    """Refuses what is no text.

    Raises:
        TypeError: It is none.
    """
    check_kind(name, value, str, "a text", f"write it as {example!r}")


def check_path(name: str, value: object) -> None:
    """Refuses what is neither a text nor a path.

    Raises:
        TypeError: It is none.
    """
    check_kind(name, value, (str, os.PathLike), "a path", "write it as 'folder/file'")


def check_callable(name: str, value: object) -> None:
    """Refuses what is no function and not None.

    Raises:
        TypeError: It is none.
    """
    if value is not None and not callable(value):
        raise TypeError(f"{name} must be a function such as print, or None; got {_shown(value)}; write {name}=None")


def check_mapping(name: str, value: object, example: str) -> None:
    """Refuses what maps no names to anything.

    Raises:
        TypeError: It is no mapping, or a key is no text.
    """
    check_kind(name, value, Mapping, "a mapping from names", f"write it as {example}")
    for key in value if isinstance(value, Mapping) else ():
        if not isinstance(key, str):
            raise TypeError(f"{name} must be a mapping from names; got the key {_shown(key)}; write it as {example}")


def check_list(name: str, value: object, what: str, example: str) -> None:
    """Refuses what one cannot go through, and a single text.

    Raises:
        TypeError: It is such a thing.
    """
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise TypeError(f"{name} must be a list of {what}; got {_shown(value)}; write it as {example}")


def check_names(name: str, value: object, example: str = "['height']") -> None:
    """Refuses what is no list of texts.

    Raises:
        TypeError: It is none.

    Example:
        >>> check_names("given", "height")
        Traceback (most recent call last):
        TypeError: given must be a list of names; got 'height'; write it as ['height']
    """
    check_list(name, value, "names", f"[{value!r}]" if isinstance(value, str) else example)
    if not isinstance(value, Sized):
        return  # what can be gone through once is left alone
    for one in value:  # pyright: ignore[reportGeneralTypeIssues]
        if not isinstance(one, str):
            raise TypeError(f"{name} must be a list of names; got {_shown(one)} in it; write it as {example}")


def _shown(value: Any) -> str:
    """A short text or number itself; of all else its type."""
    if hasattr(value, "item") and not getattr(value, "shape", ()) and not isinstance(value, type):
        value = value.item()  # numpy's numbers as Python's
    if value is None or (isinstance(value, str | bytes | int | float) and len(repr(value)) <= 60):
        return repr(value)
    return type(value).__name__

"""Checks arguments, with errors that say what was expected, what was given and what to do."""

from __future__ import annotations

import inspect
import os
import re
import stat
import sys
from collections.abc import Callable, Iterable, Mapping, Sized
from functools import partial
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, SimpleNamespace, UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

from polymodal.runtime.formatting import brief, value_repr
from polymodal.runtime.registry import unknown

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "check_arguments",
    "check_callable",
    "check_file",
    "check_frame",
    "check_kind",
    "check_list",
    "check_mapping",
    "check_names",
    "check_number",
    "check_path",
    "check_text",
    "check_types",
    "check_whole",
]


def check_arguments(given: Iterable[str], known: Iterable[str], of: str) -> None:
    """Refuses arguments that something does not have.

    Raises:
        ValueError: Names the first of them and lists the known ones, nearest first.

    Example:
        >>> check_arguments(["bta"], ["latent_dim", "beta"], "mac-wae")
        Traceback (most recent call last):
        ValueError: unknown argument of mac-wae 'bta'; known are beta, latent_dim
    """
    known = list(known)
    for argument in given:
        if argument not in known:
            raise unknown(argument, known, f"argument of {of}")


def check_types(given: Mapping[str, Any], make: Callable[..., Any], of: str) -> None:
    """Refuses arguments that a function or class does not have, or that are not of the type it asks for.

    Arguments:
        given: Arguments by name; numpy's numbers count as Python's.
        make: A function, a class, or a `functools.partial` of one. Hints that its module cannot resolve, and
            fields that check what they are set to, are left to it.
        of: What `make` is, for the message.

    Raises:
        ValueError: Names the first wrong one, the type that is asked for and what came.

    Example:
        >>> def train(epochs: int, clip: float | None = None): ...
        >>> check_types({"epochs": 3, "clip": 1}, train, "train")
        >>> check_types({"epochs": "three"}, train, "train")
        Traceback (most recent call last):
        ValueError: epochs of train must be int; got 'three'
        >>> check_types({"epochs": True}, train, "train")
        Traceback (most recent call last):
        ValueError: epochs of train must be int; got True
    """
    from typeguard import CollectionCheckStrategy, TypeCheckError, check_type

    signature = inspect.signature(make)
    check_arguments(given, signature.parameters, of)
    home = vars(sys.modules[(make.func if isinstance(make, partial) else make).__module__])
    for name, value in given.items():
        hint = _hint(name, signature.parameters[name].annotation, home)
        if hint is inspect.Parameter.empty or hasattr(hint, "__set__"):
            continue
        plain = value.item() if hasattr(value, "item") and not getattr(value, "shape", None) else value
        try:
            if isinstance(plain, bool) and _numeric(hint):
                raise TypeCheckError("to Python, True is a number")
            check_type(plain, hint, collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS)
        except TypeCheckError:
            raise ValueError(f"{name} of {of} must be {_type_name(hint)}; got {value_repr(value)}") from None


def _hint(name: str, hint: Any, home: dict[str, Any]) -> Any:
    """Resolves a type hint that is written as a string; returns `Parameter.empty` where its module cannot."""
    if not isinstance(hint, str):
        return hint
    try:
        return get_type_hints(SimpleNamespace(__annotations__={name: hint}), home)[name]
    except (NameError, TypeError):
        return inspect.Parameter.empty


def _numeric(hint: Any) -> bool:
    """Whether a type asks for numbers, and not for True or False."""
    parts = {hint, *get_args(hint)} if get_origin(hint) in (Union, UnionType) else {hint}
    return bool(parts & {int, float}) and bool not in parts


def _type_name(hint: Any) -> str:
    """A type as people read it, such as "'cpu', 'cuda' or None"."""
    if get_origin(hint) in (Union, UnionType):
        *parts, last = map(_type_name, get_args(hint))
        return f"{', '.join(parts)} or {last}"
    if get_origin(hint) is Literal:
        return ", ".join(map(repr, get_args(hint)))
    if hint is NoneType:
        return "None"
    return (
        hint.__name__
        if isinstance(hint, type) and not get_args(hint)
        else re.sub(r"[a-z_.]+\.(?=[A-Z])", "", str(hint))
    )


def check_frame(frame: Any, name: str = "frame") -> pd.DataFrame:
    """Refuses what is no data frame.

    Raises:
        TypeError: Says what is expected, what was given, and how to make a data frame of it.

    Example:
        >>> check_frame({"grams": [180.5]})
        Traceback (most recent call last):
        TypeError: frame must be a pandas data frame; got dict; pass pandas.DataFrame(...) of it
    """
    import pandas as pd

    if isinstance(frame, pd.DataFrame):
        return frame
    ways = {
        "Series": "pass .to_frame() of it, or frame[[name]] in place of frame[name]",
        "ndarray": "pass pandas.DataFrame(array, columns=[...]), with the names of the columns",
        "str": "read the file, as by pandas.read_csv(path)",
        "PosixPath": "read the file, as by pandas.read_csv(path)",
        "WindowsPath": "read the file, as by pandas.read_csv(path)",
        "NoneType": "pass the rows",
        "Table": "a Table is of tensors; pass the frame that it was made of",
    }
    if hasattr(frame, "to_pandas"):
        way = "pass .to_pandas() of it"
    else:
        way = ways.get(type(frame).__name__, "pass pandas.DataFrame(...) of it")
    raise TypeError(f"{name} must be a pandas data frame; got {type(frame).__name__}; {way}")


def check_file(path: str | Path) -> int:
    """Returns the size of a file in bytes, and refuses what is no file: a pipe or a device might be read for ever.

    Raises:
        FileNotFoundError: There is nothing.
        ValueError: It is something else, or cannot be looked at.
    """
    try:
        found = Path(path).stat()
    except FileNotFoundError:
        raise FileNotFoundError(f"{brief(path)} must exist, and does not") from None
    except NotADirectoryError as error:
        raise FileNotFoundError(f"{brief(path)} must exist, and does not: {error.strerror}") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{brief(path)} cannot be read: {brief(error)}") from error
    if not stat.S_ISREG(found.st_mode):
        raise ValueError(f"{brief(path)} must be a file; it is a folder, a pipe or a device")
    return found.st_size


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

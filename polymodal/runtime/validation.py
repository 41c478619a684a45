"""Checks of arguments, with errors that state the expected value, the given value and a remedy."""

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
    """Checks that all given argument names are known.

    Raises:
        ValueError: A name is unknown; the message names the first one and lists the known ones, nearest first.

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
    """Checks the names and types of arguments against the signature of a function or class.

    Arguments:
        given: Arguments by name; NumPy scalars count as Python numbers.
        make: A function, a class, or a `functools.partial` of one. Arguments are not checked if the module of `make`
            cannot resolve their type hint.
        of: Name of `make`, for the message.

    Raises:
        ValueError: An argument is unknown or has the wrong type; the message names the first one, the expected type and
            the given value.

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
        if hint is inspect.Parameter.empty:
            continue
        plain = value.item() if hasattr(value, "item") and not getattr(value, "shape", None) else value
        try:
            if isinstance(plain, bool) and _numeric(hint):
                raise TypeCheckError("to Python, True is a number")
            check_type(plain, hint, collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS)
        except TypeCheckError:
            raise ValueError(f"{name} of {of} must be {_type_name(hint)}; got {value_repr(value)}") from None


def _hint(name: str, hint: Any, home: dict[str, Any]) -> Any:
    """Resolves a type hint that is a string; returns `Parameter.empty` if its module cannot resolve it."""
    if not isinstance(hint, str):
        return hint
    try:
        return get_type_hints(SimpleNamespace(__annotations__={name: hint}), home)[name]
    except (NameError, TypeError):
        return inspect.Parameter.empty


def _numeric(hint: Any) -> bool:
    """Returns whether a type accepts numbers but not booleans."""
    parts = {hint, *get_args(hint)} if get_origin(hint) in (Union, UnionType) else {hint}
    return bool(parts & {int, float}) and bool not in parts


def _type_name(hint: Any) -> str:
    """Returns a readable name of a type, such as "'cpu', 'cuda' or None"."""
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
    """Checks that a value is a pandas data frame, and returns it.

    Raises:
        TypeError: The value is not a data frame; the message says how to convert it.

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
    """Returns the size of a regular file in bytes; other paths are errors, because reading a pipe may never end.

    Raises:
        FileNotFoundError: The path does not exist.
        ValueError: The path is not a regular file, or its status cannot be read.
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
    """Checks that a value is an instance of a type.

    Arguments:
        name: Name of the argument.
        value: Value that was passed.
        kind: Expected type, or several.
        what: Description of the type, such as "a Schema".
        way: Advice for the message.

    Raises:
        TypeError: The value is not an instance of the type.

    Example:
        >>> check_kind("schema", [3], dict, "a Schema", "write Schema({...})")
        Traceback (most recent call last):
        TypeError: schema must be a Schema; got list; write Schema({...})
    """
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be {what}; got {_describe_value(value)}; {way}")


def check_whole(name: str, value: object, least: int = 1) -> None:
    """Checks that a value is an integer of at least `least`; NumPy integers are accepted, booleans are not.

    Raises:
        TypeError: The value is not an integer.
        ValueError: The value is less than `least`.

    Example:
        >>> check_whole("batch_size", 2.5)
        Traceback (most recent call last):
        TypeError: batch_size must be a whole number of at least 1; got 2.5; write it as 1
    """
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(
            f"{name} must be a whole number of at least {least}; got {_describe_value(value)}; write it as {least}"
        )
    if value < least:
        raise ValueError(f"{name} must be at least {least}; got {value}")


def check_number(name: str, value: object, low: float, high: float) -> None:
    """Checks that a value is a number from `low` to `high`; booleans are not accepted.

    Raises:
        TypeError: The value is not a number.
        ValueError: The value is out of bounds.
    """
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(
            f"{name} must be a number from {low:g} to {high:g}; got {_describe_value(value)}; write it as {low:g}"
        )
    if not low <= float(value) <= high:
        raise ValueError(f"{name} must be from {low:g} to {high:g}; got {value}")


def check_text(name: str, value: object, example: str) -> None:
    """Checks that a value is a string.

    Raises:
        TypeError: The value is not a string.
    """
    check_kind(name, value, str, "a text", f"write it as {example!r}")


def check_path(name: str, value: object) -> None:
    """Checks that a value is a string or a path.

    Raises:
        TypeError: The value is neither.
    """
    check_kind(name, value, (str, os.PathLike), "a path", "write it as 'folder/file'")


def check_callable(name: str, value: object) -> None:
    """Checks that a value is callable or None.

    Raises:
        TypeError: The value is neither.
    """
    if value is not None and not callable(value):
        raise TypeError(
            f"{name} must be a function such as print, or None; got {_describe_value(value)}; write {name}=None"
        )


def check_mapping(name: str, value: object, example: str) -> None:
    """Checks that a value is a mapping with strings as keys.

    Raises:
        TypeError: The value is not a mapping, or a key is not a string.
    """
    check_kind(name, value, Mapping, "a mapping from names", f"write it as {example}")
    for key in value if isinstance(value, Mapping) else ():
        if not isinstance(key, str):
            raise TypeError(
                f"{name} must be a mapping from names; got the key {_describe_value(key)}; write it as {example}"
            )


def check_list(name: str, value: object, what: str, example: str) -> None:
    """Checks that a value is an iterable, but not a single string or bytes.

    Raises:
        TypeError: The value is not iterable, or is a single string or bytes.
    """
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise TypeError(f"{name} must be a list of {what}; got {_describe_value(value)}; write it as {example}")


def check_names(name: str, value: object, example: str = "['height']") -> None:
    """Checks that a value is an iterable of strings.

    Raises:
        TypeError: The value is not such an iterable.

    Example:
        >>> check_names("given", "height")
        Traceback (most recent call last):
        TypeError: given must be a list of names; got 'height'; write it as ['height']
    """
    check_list(name, value, "names", f"[{value!r}]" if isinstance(value, str) else example)
    if not isinstance(value, Sized):
        return  # iterating would consume an iterator
    for one in value:  # pyright: ignore[reportGeneralTypeIssues]
        if not isinstance(one, str):
            raise TypeError(f"{name} must be a list of names; got {_describe_value(one)} in it; write it as {example}")


def _describe_value(value: Any) -> str:
    """Returns the `repr` of None, a number or a short string, and the name of the type of any other value."""
    if hasattr(value, "item") and not getattr(value, "shape", ()) and not isinstance(value, type):
        value = value.item()  # NumPy scalars to Python numbers
    if value is None or (isinstance(value, str | bytes | int | float) and len(repr(value)) <= 60):
        return repr(value)
    return type(value).__name__

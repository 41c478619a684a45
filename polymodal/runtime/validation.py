"""Looking names up and checking arguments, with errors that help."""

from __future__ import annotations

import csv
import inspect
import io
import re
import shlex
import stat
import sys
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin
from unicodedata import category

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import pandas as pd

__all__ = [
    "brief",
    "check_arguments",
    "check_file",
    "check_frame",
    "check_types",
    "lookup",
    "nearest",
    "printable",
    "shell_quote",
    "split_names",
    "unknown",
    "value_repr",
]

T = TypeVar("T")

MOST_COMPARED = 1000
"""Known names that an unknown one is compared with: a file may bring any number of them."""


def lookup(registry: Mapping[str, T], name: str, kind: str) -> T:
    """The entry of that name.

    Raises:
        TypeError: It is no text.
        ValueError: There is none; lists the known names, nearest first.

    Example:
        >>> lookup({"mmd": 1, "kl": 2}, "mdm", "regularizer")
        Traceback (most recent call last):
        ValueError: unknown regularizer 'mdm'; known are mmd, kl
    """
    if not isinstance(name, str):
        raise TypeError(f"a {kind} must be named by a text; got {type(name).__name__}; known are {', '.join(registry)}")
    if name not in registry:
        raise unknown(name, registry, kind)
    return registry[name]


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
        hint = _hint(signature.parameters[name].annotation, home)
        if hint is inspect.Parameter.empty or hasattr(hint, "__set__"):
            continue
        plain = value.item() if hasattr(value, "item") and not getattr(value, "shape", None) else value
        try:
            if isinstance(plain, bool) and _numeric(hint):
                raise TypeCheckError("to Python, True is a number")
            check_type(plain, hint, collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS)
        except TypeCheckError:
            raise ValueError(f"{name} of {of} must be {_shown(hint)}; got {value_repr(value)}") from None


def _hint(hint: Any, home: dict[str, Any]) -> Any:
    """A type hint, resolved where it is written as a string: the source code's own, never a file's."""
    try:
        return eval(hint, home) if isinstance(hint, str) else hint
    except NameError:
        return inspect.Parameter.empty


def _numeric(hint: Any) -> bool:
    """Whether a type asks for numbers, and not for True or False."""
    parts = {hint, *get_args(hint)} if get_origin(hint) in (Union, UnionType) else {hint}
    return bool(parts & {int, float}) and bool not in parts


def _shown(hint: Any) -> str:
    """A type as people read it, such as "'cpu', 'cuda' or None"."""
    if get_origin(hint) in (Union, UnionType):
        *parts, last = map(_shown, get_args(hint))
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


def unknown(name: str, known: Iterable[str], kind: str) -> ValueError:
    """The error for a name that is not among the known ones, which it lists, nearest first."""
    known = list(known)
    if not known:
        return ValueError(f"unknown {kind} {name!r}; there are none")
    near = get_close_matches(str(name)[:100], known[:MOST_COMPARED], n=20, cutoff=0.4)
    ordered = near + [other for other in known if other not in near]
    return ValueError(f"unknown {kind} {name!r}; known are {', '.join(ordered)}")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that a misspelt one most likely stands for, whatever its case; None if none is near.

    Example:
        >>> nearest("height", ["kind", "heigth"]), nearest("Grams ", ["grams"]), nearest("x", ["grams"])
        ('heigth', 'grams', None)
    """
    folded: dict[str, str] = {}
    for other in list(known)[:MOST_COMPARED]:
        folded.setdefault(other[:100].strip().casefold(), other)
    near = get_close_matches(name[:100].strip().casefold(), folded, n=1, cutoff=0.7)
    return folded[near[0]] if near else None


def shell_quote(text: str) -> str:
    r"""A text as a shell takes it, on one line: bash's `$'...'` for what cannot be printed.

    Example:
        >>> print(shell_quote("a b=label"), shell_quote("a\n(cm)=ignore"))
        'a b=label' $'a\n(cm)=ignore'
    """
    if text.isprintable():
        return shlex.quote(text)
    letters = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return "$'" + "".join(f"\\{c}" if c in "'\\" else c for c in letters) + "'"


def split_names(text: str) -> list[str]:
    """Names from a text with commas between them, or one a line; one with a comma stands in double quotes.

    Example:
        >>> split_names("age, sex"), split_names('"last, first",age'), split_names("it's")
        (['age', 'sex'], ['last, first', 'age'], ["it's"])
    """
    rows = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True)
    return [name.strip() for row in rows for name in row]


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


def value_repr(value: Any) -> str:
    """A value as people write it: numpy's numbers as Python's, texts in quotes.

    Example:
        >>> import numpy as np
        >>> value_repr(np.float64(1.5)), value_repr(np.str_("a")), value_repr(True)
        ('1.5', "'a'", 'True')
    """
    return repr(value.item() if hasattr(value, "item") and not getattr(value, "shape", ()) else value)


def brief(told: object, most: int = 300) -> str:
    r"""What an error or a value tells, on one line of at most so many characters, all of which can be printed.

    Example:
        >>> brief(ValueError("one\n  and two")), brief("a" * 400)[-8:]
        ('one and two', 'aaaa ...')
    """
    line = printable(" ".join(str(told)[: 10 * most].split()) or type(told).__name__)
    return line if len(line) <= most else line[: most - 4] + " ..."


def printable(text: object) -> str:
    r"""A text on one line, in which whatever cannot be seen is written as an escape.

    Line breaks, control characters and escape sequences, characters that turn the direction of writing, and those
    without width change what a terminal or a page shows; text from a file or a table must not.

    Example:
        >>> print(printable("two\nlines, \x1b[31mred, \u202ereversed, 鳥　類"))
        two\nlines, \x1b[31mred, \u202ereversed, 鳥　類
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or category(letter) == "Zs" else letter.encode("unicode_escape").decode()
        for letter in text
    )


def check_file(path: str | Path) -> int:
    """Bytes of a path that must be a file: a pipe or a device might be read for ever.

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

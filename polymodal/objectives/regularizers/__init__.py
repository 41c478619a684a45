"""Regularisers that match the aggregate posterior to the prior.

To add one, write a module in this package and add its class to REGULARIZERS. To use a custom one, add it to
`polymodal.REGULARIZERS` in your program.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from polymodal.objectives.regularizers.base import Regularizer
from polymodal.objectives.regularizers.kl import KL
from polymodal.objectives.regularizers.mmd import IMQ, MMD
from polymodal.objectives.regularizers.sliced import Sliced
from polymodal.runtime.formatting import brief
from polymodal.runtime.registry import unknown

__all__ = [
    "IMQ",
    "KL",
    "MMD",
    "REGULARIZERS",
    "Regularizer",
    "Sliced",
    "make_regularizer",
    "read_regularizer",
    "spell_regularizer",
    "write_regularizer",
]

REGULARIZERS: dict[str, type[Regularizer]] = {"imq": IMQ, "kl": KL, "mmd": MMD, "sliced": Sliced}
"""Regularisers by name."""
CONSTANTS = {"None": None, "True": True, "False": False}


def make_regularizer(regularizer: str | Regularizer) -> Regularizer:
    """Builds a regulariser from its text form, such as "mmd", "mmd(2)" or "sliced(64, samples)".

    Arguments:
        regularizer: A name in REGULARIZERS, optionally with arguments in parentheses in the order of the fields; or a
            regulariser, which is returned as it is.

    Raises:
        TypeError: It is neither a text nor a regulariser.
        ValueError: The name is unknown, there are too many arguments, or one is out of its range.

    Example:
        >>> make_regularizer("mmd(2)"), make_regularizer(KL())
        (MMD(bandwidth=2), KL())
        >>> make_regularizer("sliced(0)")
        Traceback (most recent call last):
        ValueError: regularizer 'sliced(0)': directions must be a whole number of at least 1; got 0
    """
    if isinstance(regularizer, Regularizer):
        return regularizer
    if not isinstance(regularizer, str):
        raise TypeError(f"regularizer must be a text such as 'mmd(2)' or a regulariser; got {brief(repr(regularizer))}")
    return read_regularizer(regularizer, REGULARIZERS)


def spell_regularizer(regularizer: Regularizer) -> str:
    """Returns the text form of a regulariser, which `make_regularizer` reads; trailing default arguments are omitted.

    Raises:
        ValueError: Its class is not in REGULARIZERS, or an argument cannot be written as text.

    Example:
        >>> spell_regularizer(MMD(2.0)), spell_regularizer(Sliced(32)), spell_regularizer(KL())
        ('mmd(2)', 'sliced(32)', 'kl')
    """
    name = next((name for name, kind in REGULARIZERS.items() if kind is type(regularizer)), None)
    if name is None:
        raise ValueError(
            f"regularizer {type(regularizer).__name__} must be in REGULARIZERS to be saved; "
            f"add it there: REGULARIZERS['a-name'] = {type(regularizer).__name__}"
        )
    return write_regularizer(regularizer, name)


def read_regularizer(text: str, registry: Mapping[str, type[Regularizer]]) -> Regularizer:
    """Builds a regulariser of a registry from its text form; see `make_regularizer`."""
    name, opened, rest = text.partition("(")
    name = name.strip()
    if name not in registry:
        way = f"register your own by polymodal.REGULARIZERS[{brief(name, 60)!r}] = YourClass"
        raise ValueError(f"{unknown(name, registry, 'regularizer')}; {way}")
    if opened and not rest.rstrip().endswith(")"):
        raise ValueError(f"regularizer must be a name, or a name with arguments such as 'mmd(2)'; got {text!r}")
    inside = rest.rstrip()[:-1].strip() if opened else ""
    arguments = [_read(part) for part in inside.split(",")] if inside else []
    known = [field.name for field in fields(registry[name]) if field.init]
    if len(arguments) > len(known):
        takes = f"takes {', '.join(known)}" if known else "takes no arguments"
        raise ValueError(f"regularizer {name!r} {takes}; got {brief(inside)}; leave out what is too much")
    try:
        return registry[name](**dict(zip(known, arguments, strict=False)))
    except (TypeError, ValueError) as error:
        raise ValueError(f"regularizer {brief(text)!r}: {error}") from error


def write_regularizer(regularizer: Regularizer, name: str) -> str:
    """Returns the text form of a regulariser of this name; see `spell_regularizer`.

    Raises:
        ValueError: An argument cannot be written as text.
    """
    given = [(field, getattr(regularizer, field.name)) for field in fields(regularizer) if field.init]
    while given and given[-1][1] == given[-1][0].default:
        given.pop()
    for field, value in given:
        if "," in (text := _write(value)) or ")" in text or _read(text) != value:
            raise ValueError(
                f"{field.name} of {type(regularizer).__name__} must be a number, a bool, None or a text without commas "
                f"and parentheses, for it is written to files as text; got {brief(repr(value))}"
            )
    return f"{name}({', '.join(_write(value) for _, value in given)})" if given else name


def _read(text: str) -> Any:
    """Converts a text to None, a bool, an int or a float if possible, and returns it stripped otherwise."""
    text = text.strip()
    if text in CONSTANTS:
        return CONSTANTS[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def _write(value: Any) -> str:
    short = f"{value:g}" if isinstance(value, float) else str(value)
    return repr(value) if isinstance(value, float) and float(short) != value else short

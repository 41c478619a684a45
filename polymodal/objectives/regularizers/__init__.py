"""Regularisers that match the aggregate posterior to the prior.

To add one, write a module in this package and add its class to REGULARIZERS.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from polymodal.objectives.regularizers.base import Regularizer
from polymodal.objectives.regularizers.kl import KL
from polymodal.objectives.regularizers.mmd import IMQ, MMD
from polymodal.objectives.regularizers.sliced import Sliced
from polymodal.runtime.formatting import brief
from polymodal.runtime.registry import lookup

__all__ = ["IMQ", "KL", "MMD", "REGULARIZERS", "Regularizer", "Sliced", "make_regularizer", "spell_regularizer"]

REGULARIZERS: dict[str, type[Regularizer]] = {"imq": IMQ, "kl": KL, "mmd": MMD, "sliced": Sliced}
"""Regularisers by name."""


def make_regularizer(regularizer: str | Regularizer) -> Regularizer:
    """Builds a regulariser from its text form, such as "mmd", "mmd(2)" or "sliced(64, samples)".

    Arguments:
        regularizer: A name in REGULARIZERS, optionally with arguments in parentheses in the order of the fields; or a
            regulariser, which is returned as it is.

    Raises:
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
    name, opened, rest = regularizer.partition("(")
    kind = lookup(REGULARIZERS, name.strip(), "regularizer")
    if opened and not rest.rstrip().endswith(")"):
        raise ValueError(f"regularizer must be a name, or a name with arguments such as 'mmd(2)'; got {regularizer!r}")
    inside = rest.rstrip()[:-1].strip() if opened else ""
    arguments = [_read(text) for text in inside.split(",")] if inside else []
    known = [field.name for field in fields(kind)]
    if len(arguments) > len(known):
        takes = f"takes {', '.join(known)}" if known else "takes no arguments"
        raise ValueError(f"regularizer {name!r} {takes}; got {brief(inside)}; leave out what is too much")
    try:
        return kind(*arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(f"regularizer {brief(regularizer)!r}: {error}") from error


def spell_regularizer(regularizer: Regularizer) -> str:
    """Returns the text form of a regulariser, which `make_regularizer` reads; trailing default arguments are omitted.

    Raises:
        ValueError: Its class is not in REGULARIZERS.

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
    given = [(getattr(regularizer, field.name), field.default) for field in fields(regularizer)]
    while given and given[-1][0] == given[-1][1]:
        given.pop()
    return f"{name}({', '.join(_write(value) for value, _ in given)})" if given else name


def _read(text: str) -> Any:
    """Converts the text to an int or a float if possible, and returns it stripped otherwise."""
    text = text.strip()
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def _write(value: Any) -> str:
    short = f"{value:g}" if isinstance(value, float) else str(value)
    return repr(value) if isinstance(value, float) and float(short) != value else short

"""The base class of modalities and networks: a dataclass whose arguments are its complete state."""

from __future__ import annotations

from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any

__all__ = ["NOTE", "Arguments", "is_note", "is_omitted", "note", "option", "to_tuples"]

TAKEN = ("name", "type")
"""Keys that files use for other purposes, and that arguments must not have."""

NOTE = {"note": True}
"""Metadata of a field that is created by `note`."""


@dataclass(frozen=True)
class Arguments:
    """A frozen dataclass whose arguments are its complete state, so that JSON can store it.

    Arguments that are lists become tuples.

    Raises:
        ValueError: An argument has a name that is reserved in files.
    """

    def __post_init__(self) -> None:
        for argument in fields(self):
            if argument.name in TAKEN:
                raise ValueError(
                    f"an argument of {type(self).__name__} must not be called {argument.name!r}, for in files that "
                    "says what is meant; choose another name"
                )
            if type(value := getattr(self, argument.name)) in (list, tuple):
                object.__setattr__(self, argument.name, to_tuples(value))


def note() -> Any:
    """Returns a dataclass field for information that affects no value and no network, such as number formats.

    Its default is None. Equality, fingerprints and `repr` ignore the field, and files omit it where it is None.
    """
    return field(default=None, kw_only=True, repr=False, compare=False, metadata=NOTE)


def option(default: Any) -> Any:
    """Returns a dataclass field that files and `repr` omit where it has its default.

    It is for arguments that were added later: files without them, and fingerprints of earlier files, keep their
    meaning.
    """
    return field(default=default, kw_only=True, metadata={"option": True})


def is_omitted(argument: Field[Any], value: Any) -> bool:
    """Checks whether files and `repr` omit a field with a value, see `option`."""
    return "option" in argument.metadata and argument.default is not MISSING and value == argument.default


def is_note(argument: Field[Any]) -> bool:
    """Checks whether a field was created by `note`."""
    return "note" in argument.metadata


def to_tuples(value: Any) -> Any:
    """Converts lists to tuples, also nested ones.

    Example:
        >>> to_tuples([3, [1, 2]])
        (3, (1, 2))
    """
    return tuple(map(to_tuples, value)) if type(value) in (list, tuple) else value

"""What a modality and a network have in common: arguments that are all their state."""

from __future__ import annotations

from dataclasses import Field, dataclass, field, fields
from typing import Any

__all__ = ["Arguments", "frozen", "is_note", "note"]

TAKEN = ("name", "type")
"""What a file says about a thing beside its arguments."""


@dataclass(frozen=True)
class Arguments:
    """A frozen dataclass whose arguments are its whole state, so it goes to JSON and back.

    Lists among them become tuples.

    Raises:
        ValueError: An argument has a name that files need for something else.
    """

    def __post_init__(self) -> None:
        for argument in fields(self):
            if argument.name in TAKEN:
                raise ValueError(
                    f"an argument of {type(self).__name__} must not be called {argument.name!r}, for in files that "
                    "says what is meant; choose another name"
                )
            if type(value := getattr(self, argument.name)) in (list, tuple):
                object.__setattr__(self, argument.name, frozen(value))


def note() -> Any:
    """A field for what changes no value and no network, such as how people write cells.

    By default nothing is known. Equality, fingerprints and `repr` leave it out, and files where it is None.
    """
    return field(default=None, kw_only=True, repr=False, compare=False, metadata={"note": True})


def is_note(argument: Field[Any]) -> bool:
    """Whether `note` made a field."""
    return "note" in argument.metadata


def frozen(value: Any) -> Any:
    """The value with tuples for lists, to any depth.

    Example:
        >>> frozen([3, [1, 2]])
        (3, (1, 2))
    """
    return tuple(map(frozen, value)) if type(value) in (list, tuple) else value

"""What a modality and a network have in common: arguments that are all their state."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

__all__ = ["Arguments", "frozen"]

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
        for field in fields(self):
            if field.name in TAKEN:
                raise ValueError(
                    f"an argument of {type(self).__name__} must not be called {field.name!r}, for in files that "
                    "says what is meant; choose another name"
                )
            if type(value := getattr(self, field.name)) in (list, tuple):
                object.__setattr__(self, field.name, frozen(value))


def frozen(value: Any) -> Any:
    """The value with tuples for lists, to any depth.

    Example:
        >>> frozen([3, [1, 2]])
        (3, (1, 2))
    """
    return tuple(map(frozen, value)) if type(value) in (list, tuple) else value

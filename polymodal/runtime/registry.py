"""Lookup of names in registries, with suggestions for unknown names."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["lookup", "nearest", "unknown"]

T = TypeVar("T")

MOST_COMPARED = 1000
"""Maximum number of known names that an unknown one is compared with; a file may contain any number of them."""


def lookup(registry: Mapping[str, T], name: str, kind: str) -> T:
    """Returns the entry of a registry with a name.

    Arguments:
        registry: Entries by name.
        name: Name to look up.
        kind: Description of the entries, for the message.

    Raises:
        TypeError: The name is not a string.
        ValueError: There is no such entry; the message lists the known names, nearest first.

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


def unknown(name: str, known: Iterable[str], kind: str) -> ValueError:
    """Returns the error for an unknown name; the message lists the known names, nearest first."""
    known = list(known)
    if not known:
        return ValueError(f"unknown {kind} {name!r}; there are none")
    near = get_close_matches(str(name)[:100], known[:MOST_COMPARED], n=20, cutoff=0.4)
    ordered = near + [other for other in known if other not in near]
    return ValueError(f"unknown {kind} {name!r}; known are {', '.join(ordered)}")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Returns the known name that is most similar to a misspelt one, ignoring case; None if none is similar.

    Example:
        >>> nearest("height", ["kind", "heigth"]), nearest("Grams ", ["grams"]), nearest("x", ["grams"])
        ('heigth', 'grams', None)
    """
    folded: dict[str, str] = {}
    for other in list(known)[:MOST_COMPARED]:
        folded.setdefault(other[:100].strip().casefold(), other)
    near = get_close_matches(name[:100].strip().casefold(), folded, n=1, cutoff=0.7)
    return folded[near[0]] if near else None

"""Looking names up, with an error that helps."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["check_arguments", "lookup", "unknown"]

T = TypeVar("T")


def lookup(registry: Mapping[str, T], name: str, kind: str) -> T:
    """The entry of that name.

    Raises:
        ValueError: There is none; lists the known names, nearest first.

    Example:
        >>> lookup({"mmd": 1, "kl": 2}, "mdm", "regularizer")
        Traceback (most recent call last):
        ValueError: unknown regularizer 'mdm'; known are mmd, kl
    """
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


def unknown(name: str, known: Iterable[str], kind: str) -> ValueError:
    """The error for a name that is not among the known ones, which it lists, nearest first."""
    known = list(known)
    near = get_close_matches(str(name), known, n=len(known), cutoff=0.4)
    ordered = near + [other for other in known if other not in near]
    return ValueError(f"unknown {kind} {name!r}; known are {', '.join(ordered)}")

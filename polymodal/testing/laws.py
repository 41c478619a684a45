"""Laws: functions that raise an AssertionError if an object breaks the rule in their docstring."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor

__all__ = ["apply_law", "expect_error", "require", "require_equal", "require_finite", "temporary_entries"]


def apply_law(law: Callable[..., None], what: str, *arguments: Any) -> None:
    """Applies a law.

    Arguments:
        law: The law. The first line of its docstring is the rule.
        what: Name of the checked object in the message.
        *arguments: Arguments of the law.

    Raises:
        AssertionError: The law is broken. The message contains the rule and the values.
    """
    rule = (law.__doc__ or law.__name__).strip().splitlines()[0]
    try:
        law(*arguments)
    except Exception as error:  # the checked object may raise anything
        kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
        raise AssertionError(f"{what} breaks a law: {rule} {kind}{error}") from error


def require(condition: object, message: str) -> None:
    """Raises an AssertionError with a message unless a condition is true."""
    if not condition:
        raise AssertionError(message)


def require_equal(one: object, other: object, what: str) -> None:
    """Raises an AssertionError unless two values are equal.

    Example:
        >>> require_equal((2, 3), (2, 4), "the shape")
        Traceback (most recent call last):
        AssertionError: the shape must be (2, 4); got (2, 3)
    """
    require(one == other, f"{what} must be {other}; got {one}")


def require_finite(value: Tensor, what: str) -> None:
    """Raises an AssertionError unless all numbers are finite."""
    odd = value[~value.isfinite()].flatten()
    require(not len(odd), f"{what} must be finite; got {odd[:3].tolist()} in {tuple(value.shape)}")


@contextmanager
def expect_error(kind: type[Exception], pattern: str, what: str) -> Iterator[None]:
    """Raises an AssertionError unless the body raises an error of a type, with a message that matches a pattern.

    Example:
        >>> with expect_error(ValueError, "invalid literal .*'x'", "int('x')"):
        ...     int("x")
    """
    try:
        yield
    except kind as error:
        require(re.search(pattern, str(error)), f"{what}: the message must match {pattern!r}; got {str(error)!r}")
        return
    raise AssertionError(f"{what} must raise {kind.__name__} with a message that matches {pattern!r}; got no error")


@contextmanager
def temporary_entries(registry: dict[str, Any], entries: Mapping[str, Any]) -> Iterator[None]:
    """Adds entries to a registry, and restores it after the body."""
    kept = dict(registry)
    registry.update(entries)
    try:
        yield
    finally:
        registry.clear()
        registry.update(kept)

"""Reading of numbers, dates and files in base64 from JSON values, and short texts for JSON values in messages."""

from __future__ import annotations

import base64
import binascii
import math
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import torch
from torch import Tensor

from polymodal.runtime.formatting import brief, value_repr

__all__ = ["decode_base64", "read_date", "read_number", "read_numbers", "show_value", "write_date"]

PREFIX = re.compile(r"data:[\w.+/-]{0,100};base64,")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def decode_base64(text: str) -> bytes:
    """Decodes base64 with or without the prefix of a data URL.

    Raises:
        ValueError: The text is not base64.
    """
    start = match.end() if (match := PREFIX.match(text[:200])) else 0
    try:
        return base64.b64decode(text[start:] if start else text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"a file must be sent as base64; got {brief(repr(text), 60)}") from None


def read_number(value: Any) -> float:
    """Reads a finite number.

    Raises:
        ValueError: It is not a number, or not finite.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"a number must be a number; got {show_value(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError("a number must be finite; write null for a missing value")
    return number


def read_date(value: Any) -> float:
    """Reads an ISO date as days since 1970; a number is taken as such days.

    Raises:
        ValueError: It is neither.

    Example:
        >>> read_date("1970-01-02"), read_date("1970-01-01T12:00:00"), read_date(3)
        (1.0, 0.5, 3.0)
    """
    if not isinstance(value, str):
        return read_number(value)
    try:
        date = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(f"a date must be an ISO date such as 2026-01-31; got {show_value(value)}") from None
    return (date.replace(tzinfo=UTC) - EPOCH) / timedelta(days=1)


def write_date(days: float) -> str | None:
    """Writes days since 1970 as an ISO date, with the time if it is not midnight; None if there is no such date.

    Example:
        >>> write_date(1.0), write_date(0.5), write_date(1e9)
        ('1970-01-02', '1970-01-01T12:00:00', None)
    """
    try:
        date = EPOCH + timedelta(seconds=round(days * 86_400))
    except (OverflowError, ValueError):
        return None
    return date.replace(tzinfo=None).isoformat().removesuffix("T00:00:00")


def read_numbers(value: Any, shape: tuple[int, ...]) -> Tensor:
    """Reads nested lists of finite numbers of this shape, float64.

    Raises:
        ValueError: The lists have another shape, or an element is not a finite number.
    """
    numbers: list[float] = []

    def collect(part: Any, sizes: tuple[int, ...]) -> None:
        if not sizes:
            numbers.append(read_number(part))
            return
        if not isinstance(part, list) or len(part) != sizes[0]:
            found = f"a list of {len(part)}" if isinstance(part, list) else show_value(part)
            raise ValueError(f"the value must be nested lists of shape {list(shape)}; got {found}")
        for one in part:
            collect(one, sizes[1:])

    collect(value, shape)
    return torch.tensor(numbers, dtype=torch.float64).reshape(shape)


def show_value(value: Any) -> str:
    """Returns a short description of a JSON value for a message.

    Example:
        >>> show_value([1, 2]), show_value(None), show_value("owl")
        ('a list of 2', 'null', "'owl'")
    """
    if isinstance(value, list | dict):
        return f"a list of {len(value)}" if isinstance(value, list) else "an object"
    try:
        return "null" if value is None else brief(value_repr(value), 60)
    except ValueError:  # Python prints no integers of more than 4,300 digits
        return "a number of thousands of digits"

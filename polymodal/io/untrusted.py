"""Reads JSON and tensors from files that anybody may have written: either what they say, or one clear error."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from polymodal.runtime.formatting import brief
from polymodal.runtime.validation import check_file

__all__ = [
    "DOCUMENT",
    "DTYPES",
    "UNREADABLE",
    "check_tensors",
    "map_state",
    "read_header",
    "read_json",
    "read_state",
    "read_tensors",
    "refuse_endless",
]

DOCUMENT = "document"
"""Under which the header of a state holds its document."""

MOST_JSON = 16 * 2**20
"""Bytes of the largest JSON document that is read."""

UNREADABLE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""What libraries raise of files that are damaged, or something else."""

DEEPEST, DIGITS = 100, 40
"""Lists and objects in each other, and digits of a whole number, in a JSON document."""

FLOATS = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64}
DTYPES = FLOATS | {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
}
"""Types of tensors that are read, by the name that safetensors has for them."""


def read_json(path: str | Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It holds something else, a number that is not finite or has more than 40 digits, lists or objects in
            each other more than 100 deep, or more than 16 MiB.
    """
    path = Path(path)
    if (size := check_file(path)) > MOST_JSON:
        raise ValueError(f"{path} must be at most {MOST_JSON} bytes of JSON; it is {size}")
    try:
        text = path.read_bytes().decode("utf-8")
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} must be JSON: {brief(error)}") from error
    return _parsed(text, str(path))


def read_tensors(path: str | Path, like: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Tensors by name from a safetensors file, on the CPU.

    Arguments:
        path: The file.
        like: What it must hold, see `check_tensors`; by default anything. It is looked at before a tensor is read.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no safetensors file, damaged, or holds other tensors than `like`.
    """
    with _opened(path) as file:
        held = _header(path, file)
        if like is not None:
            check_tensors(path, held, like)
        return {name: file.get_tensor(name).clone() for name in held}  # else they would change with the file


def read_header(path: str | Path) -> dict[str, Tensor]:
    """What a safetensors file says that it holds: tensors on the "meta" device, which have no numbers.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no safetensors file, or holds tensors of a type that models are not made of.
    """
    with _opened(path) as file:
        return _header(path, file)


def read_state(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the JSON document in a safetensors file whose header holds one.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, or something else.
    """
    tensors, document = map_state(path)
    return {name: tensor.clone() for name, tensor in tensors.items()}, document


def map_state(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """As `read_state`, but the tensors stay in the file: what is looked at is read, and nothing is held in memory.

    They may be changed, and the file is not. As long as they are in use it must not be written to; it may be
    removed or replaced.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, or something else.
    """
    with _opened(path) as file:
        document = _parsed((file.metadata() or {}).get(DOCUMENT, ""), f"the header of {path}")
        return {name: file.get_tensor(name) for name in _header(path, file)}, document


def refuse_endless(path: Path) -> None:
    """Refuses a pipe or a device in the place of a file, which might be read for ever.

    Raises:
        ValueError: It is one.
    """
    if path.exists() and not path.is_dir():
        check_file(path)


def check_tensors(path: str | Path, held: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> None:
    """Refuses tensors of other names, shapes or types than expected.

    Arguments:
        path: The file that holds them, for the message.
        held: Tensors by name, such as its `read_header`.
        like: What is expected, on any device. Floats may be of another precision.

    Raises:
        ValueError: Names what is missing, too much, or of another shape or type.

    Example:
        >>> check_tensors("a", {"w": torch.zeros(2)}, {"w": torch.zeros(3), "b": torch.zeros(1)})
        Traceback (most recent call last):
        ValueError: a does not fit the model: it lacks b; w must be float32 (3,), is float32 (2,)
    """
    lacks, extra = [name for name in like if name not in held], [name for name in held if name not in like]
    wrong = [
        f"{name} must be {_kind(expected)}, is {_kind(held[name])}"
        for name, expected in like.items()
        if name in held and not _fits(held[name], expected)
    ]
    troubles = [f"it lacks {_some(lacks, ', ')}"] if lacks else []
    troubles += [f"it has {_some(extra, ', ')}, which the model has not"] if extra else []
    troubles += [_some(wrong, "; ")] if wrong else []
    if troubles:
        raise ValueError(f"{path} does not fit the model: {brief('; '.join(troubles), 600)}")


def _parsed(text: str, where: str) -> dict[str, Any]:
    try:
        document = json.loads(text, parse_int=_whole, parse_float=_finite, parse_constant=_finite)
        _check_depth(document)
    except RecursionError:
        raise ValueError(f"{where} must be JSON: it holds lists or objects in each other too deep") from None
    except ValueError as error:
        raise ValueError(f"{where} must be JSON: {brief(error)}") from error
    if not isinstance(document, dict):
        raise ValueError(f"{where} must hold a JSON object; got {type(document).__name__}")
    return document


def _header(path: str | Path, file: Any) -> dict[str, Tensor]:
    held = {}
    for name in file.keys():  # noqa: SIM118 (it is no mapping)
        part = file.get_slice(name)
        if (kind := part.get_dtype()) not in DTYPES:
            raise ValueError(f"{path} must hold tensors of {', '.join(DTYPES)}; {brief(name)} is of {kind}")
        held[name] = torch.empty(part.get_shape(), dtype=DTYPES[kind], device="meta")
    return held


@contextmanager
def _opened(path: str | Path) -> Iterator[Any]:
    check_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError, RuntimeError) as error:
        raise ValueError(f"{path} must be a safetensors file: {brief(error)}") from error


def _fits(held: Tensor, like: Tensor) -> bool:
    floats = FLOATS.values()
    return held.shape == like.shape and (held.dtype == like.dtype or (held.dtype in floats and like.dtype in floats))


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _some(told: list[str], joint: str) -> str:
    return joint.join(told[:3]) + (f" and {len(told) - 3} more" if len(told) > 3 else "")


def _finite(number: str) -> float:
    if isfinite(value := float(number)):
        return value
    raise ValueError(f"numbers must be finite; got {number}")


def _whole(number: str) -> int:
    if len(number) > DIGITS:
        raise ValueError(f"whole numbers must have at most {DIGITS} digits; got {brief(number, 60)}")
    return int(number)


def _check_depth(document: Any) -> None:
    """Refuses a document so deep that whatever walks through it by recursion fails."""
    parts = [document]
    for _ in range(DEEPEST):
        nested = [part.values() if isinstance(part, dict) else part for part in parts if isinstance(part, dict | list)]
        parts = [part for several in nested for part in several]
        if not parts:
            return
    raise RecursionError

"""Reads tensors from untrusted files, and raises one clear error for invalid content."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from polymodal.io.json_files import parse_json_object
from polymodal.runtime.formatting import brief
from polymodal.runtime.validation import check_file

__all__ = [
    "DOCUMENT",
    "DTYPES",
    "check_tensors",
    "map_state",
    "read_header",
    "read_state",
    "read_tensors",
]

DOCUMENT = "document"
"""Key of the JSON document in the header of a state file."""

FLOATS = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64}
DTYPES = FLOATS | {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
}
"""Accepted types of tensors, by their names in safetensors."""


def read_tensors(path: str | Path, like: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Reads tensors by name from a safetensors file to the CPU.

    Arguments:
        path: Path of the file.
        like: Expected tensors (see `check_tensors`), which are checked before a tensor is read; by default any.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is damaged, no safetensors file, or has other tensors than `like`.
    """
    with _open_safetensors(path) as file:
        tensors = _header(path, file)
        if like is not None:
            check_tensors(path, tensors, like)
        return {name: file.get_tensor(name).clone() for name in tensors}  # otherwise they would change with the file


def read_header(path: str | Path) -> dict[str, Tensor]:
    """Reads the header of a safetensors file, as tensors without data on the "meta" device.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is no safetensors file, or has tensors of an unsupported type.
    """
    with _open_safetensors(path) as file:
        return _header(path, file)


def read_state(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads the tensors of a safetensors file, and the JSON document in its header.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is damaged, or has other content.
    """
    tensors, document = map_state(path)
    return {name: tensor.clone() for name, tensor in tensors.items()}, document


def map_state(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads a file like `read_state`, but maps the tensors into memory, so values are only read when accessed.

    The tensors may be changed, which does not change the file. While they are in use, the file must not be written to,
    but may be removed or replaced.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is damaged, or has other content.
    """
    with _open_safetensors(path) as file:
        document = parse_json_object((file.metadata() or {}).get(DOCUMENT, ""), f"the header of {path}")
        return {name: file.get_tensor(name) for name in _header(path, file)}, document


def check_tensors(path: str | Path, tensors: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> None:
    """Checks that tensors have the expected names, shapes and types.

    Arguments:
        path: File that contains the tensors, for the message.
        tensors: Tensors by name, such as the result of `read_header`.
        like: Expected tensors by name, on any device. Floats may have another precision.

    Raises:
        ValueError: Tensors are missing, unexpected, or of another shape or type; names them.

    Example:
        >>> check_tensors("a", {"w": torch.zeros(2)}, {"w": torch.zeros(3), "b": torch.zeros(1)})
        Traceback (most recent call last):
        ValueError: a does not fit the model: it has no b; w must be float32 (3,), is float32 (2,)
    """
    missing, extra = [name for name in like if name not in tensors], [name for name in tensors if name not in like]
    wrong = [
        f"{name} must be {_kind(expected)}, is {_kind(tensors[name])}"
        for name, expected in like.items()
        if name in tensors and not _fits(tensors[name], expected)
    ]
    troubles = [f"it has no {_join_first(missing, ', ')}"] if missing else []
    troubles += [f"it has {_join_first(extra, ', ')}, which the model does not have"] if extra else []
    troubles += [_join_first(wrong, "; ")] if wrong else []
    if troubles:
        raise ValueError(f"{path} does not fit the model: {brief('; '.join(troubles), 600)}")


def _header(path: str | Path, file: Any) -> dict[str, Tensor]:
    tensors = {}
    for name in file.keys():  # noqa: SIM118 (the file is no mapping)
        part = file.get_slice(name)
        if (kind := part.get_dtype()) not in DTYPES:
            raise ValueError(f"{path} must hold tensors of {', '.join(DTYPES)}; {brief(name)} is of {kind}")
        tensors[name] = torch.empty(part.get_shape(), dtype=DTYPES[kind], device="meta")
    return tensors


@contextmanager
def _open_safetensors(path: str | Path) -> Iterator[Any]:
    check_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError, RuntimeError) as error:
        raise ValueError(f"{path} must be a safetensors file: {brief(error)}") from error


def _fits(tensor: Tensor, like: Tensor) -> bool:
    floats = FLOATS.values()
    return tensor.shape == like.shape and (
        tensor.dtype == like.dtype or (tensor.dtype in floats and like.dtype in floats)
    )


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _join_first(items: list[str], joint: str) -> str:
    return joint.join(items[:3]) + (f" and {len(items) - 3} more" if len(items) > 3 else "")

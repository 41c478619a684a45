"""Writes tensors and JSON to files and folders, atomically and without pickle."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from polymodal.io.atomic import find_folder, flush, replace_file, replace_folder, sweep, temporary_folder
from polymodal.io.json_files import read_json
from polymodal.io.untrusted import (
    DOCUMENT,
    DTYPES,
    check_tensors,
    map_state,
    read_header,
    read_state,
    read_tensors,
)

__all__ = [
    "check_tensors",
    "check_writable",
    "create_state",
    "find_folder",
    "map_state",
    "read_header",
    "read_json",
    "read_state",
    "read_tensors",
    "refuse_foreign",
    "replace_file",
    "replace_folder",
    "sweep",
    "to_json",
    "write",
    "write_bytes",
    "write_state",
    "write_text",
]


def write(folder: str | Path, files: Mapping[str, Mapping[str, Any]]) -> Path:
    """Writes files into a folder of their own: all of them or none.

    The files are written into a new folder, which then replaces `folder` (see `polymodal.io.atomic`). The folder may be
    missing, be empty, or contain only files of these names.

    Arguments:
        folder: Target folder.
        files: Contents by file name: tensors by name for `*.safetensors`, else a JSON document.

    Returns:
        The resolved path of the folder.

    Raises:
        ValueError: The folder contains other files, or contains the current working directory.

    Example:
        >>> import tempfile, torch
        >>> with tempfile.TemporaryDirectory() as root:
        ...     folder = write(root + "/a", {"a.json": {"x": 1}, "a.safetensors": {"w": torch.zeros(2)}})
        ...     read_json(folder / "a.json"), read_tensors(folder / "a.safetensors")
        ({'x': 1}, {'w': tensor([0., 0.])})
    """
    folder = Path(folder).resolve()
    refuse_foreign(folder, list(files))
    if folder in (Path.cwd(), *Path.cwd().parents):
        raise ValueError(
            f"{folder} must be a folder of its own, because it is replaced; it is the current folder or contains it"
        )
    with replace_folder(folder) as fresh:
        for name, content in files.items():
            if name.endswith(".safetensors"):
                _save(fresh / name, content)
            else:
                (fresh / name).write_text(to_json(content), encoding="utf-8", newline="\n")
            flush(fresh / name)
    return folder


def refuse_foreign(folder: Path, names: list[str]) -> None:
    """Checks that a folder contains only files of these names.

    Raises:
        ValueError: The folder contains other files, or is a file.
    """
    try:
        found = {path.name for path in folder.iterdir()}
    except FileNotFoundError:  # no check beforehand, because another process may replace the folder meanwhile
        return
    except NotADirectoryError:
        if not folder.exists():  # a parent is a file; creating the folder raises the error
            return
        raise ValueError(f"{folder} must be a folder, but it is a file; choose another name") from None
    if foreign := sorted(found - set(names)):
        raise ValueError(
            f"{folder} must be empty or hold only {', '.join(names)}; it holds {', '.join(foreign[:3])}; "
            "choose another folder"
        )


def write_text(path: str | Path, text: str) -> Path:
    """Writes a text file under a temporary name, and then renames it."""
    return write_bytes(path, text.encode())


def write_bytes(path: str | Path, content: bytes) -> Path:
    """Writes a file under a temporary name, and then renames it."""
    path = Path(path)
    with replace_file(path) as fresh:
        fresh.write_bytes(content)
    return path


def write_state(path: str | Path, tensors: Mapping[str, Tensor], document: Mapping[str, Any]) -> Path:
    """Writes tensors and a JSON document to one safetensors file, with the document in the header.

    The file is replaced in one step, so either the old or the new state exists at any time.

    Raises:
        OSError: The file cannot be written; a previous file is unchanged.

    Example:
        >>> import tempfile, torch
        >>> with tempfile.TemporaryDirectory() as root:
        ...     read_state(write_state(root + "/a.safetensors", {"w": torch.zeros(2)}, {"x": 1}))
        ({'w': tensor([0., 0.])}, {'x': 1})
    """
    path = Path(path)
    with replace_file(path) as fresh:
        _save(fresh, tensors, {DOCUMENT: to_json(document)})
    return path


@contextmanager
def create_state(
    path: str | Path, kinds: Mapping[str, tuple[torch.dtype, Sequence[int]]], document: Mapping[str, Any]
) -> Iterator[dict[str, Tensor]]:
    """Writes a file like `write_state`, but its tensors are filled in place and may be larger than memory.

    The file gets its name at the end, and is removed after an error.

    Arguments:
        path: Path of the file.
        kinds: Type and shape of each tensor, by name.
        document: JSON document.

    Yields:
        Tensors of zeros to write into, by name.

    Raises:
        OSError: There is insufficient space; a previous file is unchanged.

    Example:
        >>> import tempfile, torch
        >>> with tempfile.TemporaryDirectory() as root:
        ...     with create_state(root + "/a.safetensors", {"w": (torch.uint8, (3,))}, {"x": 1}) as tensors:
        ...         tensors["w"][1:] = 2
        ...     read_state(root + "/a.safetensors")
        ({'w': tensor([0, 2, 2], dtype=torch.uint8)}, {'x': 1})
    """
    path = Path(path)
    header, places = _build_header(kinds, {DOCUMENT: to_json(document)})
    size = len(header) + max((stop for _, stop in places.values()), default=0)
    with replace_file(path) as fresh:
        with fresh.open("wb") as file:
            file.write(header)
            try:
                _reserve(file.fileno(), size)
            except OSError as error:
                raise OSError(error.errno, f"{error.strerror}, {size:,} bytes are needed", str(path)) from error
        every = torch.from_file(str(fresh), shared=True, size=size, dtype=torch.uint8)[len(header) :]
        yield {name: every[slice(*places[name])].view(dtype).view(*shape) for name, (dtype, shape) in kinds.items()}


def check_writable(folder: Path) -> None:
    """Creates a folder if it is missing, and checks that it is writable.

    Raises:
        OSError: The folder cannot be created, or is not writable.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with temporary_folder(folder / "probe") as probe:
        (probe / "probe").touch()


def to_json(document: Mapping[str, Any]) -> str:
    """Formats a JSON document as text; NumPy and PyTorch scalars become plain numbers.

    Raises:
        ValueError: A number is not finite, which JSON does not support.
        TypeError: A value has a type that JSON does not support.
    """
    return json.dumps(document, indent=2, default=_plain, allow_nan=False) + "\n"


def _save(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    try:
        save_file({key: _own(value) for key, value in tensors.items()}, path, metadata)
    except SafetensorError as error:
        raise OSError(f"{path.name} could not be written: {error}") from error


def _build_header(
    kinds: Mapping[str, tuple[torch.dtype, Sequence[int]]], metadata: dict[str, str]
) -> tuple[bytes, dict[str, tuple[int, int]]]:
    """Returns the header bytes of a safetensors file, and the start and end of each tensor after the header."""
    names = {dtype: name for name, dtype in DTYPES.items()}
    places, entries, stop = {}, {}, 0
    for name in sorted(kinds, key=lambda name: -kinds[name][0].itemsize):  # by item size, so each tensor is aligned
        dtype, shape = kinds[name]
        start, stop = stop, stop + dtype.itemsize * prod(shape)
        places[name] = (start, stop)
        entries[name] = {"dtype": names[dtype], "shape": list(shape), "data_offsets": [start, stop]}
    text = json.dumps({"__metadata__": metadata, **entries}).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, places


def _reserve(file: int, size: int) -> None:
    """Extends a file to its full size, so a full disk raises an error here instead of when a page is written."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
    else:
        os.ftruncate(file, size)


def _own(value: Tensor) -> Tensor:
    return value.detach().to("cpu", copy=True).contiguous()


def _plain(value: Any) -> Any:
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{value!r} cannot be written as JSON")

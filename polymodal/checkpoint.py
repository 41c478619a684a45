"""Folders of tensors and JSON, written atomically and never with pickle."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from safetensors.torch import save_file
from torch import Tensor

from polymodal.files import check_tensors, read_header, read_json, read_tensors

__all__ = [
    "check_tensors",
    "read_header",
    "read_json",
    "read_tensors",
    "refuse_foreign",
    "to_json",
    "write",
    "write_text",
]


def write(folder: str | Path, files: Mapping[str, Mapping[str, Any]]) -> Path:
    """Writes files into a folder of their own: all of them or none.

    The files are written into a new folder beside it, which then takes its name. The folder may be missing,
    be empty, or hold nothing but files of these names.

    Arguments:
        folder: Where to.
        files: Contents by file name: tensors by name for `*.safetensors`, else a JSON document.

    Returns:
        The folder.

    Raises:
        ValueError: The folder holds something else.

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
        raise ValueError(f"{folder} must be a folder of its own, for it is replaced; the process stands in it")
    fresh = _beside(folder)
    fresh.mkdir(parents=True)
    try:
        for name, content in files.items():
            if name.endswith(".safetensors"):
                save_file({key: _own(value) for key, value in content.items()}, fresh / name)
            else:
                (fresh / name).write_text(to_json(content), encoding="utf-8", newline="\n")
            _flush(fresh / name)
        _take_place(fresh, folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder


def refuse_foreign(folder: Path, names: list[str]) -> None:
    """Refuses a folder that holds anything but files of these names.

    Raises:
        ValueError: It does, or it is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} must be a folder, but it is a file; choose another name")
    foreign = sorted({path.name for path in folder.iterdir()} - set(names)) if folder.exists() else []
    if foreign:
        raise ValueError(
            f"{folder} must be empty or hold only {', '.join(names)}; it holds {', '.join(foreign[:3])}; "
            "choose another folder"
        )


def write_text(path: str | Path, text: str) -> Path:
    """Writes a text file under a temporary name, then renames it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = _beside(path)
    try:
        fresh.write_text(text, encoding="utf-8", newline="\n")
        _flush(fresh)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    return path


def to_json(document: Mapping[str, Any]) -> str:
    """A JSON document as a file's text; numpy's and torch's numbers become plain ones.

    Raises:
        ValueError: A number is not finite: JSON has none such.
        TypeError: Something is of no type that JSON has.
    """
    return json.dumps(document, indent=2, default=_plain, allow_nan=False) + "\n"


def _own(value: Tensor) -> Tensor:
    return value.detach().to("cpu", copy=True).contiguous()


def _plain(value: Any) -> Any:
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{value!r} cannot be written as JSON")


def _beside(path: Path) -> Path:
    """A hidden name that nothing has, in the same folder."""
    return path.with_name(f".{path.name}-{uuid4().hex[:8]}")


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _take_place(fresh: Path, folder: Path) -> None:
    if not folder.exists():
        fresh.rename(folder)
        return
    old = _beside(folder)
    folder.rename(old)
    try:
        fresh.rename(folder)
    except BaseException:
        old.rename(folder)
        raise
    shutil.rmtree(old)

"""Reads arrays from NumPy's .npz archives and checks their types and shapes."""

from __future__ import annotations

import tokenize
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from polymodal.io.json_files import UNREADABLE
from polymodal.runtime.formatting import brief

__all__ = ["Kind", "read_arrays"]

Kind = tuple[str, tuple[int | None, ...]]
"""Expected NumPy dtype name and shape of an array; None in the shape allows any size."""

DAMAGED = (
    *UNREADABLE,
    tokenize.TokenError,  # raised for array headers, which NumPy parses as Python literals
    zipfile.BadZipFile,
)
"""Exceptions of NumPy and the standard library for archives that are truncated, corrupt, or of another format."""


def read_arrays(path: Path, kinds: Mapping[str, Kind], get: str) -> dict[str, np.ndarray]:
    """Reads arrays from an .npz file without executing anything in it. Other arrays in the file are ignored.

    Arguments:
        path: Path of the file.
        kinds: Expected dtype and shape of each array to read, by name.
        get: Instructions to get the file: one sentence for the error messages.

    Returns:
        Arrays by name.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is damaged or has another format, or one of the arrays is missing or differs in dtype or
            shape.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     np.savez(root + "/a.npz", label=np.array([1, 2], np.uint8))
        ...     read_arrays(Path(root, "a.npz"), {"label": ("uint8", (None,))}, "make it")["label"].tolist()
        [1, 2]
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} must exist, and does not; {get}")
    try:
        opened = np.load(path, allow_pickle=False)
        if isinstance(opened, np.ndarray):
            raise ValueError("it is a single array")
        with opened as archive:
            arrays = {name: archive[name] for name in kinds if name in archive.files}
    except DAMAGED as error:
        raise ValueError(
            f"{path} must be a complete .npz file with {', '.join(kinds)}: {brief(error)}; {get}"
        ) from error
    for name, kind in kinds.items():
        _check(path, name, arrays.get(name), kind, get)
    return arrays


def _check(path: Path, name: str, array: np.ndarray | None, kind: Kind, get: str) -> None:
    dtype, shape = kind
    if (
        not isinstance(array, np.ndarray)
        or array.dtype != dtype
        or array.ndim != len(shape)
        or any(want not in (None, size) for want, size in zip(shape, array.shape, strict=True))
    ):
        sizes = ", ".join("any" if size is None else str(size) for size in shape)
        came = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else "no such array"
        raise ValueError(f"{path} must hold {name}, {dtype} of shape ({sizes}); got {came}; {get}")

"""Arrays from NumPy's archives: what is there is what is expected, or there is one error that says so."""

from __future__ import annotations

import tokenize
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from polymodal.io.untrusted import UNREADABLE
from polymodal.runtime.formatting import brief

__all__ = ["Kind", "read_arrays"]

Kind = tuple[str, tuple[int | None, ...]]
"""What an array must be: a type as NumPy names it, and a shape, in which None is any number."""

DAMAGED = (
    *UNREADABLE,
    tokenize.TokenError,  # of a header, which NumPy reads as Python's literals
    zipfile.BadZipFile,
)
"""What NumPy and the standard library raise of archives that are cut short, scrambled, or something else."""


def read_arrays(path: Path, kinds: Mapping[str, Kind], get: str) -> dict[str, np.ndarray]:
    """The arrays of an .npz file. What else it holds is left out, and nothing in it is executed.

    Arguments:
        path: The file.
        kinds: What is to be read, by name.
        get: Where the file is to be had: one sentence, for the errors.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, something else, or lacks one of the arrays.

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
        raise ValueError(f"{path} must be a whole .npz file with {', '.join(kinds)}: {brief(error)}; {get}") from error
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

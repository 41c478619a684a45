"""Tables in memory-mapped files, which load instantly and may be larger than memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from polymodal.io import checkpoint
from polymodal.schema import Schema
from polymodal.table.table import Table

__all__ = ["Filling", "fill", "load", "save"]

FORMAT = 1


class Filling(NamedTuple):
    """Tensors of a table that is being written, which are mapped to its file and initially zero."""

    values: dict[str, Tensor]
    """Values by modality, `(N, *shape)` each."""
    observed: Tensor
    """Observed mask, `(N, M)` bool for M modalities."""
    alternatives: dict[str, Tensor]
    """Alternative values by modality, `(N, A, *shape)` each."""


@contextmanager
def fill(
    path: str | Path,
    schema: Schema,
    rows: int,
    *,
    alternatives: Mapping[str, int] | None = None,
    digest: str,
    source: Mapping[str, Any] | None = None,
    labels: Tensor | None = None,
    dtypes: Mapping[str, torch.dtype] | None = None,
) -> Iterator[Filling]:
    """Creates the file of a table, to be filled row by row.

    The file gets its name when the context ends, and is removed if there was an error.

    Arguments:
        path: Path of the file.
        schema: Modalities. Those in `alternatives` have no values in `Filling.values`.
        rows: Number of rows N.
        alternatives: Number A of alternative values per row, by modality name.
        digest: Fingerprint of everything that determines the rows.
        source: Origin of the rows.
        labels: Labels of the table, `(N,)` int64.
        dtypes: Types of values that are not stored in the type of their modality, by name, such as floating-point
            images.

    Yields:
        Tensors of zeros to write into.

    Raises:
        OSError: The file cannot be written, for example because the disk is full.

    Example:
        >>> import tempfile
        >>> from polymodal.modalities import Vector
        >>> with tempfile.TemporaryDirectory() as root:
        ...     with fill(root + "/a.safetensors", Schema({"x": Vector(2)}), 3, digest="a") as table:
        ...         table.values["x"][:] = 1.0
        ...         table.observed[:] = True
        ...     len(load(root + "/a.safetensors"))
        3
    """
    many = dict(alternatives or {})
    types = {name: modality.dtype for name, modality in schema.items()} | dict(dtypes or {})
    kinds = {f"value/{name}": (types[name], (rows, *m.shape)) for name, m in schema.items() if name not in many}
    kinds |= {f"alternative/{name}": (schema[name].dtype, (rows, a, *schema[name].shape)) for name, a in many.items()}
    kinds["observed"] = (torch.bool, (rows, len(schema)))
    kinds |= {} if labels is None else {"labels": (torch.int64, (rows,))}
    with checkpoint.create_state(path, kinds, _document(schema, digest, source or {})) as tensors:
        if labels is not None:
            tensors["labels"][:] = labels
        yield Filling(_part(tensors, "value/"), tensors["observed"], _part(tensors, "alternative/"))


def save(table: Table, path: str | Path) -> Path:
    """Writes a table to a file.

    Returns:
        The path of the file.

    Raises:
        OSError: The file cannot be written, for example because the disk is full.
    """
    firsts = {name: choices[:, 0] for name, choices in table.alternatives.items()}
    values = {
        f"value/{name}": value
        for name, value in table.values.items()
        if name not in firsts or not torch.equal(value, firsts[name])
    }
    many = {f"alternative/{name}": value for name, value in table.alternatives.items()}
    rows = {"observed": table.observed} | ({} if table.labels is None else {"labels": table.labels})
    document = _document(table.schema, table.fingerprint(), table.source)
    return checkpoint.write_state(path, {**values, **many, **rows}, document)


def load(path: str | Path) -> Table:
    """Loads a table whose rows stay in the file until they are accessed.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is damaged, or has other content.
    """
    tensors, document = checkpoint.map_state(path)
    try:
        if document.get("format") != FORMAT:
            raise ValueError(f"its format must be {FORMAT}; got {document.get('format')!r}")
        return Table(
            _part(tensors, "value/"),
            tensors.get("observed"),  # pyright: ignore[reportArgumentType]
            Schema.from_json(document["schema"]),
            _part(tensors, "alternative/"),
            dict(document["source"]),
            str(document["digest"]),
            tensors.get("labels"),
        )
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise ValueError(
            f"{path} must contain a table written by polymodal: {error}; remove it, and it is rebuilt"
        ) from error


def _document(schema: Schema, digest: str, source: Mapping[str, Any]) -> dict[str, Any]:
    return {"format": FORMAT, "schema": schema.to_json(), "digest": digest, "source": dict(source)}


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}

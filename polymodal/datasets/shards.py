"""Tables in files that are mapped into memory, so that they may be larger than it, and are there at once."""

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
    """The tensors of a table in the making, in its file, all zeros at first."""

    values: dict[str, Tensor]
    """By name, `(N, *shape)` each."""
    observed: Tensor
    """`(N, M)` bool."""
    alternatives: dict[str, Tensor]
    """By name, `(N, A, *shape)` each."""


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
    """A table's file to be filled row by row; it takes its name at the end, and is gone where there was an error.

    Arguments:
        path: The file.
        schema: The modalities. Those of `alternatives` have no value beside them.
        rows: Their number N.
        alternatives: How many values A a row has of a modality, by name.
        digest: Of all that determines the rows.
        source: Where the rows come from.
        labels: The table's, `(N,)` int64.
        dtypes: Of values that are not kept in their modality's type, by name, such as pictures that are no bytes.

    Raises:
        OSError: There is no room for it.

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
    with checkpoint.filling(path, kinds, _document(schema, digest, source or {})) as tensors:
        if labels is not None:
            tensors["labels"][:] = labels
        yield Filling(_part(tensors, "value/"), tensors["observed"], _part(tensors, "alternative/"))


def save(table: Table, path: str | Path) -> Path:
    """Writes a table's file.

    Raises:
        OSError: There is no room for it.
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
    """A table whose rows stay in the file until they are looked at.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, or something else.
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
        raise ValueError(f"{path} must hold a table of polymodal's: {error}; remove it, and it is made anew") from error


def _document(schema: Schema, digest: str, source: Mapping[str, Any]) -> dict[str, Any]:
    return {"format": FORMAT, "schema": schema.to_json(), "digest": digest, "source": dict(source)}


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}

"""Checks of the tensors of a table, and their hash, in chunks of bounded size."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from polymodal.schema import Schema

__all__ = ["check_observed_values", "check_shapes", "hash_rows"]

CHUNK_BYTES = 64 * 2**20
"""Size in bytes of the chunks in which a table is checked and hashed."""


def check_shapes(values: Mapping[str, Tensor], observed: Tensor, schema: Schema, labels: Tensor | None) -> None:
    """Checks the shapes and dtypes of a table's tensors.

    Arguments:
        values: Values by name, `(N, *shape)` each.
        observed: Mask of observed modalities, `(N, M)` bool.
        schema: The modalities.
        labels: Class of each row, `(N,)` int64, or None.

    Raises:
        TypeError: A value is not a tensor.
        ValueError: A name is unknown, or a tensor has another shape or dtype; or a row has no observed modality.
    """
    rows = len(observed)
    for name, value in values.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"{name!r} must be a tensor; got {type(value).__name__}; use torch.as_tensor")
        schema.index(name)  # raises an error for a name that the schema does not have
        shape = (rows, *schema[name].shape)
        if tuple(value.shape) != shape:
            raise ValueError(f"{name!r} must be {shape}, rows of its modality's shape; got {tuple(value.shape)}")
    if observed.shape != (rows, len(schema)) or observed.dtype != torch.bool:
        raise ValueError(
            f"observed must be bool (N, M) with one column for each of {', '.join(schema)}; "
            f"got {observed.dtype} {tuple(observed.shape)}"
        )
    if labels is not None and (labels.shape != (rows,) or labels.dtype != torch.int64):
        raise ValueError(f"labels must be int64 ({rows},), one per row; got {labels.dtype} {tuple(labels.shape)}")
    if len(empty := (~observed.any(1)).nonzero()):
        raise ValueError(
            f"every row must have at least one observed modality; row {int(empty[0])} has none "
            f"({len(empty)} such rows); remove them"
        )


def check_observed_values(
    values: Mapping[str, Tensor],
    alternatives: Mapping[str, Tensor],
    observed: Tensor,
    schema: Schema,
    *,
    is_trusted: bool,
) -> None:
    """Checks that a table has valid values wherever its mask marks them as observed.

    Arguments:
        values: Values by name, `(N, *shape)` each.
        alternatives: Alternative values by name, `(N, A, *shape)` each.
        observed: Mask of observed modalities, `(N, M)` bool.
        schema: The modalities.
        is_trusted: Whether the values were checked when they were written. Then only classes and tokens are checked,
            because other values may not fit into memory.

    Raises:
        ValueError: A value is missing, out of range or not finite, or alternatives have the wrong shape.
    """
    for column, name in enumerate(schema):
        mask = observed[:, column]
        if name in values:
            _check_modality(name, alternatives.get(name, values[name][:, None]), mask, schema, is_trusted)
        elif mask.any():
            raise ValueError(f"{name!r} is marked as observed, but values does not contain it")


def _check_modality(name: str, choices: Tensor, observed: Tensor, schema: Schema, is_trusted: bool) -> None:
    """Checks the values of a modality, `(N, A, *shape)`, and their shape; its observed mask is `(N,)` bool."""
    modality = schema[name]
    if len(choices) != len(observed) or tuple(choices.shape[2:]) != modality.shape:
        raise ValueError(
            f"alternatives of {name!r} must be (N, A, *shape), {len(observed)} rows of values of shape "
            f"{modality.shape}; got {tuple(choices.shape)}"
        )
    if is_trusted and modality.levels is None:
        return
    try:
        for chunk in _split_observed(choices, observed):
            modality.check(chunk.flatten(0, 1))
    except ValueError as error:
        raise ValueError(f"{name!r}: {error}") from error


def hash_rows(
    values: Mapping[str, Tensor], alternatives: Mapping[str, Tensor], observed: Tensor, schema: Schema
) -> str:
    """Returns a hash of the schema, the observed mask, and the observed values only."""
    digest = hashlib.blake2b(repr(schema).encode(), digest_size=16)
    for name, mask in zip(schema, observed.unbind(1), strict=True):
        for part in (values.get(name), alternatives.get(name)):
            for chunk in () if part is None else _split_observed(part, mask):
                digest.update(chunk.cpu().numpy().tobytes())
    digest.update(observed.cpu().numpy().tobytes())
    return digest.hexdigest()


def _split_observed(value: Tensor, observed: Tensor) -> Iterator[Tensor]:
    """Yields the observed rows of `value`, `(N, *)`, in chunks of about CHUNK_BYTES; `observed` is `(N,)` bool."""
    step = max(1, CHUNK_BYTES * len(value) // max(1, value.numel() * value.element_size()))
    for start in range(0, len(value), step):
        chunk, mask = value[start : start + step], observed[start : start + step]
        yield chunk if mask.all() else chunk[mask]

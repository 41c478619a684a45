"""Deduplication of encoder inputs, so that equal inputs are computed once."""

from __future__ import annotations

import torch
from torch import Tensor

from polymodal.batch import Batch
from polymodal.schema import Schema

__all__ = ["number_inputs"]


def number_inputs(schema: Schema, batch: Batch, seen: Tensor) -> Tensor:
    """Numbers the distinct inputs of the encoder, over all rows and conditionings.

    Only class labels are compared by value. Where a row's input has any other modality, it equals another input only
    if both are of the same row and have the same mask.

    Arguments:
        schema: Schema of the modalities.
        batch: Batch of B rows.
        seen: Masks of each row under S conditionings, `(S, B, M)` bool.

    Returns:
        Number of the input of each row under each conditioning, `(S, B)` int64 from 0; equal for equal inputs.

    Example:
        >>> from polymodal.modalities import Label, Vector
        >>> schema = Schema({"kind": Label(3), "size": Vector(2)})
        >>> batch = schema.batch({"kind": torch.tensor([2, 0, 2]), "size": torch.rand(3, 2)})
        >>> number_inputs(schema, batch, torch.eye(2).bool()[:, None].expand(-1, 3, -1))  # from the kind, from the size
        tensor([[4, 3, 4],
                [0, 1, 2]])
    """
    key, size = seen.new_zeros(seen.shape[:2], dtype=torch.int64), 1
    other = torch.zeros_like(key, dtype=torch.bool)
    for column, (name, modality) in enumerate(schema.items()):
        here, levels = seen[..., column], 1
        if modality.levels is not None and not modality.shape and name in batch.values:
            part, levels = torch.where(here, batch.values[name] + 1, 0), modality.levels
        else:
            part, other = here.long(), other | here
        key, size = _combine_keys(key, size, part, levels + 1)
    rows = torch.arange(1, len(batch) + 1, device=seen.device)
    key, _ = _combine_keys(key, size, torch.where(other, rows, 0), len(batch) + 1)
    return key.unique(return_inverse=True)[1]


def _combine_keys(key: Tensor, size: int, part: Tensor, levels: int) -> tuple[Tensor, int]:
    """Combines keys below `size` and parts below `levels` into int64 keys; returns these and their bound."""
    if size * levels >= 2**63:
        key, size = key.unique(return_inverse=True)[1], key.numel()
    return key * levels + part, size * levels

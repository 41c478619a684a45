"""Which rows see the same, so that what is made of it is made once."""

from __future__ import annotations

import torch
from torch import Tensor

from polymodal.batch import Batch
from polymodal.schema import Schema

__all__ = ["contents"]


def contents(schema: Schema, batch: Batch, seen: Tensor) -> Tensor:
    """A number for what each row sees under each conditioning, `(S, B)` int64 from 0: the same for the same content.

    Classes are compared; rows that see anything else are taken to differ, unless they are the same row.

    Arguments:
        schema: The modalities.
        batch: B rows.
        seen: Which of them each row sees under S conditionings, `(S, B, M)` bool.

    Example:
        >>> from polymodal.modalities import Label, Vector
        >>> schema = Schema({"kind": Label(3), "size": Vector(2)})
        >>> batch = schema.batch({"kind": torch.tensor([2, 0, 2]), "size": torch.rand(3, 2)})
        >>> contents(schema, batch, torch.eye(2).bool()[:, None].expand(-1, 3, -1))  # from the kind, from the size
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
        key, size = _joined(key, size, part, levels + 1)
    rows = torch.arange(1, len(batch) + 1, device=seen.device)
    key, _ = _joined(key, size, torch.where(other, rows, 0), len(batch) + 1)
    return key.unique(return_inverse=True)[1]


def _joined(key: Tensor, size: int, part: Tensor, levels: int) -> tuple[Tensor, int]:
    """A number below `size` and one below `levels` as one, and what it is below: int64 must hold it."""
    if size * levels >= 2**63:
        key, size = key.unique(return_inverse=True)[1], key.numel()
    return key * levels + part, size * levels

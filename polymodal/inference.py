"""Asking a model about rows, some of which may not have what is asked from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from polymodal.models.base import Model, answering

if TYPE_CHECKING:
    from polymodal.batch import Batch

__all__ = ["codes"]


def codes(model: Model, batch: Batch, given: Tensor) -> tuple[Tensor, Tensor]:
    """Codes of rows under several conditionings, in one pass; a row may lack all that one of them gives.

    Arguments:
        model: To encode with.
        batch: B rows.
        given: `(S, M)` bool, one conditioning each.

    Returns:
        The posterior's means `(S, B, code_dim)`, and `(S, B)` bool: whether a row has anything of what is given.
        Where it has not, its code is that of all it has, and stands for nothing.

    Example:
        >>> from polymodal.datasets import load
        >>> from polymodal.models import build
        >>> data = load("polydigits", rows=20, held_out_rows=10)
        >>> z, enough = codes(build("mac-wae", data.schema, latent_dim=8), data.test[:4], torch.eye(6).bool())
        >>> z.shape, bool(enough.all())
        (torch.Size([6, 4, 8]), True)
    """
    batch = batch.to(model.weight.device)
    seen = given.to(batch.observed.device)[:, None] & batch.observed  # (S, B, M)
    enough = seen.any(-1)
    with answering(model):
        return model.encode(batch, torch.where(enough[..., None], seen, batch.observed)).mean, enough

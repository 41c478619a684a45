"""Asking a model about rows, some of which may not have what is asked from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from polymodal.models.base import Model, answering

if TYPE_CHECKING:
    from collections.abc import Iterator

    from polymodal.batch import Batch
    from polymodal.table import Table

__all__ = ["codes", "embed"]


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


def embed(
    model: Model, table: Table, given: list[str] | None = None, batch_size: int = 256
) -> Iterator[tuple[Tensor, Tensor]]:
    """Codes of a table's rows, batch by batch, so that they need not fit in memory.

    Arguments:
        model: To encode with.
        table: N rows of the model's modalities.
        given: Names of what to start from; by default all that a row has.
        batch_size: Rows per pass.

    Yields:
        For R of the rows: their numbers `(R,)`, ascending, on the CPU, and the posterior's means
        `(R, code_dim)`. A row that has nothing of what is given is left out.

    Raises:
        ValueError: A name is unknown, or the table has other modalities than the model.

    Example:
        >>> from polymodal.datasets import load
        >>> from polymodal.models import build
        >>> data = load("polydigits", rows=20, held_out_rows=10)
        >>> model = build("mac-wae", data.schema, latent_dim=8)
        >>> [(rows.tolist(), z.shape) for rows, z in embed(model, data.test, ["m0"], batch_size=6)]
        [([0, 1, 2, 3, 4, 5], torch.Size([6, 8])), ([6, 7, 8, 9], torch.Size([4, 8]))]
    """
    model.schema.require(table.schema, "the table")
    given_mask = model.schema.mask(list(model.schema) if given is None else given)
    start = 0
    for batch in table.batches(batch_size):
        z, enough = codes(model, batch, given_mask[None])
        rows = enough[0].nonzero().squeeze(-1)
        yield start + rows.cpu(), z[0, rows]
        start += len(batch)

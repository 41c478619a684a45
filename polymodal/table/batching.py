"""Batches of a table, in an order that depends only on a seed and the epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from polymodal.batch import Batch, Whole
from polymodal.runtime import distributed
from polymodal.runtime.prefetch import copy_to_device, prefetch_batches
from polymodal.runtime.seeding import derive_seed

if TYPE_CHECKING:
    from polymodal.table.table import Table

__all__ = ["iterate_batches"]


def iterate_batches(
    table: Table,
    host: Tensor | None,
    batch_size: int,
    seed: int | None,
    epoch: int,
    start: int,
    stride: int,
    share: tuple[int, int] | None,
    device: torch.device | str | None,
) -> Iterator[Batch]:
    """Yields the rows of a table in batches; `Table.batches` describes the arguments.

    Arguments:
        table: Table of N rows.
        host: Copy of the table's observed mask on the CPU, if the table is on another device.
        batch_size: Number of rows per batch.
        seed: Random seed.
        epoch: Number of the epoch.
        start: Number of batches to skip.
        stride: Step between batches.
        share: Rank of a process and number of processes.
        device: Device of the batches.
    """
    parts, choices = _order_rows(len(table), batch_size, table.alternatives, seed, epoch)

    def make(rows: Tensor) -> Batch:
        rows = rows.long()
        if share is None:
            return _gather_batch(table, host, rows, choices)
        return _gather_part(table, host, rows, choices, *share)

    yield from prefetch_batches(make, parts[start::stride], device)


def _order_rows(
    count: int, batch_size: int, alternatives: Mapping[str, Tensor], seed: int | None, epoch: int
) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Returns the row indices of each batch, and the sampled alternative of each row, `(count,)`, by modality."""
    dtype = torch.int32 if count < 2**31 else torch.int64  # the order of 10^9 rows takes 4 GB
    order = torch.arange(count, dtype=dtype)
    choices: dict[str, Tensor] = {}
    if seed is not None:
        generator = torch.Generator().manual_seed(derive_seed(seed, epoch))
        order = torch.randperm(count, generator=generator, dtype=dtype)
        for name, options in alternatives.items():
            choices[name] = torch.randint(options.shape[1], (count,), generator=generator)
    parts = list(order.split(batch_size))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts, choices


def _gather_batch(table: Table, host: Tensor | None, rows: Tensor, choices: Mapping[str, Tensor]) -> Batch:
    """Returns rows as a batch, with the sampled alternatives."""
    device = table.observed.device
    index = copy_to_device(rows, device)
    batch = table[index]
    values = dict(batch.values)
    for name, choice in choices.items():
        values[name] = table.alternatives[name][index, copy_to_device(choice[rows], device)]
    return Batch(values, batch.observed, None if host is None else host[rows], schema=table.schema)


def _gather_part(
    table: Table, host: Tensor | None, rows: Tensor, choices: Mapping[str, Tensor], rank: int, world: int
) -> Batch:
    """Returns the part of these rows that a process works on."""
    own = distributed.split_batch(len(rows), rank, world)
    batch = _gather_batch(table, host, rows[own], choices)
    counted = len(batch) if len(batch) < len(rows) else len(rows) / world
    known = (table.observed if host is None else host)[rows]
    return replace(batch, whole=Whole(known, own.start, counted))

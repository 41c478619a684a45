"""Prediction and encoding of the rows of a table, batch by batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from polymodal.inference.passes import decode_values, encode, encode_distinct
from polymodal.models.base import Model, answering
from polymodal.runtime.prefetch import prefetch_batches

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from polymodal.batch import Batch
    from polymodal.table.table import Table

__all__ = ["embed", "translate", "translate_samples"]


def embed(
    model: Model,
    table: Table,
    given: list[str] | Tensor | None = None,
    batch_size: int = 256,
    *,
    rows: Sequence[int] | Tensor | None = None,
    device: torch.device | str = "cpu",
) -> Iterator[tuple[Tensor, Tensor]]:
    """Encodes a table's rows batch by batch, so that they need not fit in memory.

    Arguments:
        model: Model that encodes the rows.
        table: Table of N rows with the model's modalities.
        given: Names of the given modalities, by default all that a row has; or S conditioning masks, `(S, M)` bool.
        batch_size: Number of rows per pass.
        rows: Indices of the rows to encode, in this order; by default all rows.
        device: Device of the returned codes.

    Yields:
        For each batch, the indices `(R,)` of R rows, on the CPU, and their posterior means, `(R, code_dim)` or, for S
        masks, `(S, R, code_dim)`. A row without any given modality is left out. With several masks, its codes are NaN
        under those masks that leave it without any.

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
    masks = _conditionings(model, table, given)
    for numbers, batch in _batches(model, table, rows, batch_size):
        z, enough = encode(model, batch, masks)
        some = enough.any(0)
        z = z.masked_fill(~enough[..., None], torch.nan)[:, some].to(device)
        yield numbers[some.cpu()], z if isinstance(given, Tensor) else z[0]


def translate(
    model: Model,
    table: Table,
    given: list[str] | Tensor | None = None,
    to: list[str] | None = None,
    batch_size: int = 256,
    *,
    rows: Sequence[int] | Tensor | None = None,
    device: torch.device | str = "cpu",
) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    """Predicts modalities of a table's rows batch by batch, so that neither rows nor predictions need fit in memory.

    The predictions are those of `Model.translate`. A row's modalities are encoded once for all conditionings, equal
    inputs are decoded once, and only the decoders of the requested modalities run.

    Arguments:
        model: Model that predicts.
        table: Table of N rows with the model's modalities.
        given: Given modalities, as in `embed`.
        to: Names of the modalities to predict; by default all.
        batch_size: Number of rows per pass.
        rows: Indices of the rows, as in `embed`.
        device: Device of the returned values.

    Yields:
        For each batch, the indices `(R,)` of R rows, on the CPU, and predictions by name, `(R, *shape)` or, for S
        masks, `(S, R, *shape)`: images in [0, 1], classes and tokens as indices. A row without any given modality is
        left out. With several masks, its values are NaN, and its classes and tokens -1, under those masks that leave
        it without any.

    Raises:
        ValueError: A name is unknown, or the table has other modalities than the model.

    Example:
        >>> from polymodal.datasets import load
        >>> from polymodal.models import build
        >>> data = load("polydigits", rows=20, held_out_rows=10)
        >>> model = build("mac-wae", data.schema, latent_dim=8)
        >>> singles = torch.eye(6).bool()
        >>> for rows, values in translate(model, data.test, singles, ["m1", "label"], batch_size=8):
        ...     len(rows), values["m1"].shape, values["label"].shape
        (8, torch.Size([6, 8, 3, 16, 16]), torch.Size([6, 8]))
        (2, torch.Size([6, 2, 3, 16, 16]), torch.Size([6, 2]))
    """
    masks = _conditionings(model, table, given)
    names = [
        name for name, asked in zip(model.schema, model.schema.mask(to or list(model.schema)), strict=True) if asked
    ]
    for numbers, batch in _batches(model, table, rows, batch_size):
        with answering(model):
            z, which = encode_distinct(model, batch, masks)
            some = (which >= 0).any(0)
            values = {name: decode_values(model, name, z, which[:, some], device) for name in names}
        yield numbers[some.cpu()], values if isinstance(given, Tensor) else {k: value[0] for k, value in values.items()}


def translate_samples(
    model: Model,
    table: Table,
    given: list[str] | None = None,
    to: list[str] | None = None,
    batch_size: int = 256,
    *,
    samples: int,
    combine: Literal["mean"] | None = None,
    seed: int = 0,
    steps: int | None = None,
    guidance: float | None = None,
    temperature: float | None = None,
    rows: Sequence[int] | Tensor | None = None,
    first: int = 0,
) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    """Samples modalities of a table's rows batch by batch, so that neither rows nor samples need fit in memory.

    Arguments:
        model: Model with a distribution over codes.
        table: Table of N rows with the model's modalities.
        given: Names of the given modalities; by default all that a row has.
        to: Names of the modalities to predict; by default all.
        batch_size: Number of rows per pass.
        samples: Number of posterior samples per row, S.
        combine: How to combine the samples of a row, as in `Model.translate`.
        seed: Random seed. A row's samples depend only on it and on the row's number.
        steps: Number of solver steps, as in `Model.translate`.
        guidance: Weight of the condition, as in `Model.translate`.
        temperature: Scale of the noise, as in `Model.translate`.
        rows: Indices of the rows to predict, in this order; by default all rows.
        first: Number of the table's first row, for sampling.

    Yields:
        For each batch, the indices `(R,)` of R rows, on the CPU, and samples by name, `(S, R, *shape)`, or
        `(R, *shape)` if they are combined. A row without any given modality is left out.

    Raises:
        ValueError: A name is unknown, the table has other modalities than the model, or an argument is invalid as in
            `Model.translate`.

    Example:
        >>> from polymodal.datasets import load
        >>> from polymodal.models import build
        >>> data = load("polydigits", rows=20, held_out_rows=10)
        >>> model = build("mac-vae", data.schema, latent_dim=8)
        >>> [(rows.tolist(), x["m1"].shape) for rows, x in translate_samples(model, data.test, ["m0"], samples=2)]
        [([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], torch.Size([2, 10, 3, 16, 16]))]
    """
    model.check_samples(samples, combine, seed, steps, guidance, temperature)
    mask = _conditionings(model, table, given)[0].to(model.weight.device)
    options: dict[str, Any] = {"samples": samples, "combine": combine, "seed": seed}
    options |= {"steps": steps, "guidance": guidance, "temperature": temperature}
    for numbers, batch in _batches(model, table, rows, batch_size):
        batch = batch.to(model.weight.device)
        some = (batch.observed & mask).any(-1)
        kept = numbers[some.cpu()]
        if not len(kept):
            continue
        own = (first + kept).tolist()
        yield kept, model.translate(batch[some], mask & batch.observed[some], to, rows=own, **options)


def _conditionings(model: Model, table: Table, given: list[str] | Tensor | None) -> Tensor:
    """Returns the conditioning masks `(S, M)` bool of the argument `given`."""
    model.schema.require(table.schema, "the table")
    if isinstance(given, Tensor):
        if given.dtype != torch.bool or given.dim() != 2 or given.shape[1] != len(model.schema):
            raise ValueError(
                f"given must be names, or bool (S, {len(model.schema)}), a column for each of "
                f"{', '.join(model.schema)}; got {given.dtype} {tuple(given.shape)}"
            )
        return given
    return model.schema.mask(list(model.schema) if given is None else given)[None]


def _batches(
    model: Model, table: Table, rows: Sequence[int] | Tensor | None, batch_size: int
) -> Iterator[tuple[Tensor, Batch]]:
    """Yields the indices of the rows and the rows, on the model's device, batch by batch."""
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1; got {batch_size}")
    numbers = None if rows is None else torch.as_tensor(rows, dtype=torch.int64)
    count = len(table) if numbers is None else len(numbers)
    starts = range(0, count, batch_size)

    def part(start: int) -> Tensor:
        stop = min(start + batch_size, count)
        return torch.arange(start, stop) if numbers is None else numbers[start:stop]

    batches = prefetch_batches(
        lambda part: table[part.to(table.observed.device)], map(part, starts), model.weight.device
    )
    yield from zip(map(part, starts), batches, strict=True)

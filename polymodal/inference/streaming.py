"""Batched prediction and encoding of incomplete rows: equal inputs are encoded once and equal codes decoded once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from polymodal.inference.deduplication import contents
from polymodal.models.base import Model, answering
from polymodal.runtime.prefetch import prefetch_batches

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch.distributions import Distribution

    from polymodal.batch import Batch
    from polymodal.table.table import Table

__all__ = ["codes", "decode_in_chunks", "distinct", "embed", "translate", "translate_samples"]

MOST = 128 * 2**20
"""Most bytes of posterior parameters, or of a decoder's outputs, in memory at once; but at least one row or code."""
CACHED = 4 * 2**20
"""Bytes of a decoder's outputs per pass on a CPU; a decoder is a fifth faster if they fit in the cache."""
FEWEST = 64
"""Fewest codes per pass of a decoder on a CPU, because each pass reads all weights; takes precedence over CACHED."""


def codes(model: Model, batch: Batch, given: Tensor) -> tuple[Tensor, Tensor]:
    """Encodes rows under several conditionings in one pass.

    Arguments:
        model: Model that encodes the rows.
        batch: Batch of B rows, which may be incomplete.
        given: Conditioning masks `(S, M)` bool.

    Returns:
        Posterior means `(S, B, code_dim)`, and a mask `(S, B)` bool: whether the row has any of the given modalities.
        If it has none, its code is computed from all its observed modalities and is not meaningful.

    Example:
        >>> from polymodal.datasets import load
        >>> from polymodal.models import build
        >>> data = load("polydigits", rows=20, held_out_rows=10)
        >>> z, enough = codes(build("mac-wae", data.schema, latent_dim=8), data.test[:4], torch.eye(6).bool())
        >>> z.shape, bool(enough.all())
        (torch.Size([6, 4, 8]), True)
    """
    batch = batch.to(model.weight.device)
    seen, enough = _combine_masks(batch, given)
    return _encode_in_chunks(model, batch, seen), enough


def distinct(model: Model, batch: Batch, given: Tensor) -> tuple[Tensor, Tensor]:
    """Encodes rows like `codes`, and returns each distinct code once, because equal inputs have equal codes.

    Given only a label, there are at most as many codes as classes, for any number of rows.

    Arguments:
        model: Model that encodes the rows.
        batch: Batch of B rows, which may be incomplete.
        given: Conditioning masks `(S, M)` bool.

    Returns:
        Distinct codes `(U, code_dim)`, and the index of the code of each row under each conditioning, `(S, B)` int64;
        -1 where a row has none of the given modalities.

    Example:
        >>> from polymodal.datasets import load
        >>> from polymodal.models import build
        >>> data = load("polydigits", rows=20, held_out_rows=10)
        >>> label = data.schema.mask(["label"])[None]
        >>> z, which = distinct(build("mac-wae", data.schema, latent_dim=8), data.train, label)
        >>> z.shape, which.shape
        (torch.Size([10, 8]), torch.Size([1, 20]))
    """
    batch = batch.to(model.weight.device)
    seen, enough = _combine_masks(batch, given)
    which = contents(model.schema, batch, seen)
    count = int(which.max()) + 1 if which.numel() else 0
    places = torch.arange(which.numel(), device=which.device)
    first = places.new_full((count,), which.numel()).scatter_reduce_(0, which.flatten(), places, "amin")
    needed = torch.zeros_like(enough).flatten().index_fill_(0, first, True).view_as(enough)
    few = needed.sum(1) < len(batch) / 4  # some conditionings give only class labels
    z = torch.empty(*which.shape, model.code_dim, dtype=model.weight.dtype, device=which.device)
    for some in (few, ~few):
        rows = needed[some].any(0).nonzero()[:, 0]
        if len(rows):
            z[some.nonzero(), rows] = _encode_in_chunks(model, batch[rows], seen[some][:, rows])
    return z.flatten(0, 1)[first], torch.where(enough, which, -1)


def decode_in_chunks(model: Model, name: str, z: Tensor, which: Tensor) -> Iterator[tuple[Distribution, Tensor]]:
    """Decodes the requested codes to one modality, in chunks of bounded size.

    Arguments:
        model: Model that decodes the codes.
        name: Name of the modality.
        z: Codes `(U, code_dim)`.
        which: Indices of the requested codes, int64 of any shape; -1 requests none.

    Yields:
        The distributions p(x | z) of a chunk of the codes, and for each element of `which` its index in the chunk, -1
        where its code is not in the chunk.
    """
    asked = torch.zeros(len(z), dtype=torch.bool, device=which.device).index_fill_(0, which[which >= 0], True)
    used, numbers = asked.nonzero()[:, 0], asked.cumsum(0) - 1
    local = torch.where(which >= 0, numbers[which.clamp(min=0)], -1) if len(z) else which
    at_once = _codes_at_once(model, name, MOST)
    for start in range(0, len(used), at_once):
        part = z[used[start : start + at_once]]
        here = (local >= start) & (local < start + len(part))
        yield model.schema[name].distribution(_run_decoder(model, name, part)), torch.where(here, local - start, -1)


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
        z, enough = codes(model, batch, masks)
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
            z, which = distinct(model, batch, masks)
            some = (which >= 0).any(0)
            values = {name: _values(model, name, z, which[:, some], device) for name in names}
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

    made = prefetch_batches(lambda part: table[part.to(table.observed.device)], map(part, starts), model.weight.device)
    yield from zip(map(part, starts), made, strict=True)


def _combine_masks(batch: Batch, given: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the rows' masks under each conditioning, `(S, B, M)` bool, and whether they are not empty, `(S, B)` bool.

    An empty mask is replaced by that of all modalities observed in the row.
    """
    seen = given.to(batch.observed.device)[:, None] & batch.observed
    enough = seen.any(-1)
    return torch.where(enough[..., None], seen, batch.observed), enough


def _encode_in_chunks(model: Model, batch: Batch, seen: Tensor) -> Tensor:
    """Returns the posterior means `(S, B, code_dim)` given masks `(S, B, M)` bool, encoding some rows at a time."""
    # A product of experts has the parameters of every modality in each conditioning.
    size = len(seen) * len(model.schema) * model.latent_dim * model.weight.element_size()
    step = max(1, MOST // size)
    parts = range(0, max(1, len(batch)), step)
    with answering(model):
        means = [model.encode(batch[i : i + step], seen[:, i : i + step]).mean for i in parts]
    return torch.cat(means, dim=1) if len(means) > 1 else means[0]


def _run_decoder(model: Model, name: str, z: Tensor) -> Tensor:
    """Returns a decoder's outputs for codes `(U, code_dim)`; on a CPU in chunks that fit in the cache."""
    if z.device.type != "cpu":
        return model.emit(z, [name])[name]
    step = max(_codes_at_once(model, name, CACHED), FEWEST)
    return torch.cat([model.emit(part, [name])[name] for part in z.split(step)])


def _codes_at_once(model: Model, name: str, most: int) -> int:
    """Returns how many codes, at least 1, a modality's decoder can decode into at most `most` bytes."""
    modality = model.schema[name]
    return max(1, most // (modality.blank.numel() * (modality.levels or 1) * model.weight.element_size()))


def _values(model: Model, name: str, z: Tensor, which: Tensor, device: torch.device | str) -> Tensor:
    """Returns one modality's values `(S, R, *shape)`, decoded from the codes `(U, code_dim)` at indices `(S, R)`."""
    modality, made = model.schema[name], None
    for distribution, here in decode_in_chunks(model, name, z, which):
        value = modality.value(distribution).to(device)
        if made is None:
            made = value.new_full((*which.shape, *value.shape[1:]), torch.nan if value.is_floating_point() else -1)
        here = here.to(device)
        made[here >= 0] = value[here[here >= 0]]
    if made is None:
        made = torch.empty((*which.shape, *modality.shape), device=device)
    return made

"""Encoding and decoding in passes of bounded size: equal inputs are encoded once and equal codes decoded once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from polymodal.inference.deduplication import number_inputs
from polymodal.models.base import Model, answering

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch.distributions import Distribution

    from polymodal.batch import Batch

__all__ = ["decode_each", "decode_in_chunks", "decode_values", "emit_each", "encode", "encode_distinct"]

MOST = 128 * 2**20
"""Most bytes of posterior parameters, or of a decoder's outputs, in memory at once; but at least one row or code."""
CACHED = 4 * 2**20
"""Bytes of a decoder's outputs per pass on a CPU; a decoder is a fifth faster if they fit in the cache."""
FEW, MANY = 2**13, 2**16
"""Number of codes of all decoders together up to which all decoders run at once, although some then decode more codes
than they need; and the number up to which they do so only if at most every second code is not needed."""
FEWEST = 64
"""Fewest codes per pass of a decoder on a CPU, because each pass reads all weights; takes precedence over CACHED."""


def encode(model: Model, batch: Batch, given: Tensor) -> tuple[Tensor, Tensor]:
    """Encodes rows under several conditionings in one pass.

    Arguments:
        model: Model that encodes the rows.
        batch: Batch of B rows, which may be incomplete.
        given: Conditioning masks `(S, M)` bool, or of each row, `(S, B, M)` bool.

    Returns:
        Posterior means `(S, B, code_dim)`, and a mask `(S, B)` bool: whether the row has any of the given modalities.
        If it has none, its code is computed from all its observed modalities and is not meaningful.

    Example:
        >>> from polymodal.datasets import load
        >>> from polymodal.models import build
        >>> data = load("polydigits", rows=20, held_out_rows=10)
        >>> z, enough = encode(build("mac-wae", data.schema, latent_dim=8), data.test[:4], torch.eye(6).bool())
        >>> z.shape, bool(enough.all())
        (torch.Size([6, 4, 8]), True)
    """
    batch = batch.to(model.weight.device)
    seen, enough = _combine_masks(batch, given)
    return _encode_in_chunks(model, batch, seen), enough


def encode_distinct(model: Model, batch: Batch, given: Tensor) -> tuple[Tensor, Tensor]:
    """Encodes rows like `encode`, and returns each distinct code once, because equal inputs have equal codes.

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
        >>> z, which = encode_distinct(build("mac-wae", data.schema, latent_dim=8), data.train, label)
        >>> z.shape, which.shape
        (torch.Size([10, 8]), torch.Size([1, 20]))
    """
    batch = batch.to(model.weight.device)
    seen, enough = _combine_masks(batch, given)
    which = number_inputs(model.schema, batch, seen)
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


def emit_each(model: Model, codes: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the outputs of decoders, each from codes of its own; if they are few, all at once.

    Arguments:
        model: Model that decodes the codes.
        codes: Codes by name of the modality, `(N, code_dim)` each, with N of its own.

    Returns:
        Outputs by name, `(N, ...)` each, see `Model.emit`; none for modalities without codes.

    Example:
        >>> from polymodal.modalities import Label, Vector
        >>> from polymodal.models import build
        >>> from polymodal.schema import Schema
        >>> model = build("mac-wae", Schema({"size": Vector(2), "species": Label(3)}), latent_dim=4)
        >>> outputs = emit_each(model, {"size": torch.zeros(5, 4), "species": torch.zeros(6, 4)})
        >>> outputs["size"].shape, outputs["species"].shape
        (torch.Size([5, 2]), torch.Size([6, 3]))
    """
    codes = {name: z for name, z in codes.items() if len(z)}
    if not _are_decoded_at_once(model, codes):
        return {name: _run_decoder(model, name, z) for name, z in codes.items()}
    return _emit_at_once(model, codes)


def _emit_at_once(model: Model, codes: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the outputs of all decoders like `emit_each`, from codes that are padded to the same number."""
    most = max(map(len, codes.values()))
    padded = {id(z): F.pad(z, (0, 0, 0, most - len(z))) if len(z) < most else z for z in codes.values()}
    outputs = model.emit_each({name: padded[id(z)] for name, z in codes.items()})
    return {name: output[: len(codes[name])] for name, output in outputs.items()}


def decode_each(model: Model, codes: Mapping[str, Tensor]) -> Iterator[tuple[str, slice, Distribution]]:
    """Decodes codes of each modality's own, all at once if they are few, and otherwise in chunks of bounded size.

    Arguments:
        model: Model that decodes the codes.
        codes: Codes by name of the modality, `(N, code_dim)` each, with N of its own.

    Yields:
        The name of a modality, a slice of its codes, and their distributions p(x | z).
    """
    codes = {name: z for name, z in codes.items() if len(z)}
    if _are_decoded_at_once(model, codes):
        for name, output in _emit_at_once(model, codes).items():
            yield name, slice(len(output)), model.make_distribution(name, output)
        return
    for name, z in codes.items():
        at_once = _codes_at_once(model, name, MOST)
        for start in range(0, len(z), at_once):
            part = z[start : start + at_once]
            distribution = model.make_distribution(name, _run_decoder(model, name, part))
            yield name, slice(start, start + len(part)), distribution


def _are_decoded_at_once(model: Model, codes: Mapping[str, Tensor]) -> bool:
    """Returns whether `emit_each` decodes codes of several modalities at once."""
    most, total = max(map(len, codes.values()), default=0), sum(map(len, codes.values()))
    if not (0 < most * len(codes) <= max(FEW, 2 * total) <= MANY and model.decodes_together):
        return False
    return most <= min(_codes_at_once(model, name, MOST // len(codes)) for name in codes)


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
        yield model.make_distribution(name, _run_decoder(model, name, part)), torch.where(here, local - start, -1)


def decode_values(model: Model, name: str, z: Tensor, which: Tensor, device: torch.device | str) -> Tensor:
    """Predicts one modality from codes.

    Arguments:
        model: Model that predicts.
        name: Name of the modality.
        z: Codes `(U, code_dim)`.
        which: Index of the code of each row under each conditioning, `(S, R)` int64; -1 for none.
        device: Device of the predictions.

    Returns:
        Predictions `(S, R, *shape)`; NaN, or -1 for classes and tokens, where there is no code.
    """
    modality, values = model.schema[name], None
    for distribution, index in decode_in_chunks(model, name, z, which):
        chunk = modality.value(distribution).to(device)
        if values is None:
            values = chunk.new_full((*which.shape, *chunk.shape[1:]), torch.nan if chunk.is_floating_point() else -1)
        index = index.to(device)
        values[index >= 0] = chunk[index[index >= 0]]
    if values is None:
        values = torch.empty((*which.shape, *modality.shape), device=device)
    return values


def _combine_masks(batch: Batch, given: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the rows' masks under each conditioning, `(S, B, M)` bool, and whether they are not empty, `(S, B)` bool.

    An empty mask is replaced by that of all modalities observed in the row.
    """
    given = given.to(batch.observed.device)
    seen = (given[:, None] if given.dim() == 2 else given) & batch.observed
    enough = seen.any(-1)
    return torch.where(enough[..., None], seen, batch.observed), enough


def _encode_in_chunks(model: Model, batch: Batch, seen: Tensor) -> Tensor:
    """Returns the posterior means `(S, B, code_dim)` given masks `(S, B, M)` bool, encoding some rows at a time."""
    # A product of experts has the parameters of every modality in each conditioning.
    size = len(seen) * len(model.schema) * model.latent_dim * model.member_count * model.weight.element_size()
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
    numbers = modality.blank.numel() * (modality.levels or 1) * model.member_count
    return max(1, most // (numbers * model.weight.element_size()))

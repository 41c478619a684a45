"""How good posterior samples are: whether the modalities of one sample agree, and whether their spread is right.

For k = 1, 2, ... each row is given k of its observed modalities, chosen at random, and its other modalities are
predicted in S posterior samples x_1 .. x_S; y is the true value. The scores are, given k modalities:

- agreement: how often all predicted modalities of one sample are of the same class, as classifiers judge, in per cent.
- sample-acc, point-acc: how often a predicted modality is of the row's true class, of samples and of the point
  prediction, in per cent.
- tv: the total variation between the classes of the samples and those of the true values in frequency, in [0, 1].
  Agreement alone is high where all samples are alike. The same classifiers judge samples and true values, so their own
  mistakes do not count: values that are the true ones have 0.
- energy: the energy score `mean_s |x_s - y| - mean_{s<t} |x_s - x_t| / 2`, with Euclidean norms over all elements of
  a value. Its expectation is lowest for samples from the true conditional distribution.
- coverage-error: of vectors, the distance between the share of true elements that lie within the range of the S
  samples and its expectation (S - 1) / (S + 1), in percentage points.
- diversity: the mean distance between samples of a row, relative to the mean distance between the true values of
  different rows. It is 0 where all samples are alike, and 1 where they do not depend on what is given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from polymodal.evaluation.coherence.agreement import variation
from polymodal.evaluation.frame import line
from polymodal.evaluation.subsets import sizes
from polymodal.inference.streaming import answered
from polymodal.modalities import Vector
from polymodal.models.base import Model, answering
from polymodal.models.flow_codes import sample_codes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from polymodal.batch import Batch
    from polymodal.evaluation.coherence.classifier import Verifiers
    from polymodal.evaluation.coherence.labels import Classes
    from polymodal.table.table import Table

__all__ = ["score_samples"]

SAMPLES = 9
"""Samples of each row, S."""
ROWS = 256
"""Rows that are scored, at most."""


def score_samples(
    model: Model,
    table: Table,
    verifiers: Verifiers | None = None,
    classes: Classes | None = None,
    *,
    seed: int = 0,
    temperature: float | None = None,
) -> list[dict[str, Any]]:
    """Scores of a model's posterior samples, as lines of the frame of scores.

    Arguments:
        model: With a distribution over codes.
        table: The rows; 256 of them, evenly spaced, are scored if there are more.
        verifiers: Classifiers of the modalities; without them there is no agreement and no accuracy.
        classes: Of the rows, for these.
        seed: Of the subsets and the samples.
        temperature: Of the samples, as in `Model.translate`.

    Source: energy score: Gneiting and Raftery (2007), Eq. 22; the others from their definitions above.
    """
    rows = torch.arange(len(table)) if len(table) <= ROWS else torch.linspace(0, len(table) - 1, ROWS).long()
    batch = table[rows.to(table.observed.device)].to(model.weight.device)
    true = None if classes is None else classes.values[rows]
    lines = []
    for size in sizes(len(model.schema)):
        lines += _score_size(model, batch, size, verifiers, true, seed, temperature)
    return lines


def _score_size(
    model: Model,
    batch: Batch,
    size: int,
    verifiers: Verifiers | None,
    true: Tensor | None,
    seed: int,
    temperature: float | None,
) -> list[dict[str, Any]]:
    """The scores given so many modalities, of the rows that observe more."""
    enough = batch.observed.sum(1) > size
    rows = enough.nonzero()[:, 0].cpu().tolist()
    if not rows:
        return []
    batch, true = batch[enough], None if true is None else true[rows]
    given = _choose(batch.observed, size, seed)
    words = f"{size} modalit{'y' if size == 1 else 'ies'}"
    with answering(model):
        posterior = model.encode(batch, given)
        z = sample_codes(posterior, [SAMPLES], seed=seed, rows=rows, temperature=temperature)
        z = torch.cat([z, posterior.mean[None]])  # the point prediction is the last
    truth = model.schema.hide(batch, model.weight.dtype)
    lines, said, seen = [], {}, {}
    for name, modality in model.schema.items():
        target = batch.observed[:, model.schema.index(name)] & ~given[:, model.schema.index(name)]
        if not target.any():
            continue
        values = torch.cat([*_values(model, name, z[:, target].flatten(0, 1))]).unflatten(0, (len(z), -1))
        if verifiers is not None and name in verifiers.judged:
            judged = torch.full((len(z) + 1, len(rows)), -1)
            judged[:-1, target.cpu()] = verifiers.said(name, values.flatten(0, 1)).view(values.shape[:2]).cpu()
            judged[-1, target.cpu()] = verifiers.said(name, truth[name][target]).cpu()
            said[name], seen[name] = judged[:-1], judged[-1]
        if modality.levels is None:
            own = truth[name][target]
            lines += _score_numbers(name, words, values[:-1], own, intervals=isinstance(modality, Vector))
    if said and true is not None:
        lines += _score_classes(torch.stack([*said.values()]), torch.stack([*seen.values()]), true, words)
    return lines


def _choose(observed: Tensor, size: int, seed: int) -> Tensor:
    """So many of the observed modalities of each row, `(B, M)` bool, at random."""
    keys = torch.rand(observed.shape, generator=torch.Generator().manual_seed(seed + size)).to(observed.device)
    rank = torch.where(observed, keys, torch.inf).argsort(-1).argsort(-1)
    return observed & (rank < size)


def _values(model: Model, name: str, z: Tensor) -> Iterator[Tensor]:
    with answering(model):
        for distribution, _ in answered(model, name, z, torch.arange(len(z), device=z.device)):
            yield model.schema[name].value(distribution)


def _score_numbers(name: str, given: str, x: Tensor, y: Tensor, *, intervals: bool) -> list[dict[str, Any]]:
    """Of samples `(S, N, *shape)` and true values `(N, *shape)`."""
    samples, rows = x.shape[:2]
    x, y = x.flatten(2).double(), y.flatten(1).double()
    error = (x - y).norm(dim=-1).mean()
    spread = sum((x[i:] - x[:-i]).norm(dim=-1).sum(0) for i in range(1, samples)) / (samples * (samples - 1) / 2)
    spread = torch.as_tensor(spread).mean()
    lines = [line("sampling", name, given, "energy", "lower", float(error - spread / 2), rows)]
    if rows > 1:
        apart = torch.pdist(y).mean()
        lines.append(line("sampling", name, given, "diversity", "higher", float(spread / apart), rows))
    if intervals:
        inside = ((y >= x.amin(0)) & (y <= x.amax(0))).double().mean()
        expected = (samples - 1) / (samples + 1)
        error = 100 * abs(float(inside) - expected)
        note = f"{100 * float(inside):.1f} % lie within, {100 * expected:.0f} % are expected"
        lines.append(line("sampling", name, given, "coverage-error", "lower", error, rows, note))
    return lines


def _score_classes(said: Tensor, seen: Tensor, true: Tensor, given: str) -> list[dict[str, Any]]:
    """Of classes `(J, S + 1, N)` of J modalities and `(J, N)` of their true values, -1 where one is given.

    The rows' own classes are `(N,)`.
    """
    has = (said >= 0) & (true >= 0)
    right = (said == true) & has
    rows = int(has[:, 0].any(0).sum())
    lines = [
        line("sampling", "all", given, metric, "higher", 100 * float(right[:, part].sum() / has[:, part].sum()), rows)
        for metric, part in (("sample-acc", slice(-1)), ("point-acc", slice(-1, None)))
    ]
    several = (said[:, 0] >= 0).sum(0) > 1
    if several.any():
        some = said[:, :-1, several]
        first = some.amax(0)  # a class that is there; all that are there must be this one
        agree = ((some == first) | (some < 0)).all(0)
        lines.append(line("sampling", "all", given, "agreement", "higher", 100 * float(agree.double().mean()), rows))
    classes = int(max(said.max(), seen.max())) + 1
    sampled = said[:, :-1][said[:, :-1] >= 0].bincount(minlength=classes)
    real = seen[seen >= 0].bincount(minlength=classes)
    return [*lines, line("sampling", "all", given, "tv", "lower", variation(sampled, real), rows)]

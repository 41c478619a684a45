"""Quality of posterior samples: agreement of the modalities of a sample, and calibration of the samples' spread.

For k = 1, 2, ..., k random observed modalities of each row are given. The other observed modalities are predicted by S
posterior samples x_1 .. x_S, and y is the true value. The scores given k modalities are:

- agreement: the percentage of samples whose predicted modalities are all of the same class according to classifiers,
  among rows with at least two such modalities.
- sample-acc, point-acc: the percentage of predicted modalities that are of the row's true class, for samples and for
  the point prediction.
- tv: the total variation between the class frequencies of the samples and of the true values, in [0, 1]. It is
  reported because agreement is also high if all samples are alike. Classes of both are predicted by the same
  classifiers, so samples that equal the true values have a total variation of 0 whatever the classifiers' errors.
- energy: the energy score `mean_s |x_s - y| - mean_{s<t} |x_s - x_t| / 2`, with Euclidean norms over all observed
  elements of y. Its expectation is lowest for samples from the true conditional distribution.
- coverage-error: for vectors, the absolute difference between the share of true elements within the range of the S
  samples and its expectation (S - 1) / (S + 1), in percentage points.
- diversity: the mean distance between samples of a row, divided by the mean distance between the true values of
  different rows. It is 0 if all samples of a row are equal. It is 1 in expectation for samples from the data
  distribution that do not depend on the given modalities.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from polymodal.evaluation.coherence.agreement import compute_total_variation
from polymodal.evaluation.frame import line
from polymodal.evaluation.subsets import list_subset_sizes
from polymodal.inference.passes import decode_in_chunks
from polymodal.modalities import Vector
from polymodal.models.base import Model, answering
from polymodal.models.flow_codes import sample_codes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from polymodal.batch import Batch
    from polymodal.evaluation.coherence.classifier import Classifiers
    from polymodal.evaluation.coherence.labels import Classes
    from polymodal.table.table import Table

__all__ = ["score_samples"]

SAMPLES = 9
"""Number of samples per row, S."""
ROWS = 256
"""Maximum number of rows scored."""


def score_samples(
    model: Model,
    table: Table,
    classifiers: Classifiers | None = None,
    classes: Classes | None = None,
    *,
    seed: int = 0,
    temperature: float | None = None,
) -> list[dict[str, Any]]:
    """Scores a model's posterior samples.

    Arguments:
        model: Model with a distribution over codes.
        table: Rows to score; if there are more than 256, 256 evenly spaced ones are used.
        classifiers: Classifiers of the modalities; without them, the scores of classes are left out.
        classes: True classes of the rows, which scores of classes also need.
        seed: Random seed for the choice of given modalities and for sampling.
        temperature: Scale of the noise, as in `Model.translate`.

    Returns:
        Scores, as rows of the data frame of scores.

    Source: energy score: Gneiting and Raftery (2007), Eq. 22; the others from their definitions above.
    """
    rows = torch.arange(len(table)) if len(table) <= ROWS else torch.linspace(0, len(table) - 1, ROWS).long()
    batch = table[rows.to(table.observed.device)].to(model.weight.device)
    true = None if classes is None else classes.values[rows]
    lines = []
    for size in list_subset_sizes(len(model.schema)):
        lines += _score_size(model, batch, size, classifiers, true, seed, temperature)
    return lines


def _score_size(
    model: Model,
    batch: Batch,
    size: int,
    classifiers: Classifiers | None,
    true: Tensor | None,
    seed: int,
    temperature: float | None,
) -> list[dict[str, Any]]:
    """Returns the scores given `size` modalities, for rows with more observed modalities than that."""
    enough = batch.observed.sum(1) > size
    rows = enough.nonzero()[:, 0].cpu().tolist()
    if not rows:
        return []
    batch, true = batch[enough], None if true is None else true[rows]
    given = _choose_masks(batch.observed, size, seed)
    words = f"{size} modalit{'y' if size == 1 else 'ies'}"
    with answering(model):
        posterior = model.encode(batch, given)
        z = sample_codes(posterior, [SAMPLES], seed=seed, rows=rows, temperature=temperature)
        z = torch.cat([z, posterior.mean[None]])  # the point prediction is the last
    truth = model.schema.hide(batch, model.weight.dtype)
    lines, predicted, true_predicted = [], {}, {}
    for name, modality in model.schema.items():
        target = batch.observed[:, model.schema.index(name)] & ~given[:, model.schema.index(name)]
        if not target.any():
            continue
        values = torch.cat([*_decode(model, name, z[:, target].flatten(0, 1))]).unflatten(0, (len(z), -1))
        if classifiers is not None and name in classifiers.class_modalities:
            classes_of_values = torch.full((len(z) + 1, len(rows)), -1)
            classes_of_values[:-1, target.cpu()] = (
                classifiers.predict_classes(name, values.flatten(0, 1)).view(values.shape[:2]).cpu()
            )
            classes_of_values[-1, target.cpu()] = classifiers.predict_classes(name, truth[name][target]).cpu()
            predicted[name], true_predicted[name] = classes_of_values[:-1], classes_of_values[-1]
        if modality.levels is None:
            own = truth[name][target]
            lines += _score_numbers(name, words, values[:-1], own, intervals=isinstance(modality, Vector))
    if predicted and true is not None:
        lines += _score_classes(
            torch.stack([*predicted.values()]), torch.stack([*true_predicted.values()]), true, words
        )
    return lines


def _choose_masks(observed: Tensor, size: int, seed: int) -> Tensor:
    """Returns masks `(B, M)` bool of `size` random observed modalities of each row."""
    keys = torch.rand(observed.shape, generator=torch.Generator().manual_seed(seed + size)).to(observed.device)
    rank = torch.where(observed, keys, torch.inf).argsort(-1).argsort(-1)
    return observed & (rank < size)


def _decode(model: Model, name: str, z: Tensor) -> Iterator[Tensor]:
    with answering(model):
        for distribution, _ in decode_in_chunks(model, name, z, torch.arange(len(z), device=z.device)):
            yield model.schema[name].value(distribution)


def _score_numbers(name: str, given: str, x: Tensor, y: Tensor, *, intervals: bool) -> list[dict[str, Any]]:
    """Returns energy, diversity and coverage of samples x `(S, N, *shape)` with true values y `(N, *shape)`.

    Missing elements of y are NaN. They are set to 0 in x and y, so that they contribute to no distance.
    """
    samples, rows = x.shape[:2]
    x, y = x.flatten(2).double(), y.flatten(1).double()
    seen = ~y.isnan()
    x, y = torch.where(seen, x, 0.0), torch.where(seen, y, 0.0)
    error = (x - y).norm(dim=-1).mean()
    spread = sum((x[i:] - x[:-i]).norm(dim=-1).sum(0) for i in range(1, samples)) / (samples * (samples - 1) / 2)
    spread = torch.as_tensor(spread).mean()
    lines = [line("sampling", name, given, "energy", "lower", float(error - spread / 2), rows)]
    if rows > 1:
        apart = torch.pdist(y).mean()
        lines.append(line("sampling", name, given, "diversity", "higher", float(spread / apart), rows))
    if intervals:
        inside = ((y >= x.amin(0)) & (y <= x.amax(0)))[seen].double().mean()
        expected = (samples - 1) / (samples + 1)
        error = 100 * abs(float(inside) - expected)
        note = f"{100 * float(inside):.1f} % lie within, {100 * expected:.0f} % are expected"
        lines.append(line("sampling", name, given, "coverage-error", "lower", error, rows, note))
    return lines


def _score_classes(predicted: Tensor, true_predicted: Tensor, true: Tensor, given: str) -> list[dict[str, Any]]:
    """Returns the scores of predicted classes.

    Arguments:
        predicted: Predicted classes of J modalities, for the samples and then the point prediction, `(J, S + 1, N)`;
            -1 where the modality is not a target.
        true_predicted: Predicted classes of their true values, `(J, N)`; -1 where the modality is not a target.
        true: True classes of the rows, `(N,)`; -1 where unknown.
        given: Name of the given modalities.
    """
    has = (predicted >= 0) & (true >= 0)
    right = (predicted == true) & has
    rows = int(has[:, 0].any(0).sum())
    lines = [
        line("sampling", "all", given, metric, "higher", 100 * float(right[:, part].sum() / has[:, part].sum()), rows)
        for metric, part in (("sample-acc", slice(-1)), ("point-acc", slice(-1, None)))
    ]
    several = (predicted[:, 0] >= 0).sum(0) > 1
    if several.any():
        some = predicted[:, :-1, several]
        first = some.amax(0)  # the largest predicted class; all others must equal it
        agree = ((some == first) | (some < 0)).all(0)
        lines.append(line("sampling", "all", given, "agreement", "higher", 100 * float(agree.double().mean()), rows))
    classes = int(max(predicted.max(), true_predicted.max())) + 1
    sampled = predicted[:, :-1][predicted[:, :-1] >= 0].bincount(minlength=classes)
    real = true_predicted[true_predicted >= 0].bincount(minlength=classes)
    return [*lines, line("sampling", "all", given, "tv", "lower", compute_total_variation(sampled, real), rows)]

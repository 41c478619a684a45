"""Predictions of each modality under several conditionings, scored in one pass over a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from polymodal.evaluation.coherence.agreement import ClassCounts
from polymodal.evaluation.frame import line
from polymodal.evaluation.metrics import METRICS, Metric
from polymodal.evaluation.subsets import choose_subsets, list_subset_sizes
from polymodal.inference.passes import decode_in_chunks, encode_distinct

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from polymodal.batch import Batch
    from polymodal.evaluation.coherence.classifier import Classifiers
    from polymodal.models.base import Model
    from polymodal.schema import Schema

__all__ = ["Query", "Target", "build_targets", "collect_scores", "plan_predictions", "score_batch"]

Planned = tuple[str, str, str, int]
"""Task, target, name of the given modalities, and index of the conditioning."""


class Query(NamedTuple):
    """A task's prediction to score: one target modality under one conditioning."""

    task: str
    target: str
    given: str
    position: int  # index of the conditioning


class Target(NamedTuple):
    """Scores of the predictions of one modality, with one stream per conditioning."""

    scored: dict[int, int]
    """Stream index of the metrics by index of the conditioning."""
    metrics: dict[str, Metric]
    classified: dict[int, int]
    """Stream index of the predicted classes by index of the conditioning."""
    class_counts: ClassCounts | None

    @property
    def positions(self) -> list[int]:
        """Indices of all conditionings of this target, those with metrics first."""
        return [*self.scored, *(position for position in self.classified if position not in self.scored)]

    def merge(self) -> None:
        """Adds the sums of the other processes; must be called in all of them."""
        for metric in self.metrics.values():
            metric.merge()
        if self.class_counts is not None:
            self.class_counts.merge()


def plan_predictions(schema: Schema, tasks: Collection[str], seed: int) -> tuple[Tensor, list[Query]]:
    """Returns the conditioning masks that the tasks need, `(S, M)` bool, and the predictions to score, task by task."""
    singles = torch.eye(len(schema), dtype=torch.bool)
    given = torch.cat([torch.ones_like(singles[:1]), ~singles, singles])  # all, all but one, one
    found: dict[str, list[Planned]] = {}
    for m, target in enumerate(schema):
        found.setdefault("reconstruction", []).append(("reconstruction", target, "all", 0))
        if len(schema) > 1:
            found.setdefault("many-to-one", []).append(("many-to-one", target, "others", 1 + m))
        found.setdefault("one-to-one", []).extend(
            ("one-to-one", target, source, 1 + len(schema) + e) for e, source in enumerate(schema) if e != m
        )
    if {"translation", "coherence"} & {*tasks}:
        subsets, translations = _translations(schema, seed, len(given))
        given = torch.cat([given, *subsets])
        for task in ("translation", "coherence"):
            found[task] = [(task, target, name, index) for target, name, index in translations]
    needed = [one for task, queries in found.items() if task in tasks for one in queries]
    used = sorted({index for *_, index in needed})
    places = {index: place for place, index in enumerate(used)}
    return given[used], [Query(task, target, name, places[index]) for task, target, name, index in needed]


def _translations(schema: Schema, seed: int, known: int) -> tuple[list[Tensor], list[tuple[str, str, int]]]:
    """Returns the conditionings of the translation task.

    Arguments:
        schema: Schema of the modalities.
        seed: Random seed for the choice of subsets.
        known: Number of conditionings that exist already: all, all but one, and one modality.

    Returns:
        The masks of further conditionings, `(1, M)` bool each, and for each prediction its target, the name of the
        given modalities and the index of its conditioning.
    """
    names, count = list(schema), len(schema)
    subsets, queries = [], []
    for size in list_subset_sizes(count):
        given = f"{size} other{'s' * (size > 1)}"
        for members, targets in choose_subsets(count, size, seed):
            if size == 1:
                index = 1 + count + members[0]
            elif size == count - 1:
                index = 1 + targets[0]
            else:
                index = known + len(subsets)
                subsets.append(schema.mask([names[m] for m in members])[None])
            queries += [(names[m], given, index) for m in targets]
    order = {name: place for place, name in enumerate(names)}
    return subsets, sorted(queries, key=lambda query: order[query[0]])


def build_targets(
    schema: Schema,
    queries: list[Query],
    metrics: Mapping[str, list[str]],
    classifiers: Classifiers | None = None,
    classes: int = 0,
) -> dict[str, Target]:
    """Returns the targets of the predictions by name, without any scores yet; `metrics` are those of each modality."""
    scored: dict[str, dict[int, int]] = {name: {} for name in schema}
    classified: dict[str, dict[int, int]] = {name: {} for name in schema}
    for task, name, _, position in queries:
        if task != "coherence":
            scored[name].setdefault(position, len(scored[name]))
        elif classifiers is not None and name in classifiers.class_modalities:
            classified[name].setdefault(position, len(classified[name]))
    return {
        name: Target(
            scored[name],
            {key: METRICS[key](len(scored[name])) for key in metrics[name]} if scored[name] else {},
            classified[name],
            ClassCounts(len(classified[name]), classes) if classified[name] else None,
        )
        for name in schema
        if scored[name] or classified[name]
    }


def score_batch(
    model: Model,
    batch: Batch,
    given: Tensor,
    targets: dict[str, Target],
    classifiers: Classifiers | None = None,
    classes: Tensor | None = None,
) -> None:
    """Predicts the targets of a batch and updates their scores.

    Arguments:
        model: Model that predicts.
        batch: Batch of B rows.
        given: Conditioning masks, `(S, M)` bool.
        targets: Targets by name, whose scores are updated.
        classifiers: Classifiers for the targets whose classes are predicted.
        classes: True classes of the rows for these, `(B,)` int64.
    """
    z, which = encode_distinct(model, batch, given)
    truth = model.schema.hide(batch, model.weight.dtype)
    for name, target in targets.items():
        has = batch.observed[:, model.schema.index(name)]
        positions = target.positions
        code_index = torch.where(has, which[positions], -1)  # (Q, B)
        classified = [positions.index(position) for position in target.classified]
        for distribution, predictions in decode_in_chunks(model, name, z, code_index):
            for metric in target.metrics.values():
                indices = predictions[: len(target.scored)]
                if model.schema[name].partial and not metric.scores_elements:
                    indices = torch.where(truth[name].isnan().any(-1), -1, indices)
                metric.update(distribution, truth[name], indices)
            if target.class_counts is not None and classifiers is not None and classes is not None:
                predicted = classifiers.predict_classes(name, model.schema[name].value(distribution))
                target.class_counts.update(predicted, classes.to(predicted.device), predictions[classified])


def collect_scores(queries: list[Query], targets: dict[str, Target]) -> list[dict[str, Any]]:
    """Returns the scores of the predictions, as rows of the data frame."""
    rows = []
    for task, name, given, position in queries:
        if (target := targets.get(name)) is None:
            continue
        if task != "coherence":
            stream = target.scored[position]
            rows += [
                line(task, name, given, key, metric.better, metric.compute(stream), metric.rows[stream], metric.note)
                for key, metric in target.metrics.items()
            ]
        elif target.class_counts is not None:
            stream, found = target.classified[position], target.class_counts
            rows.append(line(task, name, given, "coherence", "higher", found.accuracy(stream), found.rows[stream]))
            rows.append(line("calibration", name, given, "tv", "lower", found.variation(stream), found.rows[stream]))
    return rows

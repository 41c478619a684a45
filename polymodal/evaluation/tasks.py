"""The paper's three tasks: reconstruction, many-to-one and one-to-one translation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from polymodal import parallel
from polymodal.evaluation.metrics import COMPANIONS, METRICS, Metric
from polymodal.inference import answered, distinct
from polymodal.models.base import Model, answering
from polymodal.names import lookup, unknown
from polymodal.progress import shown
from polymodal.table import steps

if TYPE_CHECKING:
    import pandas as pd

    from polymodal.batch import Batch
    from polymodal.schema import Schema
    from polymodal.table import Table

__all__ = ["TASKS", "evaluate"]

TASKS = ("reconstruction", "many-to-one", "one-to-one")


class Question(NamedTuple):
    """One target, and what it is made from."""

    task: str
    target: str
    given: str
    position: int  # of the conditioning in the stack
    stream: int  # among the questions about the target


class Target(NamedTuple):
    """Where all questions about one modality are scored, a stream of each metric per question."""

    positions: list[int]
    metrics: dict[str, Metric]


def evaluate(
    model: Model, table: Table, *, tasks: Iterable[str] = TASKS, batch_size: int = 256, progress: bool = False
) -> pd.DataFrame:
    """Scores a model's answers on every task.

    Reconstruction: each modality from all. Many-to-one: each from all the others. One-to-one: each from each
    single other one; its score is the mean of these. Rows that lack the target, or all that is given, are left
    out. Each modality is encoded once per row, for all tasks together, and codes of the same content are decoded
    once: from one label there are as many answers as classes. Codes are decoded in pieces of a few megabytes.

    Several processes score whole batches in turn, and all return the scores of all rows: call it in each of them.

    Arguments:
        model: To score.
        table: The rows.
        tasks: Of "reconstruction", "many-to-one", "one-to-one".
        batch_size: Rows per pass.
        progress: Whether to show a bar on a terminal, and lines elsewhere.

    Returns:
        A row per score: `task`, `modality`, `given` ("all", "others", or the name of the single one), `metric`,
        `better` ("higher" or "lower"), `value`, `rows` (how many it is over) and `note`. The modalities of a
        group are one modality of the group's name, with the mean of their scores, over at most `rows` rows.

    Raises:
        ValueError: A task is unknown, or the table has other modalities than the model.

    Example:
        >>> from polymodal.datasets import load
        >>> from polymodal.models import build
        >>> data = load("polydigits", rows=100, held_out_rows=50)
        >>> scores = evaluate(build("mac-wae", data.schema, latent_dim=8), data.test)
        >>> scores.groupby("task", sort=False).size().to_dict()
        {'reconstruction': 11, 'many-to-one': 11, 'one-to-one': 55}

    Source: MAC-WAE, section "Experimental Design".
    """
    tasks = [tasks] if isinstance(tasks, str) else list(tasks)
    for task in tasks:
        if task not in TASKS:
            raise unknown(task, TASKS, "task")
    model.schema.require(table.schema, "the table")
    given, questions = _questions(model.schema, tasks)
    targets = _targets(model.schema, questions)
    given = given.to(model.weight.device)
    turn, turns = parallel.rank(), parallel.world()
    place: dict[str, Any] = {"start": turn, "stride": turns} if turns > 1 else {}
    batches = table.batches(batch_size, device=given.device, **place)
    if progress and turn == 0:
        batches = shown(batches, "evaluating", -(-steps(len(table), batch_size) // turns))
    with answering(model), parallel.noticing(lambda: "start all of them again"):
        for batch in batches:
            _score(model, batch, given, targets)
        for target in targets.values():
            for metric in target.metrics.values():
                metric.merge()
    return _frame(model.schema, questions, targets)


def _questions(schema: Schema, tasks: list[str]) -> tuple[Tensor, list[Question]]:
    """The conditionings that the tasks need, `(S, M)` bool, and what is asked of each."""
    singles = torch.eye(len(schema), dtype=torch.bool)
    given = torch.cat([torch.ones_like(singles[:1]), ~singles, singles])  # all, others, single
    asked = []
    for m, target in enumerate(schema):
        asked.append(("reconstruction", target, "all", 0))
        if len(schema) > 1:
            asked.append(("many-to-one", target, "others", 1 + m))
        asked += [("one-to-one", target, source, 1 + len(schema) + e) for e, source in enumerate(schema) if e != m]
    asked = [question for task in TASKS for question in asked if question[0] == task and task in tasks]
    used = sorted({index for *_, index in asked})
    count = Counter()
    questions = []
    for task, target, name, index in asked:
        questions.append(Question(task, target, name, used.index(index), count[target]))
        count[target] += 1
    return given[used], questions


def _targets(schema: Schema, questions: list[Question]) -> dict[str, Target]:
    targets = {}
    for target in schema:
        if positions := [question.position for question in questions if question.target == target]:
            targets[target] = Target(positions, _metrics(schema, target, len(positions)))
    return targets


def _metrics(schema: Schema, target: str, streams: int) -> dict[str, Metric]:
    metric = schema[target].metric
    lookup(METRICS, metric, f"metric of {target!r}")
    return {name: METRICS[name](streams) for name in [metric, *COMPANIONS.get(metric, [])]}


def _score(model: Model, batch: Batch, given: Tensor, targets: dict[str, Target]) -> None:
    z, which = distinct(model, batch, given)
    truth = model.schema.hide(batch, model.weight.dtype)
    for name, target in targets.items():
        has = batch.observed[:, model.schema.index(name)]
        asked = torch.where(has, which[target.positions], -1)  # (Q, B)
        for distribution, answers in answered(model, name, z, asked):
            for metric in target.metrics.values():
                metric.update(distribution, truth[name], answers)


def _frame(schema: Schema, questions: list[Question], targets: dict[str, Target]) -> pd.DataFrame:
    import pandas as pd

    frame = pd.DataFrame(
        [
            {
                "task": question.task,
                "modality": question.target,
                "given": question.given,
                "metric": name,
                "better": metric.better,
                "value": metric.compute(question.stream),
                "rows": int(metric.rows[question.stream]),
                "note": metric.note,
            }
            for question in questions
            for name, metric in targets[question.target].metrics.items()
        ]
    )
    return frame if not schema.groups else _grouped(frame, schema)


def _grouped(frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    group = {name: group for group, names in schema.groups.items() for name in names}
    frame = frame.assign(**{column: frame[column].replace(group) for column in ("modality", "given")})
    keys = ["task", "modality", "given", "metric", "better"]
    merged = frame.groupby(keys, sort=False, as_index=False).agg({"value": "mean", "rows": "max", "note": "first"})
    return merged[list(frame.columns)]

"""An evaluation on all three tasks compared with one as MAC-WAE's authors run it, in one process and in turn.

Ours: `polymodal.evaluate`. Each modality is encoded once per row, codes of the same content are decoded once, and all
questions about a modality are scored together.

The reference: `benchmarks.plain_evaluation` on PyTorch's own layers, every encoder anew in each of the 1 + 2M passes,
each question scored by itself. Both give the same scores: the largest difference is in the table.

Prediction is ours without metrics: the codes of all rows under all conditionings, and the decoders of what is asked. It
is compared with the encoders and decoders alone, called on the same rows and as many codes. What is left of ours is
the metrics'.
"""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from benchmarks import harness, plain_evaluation
from benchmarks.harness import Report, format_quartiles, settings
from benchmarks.reference import stock
from benchmarks.shapes import SHAPES, model_of, rows_of
from benchmarks.timing import spread
from polymodal.evaluation import METRICS, Metric, evaluate
from polymodal.table.table import Table

if TYPE_CHECKING:
    import pandas as pd
    from rich import table as rich_table
    from torch import Tensor
    from torch.distributions import Distribution

    from benchmarks.plain_evaluation import Scored
    from polymodal.evaluation.metrics.base import RowComparison
    from polymodal.models import MAC

__all__ = ["FEWEST", "MOST", "main", "measure", "table"]

ROWS = 256
WIDTH = 150
"""Width of the widest table, in characters."""
PIECE = 64
"""Codes in one call of a decoder, when the decoders are called alone."""

FEWEST = 30.0
"""Minimum speed of an evaluation, as a multiple of the reference's."""
MOST = 1.5
"""Maximum time of a prediction, as a multiple of the time of the networks alone."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; the exit code: 2 and one line for a user's mistake."""
    parser = harness.Parser(
        "evaluation",
        "Compare the time of an evaluation on all tasks with one that runs a pass per conditioning, on random rows.",
        "--shapes celeba --rows 256 --budget 60",
        budget=60.0,
        per="shape",
    )
    parser.set_defaults(shapes="celeba")
    parser.add_argument("--rows", default=ROWS, type=int, help="rows to evaluate on, at least 8")
    return harness.command(parser, _run, arguments)


def _run(chosen: Namespace) -> None:
    if chosen.rows < 8:
        raise ValueError(f"rows must be at least 8; got {chosen.rows}")
    document = harness.begin("evaluation", chosen)
    cases = [(name, partial(measure, name, chosen.rows, chosen.budget)) for name in chosen.shapes]
    document["cases"] = list(harness.measure_cases(cases))
    harness.finish(document, table(document), chosen.out, width=WIDTH)


def measure(shape: str, rows: int, budget: float, report: Report) -> dict[str, Any]:
    """Measures one row of the table.

    Arguments:
        shape: Its name.
        rows: To evaluate on.
        budget: Seconds; a round that would not fit is not begun, but one is.
        report: Called with the share of the work that is done, in [0, 1].

    Returns:
        For JSON. `ours`, `reference`, `passes` (the reference's without its metrics), `prediction`, `networks` are
        seconds, and `metrics` those of ours beyond prediction, round by round; `ratio` is the reference's over ours,
        `prediction_ratio` that over the networks alone, `difference` the largest one of a score.
    """
    facts = SHAPES[shape]
    model = model_of(facts, facts.draws).eval()
    plain = stock(model)
    held = rows_of(model.schema, rows)
    ours = Table(held.values, held.observed, model.schema)
    few = Table(held[:8].values, held[:8].observed, model.schema)
    plain_evaluation.evaluate(plain, held[:8])  # these warm up
    evaluate(model, few)
    codes = _count_decoded(model, ours)
    began, rounds = time.perf_counter(), []
    while not rounds or (time.perf_counter() - began) * (len(rounds) + 1) / len(rounds) < budget:
        rounds.append(_round(model, plain, ours, codes))
        report(min(1.0, (time.perf_counter() - began) / budget))
    times: dict[str, Any] = {key: [one[key] for one in rounds] for key in rounds[0]}
    return {
        "shape": shape,
        **settings(facts),
        "rows": rows,
        "asked": rows * len(model.schema) * (len(model.schema) + 1),
        "codes": sum(codes),
        "pairs": len(rounds),
        **{key: spread(numbers) for key, numbers in times.items() if key != "difference"},
        "difference": max(times["difference"]),
        "at_least": FEWEST,
        "at_most": MOST,
    }


def table(document: dict[str, Any]) -> rich_table.Table:
    """Returns a readable table with one line per shape."""
    headings = (
        "rows", "ours", "reference", "reference / ours", "its passes", "prediction", "networks", "ratio", "metrics",
        "difference", "rounds",
    )  # fmt: skip
    made = harness.table(document, ["shape"], headings, title="Seconds per evaluation: median (quartiles)")
    for case in document["cases"]:
        made.add_row(
            case["shape"],
            str(case["rows"]),
            f"{case['ours']['median']:.2f}",
            f"{case['reference']['median']:.1f}",
            format_quartiles(case["ratio"], ".1f"),
            f"{case['passes']['median']:.1f}",
            f"{case['prediction']['median']:.2f}",
            f"{case['networks']['median']:.2f}",
            format_quartiles(case["prediction_ratio"], ".2f"),
            f"{case['metrics']['median']:.2f}",
            f"{case['difference']:.0e}",
            str(case["pairs"]),
        )
    return made


def _round(model: MAC, plain: MAC, rows: Table, codes: list[int]) -> dict[str, float]:
    """Everything once. What takes little is timed twice, so that a slow moment does not count."""
    scores, ours = _time_call(lambda: evaluate(model, rows))
    scored, reference = _time_call(lambda: plain_evaluation.evaluate(plain, rows[:]))
    ours = min(ours, _time_call(lambda: evaluate(model, rows))[1])
    with _skip_scores():
        prediction = min(_time_call(lambda: evaluate(model, rows))[1] for _ in range(2))
    networks = min(_time_call(lambda: _networks(model, rows, codes))[1] for _ in range(2))
    return {
        "ours": ours,
        "reference": reference,
        "ratio": reference / ours,
        "passes": scored.passes,
        "prediction": prediction,
        "networks": networks,
        "prediction_ratio": prediction / networks,
        "metrics": ours - prediction,
        "difference": _difference(scores, scored),
    }


class Unscored(Metric):
    """A metric without computations, to measure the remaining costs."""

    better = "higher"

    def update(self, distribution: Distribution, target: Tensor, indices: Tensor | None = None) -> None:
        """Ignores the predictions."""

    def compare(self, distribution: Distribution, target: Tensor, indices: Tensor) -> RowComparison:
        """Raises an error, because it is not called."""
        raise NotImplementedError

    def score(self, sums: list[float], rows: int) -> float:
        """Raises an error, because it is not called."""
        raise NotImplementedError


@contextmanager
def _skip_scores() -> Iterator[None]:
    """Evaluations within score nothing."""
    before = dict(METRICS)
    METRICS.update(dict.fromkeys(before, Unscored))
    try:
        yield
    finally:
        METRICS.update(before)


def _count_decoded(model: MAC, rows: Table) -> list[int]:
    """Returns the number of codes that each decoder receives in an evaluation."""
    counts = [0] * len(model.decoders)

    def count(m: int, module: torch.nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        counts[m] += len(inputs[0])

    hooks = [decoder.register_forward_hook(partial(count, m)) for m, decoder in enumerate(model.decoders)]
    with _skip_scores():
        evaluate(model, rows)
    for hook in hooks:
        hook.remove()
    return counts


@torch.no_grad()
def _networks(model: MAC, rows: Table, codes: list[int]) -> None:
    """Runs the encoders on the rows, and each decoder on the given number of codes."""
    x = model.schema.hide(rows, model.weight.dtype)
    for name, encoder in zip(model.schema, model.encoders, strict=True):
        encoder(x[name])
    z = torch.randn(max(codes), model.latent_dim)
    for count, decoder in zip(codes, model.decoders, strict=True):
        for part in z[:count].split(PIECE):
            decoder(part)


def _difference(scores: pd.DataFrame, plain: Scored) -> float:
    keys = zip(scores["task"], scores["modality"], scores["given"], scores["metric"], strict=True)
    ours = dict(zip(keys, scores["value"], strict=True))
    if ours.keys() != plain.scores.keys():
        raise AssertionError("both evaluations must answer the same questions")
    return max(abs(value - plain.scores[key]) for key, value in ours.items())


def _time_call(function: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    made = function()
    return made, time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())

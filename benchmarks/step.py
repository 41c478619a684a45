"""A training step of MAC-WAE beside the plain loop of the paper's Algorithm 1, in one process and in turn.

Ours: `model.loss(batch)`, `backward`, and the fused Adam with the weight decay that `polymodal.training.fit` makes.
Every encoder runs once on the batch and once on a blank, and all codes go through each decoder as one batch.
Indices that are equal are encoded and decoded once and counted by their multiplicity: the fewer the subsets, the
more that is worth, so the table says how many of the K were distinct.

The reference: `benchmarks.reference.loss` on a copy of the same model, `backward`, and `torch.optim.Adam` with its
defaults, which do not decay weights: it is spared a little work. It runs every encoder, the conditioner, the joint
encoder and every decoder once per index, the equal ones too.

Both take the same random rows and, in each pair of steps, the same indices; both train, dropout included.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import torch

from benchmarks import harness, reference
from benchmarks.harness import listed, settings, shown
from benchmarks.shapes import Shape, model_of, rows_of
from benchmarks.timing import spread

if TYPE_CHECKING:
    from rich.table import Table

    from polymodal.batch import Batch
    from polymodal.models import MAC

__all__ = ["main", "measure", "table"]

DRAWS = "1,2,5,10,20"
WIDTH = 100
"""Of the widest table, in columns."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; the exit code: 2 and one line for a user's mistake."""
    parser = harness.Parser(
        "step",
        "Time a training step of MAC-WAE beside the plain loop of Algorithm 1, on random rows.",
        "--shapes polymnist,mhd --draws 1,10 --budget 20",
        budget=15.0,
        per="shape and K",
    )
    parser.add_argument("--draws", default=DRAWS, help="conditioning indices per step, K, separated by commas")
    return harness.command(parser, _run, arguments)


def _run(chosen: Namespace) -> None:
    draws = [_whole(k) for k in listed(chosen.draws)]
    document = harness.begin("step", chosen)
    cases = [
        (f"{name}, K = {k}", partial(measure, name, shape, k, chosen.budget))
        for (name, shape), k in product(chosen.shapes.items(), draws)
    ]
    document["cases"] = list(harness.measured(cases))
    harness.finish(document, table(document), chosen.out, width=WIDTH)


def measure(name: str, shape: Shape, draws: int, budget: float, told: Callable[[float], object]) -> dict[str, Any]:
    """One row of the table.

    Arguments:
        name: Of the shape.
        shape: What to train on.
        draws: Conditioning indices per step, K.
        budget: Seconds, warming up among them.
        told: Told which share of the work is done, in [0, 1].

    Returns:
        For JSON. `ours` and `reference` are seconds per step, `ratio` the reference's over ours, pair by pair;
        `distinct` is the mean number of different indices among the K.
    """
    model = model_of(shape, draws)
    batch = rows_of(model.schema, shape.batch_size)
    pairs = harness.beside(model, reference.loss, batch, shape.learning_rate, budget, told)
    return {
        "shape": name,
        "draws": draws,
        **settings(shape),
        "pairs": len(pairs),
        "distinct": sum(_distinct(model, batch, i + 1) for i in range(len(pairs))) / len(pairs),
        "ours": spread([ours for ours, _ in pairs]),
        "reference": spread([theirs for _, theirs in pairs]),
        "ratio": spread([theirs / ours for ours, theirs in pairs]),
    }


def table(document: dict[str, Any]) -> Table:
    """What people read: a line per shape and K."""
    headings = ("K", "distinct", "ours", "reference", "reference / ours", "pairs")
    made = harness.table(document, ["shape"], headings)
    for case in document["cases"]:
        made.add_row(
            case["shape"],
            str(case["draws"]),
            f"{case['distinct']:.1f}",
            shown(case["ours"], ".3f"),
            shown(case["reference"], ".3f"),
            shown(case["ratio"], ".2f"),
            str(case["pairs"]),
        )
    return made


def _distinct(model: MAC, batch: Batch, pair: int) -> int:
    """How many different indices there were among those of a pair of steps."""
    torch.manual_seed(pair)
    return len(reference.indices(model, batch).unique(dim=0))


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise ValueError(f"draws must be whole numbers from 1, such as 1,5,10; got {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())

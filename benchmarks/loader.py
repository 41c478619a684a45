"""The loader alone compared with a training step of MAC-WAE and with a plain `DataLoader`, in one process and in turn.

A step: `benchmarks.step`'s of MAC-WAE, with the K of the paper. The loader: a batch of `Table.batches`, in the random
order of an epoch, made when it is asked for; `polymodal.training.fit` makes the same in threads, during the steps
before, so nothing of it is hidden here that is hidden there. The plain loader: `torch.utils.data.DataLoader` with its
defaults over a data set that gives a dict of tensors for a row. At most 3 % of a step are allowed.
"""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks import harness
from benchmarks.harness import Report, format_quartiles, fused, settings, train
from benchmarks.rows import row
from benchmarks.shapes import SHAPES, model_of, rows_of
from benchmarks.timing import ratios, spread
from polymodal.table.table import Table

if TYPE_CHECKING:
    from rich import table as rich_table

    from polymodal.batch import Batch

__all__ = ["MOST", "describe_case", "main", "measure", "rows", "table"]

ROWS = 4096
WIDTH = 130
"""Width of the widest table, in characters."""

MOST = 0.03
"""Maximum share of a step that the loader may take."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; the exit code: 2 and one line for a user's mistake."""
    parser = harness.Parser(
        "loader",
        "Compare the time of the loader with a training step of MAC-WAE and with a plain DataLoader, on random rows.",
        "--shapes polymnist,mhd --budget 20",
        budget=10.0,
        per="shape",
    )
    return harness.command(parser, _run, arguments)


def _run(chosen: Namespace) -> None:
    document = harness.begin("loader", chosen)
    cases = [(name, partial(measure, name, chosen.budget)) for name in chosen.shapes]
    document["cases"] = list(harness.measure_cases(cases, describe=describe_case))
    harness.finish(document, table(document), chosen.out, width=WIDTH)


def measure(shape: str, budget: float, report: Report) -> dict[str, Any]:
    """Measures one row of the table.

    Arguments:
        shape: Its name.
        budget: Seconds, warming up among them.
        report: Called with the share of the work that is done, in [0, 1].

    Returns:
        For JSON. `step`, `loader` and `plain` are seconds per batch, `share` the loader's over the step's, `ratio`
        the plain loader's over ours, round by round; `allowed` are the seconds of the share of a step that the loader
        may take, and `room` those over the loader's.
    """
    facts = SHAPES[shape]
    model = model_of(facts, facts.draws)
    rows = rows_of(model.schema, ROWS)
    held = Table(rows.values, rows.observed, model.schema)
    adam = fused(model, facts.learning_rate)
    ours, plain = _repeat_batches(held, facts.batch_size), _load_plainly(held, facts.batch_size)
    began, rounds = time.perf_counter(), []
    while len(rounds) < 4 or time.perf_counter() - began < budget:
        loader, batch = _time_batches(ours)
        start = time.perf_counter()
        train(model.loss(batch).total, adam)
        step = time.perf_counter() - start
        rounds.append((step, loader, _time_batches(plain)[0]))
        report(min(1.0, (time.perf_counter() - began) / budget))
    steps, loaders, plains = map(list, zip(*rounds[1:], strict=True))  # the first one warms up
    return {
        "shape": shape,
        **settings(facts),
        "draws": facts.draws,
        "rows": ROWS,
        "pairs": len(steps),
        "step": spread(steps),
        "loader": spread(loaders),
        "plain": spread(plains),
        "share": ratios(loaders, steps),
        "allowed": spread([MOST * seconds for seconds in steps]),
        "room": ratios([MOST * seconds for seconds in steps], loaders),
        "ratio": ratios(plains, loaders),
        "at_most": MOST,
    }


def rows(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Lines of the table of `make bench`."""
    sides = (
        ("plain DataLoader", ("loader", "plain", "ratio"), None),
        (f"{100 * MOST:.0f} % of a step", ("loader", "allowed", "room"), 1.0),
    )
    return [
        row("loader", f"{case['shape']}, a batch", beside, case, keys=keys, at_least=at_least)
        for case in cases
        for beside, keys, at_least in sides
    ]


def table(document: dict[str, Any]) -> rich_table.Table:
    """Returns a readable table with one line per shape."""
    headings = ("step", "loader", "share of a step, %", "plain", "plain / loader", "rounds")
    made = harness.table(document, ["shape"], headings, title="Seconds per batch: median (quartiles)")
    for case in document["cases"]:
        percent = {key: 100 * case["share"][key] for key in ("median", "lower", "upper")}
        made.add_row(
            case["shape"],
            format_quartiles(case["step"], ".3f"),
            format_quartiles(case["loader"], ".5f"),
            format_quartiles(percent, ".2f"),
            format_quartiles(case["plain"], ".4f"),
            format_quartiles(case["ratio"], ".1f"),
            str(case["pairs"]),
        )
    return made


def describe_case(case: dict[str, Any]) -> str:
    """Returns the line that is printed when a case is finished."""
    return f"the loader takes {100 * case['share']['median']:.2f} % of a step, {case['pairs']} rounds"


class _Plain(Dataset):
    """Rows one by one, as a user of `DataLoader` would write it."""

    def __init__(self, held: Table) -> None:
        self.held = held

    def __len__(self) -> int:
        return len(self.held)

    def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
        return {name: value[row] for name, value in self.held.values.items()} | {"observed": self.held.observed[row]}


def _repeat_batches(held: Table, batch_size: int) -> Iterator[Batch]:
    for epoch in count():
        yield from held.batches(batch_size, seed=0, epoch=epoch)


def _load_plainly(held: Table, batch_size: int) -> Iterator[dict[str, torch.Tensor]]:
    while True:
        yield from DataLoader(_Plain(held), batch_size, shuffle=True)


def _time_batches(batches: Iterator[Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    batch = next(batches)
    return time.perf_counter() - began, batch


if __name__ == "__main__":
    sys.exit(main())

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

import math
import os
import sys
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from copy import deepcopy
from datetime import UTC, datetime
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from benchmarks import machine, reference
from benchmarks.shapes import SHAPES, Shape, model_of, rows_of
from benchmarks.timing import interleave, spread
from polymodal.checkpoint import to_json, write_text
from polymodal.names import lookup

if TYPE_CHECKING:
    from torch import Tensor

    from polymodal.batch import Batch
    from polymodal.models import MAC

__all__ = ["main", "measure", "table"]

DRAWS = "1,2,5,10,20"
OUT = Path("benchmarks/results/step.json")
WIDTH = 100
"""Of the widest table, in columns."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; the exit code: 2 and one line for a user's mistake."""
    try:
        _run(_parser().parse_args(arguments))
    except KeyboardInterrupt:
        print("benchmarks: stopped, nothing was written", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    return 0


class _Parser(ArgumentParser):
    """Reports a mistake in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def _parser() -> ArgumentParser:
    parser = _Parser(
        prog="python -m benchmarks.step",
        description="Time a training step of MAC-WAE beside the plain loop of Algorithm 1, on random rows.",
        epilog="Example: python -m benchmarks.step --shapes polymnist,mhd --draws 1,10 --budget 20",
        formatter_class=ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--shapes", default=",".join(SHAPES), help="data sets' shapes, separated by commas")
    add("--draws", default=DRAWS, help="conditioning indices per step, K, separated by commas")
    add("--budget", default=15.0, type=float, help="seconds per shape and K; at least 3 pairs of steps are taken")
    add("--threads", default=2, type=int, help="of PyTorch, on the CPU")
    add("--out", default=OUT, type=Path, help="file of the numbers, as JSON")
    return parser


def _run(chosen: Namespace) -> None:
    shapes = {name: lookup(SHAPES, name, "shape") for name in _listed(chosen.shapes)}
    draws = [_whole(k) for k in _listed(chosen.draws)]
    _check(chosen.budget, chosen.threads, chosen.out)
    torch.set_num_threads(chosen.threads)
    document = {
        "benchmark": "step",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": machine.versions(),
        "machine": machine.describe(),
        "budget": chosen.budget,
    }
    document["cases"] = list(_cases(shapes, draws, chosen.budget))
    write_text(chosen.out, to_json(document))
    # Rich would cut rows short where a terminal is narrow, and takes 80 columns where there is none.
    console = Console(width=max(Console().width, WIDTH))
    console.print(table(document))
    console.print(f"Numbers: {chosen.out}", highlight=False, soft_wrap=True)


def measure(name: str, shape: Shape, draws: int, budget: float, shown: Callable[[float], object]) -> dict[str, Any]:
    """One row of the table.

    Arguments:
        name: Of the shape.
        shape: What to train on.
        draws: Conditioning indices per step, K.
        budget: Seconds, warming up among them.
        shown: Told which share of the work is done, in [0, 1].

    Returns:
        For JSON. `ours` and `reference` are seconds per step, `ratio` the reference's over ours, pair by pair;
        `distinct` is the mean number of different indices among the K.
    """
    model = model_of(shape, draws)
    batch = rows_of(model.schema, shape.batch_size)
    plain = deepcopy(model)
    fused = torch.optim.Adam(model.parameters(), lr=shape.learning_rate, weight_decay=1e-5, fused=True)
    stock = torch.optim.Adam(plain.parameters(), lr=shape.learning_rate)
    pairs = interleave(
        lambda _: _train(model.loss(batch).total, fused),
        lambda _: _train(reference.loss(plain, batch), stock),
        budget=budget,
        shown=shown,
    )
    return {
        "shape": name,
        "draws": draws,
        **_settings(shape),
        "pairs": len(pairs),
        "distinct": sum(_distinct(model, batch, i + 1) for i in range(len(pairs))) / len(pairs),
        "ours": spread([ours for ours, _ in pairs]),
        "reference": spread([theirs for _, theirs in pairs]),
        "ratio": spread([theirs / ours for ours, theirs in pairs]),
    }


def table(document: dict[str, Any]) -> Table:
    """What people read: a line per shape and K."""
    here = document["machine"]
    made = Table(
        title="Seconds per training step, and their ratio pair by pair: median (quartiles)",
        caption=f"{here['cpu']}, {here['threads']} threads, {here['gflops']:.0f} GFLOP/s, "
        f"copies {here['copy_gbytes']:.1f} GB/s; torch {document['versions']['torch']}",
        box=None,
        header_style="bold",
    )
    made.add_column("shape")
    for heading in ("K", "distinct", "ours", "reference", "reference / ours", "pairs"):
        made.add_column(heading, justify="right", no_wrap=True)
    for case in document["cases"]:
        made.add_row(
            case["shape"],
            str(case["draws"]),
            f"{case['distinct']:.1f}",
            _shown(case["ours"], ".3f"),
            _shown(case["reference"], ".3f"),
            _shown(case["ratio"], ".2f"),
            str(case["pairs"]),
        )
    return made


def _train(loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def _distinct(model: MAC, batch: Batch, pair: int) -> int:
    """How many different indices there were among those of a pair of steps."""
    torch.manual_seed(pair)
    return len(reference.indices(model, batch).unique(dim=0))


def _cases(shapes: dict[str, Shape], ks: list[int], budget: float) -> Iterator[dict[str, Any]]:
    """Every shape with every K, with a line when it is done, and on a terminal a bar with the time left."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("left"))
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=len(shapes) * len(ks))
        for i, ((name, shape), k) in enumerate(product(shapes.items(), ks)):
            bar.update(task, description=f"{name}, K = {k}", completed=i)
            case = measure(name, shape, k, budget, partial(_advance, bar, task, i))
            said = f"{name}, K = {k}: ours is {_shown(case['ratio'], '.2f')} times as fast, {case['pairs']} pairs"
            console.print(f"{i + 1}/{len(shapes) * len(ks)} {said}", soft_wrap=True, highlight=False)
            yield case


def _advance(bar: Progress, task: TaskID, before: int, done: float) -> None:
    bar.update(task, completed=before + done)


def _settings(shape: Shape) -> dict[str, Any]:
    return {
        "modalities": len(shape.modalities),
        "batch_size": shape.batch_size,
        "latent_dim": shape.latent_dim,
        "p0": shape.p0,
    }


def _shown(numbers: dict[str, Any], digits: str) -> str:
    return f"{numbers['median']:{digits}} ({numbers['lower']:{digits}}-{numbers['upper']:{digits}})"


def _listed(text: str) -> list[str]:
    """Words between commas, each once."""
    return list(dict.fromkeys(word.strip() for word in text.split(",")))


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise ValueError(f"draws must be whole numbers from 1, such as 1,5,10; got {text!r}")
    return int(text)


def _check(budget: float, threads: int, out: Path) -> None:
    """Refuses numbers out of range, and a file that could not be written once all is measured."""
    if not 0 < budget < math.inf:
        raise ValueError(f"budget must be a positive number of seconds; got {budget}")
    if threads < 1:
        raise ValueError(f"threads must be at least 1; got {threads}")
    if out.is_dir():
        raise ValueError(f"out must be a file; {out} is a folder; write {out / 'step.json'}")
    out.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(out.parent, os.W_OK):
        raise ValueError(f"out must be in a folder that can be written to; {out.parent} cannot")


if __name__ == "__main__":
    sys.exit(main())

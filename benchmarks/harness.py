"""Parts of every benchmark's command: its options, a progress bar, a readable table, and JSON for programs."""

from __future__ import annotations

import math
import os
import sys
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from benchmarks import machine, reference
from benchmarks.shapes import SHAPES, Shape
from benchmarks.timing import interleave
from polymodal.io.checkpoint import to_json, write_text
from polymodal.runtime.memory import retain_freed_memory
from polymodal.runtime.registry import lookup

if TYPE_CHECKING:
    from torch import Tensor

    from polymodal.batch import Batch
    from polymodal.models import Model

__all__ = [
    "Case",
    "Parser",
    "begin",
    "command",
    "finish",
    "format_quartiles",
    "format_speedup",
    "fused",
    "measure_cases",
    "settings",
    "split_names",
    "table",
    "time_in_turn",
    "train",
]

Report = Callable[[float], object]
"""Callback that receives the share of a case that is done, in [0, 1]."""


class Case(NamedTuple):
    """A measurement of the benchmark.

    Arguments:
        name: For the bar.
        measure: Function that measures the case.
        weight: Expected time, in any unit that all cases share.
        describe: Returns the text of the line for a result; by default its `ratio` and `pairs`.
    """

    name: str
    measure: Callable[[Report], dict[str, Any]]
    weight: float = 1.0
    describe: Callable[[dict[str, Any]], str] | None = None


class Parser(ArgumentParser):
    """Knows the options of all benchmarks, and reports a mistake in one line, without the usage."""

    def __init__(
        self, name: str, description: str, example: str, *, budget: float, per: str, shapes: bool = True
    ) -> None:
        module = "python -m benchmarks" + (f".{name}" if name != "bench" else "")
        super().__init__(
            prog=module,
            description=description,
            epilog=f"Example: {module} {example}",
            formatter_class=ArgumentDefaultsHelpFormatter,
        )
        add = self.add_argument
        if shapes:
            add("--shapes", default=",".join(SHAPES), help="data sets' shapes, separated by commas")
        add("--budget", default=budget, type=float, help=f"seconds per {per}; at least 3 rounds are taken")
        add("--threads", default=2, type=int, help="of PyTorch, on the CPU")
        out = Path(f"benchmarks/results/{name}.json")
        add("--out", default=out, type=Path, help="file of the numbers, as JSON")

    def error(self, message: str) -> NoReturn:
        """Raises it, for `command` to print."""
        raise ValueError(message)


def command(parser: ArgumentParser, run: Callable[[Namespace], object], arguments: Sequence[str] | None) -> int:
    """Runs a benchmark with the chosen options and returns the exit code: 2, with one line, after a user's mistake.

    Arguments:
        parser: Parser of its options.
        run: Function of the parsed options and the shapes by name.
        arguments: Command-line arguments; by default those of this process.
    """
    try:
        chosen = parser.parse_args(arguments)
        if "shapes" in chosen:
            chosen.shapes = {name: lookup(SHAPES, name, "shape") for name in split_names(chosen.shapes)}
        run(chosen)
    except KeyboardInterrupt:
        print("benchmarks: stopped, nothing was written", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    return 0


def begin(name: str, chosen: Namespace) -> dict[str, Any]:
    """Checks what was chosen, sets the threads, and describes what is measured on."""
    _check(name, chosen.budget, chosen.threads, chosen.out)
    torch.set_num_threads(chosen.threads)
    return {
        "benchmark": name,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": machine.versions(),
        "machine": machine.describe(),
        "budget": chosen.budget,
    }


def measure_cases(
    cases: Sequence[Case | tuple[str, Callable[[Report], dict[str, Any]]]],
    describe: Callable[[dict[str, Any]], str] | None = None,
) -> Iterator[dict[str, Any]]:
    """Measures every case, with a line when it is done, and on a terminal a bar with the time left.

    Arguments:
        cases: Cases, in order.
        describe: Returns the text of the line if the case has no `describe`.
    """
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("left"))
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as bar:
        weighted = [Case(*case) for case in cases]
        task, done = bar.add_task("", total=sum(case.weight for case in weighted)), 0.0
        for i, (name, measure, weight, own) in enumerate(weighted):
            bar.update(task, description=name, completed=done)
            case = measure(
                lambda share, before=done, weight=weight: bar.update(task, completed=before + share * weight)
            )
            done += weight
            line = f"{i + 1}/{len(weighted)} {name}: {(own or describe or format_speedup)(case)}"
            console.print(line, soft_wrap=True, highlight=False)
            yield case


def finish(
    document: dict[str, Any], made: Table | Sequence[Table], out: Path, *, width: int, lines: Sequence[str] = ()
) -> None:
    """Writes the numbers, and prints the tables that have rows, further lines, and where the numbers are."""
    write_text(out, to_json(document))
    # Rich would cut rows short where a terminal is narrow, and takes 80 columns where there is none.
    console = Console(width=max(Console().width, width))
    for each in [made] if isinstance(made, Table) else made:
        if each.row_count:
            console.print(each)
    for line in [*lines, f"Numbers: {out}"]:
        console.print(line, highlight=False, soft_wrap=True)


def table(
    document: dict[str, Any],
    left: Sequence[str],
    right: Sequence[str],
    title: str = "Seconds per training step, and their ratio pair by pair: median (quartiles)",
) -> Table:
    """Returns an empty table of times with headings of text and number columns, and the machine below."""
    here = document["machine"]
    made = Table(
        title=title,
        caption=f"{here['cpu']}, {here['threads']} threads, {here['gflops']:.0f} GFLOP/s, "
        f"copies {here['copy_gbytes']:.1f} GB/s; torch {document['versions']['torch']}",
        box=None,
        header_style="bold",
    )
    for heading in left:
        made.add_column(heading, no_wrap=True)
    for heading in right:
        made.add_column(heading, justify="right", no_wrap=True)
    return made


def time_in_turn(
    model: Model,
    other: Callable[[Any, Batch], Tensor],
    batch: Batch,
    learning_rate: float,
    budget: float,
    report: Report,
    *further: Callable[[int], object],
) -> list[tuple[float, ...]]:
    """Seconds of training steps in turn: the model's own, those of another loss on a copy of stock layers, and more.

    The copy has a stock Adam too.

    Arguments:
        model: Model to train.
        other: A loss of the model and the batch.
        batch: The rows of every step.
        learning_rate: Learning rate of both optimisers.
        budget: Time limit in seconds, including the warm-up.
        report: Function that is called with the finished share of the work, in [0, 1].
        further: Further functions that are timed in each round; see `timing.interleave`.
    """
    plain = reference.stock(model)
    adam = fused(model, learning_rate)
    stock = torch.optim.Adam(plain.parameters(), lr=learning_rate)
    with retain_freed_memory():  # as `fit` does
        return interleave(
            lambda _: train(model.loss(batch).total, adam),
            lambda _: train(other(plain, batch), stock),
            *further,
            budget=budget,
            report=report,
        )


def fused(model: torch.nn.Module, learning_rate: float) -> torch.optim.Optimizer:
    """Returns the optimiser that `polymodal.training.fit` creates."""
    return torch.optim.Adam(model.parameters(), lr=learning_rate, weight_decay=1e-5, fused=True)


def train(loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """Runs the part of a training step that follows the computation of the loss."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def settings(shape: Shape) -> dict[str, Any]:
    """Returns the settings that determine the numbers of a case."""
    return {
        "modalities": len(shape.modalities),
        "batch_size": shape.batch_size,
        "latent_dim": shape.latent_dim,
        "p0": shape.p0,
    }


def format_quartiles(numbers: dict[str, Any], digits: str) -> str:
    """Formats a median and its quartiles."""
    return f"{numbers['median']:{digits}} ({numbers['lower']:{digits}}-{numbers['upper']:{digits}})"


def split_names(text: str) -> list[str]:
    """Words between commas, each once."""
    return list(dict.fromkeys(word.strip() for word in text.split(",")))


def format_speedup(case: dict[str, Any]) -> str:
    """Returns the line that describes a case with a `ratio`."""
    return f"ours is {format_quartiles(case['ratio'], '.2f')} times as fast, {case['pairs']} pairs"


def _check(name: str, budget: float, threads: int, out: Path) -> None:
    """Refuses numbers out of range, and a file that could not be written once all is measured."""
    if not 0 < budget < math.inf:
        raise ValueError(f"budget must be a positive number of seconds; got {budget}")
    if threads < 1:
        raise ValueError(f"threads must be at least 1; got {threads}")
    if out.is_dir():
        raise ValueError(f"out must be a file; {out} is a folder; write {out / name}.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(out.parent, os.W_OK):
        raise ValueError(f"out must be in a folder that can be written to; {out.parent} cannot")

"""The peak memory of a training step of MAC-WAE compared with the plain loop of Algorithm 1, each in a fresh process.

A process imports all, takes a small step, and then makes a model, rows and an optimiser and takes two steps: what it
held at most beyond what it held before is the peak, with weights, gradients, the optimiser's state and the graph. The
plain loop adds up the losses of its passes and goes back once, as the authors' does, so it holds the graphs of all K.
In pieces, ours goes through the decoders with one code of each row at a time (`at_once`).
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from benchmarks import harness
from benchmarks.harness import Report, format_quartiles, settings
from benchmarks.peak import VARIANTS
from benchmarks.rows import row
from benchmarks.shapes import SHAPES, find_shape
from benchmarks.timing import ratios, spread

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["describe_case", "main", "measure", "points", "rows", "table"]

WIDTH = 100
"""Width of the widest table, in characters."""

DRAWS, COUNTS = (1, 5, 10, 20, 40), (4, 16, 64)
"""K of the curve on PolyMNIST, and modalities of the curve at K = 10."""

MEGABYTE = 1e6


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; the exit code: 2 and one line for a user's mistake."""
    parser = harness.Parser(
        "memory",
        "Compare the peak memory of a training step of MAC-WAE with the plain loop of Algorithm 1, on random rows.",
        "--shapes polymnist --budget 20",
        budget=30.0,
        per="shape and K",
    )
    return harness.command(parser, _run, arguments)


def _run(chosen: Namespace) -> None:
    document = harness.begin("memory", chosen)
    cases = [
        (f"{shape}, K = {draws}", partial(measure, shape, draws, chosen.budget))
        for shape, draws in points(list(chosen.shapes))
    ]
    document["cases"] = list(harness.measure_cases(cases, describe=describe_case))
    harness.finish(document, table(document), chosen.out, width=WIDTH)


def points(shapes: list[str], *, quick: bool = False) -> list[tuple[str, int]]:
    """Returns the shapes and K to measure: each shape at the paper's K, and the curves against K and M.

    Arguments:
        shapes: Their names; without the first of all shapes there are no curves.
        quick: Whether the curves stop where a process takes seconds.
    """
    curves = [("polymnist", draws) for draws in DRAWS] + [(f"{count} pictures", 10) for count in COUNTS]
    papers = [(shape, SHAPES[shape].draws) for shape in shapes]
    wanted = [(shape, draws) for shape, draws in curves if not quick or draws * len(find_shape(shape).modalities) <= 50]
    return list(dict.fromkeys([*papers, *(wanted if "polymnist" in shapes else [])]))


def measure(shape: str, draws: int, budget: float, report: Report) -> dict[str, Any]:
    """Measures one row of the table.

    Arguments:
        shape: A name for `shapes.find_shape`.
        draws: Conditioning indices per step, K.
        budget: Seconds; every variant is measured at least once.
        report: Called with the share of the work that is done, in [0, 1].

    Returns:
        For JSON. For each of VARIANTS its megabytes, 10^6 bytes; `ratio` is the reference's over ours, and
        `ratio in pieces` over ours in pieces.
    """
    began, rounds, last = time.perf_counter(), [], 0.0
    while not rounds or time.perf_counter() - began + last <= budget:
        start = time.perf_counter()
        rounds.append([peak(shape, draws, variant) / MEGABYTE for variant in VARIANTS])
        last = time.perf_counter() - start
        report(min(1.0, (time.perf_counter() - began) / budget))
    sides = dict(zip(VARIANTS, map(list, zip(*rounds, strict=True)), strict=True))
    return {
        "shape": shape,
        "draws": draws,
        **settings(find_shape(shape)),
        "pairs": len(rounds),
        **{variant: spread(numbers) for variant, numbers in sides.items()},
        "ratio": ratios(sides["reference"], sides["ours"]),
        "ratio in pieces": ratios(sides["reference"], sides["in pieces"]),
    }


def peak(shape: str, draws: int, variant: str) -> int:
    """Bytes that a fresh process needed at most, with as many threads as this one.

    Raises:
        OSError: The process came to another end, for want of memory perhaps.
    """
    options = [shape, str(draws), variant, str(torch.get_num_threads())]
    root = Path(__file__).parents[1]
    command = [sys.executable, "-m", "benchmarks.peak", *options]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise OSError(f"the process that measures {', '.join(options[:3])} ended with {done.returncode}: {last}")
    return json.loads(done.stdout)["peak"]


def rows(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Lines of the table of `make bench`: the paper's shapes at the paper's K."""
    papers = [case for case in cases if case["shape"] in SHAPES and case["draws"] == SHAPES[case["shape"]].draws]
    return [
        row("memory", f"{case['shape']}, K = {case['draws']}{way}", "plain loop", case, keys=keys, unit="MB")
        for case in papers
        for way, keys in (
            ("", ("ours", "reference", "ratio")),
            (", in pieces", ("in pieces", "reference", "ratio in pieces")),
        )
    ]


def table(document: dict[str, Any]) -> Table:
    """Returns a readable table with one line per shape and K."""
    headings = ("K", "M", *VARIANTS, "reference / ours", "processes")
    made = harness.table(document, ["shape"], headings, "Peak memory of a step, 10^6 bytes: median (quartiles)")
    for case in document["cases"]:
        made.add_row(
            case["shape"],
            str(case["draws"]),
            str(case["modalities"]),
            *(format_quartiles(case[variant], ",.0f") for variant in VARIANTS),
            format_quartiles(case["ratio"], ".2f"),
            str(case["pairs"]),
        )
    return made


def describe_case(case: dict[str, Any]) -> str:
    """Returns the line that is printed when a case is finished."""
    return ", ".join(f"{variant} {case[variant]['median']:,.0f} MB" for variant in VARIANTS)


if __name__ == "__main__":
    sys.exit(main())

"""Every measurement with a baseline, in one table: `python -m benchmarks`, which is `make bench`.

Each part is a command of its own, too, with more to choose: `benchmarks.step`, `benchmarks.evaluation`,
`benchmarks.loader`, `benchmarks.memory`, `benchmarks.startup` and `benchmarks.curves`. `benchmarks.models`, every
model on every shape, is no part of this one, for it takes as long again.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks import curves, evaluation, harness, loader, memory, startup, step
from benchmarks.figures import draw_memory, draw_times
from benchmarks.harness import Case, split_names
from benchmarks.peak import VARIANTS
from benchmarks.rows import WIDTH, row, table
from benchmarks.shapes import SHAPES
from benchmarks.timing import ratios
from polymodal.runtime.registry import lookup

__all__ = ["PARTS", "Part", "main"]

Timed = tuple[str, Callable[..., dict[str, Any]], float]
"""Name of a part, function of a time limit in seconds and a callback that measures it, and its full time limit."""


@dataclass(frozen=True)
class Part:
    """A part of the benchmark.

    Arguments:
        cases: Function of the names of the shapes and of whether time is short.
        describe: Returns the text of the line for a result.
        rows: Lines of the table, of what was measured.
    """

    cases: Callable[[list[str], bool], list[Timed]]
    describe: Callable[[dict[str, Any]], str]
    rows: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]


def _list_steps(shapes: list[str], quick: bool) -> list[Timed]:
    known = {name: SHAPES[name] for name in shapes}
    return [
        (f"{name}, K = {shape.draws}", partial(step.measure, name, shape, shape.draws), 75.0)
        for name, shape in known.items()
    ]


def _evaluations(shapes: list[str], quick: bool) -> list[Timed]:
    rows = evaluation.ROWS
    wanted = [name for name in shapes if name == "celeba"]
    return [(f"{name}, {rows} rows", partial(evaluation.measure, name, rows), 120.0) for name in wanted]


def _list_evaluation_rows(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    made = []
    for case in cases:
        name = f"{case['shape']}, {case['rows']} rows, 3 tasks"
        alone = {**case, "room": ratios(case["networks"]["all"], case["prediction"]["all"])}
        made += [
            row("evaluation", name, "a pass for each task", case, at_least=evaluation.FEWEST),
            row(
                "evaluation",
                "the same without metrics",
                "its networks alone",
                alone,
                keys=("prediction", "networks", "room"),
                at_least=1 / evaluation.MOST,
            ),
        ]
    return made


def _loaders(shapes: list[str], quick: bool) -> list[Timed]:
    return [(name, partial(loader.measure, name), 10.0) for name in shapes]


def _memories(shapes: list[str], quick: bool) -> list[Timed]:
    points = memory.points(shapes, quick=quick)
    return [(f"{name}, K = {draws}", partial(memory.measure, name, draws), 30.0) for name, draws in points]


def _list_starts(shapes: list[str], quick: bool) -> list[Timed]:
    return [("import polymodal", startup.measure, 60.0)]


def _curves(shapes: list[str], quick: bool) -> list[Timed]:
    wanted = [curve for curve in curves.curves(quick=quick) if curve.name not in SHAPES or curve.name in shapes]
    return [(f"{curve.name} against {curve.axis}", partial(curves.measure, curve), curve.seconds) for curve in wanted]


PARTS = {
    "step": Part(_list_steps, harness.format_speedup, step.rows),
    "evaluation": Part(_evaluations, harness.format_speedup, _list_evaluation_rows),
    "loader": Part(_loaders, loader.describe_case, loader.rows),
    "memory": Part(_memories, memory.describe_case, memory.rows),
    "start-up": Part(_list_starts, startup.describe_case, startup.rows),
    "curves": Part(_curves, curves.describe_case, lambda cases: []),
}
"""Parts by name, in the order of the table. To add a part, add an entry here."""

FULL = sum(seconds for part in PARTS.values() for _, _, seconds in part.cases(list(SHAPES), False))
"""Seconds of all parts on all shapes."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; the exit code: 2 and one line for a user's mistake."""
    parser = harness.Parser(
        "bench",
        "Compare steps, the loader, memory, start-up and curves with their baselines, in one table.",
        "--quick --parts step,memory",
        budget=FULL,
        per="run of all parts on all shapes, of which each part takes its share",
    )
    parser.add_argument("--parts", default=",".join(PARTS), help="what to measure, separated by commas")
    parser.add_argument("--quick", action="store_true", help="as few rounds as there may be, and none of the longest")
    return harness.command(parser, _run, arguments)


def _run(chosen: Namespace) -> None:
    parts = {name: lookup(PARTS, name, "part") for name in split_names(chosen.parts)}
    if chosen.quick:
        chosen.budget = 1.0
    document = harness.begin("bench", chosen)
    share = chosen.budget / FULL
    cases = {
        name: [
            Case(f"{name}: {each}", partial(measure, share * seconds), seconds, part.describe)
            for each, measure, seconds in part.cases(list(chosen.shapes), chosen.quick)
        ]
        for name, part in parts.items()
    }
    measured = iter(list(harness.measure_cases([case for each in cases.values() for case in each])))
    document["parts"] = {name: [next(measured) for _ in each] for name, each in cases.items()}
    document["rows"] = [line for name, part in parts.items() for line in part.rows(document["parts"][name])]
    _finish(document, chosen)


def _finish(document: dict[str, Any], chosen: Namespace) -> None:
    steps, lines, memories = (document["parts"].get(name, []) for name in ("step", "curves", "memory"))
    for case in filter(step.is_papers, steps):
        case["against"] = step.compare_with_published(case)
    pictures = [*draw_times(lines, chosen.out), *draw_memory(memories, list(VARIANTS), chosen.out)]
    tables = [table(document), step.floors(document, steps), curves.table(document, lines)]
    harness.finish(document, tables, chosen.out, width=WIDTH, lines=[*pictures, _summarise(document["rows"])])


def _summarise(rows: list[dict[str, Any]]) -> str:
    required = [line for line in rows if line["reached"] is not None]
    missed = [f"{line['part']}, {line['case']}" for line in required if not line["reached"]]
    said = f"Reached: {len(required) - len(missed)} of {len(required)} that are required"
    return f"{said}; missed: {'; '.join(missed)}" if missed else said


if __name__ == "__main__":
    sys.exit(main())

"""Measures the start-up time of polymodal and of `import torch`, in alternating new processes.

Names of `polymodal` are resolved when they are first used, so importing it costs little by itself; what people wait for
is the import and the names that they use.
"""

from __future__ import annotations

import subprocess
import sys
from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import harness
from benchmarks.harness import Report
from benchmarks.rows import WIDTH, row, table
from benchmarks.timing import interleave, ratios, spread

__all__ = ["PROGRAMS", "describe_case", "main", "measure", "rows"]

TORCH = ["-c", "import torch"]

PROGRAMS = {
    "import polymodal": ["-c", "import polymodal"],
    "with what is used": ["-c", "from polymodal import Image, Label, Schema, Table, build, evaluate, fit, load"],
    "polymodal --help": ["-m", "polymodal.cli.app", "--help"],
}
"""Programs by their names in the table."""

MOST = 1.1
"""Maximum time to import polymodal, as a multiple of the time to import torch."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; the exit code: 2 and one line for a user's mistake."""
    parser = harness.Parser(
        "startup",
        "Compare the time to import polymodal, and of `polymodal --help`, with importing torch, in fresh processes.",
        "--budget 20",
        budget=60.0,
        per="run",
        shapes=False,
    )
    return harness.command(parser, _run, arguments)


def _run(chosen: Namespace) -> None:
    document = harness.begin("startup", chosen)
    document["cases"] = list(
        harness.measure_cases([("start-up", partial(measure, chosen.budget))], describe=describe_case)
    )
    document["rows"] = rows(document["cases"])
    harness.finish(document, table(document), chosen.out, width=WIDTH)


def measure(budget: float, report: Report) -> dict[str, Any]:
    """Times all programs in turn, torch first.

    Arguments:
        budget: Seconds, warming up among them.
        report: Called with the share of the work that is done, in [0, 1].

    Returns:
        For JSON. `torch` and, by program, `ours` are seconds; `ratio` is torch's over the program's, round by round.
    """
    programs = [TORCH, *PROGRAMS.values()]
    rounds = interleave(*(partial(_start, program) for program in programs), budget=budget, report=report)
    torch, *others = map(list, zip(*rounds, strict=True))
    return {
        "pairs": len(rounds),
        "torch": spread(torch),
        "programs": {
            name: {"ours": spread(ours), "reference": spread(torch), "ratio": ratios(torch, ours)}
            for name, ours in zip(PROGRAMS, others, strict=True)
        },
    }


def rows(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Lines of the table of `make bench`."""
    return [
        row("start-up", name, "import torch", times, at_least=1 / MOST)
        for case in cases
        for name, times in case["programs"].items()
    ]


def describe_case(case: dict[str, Any]) -> str:
    """Returns the line that is printed when a case is finished."""
    times = {"import torch": case["torch"], **{name: times["ours"] for name, times in case["programs"].items()}}
    return ", ".join(f"{name} {seconds['median']:.2f} s" for name, seconds in times.items())


def _start(program: list[str], _: int) -> None:
    root = Path(__file__).parents[1]
    subprocess.run([sys.executable, *program], cwd=root, stdout=subprocess.DEVNULL, check=True)


if __name__ == "__main__":
    sys.exit(main())

"""Training steps of the working tree compared with those of an earlier commit, in processes that take turns.

The commit is checked out into a folder of its own, which is removed afterwards. Each side is one process that makes the
models, rows and optimiser of its own code and waits while the other takes a step, so single steps alternate. Both take
the same shapes, K, random rows and seeds, on the same machine with the same threads. The table says by how much the
losses of the first step differ: by nothing more than rounding where both do the same.

Two processes that run the same code differ by up to 8 % in the time of a step, for as long as they run, because their
memory lies elsewhere. Therefore the budget of a shape is divided among several pairs of new processes, and the ratio is
over the steps of all of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks import harness
from benchmarks.checkout import ROOT, check_out, commit, describe_working_tree
from benchmarks.harness import Report, format_quartiles, settings
from benchmarks.shapes import SHAPES
from benchmarks.timing import interleave, ratios, spread
from polymodal.runtime.validation import check_whole

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Worker", "main", "measure", "table"]

Start = Callable[[], "AbstractContextManager[tuple[Worker, Worker]]"]

WIDTH = 124
"""Width of the widest table, in characters."""

PAUSE = 0.02
"""Seconds between two steps, in which the threads of the process that has just worked stop looking for more work."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; the exit code: 2 and one line for a user's mistake."""
    parser = harness.Parser(
        "compare",
        "Compare the time of training steps of the working tree with those of a commit, in turn.",
        "main --shapes polymnist,mhd --budget 20",
        budget=60.0,
        per="shape",
    )
    parser.add_argument("base", nargs="?", default="", help="commit to compare with")
    parser.add_argument("--processes", default=8, type=int, help="pairs of processes that share a shape's budget")
    return harness.command(parser, _run, arguments)


def _run(chosen: Namespace) -> None:
    base = commit(chosen.base)
    check_whole("processes", chosen.processes)
    document = harness.begin("compare", chosen)
    document.update(base=base, base_name=chosen.base, new=describe_working_tree())
    with check_out(base) as folder:
        start = partial(_workers, folder, chosen)
        cases = [(name, partial(measure, name, start, chosen.processes, chosen.budget)) for name in chosen.shapes]
        document["cases"] = list(harness.measure_cases(cases, describe=_describe_case))
    harness.finish(document, table(document), chosen.out, width=WIDTH)


def measure(shape: str, start: Start, processes: int, budget: float, report: Report) -> dict[str, Any]:
    """Measures one row of the table.

    Arguments:
        shape: Its name.
        start: Starts two new processes, which end with the `with` block: one that takes steps of the earlier commit,
            and one that takes those of the working tree.
        processes: How often to start two processes.
        budget: Seconds of all steps, those that warm up among them.
        report: Called with the share of the work that is done, in [0, 1].

    Returns:
        For JSON. `old` and `new` are seconds per step, `ratio` the old over the new, pair by pair; `medians` are the
        ratios of the medians of each pair of processes; `apart` is by which share the losses of the first step differ.
    """
    draws = SHAPES[shape].draws
    seconds: tuple[list[float], list[float]] = ([], [])
    medians: list[float] = []
    weights: list[int] = []
    losses: list[float] = []
    for process in range(processes):
        answers: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
        with start() as workers:
            weights = [worker.ask(shape=shape, draws=draws)["weights"] for worker in workers]
            steps = [partial(_step, worker, own) for worker, own in zip(workers, answers, strict=True)]
            interleave(
                *(steps if process % 2 == 0 else reversed(steps)),
                budget=budget / processes,
                report=lambda done, process=process: report((process + done) / processes),
            )
        losses = losses or [own[0]["loss"] for own in answers]
        own = [[answer["seconds"] for answer in answers[side][1:]] for side in range(2)]  # the first warms up
        medians.append(median(own[0]) / median(own[1]))
        for side in range(2):
            seconds[side].extend(own[side])
    return {
        "shape": shape,
        "draws": draws,
        **settings(SHAPES[shape]),
        "weights": dict(zip(("old", "new"), weights, strict=True)),
        "apart": abs(losses[1] / losses[0] - 1),
        "pairs": len(seconds[0]),
        "processes": processes,
        "medians": medians,
        "old": spread(seconds[0]),
        "new": spread(seconds[1]),
        "ratio": ratios(*seconds),
    }


def table(document: dict[str, Any]) -> Table:
    """Returns a readable table with one line per shape."""
    title = f"Seconds per training step, old: {document['base'][:9]}, new: {document['new']}: median (quartiles)"
    headings = ("K", "old", "new", "old / new", "losses differ by", "pairs", "processes")
    made = harness.table(document, ["shape"], headings, title)
    for case in document["cases"]:
        made.add_row(
            case["shape"],
            str(case["draws"]),
            format_quartiles(case["old"], ".3f"),
            format_quartiles(case["new"], ".3f"),
            format_quartiles(case["ratio"], ".3f"),
            f"{case['apart']:.0e}" if case["apart"] else "0",
            str(case["pairs"]),
            str(case["processes"]),
        )
    return made


class Worker:
    """A process that runs `benchmarks/worker.py` under the code of a folder.

    Arguments:
        folder: Folder that contains `polymodal` and `benchmarks`.
        name: Name of the checkout for error messages.
        threads: Number of PyTorch threads.
    """

    def __init__(self, folder: Path, name: str, threads: int) -> None:
        self.folder, self.name = folder, name
        # -P: the folder of the script is that of this commit, whose modules the other must not find.
        command = [sys.executable, "-P", str(ROOT / "benchmarks" / "worker.py"), str(threads)]
        environment = {**os.environ, "PYTHONPATH": str(folder)}
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # so that Ctrl-C is met by this process alone, which ends that one
        )

    def begin(self) -> None:
        """Waits until it has imported its code.

        Raises:
            ValueError: It cannot, or imports that of another folder.
        """
        places = self._answer()["places"]
        if strange := [place for place in places if not Path(place).resolve().is_relative_to(self.folder.resolve())]:
            raise ValueError(f"{self.name} was to be imported from {self.folder}; {strange[0]} came in its place")

    def ask(self, **request: Any) -> dict[str, Any]:
        """Returns its answer to a request.

        Raises:
            ValueError: It cannot do that, or has ended.
        """
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended, which the answer says
            print(json.dumps(request), file=self.process.stdin, flush=True)
        return self._answer()

    def end(self) -> None:
        """Ends the process."""
        self.process.kill()
        self.process.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        if not (line := self.process.stdout.readline()):
            raise ValueError(f"the process with {self.name} ended with {self.process.wait()}; what it said is above")
        answer = json.loads(line)
        if "error" in answer:
            raise ValueError(f"{self.name} cannot take these steps; it says {answer['error']}")
        return answer


@contextmanager
def _workers(folder: Path, chosen: Namespace) -> Iterator[tuple[Worker, Worker]]:
    """Starts a worker for the earlier commit and one for the working tree; both end with the `with` block."""
    workers: list[Worker] = []
    try:
        for place, name in ((folder, f"commit {chosen.base}"), (ROOT, "the working tree")):
            workers.append(Worker(place, name, chosen.threads))
        for worker in workers:
            worker.begin()
        yield workers[0], workers[1]
    finally:
        for worker in workers:
            worker.end()


def _step(worker: Worker, answers: list[dict[str, Any]], i: int) -> None:
    answers.append(worker.ask(seed=i))
    time.sleep(PAUSE)


def _describe_case(case: dict[str, Any]) -> str:
    return f"the new is {format_quartiles(case['ratio'], '.3f')} times as fast, {case['pairs']} pairs"


if __name__ == "__main__":
    sys.exit(main())

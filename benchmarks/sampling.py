"""Sampling codes by a flow, next to the same network integrated by Heun's method, in one process and in turn.

1,000 codes, 25 steps of the solver, shared by as many paths as samples take by default, six modalities, an untrained
network of the default width: what a step takes does not depend on its weights. Heun's method is written out below, on
one path; of the same order, it evaluates the network twice per step. A training step of 512 codes, as in the second
phase of `fit`, is timed next to it.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from benchmarks import harness
from benchmarks.harness import Report, format_quartiles
from benchmarks.timing import interleave, ratios, spread
from polymodal.networks import CodeFlow

if TYPE_CHECKING:
    from rich import table as rich_table

__all__ = ["describe", "heun", "main", "measure", "table"]

WIDTH = 120
"""Width of the table, in characters."""

SIZES = (32, 64, 128)
CODES, STEPS, MODALITIES, BATCH = 1000, 25, 6, 512


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; the exit code: 2 and one line for a user's mistake."""
    parser = harness.Parser(
        "sampling",
        "Time sampling of 1,000 codes by a flow next to Heun's method, and a step of the flow's training.",
        "--budget 20",
        budget=10.0,
        per="size of a code",
        shapes=False,
    )
    return harness.command(parser, _run, arguments)


def _run(chosen: Namespace) -> None:
    document = harness.begin("sampling", chosen)
    cases = [(f"codes of {size}", partial(measure, size, chosen.budget)) for size in SIZES]
    document["cases"] = list(harness.measure_cases(cases, describe=describe))
    harness.finish(document, table(document), chosen.out, width=WIDTH)


def measure(size: int, budget: float, progress: Report) -> dict[str, Any]:
    """Measures one row of the table.

    Arguments:
        size: Size of a code.
        budget: Seconds in all, including the round that warms up.
        progress: Called with the share of the work that is done, in [0, 1].

    Returns:
        For JSON. `ours` and `plain` are seconds to sample all codes, `step` those of a training step, and `ratio` the
        plain seconds over ours, round by round.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        flow = CodeFlow(size, MODALITIES)
    adam = torch.optim.AdamW(flow.parameters(), fused=True)
    b = torch.ones(1, MODALITIES, dtype=torch.bool)

    def ours(_: int) -> None:
        with torch.no_grad():
            noise, *others = torch.randn(1 + flow.restarts, CODES, size)
            flow.transport(noise, torch.zeros(1, size), b, restart_noise=others, steps=STEPS)

    def plain(_: int) -> None:
        with torch.no_grad():
            heun(flow, torch.randn(CODES, size), torch.zeros(1, size), b, STEPS)

    def step(_: int) -> None:
        w, noise = torch.randn(2, BATCH, size)
        harness.train(flow.loss(w, w, b.expand(BATCH, -1), noise, torch.rand(BATCH, 1)).sum() / BATCH, adam)

    rounds = interleave(ours, plain, step, budget=budget, report=progress)
    seconds = [list(one) for one in zip(*rounds, strict=True)]
    return {
        "code": size,
        "width": flow.width,
        "codes": CODES,
        "solver_steps": STEPS,
        "pairs": len(rounds),
        **{name: spread(one) for name, one in zip(("ours", "plain", "step"), seconds, strict=True)},
        "ratio": ratios(seconds[1], seconds[0]),
    }


def heun(flow: CodeFlow, noise: Tensor, c: Tensor, b: Tensor, steps: int) -> Tensor:
    """Codes sampled by Heun's method, `(N, D)`: what the flow's own solver is compared with.

    Arguments:
        flow: Whose velocity is integrated.
        noise: Standard normal noise, `(N, D)`.
        c: Codes given the conditioning masks, `(N, D)` or `(1, D)`.
        b: The masks, `(N, M)` or `(1, M)`.
        steps: Number of steps of the solver.
    """
    c = flow.standardise(c)
    condition, w = flow.embed_condition(c, b), c + flow.sigma * noise
    for i in range(steps):
        first = flow.velocity(w, torch.full((1, 1), i / steps), condition)
        second = flow.velocity(w + first / steps, torch.full((1, 1), (i + 1) / steps), condition)
        w = w + (first + second) / (2 * steps)
    return w * flow.scale + flow.mean


def table(document: dict[str, Any]) -> rich_table.Table:
    """Makes the table that is printed, with a line per size of a code."""
    headings = ("width", "1,000 samples", "by Heun's method", "Heun / ours", "training step", "rounds")
    made = harness.table(document, ["size of a code"], headings, title="Seconds: median (quartiles)")
    for case in document["cases"]:
        made.add_row(
            str(case["code"]),
            str(case["width"]),
            format_quartiles(case["ours"], ".3f"),
            format_quartiles(case["plain"], ".3f"),
            format_quartiles(case["ratio"], ".2f"),
            format_quartiles(case["step"], ".4f"),
            str(case["pairs"]),
        )
    return made


def describe(case: dict[str, Any]) -> str:
    """Describes a case that is done, in a line."""
    return (
        f"{case['codes']} codes in {case['ours']['median']:.3f} s, {case['ratio']['median']:.2f} times as fast as by "
        f"Heun's method, {case['pairs']} rounds"
    )


if __name__ == "__main__":
    sys.exit(main())

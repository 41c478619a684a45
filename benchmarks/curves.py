"""Seconds per training step of MAC-WAE against K, against the number of modalities, and against the batch.

A step is compared with the plain loop of Algorithm 1, unless that takes too long, and with its unavoidable part:
encoders once and decoders on every code, forward and backward, one network at a time
(`benchmarks.arithmetic.run_networks`). All points of a curve are timed in turn, so that a slow phase of the machine
affects all of them, and a line is fitted to each round.

Where the curve is against K, the line is fitted to the codes that are decoded, for equal indices are decoded once:
encoders do not depend on K, so the slope of what cannot be spared is that of decoding alone. Against the number of
modalities it is an encoder once and a decoder K times. There, every row has its own indices, so that none are equal,
however few the modalities.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from benchmarks import arithmetic, harness, reference
from benchmarks.harness import Report, format_quartiles, fused, train
from benchmarks.shapes import SHAPES, Shape, make_shape, model_of, rows_of
from benchmarks.timing import interleave, line, ratios, spread

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Curve", "Point", "curves", "describe_case", "main", "measure", "table"]

WIDTH = 130
"""Width of the widest table, in characters."""

DRAWS = (1, 2, 5, 10, 20, 40)
COUNTS = (2, 4, 8, 16, 32, 64)
BATCHES = (8, 32, 128, 512)
LONGEST = 10
"""Largest K at which the plain loop is timed; the plain loop repeats all computations K times."""


@dataclass(frozen=True)
class Point:
    """A point of a curve: a training step to time.

    Arguments:
        at: Position on the axis.
        shape: Shape of the data to train on.
        draws: Number K of conditioning masks.
        plain: Whether the plain loop is also timed.
        arguments: Arguments of the model, in addition to the shape's.
    """

    at: int
    shape: Shape
    draws: int
    plain: bool = True
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Curve:
    """A series of steps that differ in one quantity.

    Arguments:
        name: Name of the data to train on.
        axis: Quantity that differs: "K", "modalities" or "batch".
        points: Points of the curve, in order.
        seconds: Time that the curve takes on two cores, in seconds.
    """

    name: str
    axis: str
    points: Sequence[Point]
    seconds: float


def curves(*, quick: bool = False) -> list[Curve]:
    """Returns all curves to measure.

    Arguments:
        quick: Whether they stop where a step takes a second.
    """
    made = [
        Curve(name, "K", [Point(k, SHAPES[name], k, k <= LONGEST) for k in DRAWS], seconds)
        for name, seconds in (("polymnist", 120.0), ("mhd", 30.0), ("celeba", 100.0))
    ]
    own = {"indices": "per-sample"}
    for kind, seconds in (("labels", 20.0), ("pictures", 60.0)):
        points = [Point(m, make_shape(kind, m), 10, arguments=own) for m in COUNTS]
        made.append(Curve(kind, "modalities", points, seconds))
    sizes = [Point(size, replace(SHAPES["mhd"], batch_size=size), 10) for size in BATCHES]
    made.append(Curve("mhd", "batch", sizes, 60.0))
    return [replace(curve, points=curve.points[:4]) for curve in made] if quick else made


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; the exit code: 2 and one line for a user's mistake."""
    parser = harness.Parser(
        "curves",
        "Time a training step of MAC-WAE against K, the number of modalities and the batch, on random rows.",
        "--quick --budget 5",
        budget=60.0,
        per="curve",
        shapes=False,
    )
    parser.add_argument("--quick", action="store_true", help="leave out the longest steps")
    return harness.command(parser, _run, arguments)


def _run(chosen: Namespace) -> None:
    from benchmarks.figures import draw_times

    document = harness.begin("curves", chosen)
    cases = [
        (f"{curve.name} against {curve.axis}", partial(measure, curve, chosen.budget))
        for curve in curves(quick=chosen.quick)
    ]
    document["cases"] = list(harness.measure_cases(cases, describe=describe_case))
    pictures = draw_times(document["cases"], chosen.out)
    harness.finish(document, table(document, document["cases"]), chosen.out, width=WIDTH, lines=pictures)


def measure(curve: Curve, budget: float, report: Report) -> dict[str, Any]:
    """Measures one curve.

    Arguments:
        curve: Curve to measure.
        budget: Seconds, warming up among them.
        report: Called with the share of the work that is done, in [0, 1].

    Returns:
        For JSON. `points` have seconds: `ours`, `bare`, and `reference` where it was timed; `at`, their place on the
        axis, and `codes`, the mean number decoded per row. `slopes` are seconds per code, modality or row of the
        lines through ours, bare and, if there are three points of it, the reference; `ratio` is ours over bare, round
        by round, and `straight` which share of the variance of ours its line explains.
    """
    sides = [side for point in curve.points for side in _sides(point)]
    rounds = interleave(*(side.function for side in sides), budget=budget, report=report)
    for side, seconds in zip(sides, zip(*rounds, strict=True), strict=True):
        side.seconds.extend(seconds)
    lines = {
        name: _lines(curve, [side for side in sides if side.name == name]) for name in ("ours", "bare", "reference")
    }
    slopes = {name: [slope for slope, _ in fitted] for name, fitted in lines.items() if fitted}
    return {
        "name": curve.name,
        "axis": curve.axis,
        "pairs": len(rounds),
        "points": [
            _numbers(point, [side for side in sides if side.point is point], len(rounds)) for point in curve.points
        ],
        "slopes": {name: spread(each) for name, each in slopes.items()},
        "ratio": ratios(slopes["ours"], slopes["bare"]),
        "straight": spread([share for _, share in lines["ours"]]),
    }


def table(document: dict[str, Any], cases: list[dict[str, Any]]) -> Table:
    """Returns a readable table with one line per curve."""
    title = "What one more costs: slopes of lines through seconds per step, ms; bare: encoders once, decoders K times"
    headings = ("ours", "bare", "plain loop", "ours / bare", "straight, R²", "rounds")
    made = harness.table(document, ["one more", "on"], headings, title)
    for case in cases:
        slopes = {
            name: {key: 1000 * numbers[key] for key in ("median", "lower", "upper")}
            for name, numbers in case["slopes"].items()
        }
        made.add_row(
            {"K": "code", "modalities": "modality", "batch": "row"}[case["axis"]],
            case["name"],
            format_quartiles(slopes["ours"], ".3g"),
            format_quartiles(slopes["bare"], ".3g"),
            format_quartiles(slopes["reference"], ".3g") if "reference" in slopes else "",
            format_quartiles(case["ratio"], ".2f"),
            f"{case['straight']['median']:.4f}",
            str(case["pairs"]),
        )
    return made


def describe_case(case: dict[str, Any]) -> str:
    """Returns the line that is printed when a curve is finished."""
    return (
        f"one more costs {format_quartiles(case['ratio'], '.2f')} times what cannot be spared, {case['pairs']} rounds"
    )


@dataclass
class _Side:
    """Returns the functions that are timed at a point, and their seconds in each round."""

    name: str
    point: Point
    function: Callable[[int], object]
    codes: Callable[[int], int]
    seconds: list[float] = field(default_factory=list)


def _sides(point: Point) -> list[_Side]:
    model = model_of(point.shape, point.draws, **point.arguments)
    batch = rows_of(model.schema, point.shape.batch_size)
    plain, alone, x = reference.stock(model), deepcopy(model), arithmetic.hide_values(model, batch)
    adam = fused(model, point.shape.learning_rate)
    stock = torch.optim.Adam(plain.parameters(), lr=point.shape.learning_rate)

    def codes(i: int) -> int:
        return reference.distinct(model, batch, i)

    functions: dict[str, Callable[[int], object]] = {
        "ours": lambda _: train(model.loss(batch).total, adam),
        "bare": lambda i: arithmetic.run_networks(alone, x, codes(i)),
    }
    if point.plain:
        functions["reference"] = lambda _: train(reference.loss(plain, batch), stock)
    return [_Side(name, point, function, codes) for name, function in functions.items()]


def _lines(curve: Curve, sides: list[_Side]) -> list[tuple[float, float]]:
    """Returns the slope of the fitted line and the share of the variance that it explains, for each round."""
    if len(sides) < 3:
        return []
    lines = []
    for i in range(len(sides[0].seconds)):
        x = [_place(curve, side, i) for side in sides]
        lines.append(line(x, [side.seconds[i] for side in sides]))
    return lines


def _place(curve: Curve, side: _Side, i: int) -> int:
    if curve.axis != "K":
        return side.point.at
    return side.point.draws if side.name == "reference" else side.codes(i + 1)


def _numbers(point: Point, sides: list[_Side], rounds: int) -> dict[str, Any]:
    return {
        "at": point.at,
        "codes": sum(sides[0].codes(i + 1) for i in range(rounds)) / rounds,
        **{side.name: spread(side.seconds) for side in sides},
    }


if __name__ == "__main__":
    sys.exit(main())

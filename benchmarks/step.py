"""A training step of MAC-WAE compared with the plain loop of the paper's Algorithm 1, in one process and in turn.

Ours: `model.loss(batch)`, `backward`, and the fused Adam with the weight decay that `polymodal.training.fit` makes.
Every encoder runs once on the batch and once on a blank, and all codes go through each decoder as one batch.
Indices that are equal are encoded and decoded once and counted by their multiplicity: the fewer the subsets, the
more that is worth, so the table says how many of the K were distinct.

The reference: `benchmarks.reference.loss` on a copy of the same model, `backward`, and `torch.optim.Adam` with its
defaults, which do not decay weights: it is spared a little work. It runs every encoder, the conditioner, the joint
encoder and every decoder once per index, the equal ones too.

Both take the same random rows and, in each pair of steps, the same indices; both train, dropout included.

At the paper's K a second table holds the reference to the authors' published loop, whose seconds were taken on a
machine of another speed: they are scaled by the rate of a matrix product. It also says the floor: what the operations
of encoders once and decoders K times take at that rate.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

from benchmarks import harness, machine, reference
from benchmarks.arithmetic import operations
from benchmarks.harness import format_quartiles, settings, split_names
from benchmarks.published import PUBLISHED, RATE, WITHIN
from benchmarks.rows import row
from benchmarks.shapes import SHAPES, Shape, model_of, rows_of
from benchmarks.timing import ratios, spread

if TYPE_CHECKING:
    from rich.table import Table


__all__ = ["compare_with_published", "floors", "is_papers", "main", "measure", "rows", "table"]

DRAWS = "1,2,5,10,20"
WIDTH = 150
"""Width of the widest table, in characters."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; the exit code: 2 and one line for a user's mistake."""
    parser = harness.Parser(
        "step",
        "Compare the time of a training step of MAC-WAE with the plain loop of Algorithm 1, on random rows.",
        "--shapes polymnist,mhd --draws 1,10 --budget 20",
        budget=15.0,
        per="shape and K",
    )
    parser.add_argument("--draws", default=DRAWS, help="conditioning indices per step, K, separated by commas")
    return harness.command(parser, _run, arguments)


def _run(chosen: Namespace) -> None:
    draws = [_parse_count(k) for k in split_names(chosen.draws)]
    document = harness.begin("step", chosen)
    cases = [
        (f"{name}, K = {k}", partial(measure, name, shape, k, chosen.budget))
        for (name, shape), k in product(chosen.shapes.items(), draws)
    ]
    document["cases"] = list(harness.measure_cases(cases))
    harness.finish(document, [table(document), floors(document, document["cases"])], chosen.out, width=WIDTH)


def measure(name: str, shape: Shape, draws: int, budget: float, report: Callable[[float], object]) -> dict[str, Any]:
    """Measures one row of the table.

    Arguments:
        name: Name of the shape.
        shape: Shape of the data to train on.
        draws: Number K of conditioning masks per step.
        budget: Time limit in seconds, including the warm-up.
        report: Function that is called with the finished share of the work, in [0, 1].

    Returns:
        For JSON. `ours` and `reference` are seconds per step, `ratio` the reference's over ours, pair by pair;
        `distinct` is the mean number of different indices among the K, and `operations` what
        `arithmetic.operations` counts; `rate` is that of a matrix product in the same rounds, operations per second.
    """
    model = model_of(shape, draws)
    batch = rows_of(model.schema, shape.batch_size)
    counted = operations(model, batch)
    multiply, work = machine.product()
    rounds = harness.time_in_turn(
        model, reference.loss, batch, shape.learning_rate, budget, report, lambda _: multiply()
    )
    ours, theirs, products = map(list, zip(*rounds, strict=True))
    return {
        "shape": name,
        "draws": draws,
        **settings(shape),
        "pairs": len(rounds),
        "operations": counted,
        "distinct": sum(reference.distinct(model, batch, i + 1) for i in range(len(rounds))) / len(rounds),
        "ours": spread(ours),
        "reference": spread(theirs),
        "ratio": ratios(theirs, ours),
        "rate": spread([work / seconds for seconds in products]),
    }


def rows(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Lines of the table of `make bench`, with what is required at the paper's K."""
    return [
        row(
            "step",
            f"{case['shape']}, K = {case['draws']}, {case['distinct']:.1f} differ",
            "plain loop",
            case,
            at_least=PUBLISHED[case["shape"]].at_least if is_papers(case) else None,
        )
        for case in cases
    ]


def floors(document: dict[str, Any], cases: list[dict[str, Any]]) -> Table:
    """Returns the table of cases at the paper's K: the reference with the published loop, ours with lower bounds."""
    title = "The reference next to the authors' loop, scaled by the rate of a product; ours and its arithmetic"
    headings = (
        "GFLOP/s",
        "reference, s",
        f"at {RATE / 1e9:.0f} GFLOP/s",
        "authors' loop",
        f"apart, within {WITHIN:.0%}",
        "unscaled",
        "floor, K codes, s",
        "floor, distinct, s",
        "ours / floor",
    )
    made = harness.table(document, ["shape"], headings, title)
    for case in filter(is_papers, cases):
        numbers = compare_with_published(case)
        made.add_row(
            case["shape"],
            f"{case['rate']['median'] / 1e9:.0f}",
            format_quartiles(case["reference"], ".3g"),
            format_quartiles(numbers["scaled"], ".3g"),
            f"{numbers['published']:.3g}",
            f"{numbers['apart']:+.0%}{'' if numbers['within'] else ', faster' if numbers['apart'] < 0 else ', SLOWER'}",
            f"{numbers['apart_here']:+.0%}",
            f"{numbers['floor']:.3g}",
            f"{numbers['floor_distinct']:.3g}",
            f"{case['ours']['median'] / numbers['floor']:.1f}",
        )
    return made


def compare_with_published(case: dict[str, Any]) -> dict[str, Any]:
    """Compares a case at the paper's K with the published times.

    Returns:
        For JSON. `scaled` are the reference's seconds were the product's rate the published machine's, round by
        round; `apart` is its median over the published loop's seconds, less 1, and `apart_here` that of the seconds as
        they are, for convolutions need not be as much faster as products are; `floor` and `floor_distinct` are the
        seconds of the operations at the rate measured, of all K codes and of those that differ.
    """
    published, rate = PUBLISHED[case["shape"]].loop, case["rate"]["median"]
    pairs = zip(case["reference"]["all"], case["rate"]["all"], strict=True)
    scaled = spread([seconds * each / RATE for seconds, each in pairs])
    apart = scaled["median"] / published - 1
    return {
        "scaled": scaled,
        "published": published,
        "apart": apart,
        "within": abs(apart) <= WITHIN,
        "apart_here": case["reference"]["median"] / published - 1,
        "floor": _work(case, case["draws"]) / rate,
        "floor_distinct": _work(case, case["distinct"]) / rate,
    }


def _work(case: dict[str, Any], codes: float) -> float:
    """Operations of encoders once and of decoders on so many codes."""
    return case["operations"]["encode"] + codes * case["operations"]["decode"]


def is_papers(case: dict[str, Any]) -> bool:
    """Returns whether a case has the shape and the K of the paper."""
    return case["shape"] in PUBLISHED and case["draws"] == SHAPES[case["shape"]].draws


def table(document: dict[str, Any]) -> Table:
    """Returns a readable table with one line per shape and K."""
    headings = ("K", "distinct", "ours", "reference", "reference / ours", "pairs")
    made = harness.table(document, ["shape"], headings)
    for case in document["cases"]:
        made.add_row(
            case["shape"],
            str(case["draws"]),
            f"{case['distinct']:.1f}",
            format_quartiles(case["ours"], ".3f"),
            format_quartiles(case["reference"], ".3f"),
            format_quartiles(case["ratio"], ".2f"),
            str(case["pairs"]),
        )
    return made


def _parse_count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise ValueError(f"draws must be whole numbers from 1, such as 1,5,10; got {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())

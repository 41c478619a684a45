"""A training step of every model compared with a naive loop of the same model, in one process and in turn.

Ours: `model.loss(batch)`, `backward`, and the fused Adam with the weight decay that `polymodal.training.fit` makes.
Every encoder runs once on the batch; its use by several subsets, experts or draws is one batched computation.

The naive loop: `benchmarks.naive.loss` on a copy of the same model, `backward`, and `torch.optim.Adam` with its
defaults, which do not decay weights: it is spared a little work. Every subset, expert or draw is a pass of its own
that runs what it needs anew. The table says how many passes there are: where there is one, as in JMVAE, MVTCAE and
Nexus, nothing can be shared, and what is measured is whether the library costs anything.

Both take the same random rows, all complete, and in each pair of steps the same random numbers (but for dropout in
the encoder of texts); both train. Costs are the modalities' own, weights are 1, and other arguments are the models'
own, but for `latent_dim` and `p0`, which are the shape's: MMVAE+ shares out the size between z and u, and in Nexus
it is that of the codes below. Last, MoPoE's step is compared with MVTCAE's on the shape of PolyMNIST: with 31 subsets
it is to cost at most 1.5 times as much.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

from benchmarks import harness, naive
from benchmarks.harness import Report, format_quartiles, fused, settings, split_names, train
from benchmarks.shapes import SHAPES, Shape, rows_of
from benchmarks.timing import interleave, ratios, spread
from polymodal.models import Model, build
from polymodal.runtime.registry import lookup
from polymodal.schema import Schema

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["LIMITS", "MOST", "compare", "main", "measure", "model_of", "table"]

WIDTH = 140
"""Width of the widest table, in characters."""

MOST = 1.5
"""Maximum time of a step of MoPoE, relative to a step of MVTCAE."""

LIMITS: dict[tuple[str, str], tuple[dict[str, Any], str]] = {
    ("mopoe", "celeba"): (
        {"subsets": [[name] for name in SHAPES["celeba"].modalities] + [list(SHAPES["celeba"].modalities)]},
        "of 2^41 - 1 subsets, each modality alone and all",
    ),
    ("mmvae", "celeba"): ({"draws": 1}, "K = 1: with 10, 26240 pictures would be decoded"),
}
"""Arguments for models that cannot be measured on a shape with their defaults, and a note for the table."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; the exit code: 2 and one line for a user's mistake."""
    parser = harness.Parser(
        "models",
        "Compare the time of a training step of every model with a naive loop of the same model, on random rows.",
        "--shapes polymnist,mhd --models mopoe,mvtcae --budget 20",
        budget=15.0,
        per="model and shape",
    )
    parser.add_argument("--models", default=",".join(naive.NAIVE), help="their names, separated by commas")
    return harness.command(parser, _run, arguments)


def _run(chosen: Namespace) -> None:
    models = split_names(chosen.models)
    for name in models:
        lookup(naive.NAIVE, name, "model")
    document = harness.begin("models", chosen)
    cases = [
        (f"{shape}, {name}", partial(measure, name, shape, chosen.budget))
        for shape, name in product(chosen.shapes, models)
    ]
    document["cases"] = list(harness.measure_cases(cases))
    document["mopoe_over_mvtcae"] = None
    if "polymnist" in chosen.shapes and {"mopoe", "mvtcae"} <= set(models):
        document["mopoe_over_mvtcae"] = compare("polymnist", chosen.budget)
    lines = [_describe_comparison(case)] if (case := document["mopoe_over_mvtcae"]) else []
    harness.finish(document, table(document), chosen.out, width=WIDTH, lines=lines)


def model_of(name: str, shape: str) -> tuple[Model, str]:
    """Returns a model with its own costs and weights of 1 for a shape, in training mode, and a note for the table."""
    extra, note = LIMITS.get((name, shape), ({}, ""))
    schema = Schema(SHAPES[shape].modalities)
    return build(name, schema, weights="sum", **_arguments(name, SHAPES[shape]), **extra).train(), note


def _arguments(name: str, shape: Shape) -> dict[str, Any]:
    size = shape.latent_dim
    if name in ("mac-wae", "m-wae", "mac-vae"):
        return {"latent_dim": size, "p0": shape.p0}
    if name == "mmvae-plus":
        return {"latent_dim": size // 2, "private_dim": size // 2}
    return {"bottom_dim": size} if name == "nexus" else {"latent_dim": size}


def measure(name: str, shape: str, budget: float, report: Report) -> dict[str, Any]:
    """Measures one row of the table.

    Arguments:
        name: Name of the model.
        shape: Name of the shape.
        budget: Time limit in seconds, including the warm-up.
        report: Function that is called with the finished share of the work, in [0, 1].

    Returns:
        For JSON. `ours` and `naive` are seconds per step, `ratio` the loop's over ours, pair by pair; `passes` is how
        many the loop makes, and `note` what else is to be known.
    """
    model, note = model_of(name, shape)
    batch = rows_of(model.schema, SHAPES[shape].batch_size)
    pairs = harness.time_in_turn(model, naive.loss, batch, SHAPES[shape].learning_rate, budget, report)
    return {
        "shape": shape,
        "model": name,
        **settings(SHAPES[shape]),
        "passes": naive.count_passes(model),
        "note": note,
        "pairs": len(pairs),
        "ours": spread([ours for ours, _ in pairs]),
        "naive": spread([theirs for _, theirs in pairs]),
        "ratio": ratios([theirs for _, theirs in pairs], [ours for ours, _ in pairs]),
    }


def compare(shape: str, budget: float) -> dict[str, Any]:
    """Steps of MoPoE and of MVTCAE in turn.

    Arguments:
        shape: Name of the shape.
        budget: Time limit in seconds, including the warm-up.

    Returns:
        For JSON. `mopoe` and `mvtcae` are seconds per step, `ratio` the first over the second, pair by pair;
        `subsets` is how many MoPoE has, and `at_most` what the ratio is required to be.
    """
    models = {name: model_of(name, shape)[0] for name in ("mopoe", "mvtcae")}
    batch = rows_of(models["mopoe"].schema, SHAPES[shape].batch_size)
    adam = {name: fused(model, SHAPES[shape].learning_rate) for name, model in models.items()}
    pairs = interleave(
        *(lambda _, name=name: train(models[name].loss(batch).total, adam[name]) for name in models), budget=budget
    )
    return {
        "shape": shape,
        "subsets": naive.count_passes(models["mopoe"]),
        "at_most": MOST,
        "pairs": len(pairs),
        "mopoe": spread([one for one, _ in pairs]),
        "mvtcae": spread([other for _, other in pairs]),
        "ratio": ratios([one for one, _ in pairs], [other for _, other in pairs]),
    }


def _describe_comparison(case: dict[str, Any]) -> str:
    return (
        f"MoPoE's step over MVTCAE's on {case['shape']}, {case['subsets']} subsets: "
        f"{format_quartiles(case['ratio'], '.2f')}, {case['pairs']} pairs; required: at most {case['at_most']}"
    )


def table(document: dict[str, Any]) -> Table:
    """Returns a readable table with one line per shape and model."""
    headings = ("passes", "ours", "naive", "naive / ours", "pairs")
    made = harness.table(document, ["shape", "model"], headings)
    made.add_column("note")
    for case in document["cases"]:
        made.add_row(
            case["shape"],
            case["model"],
            str(case["passes"]),
            format_quartiles(case["ours"], ".3f"),
            format_quartiles(case["naive"], ".3f"),
            format_quartiles(case["ratio"], ".2f"),
            str(case["pairs"]),
            case["note"],
        )
    return made


if __name__ == "__main__":
    sys.exit(main())

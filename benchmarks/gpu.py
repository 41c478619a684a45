"""Training steps on a GPU: as they are, as CUDA graphs, in bf16 and TF32, and compiled; and a whole run at paper size.

A step is that of `polymodal.training.fit`: plan, forward, backward, fused Adam with the paper's weight decay, on
random rows that lie on the device. Each way of running it takes its turn alone, after steps that are not counted, in
which shapes are captured and networks compiled. Times are the device's own, between events; on a CPU, the clock's.

A step is compared with two lower bounds, as shares of it. Arithmetic: the operations of its products and
convolutions, forward and backward, equal indices decoded once, at the device's measured rate of a product of square
matrices of the same precision. Bandwidth: each network layer's output written and read once on the way there and its
gradient once on the way back, and Adam's eight passes over the weights, at the device's measured rate of a copy.

Last, the wall time of `fit` on PolyMNIST's shape at the paper's scale: 60,000 rows, 150 epochs, batches of 128,
K = 10, 128 dimensions, validation on a sixth of as many rows after each epoch among it.
"""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from benchmarks import harness
from benchmarks.device import name_device, rates, time_steps, work
from benchmarks.harness import Report, format_quartiles, settings, split_names
from benchmarks.shapes import SHAPES, Shape, model_of, rows_of
from benchmarks.timing import spread
from polymodal.runtime.registry import lookup
from polymodal.table.table import Table
from polymodal.training import fit
from polymodal.training.accelerator import check_compiler, check_device, make_accelerator, set_precision
from polymodal.training.fit_settings import FitSettings
from polymodal.training.graphs import Recorder
from polymodal.training.loop import complete_settings
from polymodal.training.step import Step

if TYPE_CHECKING:
    from rich import table as rich_table

    from polymodal.batch import Batch
    from polymodal.models import MAC

__all__ = ["WAYS", "Way", "main", "measure", "paper", "table"]

WIDTH = 130
"""Width of the widest table, in characters."""

BYTES = {None: 4, "tf32": 4, "bf16": 2}
"""Bytes of one number that is passed between two layers, by precision."""


class Way(NamedTuple):
    """A way of running a step."""

    graph: bool = False
    precision: str | None = None
    compiled: bool = False


WAYS = {
    "eager": Way(),
    "graph": Way(graph=True),
    "graph tf32": Way(graph=True, precision="tf32"),
    "graph bf16": Way(graph=True, precision="bf16"),
    "graph bf16 compiled": Way(graph=True, precision="bf16", compiled=True),
    "eager bf16": Way(precision="bf16"),
    "eager compiled": Way(compiled=True),
}
"""Ways of running a step by name. To add one, add an entry here. Graphs and TF32 need a GPU."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; the exit code: 2 and one line for a user's mistake."""
    parser = harness.Parser(
        "gpu",
        "Time training steps of MAC-WAE on a GPU, and a run at the paper's scale.",
        "--shapes polymnist --ways 'eager,graph' --epochs 0",
        budget=10.0,
        per="shape and way",
    )
    add = parser.add_argument
    add("--device", default="cuda", help="cuda or cpu")
    add("--ways", default=None, help=f"of {', '.join(WAYS)}, separated by commas; by default all that the device has")
    add("--epochs", default=150, type=int, help="of the run at the paper's scale; 0 leaves it out")
    add("--rows", default=60_000, type=int, help="that it trains on; random pictures")
    add("--root", default=None, help="folder of PolyMNIST's own pictures, in place of random ones")
    add("--way", default=None, help="how it runs; by default 'graph bf16', on a CPU 'eager'")
    return harness.command(parser, _run, arguments)


def _run(chosen: Namespace) -> None:
    check_device(chosen.device)
    device = torch.device(chosen.device)
    for name, least in (("epochs", 0), ("rows", 2)):
        if getattr(chosen, name) < least:
            raise ValueError(f"{name} must be at least {least}; got {getattr(chosen, name)}")
    here = [name for name, way in WAYS.items() if device.type == "cuda" or not (way.graph or way.precision == "tf32")]
    ways = {name: _get_way(name, here) for name in (split_names(chosen.ways) if chosen.ways else here)}
    run = chosen.way or ("graph bf16" if device.type == "cuda" else "eager")
    whole = _get_way(run, [name for name in here if WAYS[name].graph or device.type == "cpu"])
    document = harness.begin("gpu", chosen)
    document["device"] = {"name": name_device(device), "rates": rates(device)}
    cases = [
        (f"{shape}, {name}", partial(measure, shape, name, device, document["device"]["rates"], chosen.budget))
        for shape, name in product(chosen.shapes, ways)
    ]
    document["cases"] = list(
        harness.measure_cases(cases, describe=lambda case: f"{case['samples_per_second']:,.0f} rows/s")
    )
    document["paper"] = paper(run, whole, device, chosen.rows, chosen.epochs, chosen.root) if chosen.epochs else None
    lines = [_describe_run(document["paper"])] if document["paper"] else []
    harness.finish(document, table(document), chosen.out, width=WIDTH, lines=lines)


def measure(
    name: str, way: str, device: torch.device, rated: dict[str, float], budget: float, report: Report
) -> dict[str, Any]:
    """Measures one row of the table.

    Arguments:
        name: Name of the shape.
        way: Name of the way of running a step, in `WAYS`.
        device: Device of the step.
        rated: Result of `rates` for this device.
        budget: Seconds of counted steps.
        report: Called with the share of the work that is done, in [0, 1].

    Returns:
        For JSON. `step` is seconds per step; `arithmetic` and `bandwidth` are the floors, in seconds, and their
        `_share` is of the median step; `graphs` is how many shapes were captured.
    """
    shape, (graph, precision, compiled) = SHAPES[name], WAYS[way]
    model, batch = model_of(shape, shape.draws).to(device), _rows(shape, device)
    flops, numbers = work(model, batch)
    if compiled:
        check_compiler(device)
    accelerator = make_accelerator(str(device), precision)
    step = Step(model, accelerator, _settings(shape, compiled=compiled), Recorder.of(accelerator) if graph else None)
    with set_precision(precision, device):
        seconds = time_steps(lambda: step(batch, 1.0, len(batch)), device, budget, report)
    step.release()
    taken = spread(seconds)
    weights = sum(p.numel() for p in model.parameters())
    floors = {
        "arithmetic": flops / rated[precision or "fp32"],
        "bandwidth": (4 * BYTES[precision] * numbers + 8 * 4 * weights) / rated["copy"],
    }
    return {
        "shape": name,
        "way": way,
        "draws": shape.draws,
        **settings(shape),
        "step": taken,
        "samples_per_second": shape.batch_size / taken["median"],
        **floors,
        **{f"{floor}_share": value / taken["median"] for floor, value in floors.items()},
        "graphs": 0 if step.graphs is None else len(step.graphs.kept),
    }


def paper(name: str, way: Way, device: torch.device, rows: int, epochs: int, root: str | None) -> dict[str, Any]:
    """Measures the wall time of `fit` on PolyMNIST, with its images or random ones.

    Returns:
        For JSON. `seconds` of all of `fit`, those of moving the rows to the device and of warming up among them.
    """
    facts = SHAPES["polymnist"]
    model = model_of(Shape(facts.modalities, facts.batch_size, 128, facts.p0, facts.learning_rate), facts.draws)
    train, validation = _tables(model, rows, root)
    began = time.perf_counter()
    fitted = fit(
        model,
        train,
        validation,
        epochs=epochs,
        batch_size=facts.batch_size,
        learning_rate=facts.learning_rate,
        device=str(device),
        precision=way.precision,  # pyright: ignore[reportArgumentType]
        compile=way.compiled,
        progress=sys.stderr.isatty(),
    )
    seconds = time.perf_counter() - began
    return {
        "way": name,
        "rows": len(train),
        "validation_rows": len(validation),
        "epochs": epochs,
        "batch_size": facts.batch_size,
        "draws": facts.draws,
        "latent_dim": 128,
        "pictures": "random" if root is None else "published",
        "seconds": seconds,
        "epoch": spread(fitted.history["seconds"].tolist()),
        "samples_per_second": len(train) * epochs / seconds,
        "validation": float(fitted.history["validation/total"].min()),
    }


def table(document: dict[str, Any]) -> rich_table.Table:
    """Returns a readable table with one line per shape and way."""
    here = document["device"]
    made = harness.table(
        document,
        ["shape", "way"],
        ("K", "ms per step", "rows/s", "arithmetic", "bandwidth", "graphs"),
        f"Training steps on {here['name']}: median (quartiles), and the share of it that its floors are",
    )
    per_second = ", ".join(
        f"{name} {rate / 1e12:.3g} TFLOP/s" for name, rate in here["rates"].items() if name != "copy"
    )
    made.caption = (
        f"products: {per_second}; copies {here['rates']['copy'] / 1e9:.0f} GB/s; torch {document['versions']['torch']}"
    )
    for case in document["cases"]:
        made.add_row(
            case["shape"],
            case["way"],
            str(case["draws"]),
            format_quartiles({key: 1e3 * case["step"][key] for key in ("median", "lower", "upper")}, ".2f"),
            f"{case['samples_per_second']:,.0f}",
            f"{case['arithmetic_share']:.0%}",
            f"{case['bandwidth_share']:.0%}",
            str(case["graphs"]),
        )
    return made


def _describe_run(run: dict[str, Any]) -> str:
    return (
        f"PolyMNIST ({run['pictures']} pictures), {run['way']}: {run['epochs']} epochs of {run['rows']:,} rows, K = "
        f"{run['draws']}, d = {run['latent_dim']}, in {run['seconds']:.1f} s; {run['samples_per_second']:,.0f} rows/s"
    )


def _get_way(name: str, here: list[str]) -> Way:
    return lookup({name: WAYS[name] for name in here}, name, "way")


def _settings(shape: Shape, *, compiled: bool) -> FitSettings:
    return complete_settings(learning_rate=shape.learning_rate, batch_size=shape.batch_size, compile=compiled)


def _rows(shape: Shape, device: torch.device) -> Batch:
    return rows_of(model_of(shape, 1).schema, shape.batch_size).to(device)


def _tables(model: MAC, rows: int, root: str | None) -> tuple[Table, Table]:
    if root is not None:
        from polymodal.datasets import load

        data = load("polymnist", root=root)
        return data.train, data.validation
    train, validation = (rows_of(model.schema, n, seed) for seed, n in enumerate((rows, max(2, rows // 6))))
    return (
        Table(train.values, train.observed, model.schema),
        Table(validation.values, validation.observed, model.schema),
    )


if __name__ == "__main__":
    sys.exit(main())

"""Holes of real tables filled by polymodal and by scikit-learn's imputers, on the same cells.

Of each table, cells are hidden in two ways: 20 % of those that are there, at random; and one column in the rows in
which another has a certain value. Every method sees the table with its holes, and nothing else. Numbers are judged by
the root of the mean squared error in standard deviations of the column, classes by the share that is right.
"""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from rich import table as rich_table

from benchmarks import harness, machine
from benchmarks.harness import Case
from polymodal import fit, impute
from polymodal.cli.table_settings import choose_defaults
from polymodal.models import build
from polymodal.runtime.registry import lookup
from polymodal.schema import Schema
from polymodal.table import frames
from polymodal.table.table import Table

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["METHODS", "TABLES", "hide", "load", "main", "measure"]

SHARE = 0.2
"""Share of the cells that are hidden at random."""
HOW = ("at random", "by another")
DATA = Path(__file__).parents[2] / "shared" / "data" / "tabular"


class Source(NamedTuple):
    """A table, and which column is hidden where another is high or has its most frequent class."""

    file: str
    hidden: str
    by: str
    columns: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    rows: int | None = None
    """Number of random rows that are used; KNNImputer's time grows with its square."""


TABLES = {
    "penguins": Source("penguins.csv", "body_mass_g", "bill_depth_mm"),
    "cars": Source(
        "auto_imports.csv", "horsepower", "price",
        ("symboling", "normalized_losses", "make", "fuel_type", "aspiration", "num_doors", "body_style",
         "drive_wheels", "engine_location", "wheel_base", "length", "width", "height", "curb_weight", "engine_type",
         "num_cylinders", "engine_size", "fuel_system", "bore", "stroke", "compression_ratio", "horsepower",
         "peak_rpm", "city_mpg", "highway_mpg", "price"),
        ("?",),
    ),
    "adult": Source(
        "adult_train.csv", "marital_status", "age",
        ("age", "workclass", "fnlwgt", "education", "education_num", "marital_status", "occupation", "relationship",
         "race", "sex", "capital_gain", "capital_loss", "hours_per_week", "native_country", "income"),
        ("?",), 3000,
    ),
}  # fmt: skip


def hide(frame: pd.DataFrame, source: Source, how: str, seed: int) -> np.ndarray:
    """Returns the mask of the cells to hide, `(N, columns)` bool. Hidden cells are not empty, and every row keeps some.

    Arguments:
        frame: The table.
        source: Data set that defines which column hides the values of which other column.
        how: "at random", or "by another".
        seed: Random seed for the choice of hidden cells.
    """
    there, generator = frame.notna().to_numpy(), np.random.default_rng(seed)
    if how == "at random":
        hidden = there & (generator.random(frame.shape) < SHARE)
        hidden[hidden.sum(1) == there.sum(1)] = False
        return hidden
    by = frame[source.by]
    chosen = (by > by.median()).to_numpy() & (generator.random(len(frame)) < 0.8)
    hidden = np.zeros_like(there)
    place = [*frame.columns].index(source.hidden)
    hidden[:, place] = there[:, place] & chosen
    return hidden


class Coded:
    """Converts a table for scikit-learn's imputers: standardised numbers, one-hot classes, NaN for missing cells."""

    def __init__(self, frame: pd.DataFrame, schema: Schema) -> None:
        self.schema, parts = schema, []
        self.slices: dict[str, slice] = {}
        batch = frames.Reader(schema).read(frame)
        for column, (name, modality) in enumerate(schema.items()):
            values, has = batch.values[name].double().numpy(), batch.observed[:, column].numpy()
            if modality.levels is not None:
                values = np.eye(modality.levels)[np.maximum(values.astype(int), 0)]
            values = values.reshape(len(frame), -1)
            values[~has] = np.nan
            start = sum(part.shape[1] for part in parts)
            self.slices[name] = slice(start, start + values.shape[1])
            parts.append(values)
        self.codes = np.concatenate(parts, axis=1)

    def column(self, codes: np.ndarray, name: str) -> np.ndarray:
        """Returns an imputed column: numbers in the units of the table, or the index of the class."""
        own = codes[:, self.slices[name]]
        return own[:, 0] if self.schema[name].levels is None else own.argmax(1)


def constant(frame: pd.DataFrame, schema: Schema, seed: int) -> dict[str, np.ndarray]:
    """Returns the mean, or the most frequent class."""
    coded = Coded(frame, schema)
    codes = np.where(np.isnan(coded.codes), np.nanmean(coded.codes, 0), coded.codes)
    return {name: coded.column(codes, name) for name in schema}


def neighbours(frame: pd.DataFrame, schema: Schema, seed: int) -> dict[str, np.ndarray]:
    """scikit-learn's KNNImputer, 5 neighbours."""
    from sklearn.impute import KNNImputer

    coded = Coded(frame, schema)
    codes = KNNImputer(keep_empty_features=True).fit_transform(coded.codes)
    return {name: coded.column(codes, name) for name in schema}


def iterative(frame: pd.DataFrame, schema: Schema, seed: int) -> dict[str, np.ndarray]:
    """scikit-learn's IterativeImputer, a Bayesian ridge regression per column, 10 rounds."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer

    coded = Coded(frame, schema)
    kept = np.ones(coded.codes.shape[1], bool)
    firsts = [part.start for name, part in coded.slices.items() if schema[name].levels is not None]
    kept[firsts] = False  # a class would follow from the others of its column, and never move from their means
    imputer = IterativeImputer(random_state=seed, keep_empty_features=True)
    codes = coded.codes.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        codes[:, kept] = imputer.fit_transform(codes[:, kept])
    for start in firsts:
        part = next(part for part in coded.slices.values() if part.start == start)
        codes[:, start] = 1 - codes[:, start + 1 : part.stop].sum(1)
    return {name: coded.column(codes, name) for name in schema}


def polymodal(frame: pd.DataFrame, schema: Schema, seed: int, **changes: Any) -> dict[str, np.ndarray]:
    """MAC-WAE as `polymodal train` trains it on such a table; a tenth of the rows chooses the epoch."""
    chosen = choose_defaults(len(frame)) | changes
    order = np.random.default_rng(seed).permutation(len(frame))
    schema = schema.replace(hidden=chosen["schema.hidden"])
    few = max(1, len(frame) // 10)
    train, validation = (Table.from_frame(frame.iloc[rows], schema, say=None) for rows in (order[few:], order[:few]))
    build_with = {key.removeprefix("build."): value for key, value in chosen.items() if key.startswith("build.")}
    fit_with = {key.removeprefix("fit."): value for key, value in chosen.items() if key.startswith("fit.")}
    model = build("mac-wae", schema, seed=seed, **build_with)
    fit(model, train, validation, seed=seed, progress=False, device="cpu", **fit_with)
    coded = Coded(impute(model, frame), schema)
    return {name: coded.column(coded.codes, name) for name in schema}


METHODS: dict[str, Callable[..., dict[str, np.ndarray]]] = {
    "mean or mode": constant,
    "KNNImputer": neighbours,
    "IterativeImputer": iterative,
    "polymodal": polymodal,
}


def load(name: str) -> tuple[pd.DataFrame, Schema]:
    """Returns a table and the types of its columns."""
    source = TABLES[name]
    frame = frames.read_csv(DATA / source.file, source.columns or None, source.missing)
    if source.rows is not None:
        frame = frame.sample(source.rows, random_state=0).reset_index(drop=True)
    return frame, frames.fit_schema(Schema.infer(frame, say=None), frame)


def measure(name: str, how: str, method: str, seed: int, **changes: Any) -> dict[str, float | None]:
    """Scores a method's predictions of the hidden cells of a table.

    Returns:
        `rmse` in standard deviations over all hidden numbers, `accuracy` over all hidden classes, 0..1, None where
        there are none; `seconds`.
    """
    frame, schema = load(name)
    hidden = hide(frame[[*schema]], TABLES[name], how, seed)
    truth = Coded(frame, schema)
    began = time.perf_counter()
    made = METHODS[method](frame[[*schema]].mask(hidden), schema, seed, **changes)
    seconds = time.perf_counter() - began
    errors, hits = [], []
    for column, (key, modality) in enumerate(schema.items()):
        rows = hidden[:, column]
        true, own = truth.column(truth.codes, key)[rows], made[key][rows]
        if modality.levels is None:
            errors.append((true - own) ** 2)
        else:
            hits.append(true == own)
    return {
        "rmse": float(np.sqrt(np.concatenate(errors).mean())) if sum(map(len, errors)) else None,
        "accuracy": float(np.concatenate(hits).mean()) if sum(map(len, hits)) else None,
        "seconds": seconds,
    }


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; the exit code: 2 and one line for a user's mistake."""
    parser = ArgumentParser(
        prog="python -m benchmarks.imputation",
        description=str(__doc__),
        epilog="Example: python -m benchmarks.imputation --tables penguins --seeds 1",
        formatter_class=RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--tables", default=",".join(TABLES), help="separated by commas (%(default)s)")
    add("--seeds", default=3, type=int, help="how many (%(default)s)")
    add("--threads", default=2, type=int, help="of PyTorch (%(default)s)")
    add("--out", default=Path("benchmarks/results/imputation.json"), type=Path, help="of the numbers (%(default)s)")
    return harness.command(parser, _run, arguments)


def _run(chosen: Namespace) -> None:
    torch.set_num_threads(chosen.threads)
    document: dict[str, Any] = {"versions": machine.versions(), "machine": machine.describe()}
    names = [name for name in harness.split_names(chosen.tables) if lookup(TABLES, name, "table")]
    cases = [
        Case(f"{name}, {how}, {method}", partial(_case, name, how, method, chosen.seeds), describe=_describe_case)
        for name, how, method in product(names, HOW, METHODS)
    ]
    document["cases"] = list(harness.measure_cases(cases))
    harness.finish(document, table(document), chosen.out, width=110)


def _case(name: str, how: str, method: str, seeds: int, report: harness.Report) -> dict[str, Any]:
    """Returns a line of the table: means and standard deviations over seeds."""
    runs = []
    for seed in range(seeds):
        runs.append(measure(name, how, method, seed))
        report((seed + 1) / seeds)
    case: dict[str, Any] = {"table": name, "how": how, "method": method, "runs": runs}
    for key in ("rmse", "accuracy", "seconds"):
        numbers = [run[key] for run in runs]
        there = None not in numbers
        case[key] = float(np.mean(numbers)) if there else None
        case[f"{key}_spread"] = float(np.std(numbers)) if there else None
    return case


def _describe_case(case: dict[str, Any]) -> str:
    numbers = {"RMSE": case["rmse"], "accuracy": case["accuracy"]}
    said = [f"{name} {number:.3f}" for name, number in numbers.items() if number is not None]
    return f"{', '.join(said)}, {case['seconds']:.1f} s"


def table(document: dict[str, Any]) -> rich_table.Table:
    """Returns a readable table, with the best value for each table and way of hiding cells in bold."""
    made = rich_table.Table(title="Hidden cells filled: mean over seeds (standard deviation)", box=None)
    for heading in ("table", "hidden", "method"):
        made.add_column(heading)
    for heading in ("RMSE, sd", "accuracy, %", "seconds"):
        made.add_column(heading, justify="right")
    cases = document["cases"]
    for case in cases:
        like = [other for other in cases if (other["table"], other["how"]) == (case["table"], case["how"])]
        made.add_row(
            case["table"],
            case["how"],
            case["method"],
            _format_scores(case, like, "rmse", 1, ".3f", min),
            _format_scores(case, like, "accuracy", 100, ".1f", max),
            f"{case['seconds']:.1f}",
        )
    return made


def _format_scores(
    case: dict[str, Any], like: list[dict[str, Any]], key: str, factor: int, digits: str, best: Callable[..., float]
) -> str:
    if case[key] is None:
        return "\N{EN DASH}"
    text = f"{factor * case[key]:{digits}} ({factor * case[key + '_spread']:{digits}})"
    return f"[bold]{text}[/bold]" if case[key] == best(other[key] for other in like) else text


if __name__ == "__main__":
    sys.exit(main())

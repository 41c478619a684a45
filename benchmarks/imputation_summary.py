"""Tables of the results of `benchmarks.imputation`, as Markdown: a summary over tables, and each table."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.imputation_tables import HALVES, HOW, TABLES

__all__ = ["OURS", "average_seeds", "format_tables", "summarize"]

OURS = "polymodal"
KEYS = ("rmse", "accuracy")
WORSE_RMSE = 0.05
"""A method is worse than the best in numbers if its RMSE is larger by more than this share of the best one's."""
WORSE_ACCURACY = 0.02
"""A method is worse than the best in classes if its accuracy is lower by more than this."""


def format_tables(results: Iterable[dict[str, Any]]) -> str:
    """Returns the summary and the scores of each table, for each pattern, as Markdown.

    Arguments:
        results: Results of `benchmarks.imputation.measure`.
    """
    frame = pd.DataFrame(results)
    if frame.empty:
        return "No results\n"
    frame["half"] = [TABLES[name].half for name in frame["table"]]
    parts = []
    for rows in frame["rows"].unique():
        for how in (how for how in HOW if how in {*frame["how"]}):
            for half in HALVES:
                some = frame[(frame["rows"] == rows) & (frame["how"] == how) & (frame["half"] == half)]
                if len(some):
                    where = "the same rows" if rows == "same" else "held-out rows"
                    parts.append(f"Tables for {half}; hidden: {HOW[how]}; {where}; seeds: {some['seed'].nunique()}\n")
                    means = average_seeds(some)
                    parts += [_to_markdown(_list_summary(means)), _to_markdown(_list_scores(means))]
    return "\n".join(parts)


def average_seeds(results: pd.DataFrame) -> pd.DataFrame:
    """Returns means over seeds and standard deviations (`rmse_sd`, ...), one row per table and method."""
    keys = ["rmse", "accuracy", "seconds", "second", "coverage"]
    results = results.assign(**{key: pd.to_numeric(results[key]) for key in keys})
    groups = results.groupby(["table", "method"], sort=False)[keys]
    spread = groups.std(ddof=0).rename(columns={key: f"{key}_sd" for key in keys})
    return groups.mean().join(spread).join(groups.size().rename("seeds")).reset_index()


def summarize(means: pd.DataFrame) -> pd.DataFrame:
    """Compares the methods over tables.

    Each method is ranked among the others and polymodal without changed settings, or else its variant with the shortest
    name. Each further variant of polymodal takes this one's place. A table counts only if all compared methods have
    results with the same number of seeds.

    Arguments:
        means: Means over seeds, from `average_seeds`.

    Returns:
        One row per method, with the number of tables with hidden numbers (`tables_rmse`) and classes
        (`tables_accuracy`), the mean ranks (`rank_rmse`, `rank_accuracy`), the number of tables on which it is worse
        than the best (`worse_rmse`, `worse_accuracy`), and the geometric means over tables of its seconds relative to
        IterativeImputer's (`relative`), of its seconds for a second table relative to KNNImputer's (`second`), and of
        its RMSE relative to that of the ridge regression (`ridge`); mean, smallest and largest `coverage`.
    """
    methods = list(dict.fromkeys(means["method"]))
    reference = sorted(filter(_is_ours, methods), key=len)[:1]
    rows = []
    for method in methods:
        others = [other for other in methods if not _is_ours(other)]
        compared = others + (reference if method in others else [method])
        row: dict[str, Any] = {"method": method}
        for key, sign in (("rmse", 1), ("accuracy", -1)):
            scores = _complete(means, compared, key)
            row[f"tables_{key}"] = len(scores)
            if len(scores):
                row[f"rank_{key}"] = (sign * scores).rank(axis=1)[method].mean()
                row[f"worse_{key}"] = int(_is_worse(scores, method, key).sum())
        row["relative"] = _compare(means, "seconds", method, "IterativeImputer")
        row["second"] = _compare(means, "second", method, "KNNImputer")
        row["ridge"] = _compare(means, "rmse", method, "ridge")
        coverage = means.loc[means["method"] == method, "coverage"]
        row |= {"coverage": coverage.mean(), "coverage_min": coverage.min(), "coverage_max": coverage.max()}
        rows.append(row)
    return pd.DataFrame(rows)


def _is_ours(method: str) -> bool:
    return method.split()[0] == OURS


def _complete(means: pd.DataFrame, methods: list[str], key: str) -> pd.DataFrame:
    """Returns the scores of the tables that have those of all methods and the same seeds, `(tables, methods)`."""
    some = means[means["method"].isin(methods)]
    scores = some.pivot_table(index="table", columns="method", values=key).reindex(columns=methods).dropna()
    seeds = some.pivot_table(index="table", columns="method", values="seeds")
    return scores[seeds.loc[scores.index].nunique(axis=1) == 1]


def _is_worse(scores: pd.DataFrame, method: str, key: str) -> pd.Series:
    if key == "rmse":
        return scores[method] > scores.min(axis=1) * (1 + WORSE_RMSE)
    return scores[method] < scores.max(axis=1) - WORSE_ACCURACY


def _compare(means: pd.DataFrame, key: str, method: str, base: str) -> float:
    """Returns the geometric mean over tables of a method's number relative to another method's, or NaN."""
    numbers = means.pivot_table(index="table", columns="method", values=key)
    if not {method, base} <= {*numbers}:
        return float("nan")
    return float(np.exp(np.log(numbers[method] / numbers[base]).mean()))


def _list_summary(means: pd.DataFrame) -> list[list[str]]:
    headings = ["method", "mean rank, numbers", "mean rank, classes", "worse, numbers", "worse, classes"]
    headings += ["seconds / IterativeImputer's", "second table / KNNImputer's", "RMSE / ridge's"]
    headings.append("coverage of 90 %, mean (range)")
    return [headings, *(_format_summary(row) for row in summarize(means).to_dict("records"))]


def _format_summary(row: dict[Any, Any]) -> list[str]:
    ranks = [_format(row.get(f"rank_{key}"), ".2f") for key in KEYS]
    worse = [f"{row[f'worse_{key}']:.0f} of {row[f'tables_{key}']}" if row[f"tables_{key}"] else "" for key in KEYS]
    ratios = [_format(row["relative"], ".3g"), _format(row["second"], ".3g"), _format(row["ridge"], ".3f")]
    coverage = _format(row["coverage"], ".1%")
    if coverage:
        coverage += f" ({_format(row['coverage_min'], '.1%')} to {_format(row['coverage_max'], '.1%')})"
    return [row["method"], *ranks, *worse, *ratios, coverage]


def _list_scores(means: pd.DataFrame) -> list[list[str]]:
    headings = ["table", "method", "RMSE, sd", "accuracy, %", "seconds", "second table", "coverage of 90 %"]
    return [headings, *(_format_row(row, means[means["table"] == row["table"]]) for row in means.to_dict("records"))]


def _format_row(row: dict[Any, Any], like: pd.DataFrame) -> list[str]:
    scores = [
        _format_score(row, like, "rmse", 1, ".3f", min),
        _format_score(row, like, "accuracy", 100, ".1f", max),
    ]
    times = [_format(row[key], ".2f") for key in ("seconds", "second")]
    return [row["table"], row["method"], *scores, *times, _format(row["coverage"], ".1%")]


def _format(number: float | None, digits: str) -> str:
    return "" if number is None or np.isnan(number) else f"{number:{digits}}".replace("%", " %")


def _format_score(
    row: dict[Any, Any], like: pd.DataFrame, key: str, factor: int, digits: str, best: Callable[..., float]
) -> str:
    """Returns mean and standard deviation over seeds, in bold if the mean is the table's best."""
    if np.isnan(row[key]):
        return ""
    text = f"{factor * row[key]:{digits}} ({factor * row[f'{key}_sd']:{digits}})"
    return f"**{text}**" if row[key] == best(like[key].dropna()) else text


def _to_markdown(lines: list[list[str]]) -> str:
    """Returns a Markdown table with padded cells, the first line as its heading."""
    used = [i for i in range(len(lines[0])) if any(line[i] for line in lines[1:])]
    widths = {i: max(len(line[i]) for line in lines) for i in used}
    texts = {i for i in used if lines[0][i] in ("table", "method")}
    rule = {i: "-" * widths[i] if i in texts else "-" * (widths[i] - 1) + ":" for i in used}
    rows = [["|".join(f" {line[i]:<{widths[i]}} " for i in used)] for line in lines]
    rows.insert(1, ["|".join(f" {rule[i]:<{widths[i]}} " for i in used)])
    return "\n".join(f"|{row[0]}|" for row in rows) + "\n"

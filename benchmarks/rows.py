"""The one table of `make bench`: every measurement with its baseline, the required ratio, and whether it is reached."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks import harness
from benchmarks.harness import format_quartiles

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["WIDTH", "row", "table"]

WIDTH = 160
"""Width of the table, in characters."""

UNITS = {"s": (1.0, ".3g"), "ms": (1000.0, ".3g"), "MB": (1.0, ",.0f")}
"""Factor and number format with which numbers of a unit are shown."""

TITLE = "Ours and the baseline, in turn: median (quartiles). The ratio is the baseline's over ours, round by round"


def row(
    part: str,
    case: str,
    beside: str,
    measured: dict[str, Any],
    *,
    keys: tuple[str, str, str] = ("ours", "reference", "ratio"),
    unit: str = "s",
    at_least: float | None = None,
) -> dict[str, Any]:
    """Returns a line of the table, for JSON.

    Arguments:
        part: Part of the benchmark.
        case: Description of what was measured.
        beside: Name of the baseline.
        measured: Results with three spreads: ours, the baseline's, and the baseline's divided by ours.
        keys: Names of these three spreads in `measured`.
        unit: "s" or "MB".
        at_least: Required median of the ratio.
    """
    ours, other, ratio = (measured[key] for key in keys)
    reached = None if at_least is None else ratio["median"] >= at_least
    return {
        "part": part,
        "case": case,
        "beside": beside,
        "unit": unit,
        "ours": ours,
        "other": other,
        "ratio": ratio,
        "at_least": at_least,
        "reached": reached,
    }


def table(document: dict[str, Any]) -> Table:
    """Returns a readable table with one line per row of the document."""
    made = harness.table(document, ["", "", "baseline"], ("ours", "of it", "ratio", "at least", "reached"), TITLE)
    part = ""
    for line in document["rows"]:
        required = line["at_least"]
        made.add_row(
            line["part"] if line["part"] != part else "",
            line["case"],
            line["beside"],
            _format_quartiles(line["ours"], line["unit"]),
            _format_quartiles(line["other"], line["unit"]),
            format_quartiles(line["ratio"], ".2f" if line["ratio"]["median"] < 100 else ".0f"),
            "" if required is None else f"{required:.2f}",
            {None: "", True: "yes", False: "NO"}[line["reached"]],
        )
        part = line["part"]
    return made


def _format_quartiles(numbers: dict[str, Any], unit: str) -> str:
    """Formats a number with its unit; short times are in milliseconds."""
    unit = "ms" if unit == "s" and numbers["median"] < 0.1 else unit
    factor, digits = UNITS[unit]
    return f"{format_quartiles({key: factor * numbers[key] for key in ('median', 'lower', 'upper')}, digits)} {unit}"

"""The one table of `make bench`: all that is measured beside what is plain, what is required, and whether it is so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks import harness
from benchmarks.harness import shown

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["WIDTH", "row", "table"]

WIDTH = 150
"""Of the table, in columns."""

DIGITS = {"s": ".3g", "MB": ",.0f"}
"""How numbers of a unit are shown."""

TITLE = "Ours beside what is plain, in turn: median (quartiles). The ratio is the other's over ours, round by round"


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
    """A line of the table, for JSON.

    Arguments:
        part: Of the benchmark.
        case: What was measured.
        beside: What stands beside it.
        measured: Of which `keys` name three spreads: ours, the other's, and the other's over ours.
        keys: As just said.
        unit: A key of DIGITS.
        at_least: What the ratio's median must be.
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
    """What people read: a line per row of the document."""
    made = harness.table(document, ["", "", "beside"], ("ours", "the other", "ratio", "at least", "reached"), TITLE)
    part = ""
    for line in document["rows"]:
        digits, required = DIGITS[line["unit"]], line["at_least"]
        made.add_row(
            line["part"] if line["part"] != part else "",
            line["case"],
            line["beside"],
            f"{shown(line['ours'], digits)} {line['unit']}",
            f"{shown(line['other'], digits)} {line['unit']}",
            shown(line["ratio"], ".2f" if line["ratio"]["median"] < 100 else ".0f"),
            "" if required is None else f"{required:.2f}",
            {None: "", True: "yes", False: "NO"}[line["reached"]],
        )
        part = line["part"]
    return made

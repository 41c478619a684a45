"""What `docs/reliability.md` counts: which tests try a bad input, and which inject a fault.

Each parametrised case of a test counts once; a test that tries several in a loop says how many by
`record_property("tried", n)`. With `--reliability FILE` pytest runs these tests alone, and writes the page from their
results:

    python -m pytest -m "torture or not torture" tests --reliability docs/reliability.md
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

INPUTS = "inputs"
FAULTS = "faults"
KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "structure, separators and encodings of CSV files": (
        INPUTS,
        ("tests/unit/test_csvfiles.py", "tests/end_to_end/test_cli_csv.py", "tests/end_to_end/test_cli_advice.py"),
    ),
    "columns that are easily misread, and what is reported of them": (
        INPUTS,
        ("tests/unit/test_doubts.py", "tests/unit/test_untrained.py", "tests/unit/test_imputation_reports.py"),
    ),
    "Parquet files, folders and types": (
        INPUTS,
        ("tests/identities/test_parquet_types.py", "tests/unit/test_parquet_files.py", "tests/unit/test_parquet.py"),
    ),
    "tables of another schema, or changed since training": (
        INPUTS,
        ("tests/unit/test_other_schemas.py", "tests/end_to_end/test_cli_changed_tables.py"),
    ),
    "how columns write their cells": (
        INPUTS,
        ("tests/unit/test_formats.py", "tests/end_to_end/test_cli_formats.py"),
    ),
    "outputs that would replace a user's data": (INPUTS, ("tests/end_to_end/test_outputs.py",)),
    "files that are broken, or no files": (
        INPUTS,
        ("tests/attacks/test_broken_files.py", "tests/end_to_end/test_broken_runs.py"),
    ),
    "images and audio": (INPUTS, ("tests/unit/test_images.py", "tests/unit/test_sounds.py")),
    "names and classes that would change a terminal, a page or a chart": (
        INPUTS,
        ("tests/end_to_end/test_cli_hostile_names.py",),
    ),
    "arguments of wrong types": (INPUTS, ("tests/unit/test_wrong_types.py",)),
    "YAML and JSON": (INPUTS, ("tests/attacks/test_yaml.py", "tests/attacks/test_documents.py")),
    "edited weights, models and training states": (
        FAULTS,
        ("tests/attacks/test_weights.py", "tests/attacks/test_state.py", "tests/attacks/test_fuzz.py"),
    ),
    "runs and studies that are killed": (
        FAULTS,
        ("tests/end_to_end/test_killed.py", "tests/end_to_end/test_studies_killed.py"),
    ),
    "interrupts": (FAULTS, ("tests/end_to_end/test_interrupted.py",)),
    "saving that is killed, refused or done by several at once": (FAULTS, ("tests/unit/test_atomic.py",)),
    "commands that are killed, or find no disk, memory, rights or output": (
        FAULTS,
        ("tests/end_to_end/test_faults.py",),
    ),
}
"""By name: whether its tests try inputs or inject faults, and their files, or the beginnings of their names."""

HEAD = """# Reliability

How polymodal behaves with bad inputs, and after faults of the system. A case holds if its test passes: a bad input is
read as intended, or there is an error of one sentence that says what to do. After a fault there is either the complete
old result or the complete new one.

`make torture` runs these tests and writes this page from their results. `make test` runs all but those that take
minutes.

| case | kind | tried | hold | failed |
|---|---|---:|---:|---:|
"""


class Results:
    """Counts cases and outcomes by kind as tests report."""

    def __init__(self) -> None:
        self.tried: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Takes the outcome of a test; of a setup or a teardown only what went wrong."""
        name = kind_of(report.nodeid)
        if name is None or (report.when != "call" and report.passed):
            return
        number = next((int(str(value)) for key, value in report.user_properties if key == "tried"), 1)
        if report.skipped:
            self.skipped[name] += number
        else:
            self.tried[name] += number
            self.failed[name] += number * report.failed

    def page(self) -> str:
        """The page, in Markdown."""
        rows, totals = [], []
        for name, (what, _) in KINDS.items():
            rows.append(_row(name, what, self.tried[name], self.failed[name]))
        for what in (INPUTS, FAULTS):
            names = [name for name, (own, _) in KINDS.items() if own == what]
            tried, failed = (sum(part[name] for name in names) for part in (self.tried, self.failed))
            totals.append(_row(f"**all {what}**", what, tried, failed))
        skipped = sum(self.skipped.values())
        note = f"\n{skipped} cases were skipped on the machine that wrote this page.\n" if skipped else ""
        return HEAD + "".join([*rows, *totals]) + note


def kind_of(test: str) -> str | None:
    """The kind that a test's name belongs to; None if it is none of these."""
    return next((name for name, (_, starts) in KINDS.items() if test.startswith(starts)), None)


def counts(page: Path) -> dict[str, tuple[int, int]]:
    """Cases tried and failed by kind, as a page has them."""
    cells = [line.strip("|\n ").split("|") for line in page.read_text().splitlines() if line.startswith("| ")][1:]
    return {row[0].strip(): (int(row[2].replace(",", "")), int(row[4].replace(",", ""))) for row in cells}


def _row(name: str, what: str, tried: int, failed: int) -> str:
    return f"| {name} | {what} | {tried:,} | {tried - failed:,} | {failed:,} |\n"

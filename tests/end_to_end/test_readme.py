"""The README's Python runs, with less data and one epoch."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from tables import birds

README = Path(__file__).parents[2] / "README.md"
TABLES = README.parent / "docs" / "tables.md"
LESS = {"epochs=30": "epochs=1", 'load("polydigits")': 'load("polydigits", rows=100, held_out_rows=50)'}


def test_the_python_blocks_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second, third = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    for much, little in LESS.items():
        assert much in first
        first = first.replace(much, little)
    names = {
        "photos": torch.randint(256, (4, 3, 64, 64), dtype=torch.uint8),
        "species": torch.tensor([3, 199, 0, 7]),
        "sizes": torch.tensor([[1.0, 2.0], [float("nan"), 0.0], [3.0, 1.0], [0.0, 0.0]]),
        "observed": torch.tensor([[True, True, True], [True, True, False], [False, True, True], [True, False, False]]),
    }
    exec(first, names)
    assert names["images"][0].size == (16, 16)
    assert set(names["scores"]["task"]) == {"reconstruction", "many-to-one", "one-to-one"}
    assert (tmp_path / "digits" / "model.json").exists()
    names["frame"] = birds()
    exec(second.replace("epochs=30", "epochs=1"), names)
    assert names["whole"].drop(columns="ring").notna().all(axis=None)
    exec(third, names)
    assert len(names["table"]) == 4


def test_the_python_of_the_page_about_tables_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    birds().to_csv("birds.csv", index=False)
    first, second = re.findall(r"```python\n(.*?)```", TABLES.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert "epochs=45" in first
    assert "epochs=300" in second
    exec(first.replace("epochs=45", "epochs=1"), names := {})
    assert names["whole"]["grams"].notna().all()
    exec(second.replace("epochs=300", "epochs=1"), names)
    check_rubins_rules(names)


def check_rubins_rules(names):
    """The pooled mean has the variance of its closed form: that of a mean over all tables, and of their means."""
    grams = np.stack([table["grams"].to_numpy(float) for table in names["tables"]])  # (m, N)
    m, rows = grams.shape
    means = grams.mean(1)
    assert names["estimates"].mean() == pytest.approx(grams.mean())
    within = np.square(grams - means[:, None]).sum() / (m * rows * (rows - 1))
    between = sum((a - b) ** 2 for a in means for b in means) / (2 * m * (m - 1))  # half the mean squared difference
    assert between > 0
    assert names["total"] == pytest.approx(within + between + between / m)
    assert names["freedom"] == pytest.approx((m - 1) * (names["total"] / (between + between / m)) ** 2)


@pytest.mark.parametrize("target", ["demo", "test"])
def test_the_two_commands_are_those_of_the_makefile_and_of_the_gate(target):
    root = README.parent
    assert re.search(rf"^make {target}  +#", README.read_text(encoding="utf-8"), flags=re.MULTILINE)
    installed = {"demo": "core", "test": "installed"}[target]  # the library alone, or what tests need too
    assert re.search(rf"^{target}: \.venv/\.{installed}", (root / "Makefile").read_text(), flags=re.MULTILINE)
    assert f"make {target}" in (root / ".ci" / "run").read_text().splitlines()

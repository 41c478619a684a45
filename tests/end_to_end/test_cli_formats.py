"""Imputed cells of CSV files are written as at training, also in a new file whose column is empty."""

import datetime
import re
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from commands import within

KINDS = ["oak", "elm", "ash"]
DAYS = [datetime.date(2021, 3, 1) + datetime.timedelta(row) for row in range(57)]
COLUMNS = {
    "scientific": ([f"{row % 9 + 1}.5e-0{row % 3 + 7}" for row in range(57)], r"\d\.\de-\d\d", []),
    "codes": (["007", "010", "120"] * 19, "007|010|120", []),
    "zip codes as numbers": ([f"{row * 163:05}" for row in range(57)], r"\d{5}", ["--modality", "x=number"]),
    "decimal comma": ([f'"{row / 7:.2f}"'.replace(".", ",") for row in range(57)], r'"?\d+,\d\d"?', ["--decimal", ","]),
    "booleans": (["TRUE", "FALSE", "TRUE"] * 19, "TRUE|FALSE", []),
    "classes with a point": (["1.0", "2.0", "3.0"] * 19, r"[123]\.0", []),
    "dates": ([f"{day:%d.%m.%Y}" for day in DAYS], r"(\d\d\.\d\d\.2021)?", []),
    "counts": (["0", "0", "7"] * 19, "[0-7]", ["--modality", "x=number"]),
}


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POLYMODAL_CACHE", str(tmp_path / "cache"))
    return partial(within, monkeypatch, capsys)


def write(name, texts):
    lines = [f"{KINDS[row % 3]},{text}" for row, text in enumerate(texts)]
    Path(name).write_text("\n".join(["kind,x", *lines]) + "\n", encoding="utf-8")


@pytest.mark.parametrize("name", COLUMNS)
def test_what_is_imputed_looks_like_the_column(run, name):
    texts, pattern, options = COLUMNS[name]
    write("a.csv", [*texts, "", ""])
    write("new.csv", ["", "", ""])
    trained = run("train", "a.csv", "--epochs", 1, "--folder", "run", "--latent-dim", 4, *options)
    assert trained.returncode == 0, trained.stderr
    for file in ("a.csv", "new.csv"):
        done = run("impute", "run", file, "--out", f"whole-{file}")
        assert done.returncode == 0, done.stderr
        before, after = (Path(one).read_text(encoding="utf-8").splitlines() for one in (file, f"whole-{file}"))
        assert len(before) == len(after)
        for old, new in zip(before, after, strict=True):
            if not old.endswith(","):
                assert new == old
            else:
                assert re.fullmatch(pattern, new.partition(",")[2]), new


def test_zip_codes_are_a_doubt(run):
    write("zip.csv", ["00824", "01010", *(f"{row * 163:05}" for row in range(1, 53)), *[""] * 6])
    done = run("train", "zip.csv", "--dry-run")
    said = " ".join((done.stdout + done.stderr).split())
    assert "cells have leading zeros, so these look like codes, not numbers; --modality x=number reads them" in said


def test_bounds_are_a_choice(run):
    write("a.csv", [str(row % 5 if row < 5 else 0) for row in range(60)])
    run("train", "a.csv", "--epochs", 9, "--folder", "run", "--latent-dim", 4, "--modality", "x=number")
    commands = (
        ["impute", "run", "a.csv", "--out", "b.csv"],
        ["translate", "run", "a.csv", "--out", "c"],
        ["sample", "run", "--number", 400, "--out", "d", "--overwrite"],
    )
    for command in commands:
        refused = run(*command, "--bounds", "all")
        assert refused.returncode == 2
        assert "bounds must be one of observed, non-negative, none; got 'all'" in refused.stderr
        assert run(*command, "--bounds", "none").returncode == 0
    outside = [value for value in pd.read_csv("d/table.csv")["x"] if not 0 <= value <= 4]
    assert outside
    assert run(*commands[-1]).returncode == 0
    assert pd.read_csv("d/table.csv")["x"].between(0, 4).all()

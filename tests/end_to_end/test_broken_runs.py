"""Broken files in the folder of a run: each command reads the run as it is, or refuses it in one line that names the
file, and leaves every other file of the run as it was where it refuses."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from attacks.broken import CONTENTS, SHAPES
from commands import Kept, within
from deaths import litter

LINES = {
    "report": "report r",
    "evaluate": "evaluate r --tasks many-to-one",
    "train": "train --resume r --epochs 2",
    "impute": "impute r t.csv --out o.csv --overwrite",
}
FILES = (
    "experiment.json",
    "history.csv",
    "prior_history.csv",
    "scores.csv",
    "settings.yaml",
    "model/model.json",
    "model/weights.safetensors",
    "state/state.safetensors",
)
WAYS = {**CONTENTS, **SHAPES}
QUICK = ("nothing", "half", "noise", "a list", "missing", "a pipe")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder with a table and a run that has every file."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("broken")
    frame = pd.DataFrame({"kind": ["oak", "elm", "ash"] * 8, "height": np.arange(24) / 7})
    frame.loc[::5, "height"] = np.nan
    frame.to_csv(folder / "t.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("POLYMODAL_CACHE", str(folder / "cache"))
        train = "train t.csv --epochs 1 --set prior=flow --batch-size 64 --latent-dim 2 --folder r"
        for line in (train, "evaluate r --tasks reconstruction"):
            assert within(patch, Kept(), *line.split()).returncode == 0
        (folder / "r").rename(folder / "whole")
        yield folder


def content_of(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()}


def test_these_are_all_files_of_a_run(run):
    found = {str(path.relative_to(run / "whole")) for path in (run / "whole").rglob("*") if path.is_file()}
    assert found == {*FILES}


@pytest.mark.parametrize("way", [way if way in QUICK else pytest.param(way, marks=pytest.mark.torture) for way in WAYS])
@pytest.mark.parametrize("name", FILES)
def test_a_broken_file_of_a_run(run, monkeypatch, capsys, record_property, name, way):
    record_property("tried", len(LINES))
    monkeypatch.chdir(run)
    monkeypatch.setenv("POLYMODAL_CACHE", str(run / "cache"))
    for line in LINES.values():
        shutil.rmtree("r", ignore_errors=True)
        shutil.copytree("whole", "r")
        path = Path("r", name)
        if way in CONTENTS:
            path.write_bytes(CONTENTS[way](path.read_bytes()))
        else:
            path.unlink()
            SHAPES[way](path)
        before = content_of(Path("r"))
        done = within(monkeypatch, capsys, *line.split())
        errors = [text for text in done.stderr.splitlines() if text.startswith("polymodal: ")]
        assert done.returncode in (0, 2), done.stderr
        assert len(errors) == (done.returncode == 2), done.stderr
        assert litter(Path()) == []
        if errors:
            assert done.stderr.endswith(f"{errors[0]}\n")
            assert errors[0].isprintable()
            assert len(errors[0]) < 1500
            assert "r/" in errors[0] or " r must" in errors[0] or errors[0].startswith("polymodal: r contains"), errors
            if "must be writable" not in errors[0]:  # found where the work was done: the older state is left
                assert content_of(Path("r")) == before

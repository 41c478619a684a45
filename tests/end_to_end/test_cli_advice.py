"""Columns of any name can be named to the command line, and what it advises can be typed."""

import shlex
import subprocess

import numpy as np
import pandas as pd
import pytest
import yaml
from commands import within

from polymodal import Schema
from polymodal.modalities import Vector
from polymodal.runtime.formatting import split_names
from polymodal.tabular import propose

NAMES = ["a=b", "a b", "a,b", "it's", 'say "x"', "=", "a=label", "\u00e4=\u00f6", "w [kg]", "a\\b"]


@pytest.fixture
def dry_run(monkeypatch, capsys, tmp_path):
    """What `train --dry-run` prints for a frame, its settings read as YAML, and the types that it tells of."""

    def run(frame, *options):
        frame.to_csv(path := tmp_path / "birds.csv", index=False)
        done = within(monkeypatch, capsys, "train", path, "--folder", tmp_path / "run", "--dry-run", *options)
        assert done.returncode == 0, done.stderr
        return yaml.safe_load(done.stdout)["data"], done.stdout + done.stderr

    return run


@pytest.mark.parametrize("name", NAMES)
def test_advice_can_be_followed_whatever_the_column_is_called(name, dry_run):
    frame = pd.DataFrame({name: [1, 2, 3] * 20, "c": np.arange(60) * 0.5})
    advice = propose(frame)[0].doubt
    option, said = shlex.split(advice)[-2:]
    data, types = dry_run(frame, option, said)
    made = propose(frame, modalities=data["modality"])
    assert isinstance(made[0].modality, Vector)
    assert "as specified" in types


@pytest.mark.parametrize("name", NAMES)
def test_any_name_can_be_given_where_names_are_listed(name, dry_run):
    quoted = '"' + name.replace('"', '""') + '"'
    frame = pd.DataFrame({name: [1, 2, 3] * 20, "c": np.arange(60) * 0.5, "d": np.arange(60) * 0.25})
    data, types = dry_run(frame, "--ignore", f"{quoted},d")
    assert data["ignore"] == [name, "d"]
    assert "ignored, as specified" in types
    assert split_names(f"c, {quoted}") == ["c", name]
    assert propose(frame, modalities={name: "ignore"})[0].modality is None


def test_a_dry_run_tells_the_types(dry_run):
    frame = pd.DataFrame({"kind": ["oak", "elm"] * 30, "height": np.arange(60) / 7, "id": np.arange(60)})
    data, types = dry_run(frame)
    assert data["modality"] is None
    assert "label, 2 classes" in types
    assert "an identifier: whole numbers" in types


@pytest.mark.parametrize("name", ["Height\n(cm)", "a\tb", "x\r\ny", "\x1b[31mred", "a\u2028b", "it's\n"])
def test_a_name_with_a_control_character_says_what_to_do(name, monkeypatch, capsys, tmp_path):
    frame = pd.DataFrame({name: ["a", "b"] * 20, "c": np.arange(40) * 0.5})
    with pytest.raises(ValueError, match="rename the column") as error:
        Schema.infer(frame, say=None)
    said = str(error.value)
    assert said.isprintable()
    assert repr(name)[1:-1] in said
    assert "frame.rename(columns=" in said
    assert "ignore=[" in said
    frame.to_csv(path := tmp_path / "birds.csv", index=False)
    advice = said.rpartition("--modality ")[2]
    ran = subprocess.run(["bash", "-c", f"printf %s {advice}"], capture_output=True, check=True).stdout.decode()
    assert ran == f"{name}=ignore"
    if "\r" in name or "\x1b" in name:
        return  # which a CSV reader may write otherwise
    done = within(monkeypatch, capsys, "train", path, "--folder", tmp_path / "run", "--dry-run", "--modality", ran)
    assert done.returncode == 0, done.stderr
    assert Schema.infer(frame, modalities={name: "ignore"}, say=None).keys() == {"c"}

"""Broken files in place of each kind that is read: one error of one line that names the file, and nothing raw."""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import PIL.Image
import pytest
import torch

import polymodal as pm
from attacks.broken import CONTENTS, SHAPES
from polymodal.cli import output_folder, table_settings
from polymodal.comparison.scores import read_score_table
from polymodal.datasets import idx
from polymodal.datasets.npz import read_arrays
from polymodal.evaluation import load_inception
from polymodal.io import checkpoint, yaml


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """A folder with a file of every kind that is read."""
    folder = tmp_path_factory.mktemp("whole")
    frame = pd.DataFrame({"a": np.arange(40) / 7, "b": ["x", "y"] * 20})
    frame.to_csv(folder / "t.csv", index=False)
    frame.to_parquet(folder / "t.parquet")
    PIL.Image.new("RGB", (9, 9), "red").save(folder / "i.png")
    PIL.Image.new("RGB", (9, 9), "red").save(folder / "i.jpg")
    PIL.Image.new("RGB", (9, 9), "red").save(folder / "i.tiff")
    np.savez(folder / "n.npz", x=np.arange(4, dtype=np.uint8))
    (folder / "x-ubyte").write_bytes(bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 3]) + bytes(18))
    (folder / "y.yaml").write_text("dataset: polydigits\nepochs: 2\n")
    (folder / "names.txt").write_text("a,b\n")
    head = "task,dataset,modality,metric,better,model,value"
    (folder / "s.csv").write_text(f"{head}\nx,d,m,acc,higher,a,1\nx,d,m,acc,higher,b,2\n")
    (folder / "w.wav").write_bytes(b"RIFF" + bytes(40))
    checkpoint.write_state(folder / "incepted.safetensors", {"x": torch.zeros(2)}, {})
    (folder / "made").mkdir()
    (folder / "made" / "made.json").write_text('{"files": ["made.json"]}')
    return folder


READERS = {
    "t.parquet": lambda path: pm.Table.from_parquet(path, say=None),
    "i.png": lambda path: pm.Image(3, 8, 8).read(path),
    "i.jpg": lambda path: pm.Image(3, 8, 8).read(path),
    "i.tiff": lambda path: pm.Image(1, 8, 8).read(path),
    "w.wav": lambda path: pm.Audio(32, 16).read(path),
    "n.npz": lambda path: read_arrays(path, {"x": ("uint8", (None,))}, "make it"),
    "x-ubyte": lambda path: idx.read(path, (3, 3), "get it"),
    "y.yaml": yaml.read,
    "names.txt": lambda path: table_settings.parse_column_names(str(path)),
    "s.csv": read_score_table,
    "incepted.safetensors": load_inception,
    "made/made.json": lambda path: output_folder.list_foreign_files(path.parent),
}
"""What reads a file, by its name."""


def attempt(read, path):
    """What was said of the file; nothing where it could be read."""
    try:
        read(path)
    except (ValueError, OSError, TypeError) as error:
        said = str(error)
    else:
        return ""
    assert "\n" not in said.strip()
    assert said.isprintable()
    assert not re.search(r"0x[0-9a-f]{6}", said), said
    assert path.name in said, said
    assert len(said) < 1500
    return said


@pytest.fixture
def broken(whole, tmp_path, monkeypatch):
    """Makes a copy of a file, or of the folder that it stands in."""

    def copy(name):
        top = Path(name).parts[0]
        source = whole / top
        shutil.copytree(source, tmp_path / top) if source.is_dir() else shutil.copy(source, tmp_path / top)
        return tmp_path / name

    monkeypatch.chdir(tmp_path)
    return copy


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("name", READERS)
def test_content(name, content, broken):
    path = broken(name)
    made = CONTENTS[content](path.read_bytes())
    path.unlink()
    path.write_bytes(made)
    said = attempt(READERS[name], path)
    assert said or content not in ("zeros", "noise") or name == "names.txt"


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", READERS)
def test_shape(name, shape, broken):
    path = broken(name)
    path.unlink()
    SHAPES[shape](path)
    attempt(READERS[name], path)

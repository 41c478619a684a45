"""Folders written whole or not at all, and files that are refused."""

import json

import numpy as np
import pytest
import torch
from conftest import EXAMPLES

from polymodal import checkpoint
from polymodal.models import build, load
from polymodal.schema import Schema

FILES = {"a.json": {"x": 1}, "a.safetensors": {"w": torch.arange(3)}}


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_over_an_older_version_of_itself(tmp_path):
    checkpoint.write(tmp_path / "a", FILES)
    checkpoint.write(tmp_path / "a", FILES | {"a.json": {"x": 2}})
    assert checkpoint.read_json(tmp_path / "a" / "a.json") == {"x": 2}
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("broken", [{"a.json": {"x": object()}}, {"a.safetensors": {"w": "no tensor"}}])
def test_a_failure_leaves_the_older_version_and_nothing_else(tmp_path, broken):
    checkpoint.write(tmp_path / "a", FILES)
    before = contents(tmp_path)
    with pytest.raises((TypeError, AttributeError)):
        checkpoint.write(tmp_path / "a", FILES | broken)
    assert contents(tmp_path) == before


def test_a_failure_between_the_two_renames_leaves_the_older_version(tmp_path, monkeypatch):
    checkpoint.write(tmp_path / "a", FILES)
    before = contents(tmp_path)
    rename = checkpoint.Path.rename

    def fail_for_the_new_one(self, target):
        if target == tmp_path / "a" and (self / "a.json").read_text() != before[checkpoint.Path("a/a.json")].decode():
            raise OSError("no space left on device")
        return rename(self, target)

    monkeypatch.setattr(checkpoint.Path, "rename", fail_for_the_new_one)
    with pytest.raises(OSError, match="no space"):
        checkpoint.write(tmp_path / "a", FILES | {"a.json": {"x": 2}})
    assert contents(tmp_path) == before


def test_links_numbers_of_numpy_and_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    checkpoint.write(tmp_path / "link", {"a.json": {"x": np.int64(1), "y": torch.tensor(0.5)}})
    assert checkpoint.read_json(tmp_path / "real" / "a.json") == {"x": 1, "y": 0.5}
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(ValueError, match="must be a folder of its own"):
        checkpoint.write(".", FILES)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "link", "real"]


def test_a_foreign_folder_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years")
    with pytest.raises(ValueError, match=r"must be empty or hold only a.json, a.safetensors; it holds thesis.tex"):
        checkpoint.write(tmp_path, FILES)
    with pytest.raises(ValueError, match="must be a folder, but it is a file"):
        checkpoint.write(tmp_path / "thesis.tex", FILES)
    assert contents(tmp_path) == {checkpoint.Path("thesis.tex"): b"years"}


def test_text_is_replaced_whole(tmp_path):
    checkpoint.write_text(tmp_path / "deep" / "a.csv", "one")
    checkpoint.write_text(tmp_path / "deep" / "a.csv", "two")
    assert contents(tmp_path) == {checkpoint.Path("deep/a.csv"): b"two"}


class TestLoad:
    @pytest.fixture
    def folder(self, tmp_path):
        build("mac-wae", Schema({"label": EXAMPLES["label"]}), latent_dim=4).save(tmp_path / "model")
        return tmp_path / "model"

    def edit(self, folder, **changes):
        document = json.loads((folder / "model.json").read_text())
        (folder / "model.json").write_text(json.dumps({k: v for k, v in (document | changes).items() if v is not None}))

    def test_nothing_there(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"model.json must exist, and does not"):
            load(tmp_path)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"format": 2}, "must be of format 1; got 2; if it is newer, update polymodal"),
            ({"model": "mac-vea"}, "unknown model 'mac-vea'; known are mac-vae"),
            ({"schema": None}, "must have schema; it has not"),
            ({"arguments": {"latent": 4}}, "unknown argument of mac-wae 'latent'"),
            ({"arguments": {"latent_dim": 5}}, "does not fit model.json"),
            ({"arguments": {"latent_dim": "2"}}, "latent_dim of mac-wae must be int; got '2'"),
            ({"arguments": []}, "does not describe a model"),
            ({"schema": {}}, "does not describe a model"),
        ],
    )
    def test_edited(self, folder, changes, message):
        self.edit(folder, **changes)
        with pytest.raises(ValueError, match=message):
            load(folder)

    def test_tensors_that_lack_or_exceed(self, folder):
        tensors = checkpoint.read_tensors(folder / "weights.safetensors")
        document = checkpoint.read_json(folder / "model.json")
        for changed in ({**tensors, "more": torch.zeros(1)}, dict(list(tensors.items())[1:])):
            checkpoint.write(folder, {"model.json": document, "weights.safetensors": changed})
            with pytest.raises(ValueError, match=r"does not fit model\.json"):
                load(folder)

    def test_a_pickle_in_safetensors_clothes_is_not_run(self, folder):
        torch.save({"weight": torch.zeros(1)}, folder / "weights.safetensors")
        with pytest.raises(ValueError, match="must be a safetensors file"):
            load(folder)

    def test_json_that_is_not(self, folder):
        for text, message in (("{", "must be JSON"), ("[]", "must hold a JSON object; got list")):
            (folder / "model.json").write_text(text)
            with pytest.raises(ValueError, match=message):
                load(folder)

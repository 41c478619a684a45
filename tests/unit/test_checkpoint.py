"""Folders written whole or not at all."""

import numpy as np
import pytest
import torch

from polymodal.io import checkpoint

FILES = {"a.json": {"x": 1}, "a.safetensors": {"w": torch.arange(3)}}


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_over_an_older_version_of_itself(tmp_path):
    checkpoint.write(tmp_path / "a", FILES)
    checkpoint.write(tmp_path / "a", FILES | {"a.json": {"x": 2}})
    assert checkpoint.read_json(tmp_path / "a" / "a.json") == {"x": 2}
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize(
    "broken", [{"a.json": {"x": object()}}, {"a.json": {"x": float("nan")}}, {"a.safetensors": {"w": "no tensor"}}]
)
def test_a_failure_leaves_the_older_version_and_nothing_else(tmp_path, broken):
    checkpoint.write(tmp_path / "a", FILES)
    before = contents(tmp_path)
    with pytest.raises((TypeError, AttributeError, ValueError)):
        checkpoint.write(tmp_path / "a", FILES | broken)
    assert contents(tmp_path) == before


def without_exchange(monkeypatch):
    """As on a file system that cannot exchange two names."""
    monkeypatch.setattr("polymodal.io.atomic._exchange", lambda one, other: None)


def test_a_failure_between_the_two_renames_leaves_the_older_version(tmp_path, monkeypatch):
    without_exchange(monkeypatch)
    checkpoint.write(tmp_path / "a", FILES)
    before = contents(tmp_path)
    rename = checkpoint.Path.rename

    def fail_for_the_new_one(self, target):
        old = before[checkpoint.Path("a/a.json")].decode()
        if target == tmp_path / "a" and (self / "a.json").read_text() != old and not target.exists():
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

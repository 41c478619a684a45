"""MHD: read from a miniature in the published layout; foreign and damaged files are refused."""

import os

import numpy as np
import pytest
import torch

from polymodal.datasets import load
from polymodal.datasets.splits import halves

ROWS = {"train": 1_230, "test": 61}  # more than one piece of 1,000


def published(rows: int, seed: int = 0) -> list:
    """The six things of one of the authors' files."""
    draws = torch.Generator().manual_seed(seed)
    label = torch.arange(rows) % 10
    image = torch.randint(256, (rows, 1, 28, 28), generator=draws).float() / 255
    trajectory, audio = torch.rand(rows, 200, generator=draws), torch.rand(rows, 4, 32, 32, generator=draws)
    scales = [{"max": torch.tensor(2.0), "min": torch.tensor(-1.5)}, {"max": 40.0, "min": -80.0}]
    return [label, image, trajectory, audio, *scales]


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("POLYMODAL_CACHE", str(tmp_path / "cache"))
    for seed, (split, rows) in enumerate(ROWS.items()):
        torch.save(tuple(published(rows, seed)), tmp_path / f"mhd_{split}.pt")
    return tmp_path


def spoil(root, change) -> None:
    """Writes the test file anew with something changed."""
    parts = published(ROWS["test"], 1)
    torch.save(change(parts) or tuple(parts), root / "mhd_test.pt")


def refused(root, *told: str) -> None:
    """It is a ValueError that names the file, and leaves nothing in the cache."""
    with pytest.raises(ValueError, match=r"mhd_test\.pt") as caught:
        load("mhd", root=root)
    for words in told:
        assert words in str(caught.value)
    assert not list((root / "cache").rglob("*.safetensors*"))


def test_a_row_is_that_of_the_file(root):
    data = load("mhd", root=root)
    assert list(data.schema) == ["image", "trajectory", "audio", "label"]
    assert [data.schema[name].shape for name in data.schema] == [(1, 28, 28), (200,), (1, 32, 128), ()]
    label, image, trajectory, audio, *_ = published(ROWS["train"])
    values = data.train.values
    assert values["image"].dtype == torch.uint8
    assert torch.equal(values["image"].float() / 255, image)
    assert torch.equal(values["trajectory"], trajectory)
    assert torch.equal(values["label"], label)
    assert torch.equal(data.train.labels, label)
    assert data.train.observed.all()
    for row in (0, 999, 1_000, 1_229):
        unstacked = np.concatenate([audio[row, i].numpy() for i in range(4)])  # (128 bands, 32 frames)
        assert np.array_equal(values["audio"][row, 0].numpy(), unstacked.T)


def test_the_test_rows_are_halved_by_class(root):
    data = load("mhd", root=root)
    label, image, *_ = published(ROWS["test"], 1)
    for table, rows in zip((data.validation, data.test), halves(label), strict=True):
        assert torch.equal(table.values["label"], label[rows])
        assert torch.equal(table.values["image"].float() / 255, image[rows])
    assert (data.validation.labels.bincount() - data.test.labels.bincount()).abs().max() <= 1
    assert len(data.validation) + len(data.test) == ROWS["test"]


def test_what_torch_wrote_before_1_6_is_read_too(root):
    whole = load("mhd", root=root)
    for seed, (split, rows) in enumerate(ROWS.items()):
        path = root / f"mhd_{split}.pt"
        torch.save(tuple(published(rows, seed)), path, _use_new_zipfile_serialization=False)
    old = load("mhd", root=root)
    for name in whole.schema:
        assert torch.equal(whole.test.values[name], old.test.values[name])


def test_pictures_that_are_no_bytes_stay_floats(root):
    def change(parts):
        parts[1][7, 0, 3, 3] = 0.4999

    spoil(root, change)
    data = load("mhd", root=root)
    label, image, *_ = published(ROWS["test"], 1)
    image[7, 0, 3, 3] = 0.4999
    assert data.test.values["image"].dtype == torch.float32
    for table, rows in zip((data.validation, data.test), halves(label), strict=True):
        assert torch.equal(table.values["image"], image[rows])


def test_what_is_a_little_outside_is_moved_inside(root):
    def change(parts):
        parts[3][5, 1, 2, 3], parts[2][6, 9] = 1.07, -0.02

    spoil(root, change)
    data = load("mhd", root=root)
    both = [table.values for table in (data.validation, data.test)]
    for name in ("audio", "trajectory"):
        assert min(values[name].min() for values in both) >= 0
        assert max(values[name].max() for values in both) <= 1
    assert max(values["audio"].max() for values in both) == 1.0
    assert min(values["trajectory"].min() for values in both) == 0.0


@pytest.mark.parametrize(("part", "number"), [(1, float("nan")), (2, float("inf")), (3, float("nan")), (3, 1.2)])
def test_numbers_that_cannot_be(root, part, number):
    def change(parts):
        parts[part][11].flatten()[5] = number

    spoil(root, change)
    refused(root, "row 11", f"{number:g}")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda parts: tuple(parts[:4]), "it has 4 entries"),
        (lambda parts: {"label": parts[0]}, "it has dict"),
        (lambda parts: (parts[0].float(), *parts[1:]), "the label"),
        (lambda parts: (parts[0][0], *parts[1:]), "the label"),
        (lambda parts: (parts[0] + 1, *parts[1:]), "must be in 0..9; got 1..10"),
        (lambda parts: (parts[0], parts[1][:-1], *parts[2:]), "the image"),
        (lambda parts: (*parts[:2], parts[2][:, :150], *parts[3:]), "got torch.float32 (61, 150)"),
        (lambda parts: (*parts[:3], parts[3][:, :3], *parts[4:]), "the audio"),
        (lambda parts: (*parts[:3], "sound", *parts[4:]), "got str"),
        (lambda parts: (*parts[:3], parts[3].to_sparse(), *parts[4:]), "the audio"),
        (lambda parts: (*(part[:0] for part in parts[:4]), *parts[4:]), "the label"),
    ],
)
def test_other_things_in_the_file(root, change, told):
    spoil(root, change)
    refused(root, told)


class Code:
    """Something that runs a command when it is unpickled."""

    def __init__(self, mark) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_the_file_is_refused_and_not_run(root, zipped):
    parts = published(ROWS["test"], 1)
    parts[5] = Code(root / "ran")
    torch.save(tuple(parts), root / "mhd_test.pt", _use_new_zipfile_serialization=zipped)
    refused(root, "only tensors and plain numbers", "it asks for posix.mkdir")
    assert not (root / "ran").exists()


def test_numbers_of_numpy_are_refused_with_the_way_out(root):
    def change(parts):
        parts[4] = {"max": np.float32(2), "min": np.float32(-1)}

    spoil(root, change)
    refused(root, "numpy", "torch.save its first four parts and two Nones")
    spoil(root, lambda parts: (*parts[:4], None, None))
    assert len(load("mhd", root=root).test) == 30


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0.0, 1e-5, 1e-3, 0.5, 0.9999])
def test_cut_short(root, zipped, share):
    path = root / "mhd_test.pt"
    torch.save(tuple(published(ROWS["test"], 1)), path, _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    refused(root, "must be a file of torch.save")


def test_a_web_page_in_its_place(root):
    (root / "mhd_test.pt").write_text("<html>Google Drive can't scan this file for viruses</html>")
    refused(root, "must be a file of torch.save")


def test_a_missing_file_is_told_with_where_to_get_it(root):
    (root / "mhd_train.pt").unlink()
    with pytest.raises(FileNotFoundError, match=r"mhd_train\.pt must exist.*miguelsvasco/nexus_pytorch"):
        load("mhd", root=root)

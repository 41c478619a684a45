"""CelebA, from a miniature in the layout of the authors' files."""

import random
import shutil
import sys
import time
from _thread import interrupt_main

import numpy as np
import pytest
import torch
from PIL import Image

from polymodal.datasets import DATASETS, load
from polymodal.datasets.base import facts

MODULE = sys.modules["polymodal.datasets.celeba"]  # the package has the function under this name

PUBLISHED = (
    "5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose Black_Hair Blond_Hair "
    "Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee Gray_Hair Heavy_Makeup High_Cheekbones Male "
    "Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard Oval_Face Pale_Skin Pointy_Nose Receding_Hairline Rosy_Cheeks "
    "Sideburns Smiling Straight_Hair Wavy_Hair Wearing_Earrings Wearing_Hat Wearing_Lipstick Wearing_Necklace "
    "Wearing_Necktie Young"
)
TITLES = PUBLISHED.split()
SPLITS = [0] * 9 + [1] * 3 + [2] * 4
ATTRIBUTES, PARTITION = "list_attr_celeba.txt", "list_eval_partition.txt"


def write(root):
    """A miniature: 16 pictures, and both lists with their blanks as published."""
    rng = np.random.default_rng(0)
    (root / "img_align_celeba").mkdir(parents=True)
    marks = rng.choice([-1, 1], (len(SPLITS), 40))
    names = [f"{number:06d}.jpg" for number in range(1, len(SPLITS) + 1)]
    for name in names:
        pixels = Image.fromarray(rng.integers(0, 256, (22, 18, 3), dtype=np.uint8))
        pixels.resize((178, 218)).save(root / "img_align_celeba" / name)
    lines = [" ".join([name, *(f"{mark:2d}" for mark in row)]) for name, row in zip(names, marks, strict=True)]
    (root / ATTRIBUTES).write_text("\n".join([str(len(names)), " ".join(TITLES) + " ", *lines]) + "\n")
    (root / PARTITION).write_text("".join(f"{name} {split}\n" for name, split in zip(names, SPLITS, strict=True)))
    return root


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    return write(tmp_path_factory.mktemp("celeba") / "celeba")


@pytest.fixture
def root(published, tmp_path, cache):
    """A copy of the miniature to spoil."""
    return shutil.copytree(published, tmp_path / "celeba")


def by_hand(root, name):
    """The rows 7 to 70 of a picture that is 64 wide."""
    with Image.open(root / "img_align_celeba" / name) as file:
        pixels = np.array(file.resize((64, 78), Image.Resampling.BILINEAR))
    return torch.from_numpy(pixels[7:71]).permute(2, 0, 1)


def left(cache):
    """What is left of the data set in the cache, half written or whole."""
    return [path for path in cache.rglob("*") if "celeba" in path.name]


def same(data, other):
    pairs = zip((data.train, data.validation, data.test), (other.train, other.validation, other.test), strict=True)
    return all(torch.equal(a.values[name], b.values[name]) for a, b in pairs for name in a.schema)


def swap(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_schema_and_rows(published, cache):
    data = load("celeba", root=published)
    assert [len(table) for table in (data.train, data.validation, data.test)] == [9, 3, 4]
    assert list(data.schema) == ["image", *TITLES]
    assert data.schema.groups == {"attributes": TITLES}
    assert data.schema["image"].shape == (3, 64, 64)
    assert all((data.schema[title].classes, data.schema[title].names) == (2, ("no", "yes")) for title in TITLES)
    assert all(table.observed.all() for table in (data.train, data.validation, data.test))
    assert sum(facts(DATASETS["celeba"]).rows) == 202_599


def test_pictures_and_attributes_are_those_of_the_lists(published, cache):
    data = load("celeba", root=published)
    lines = [line.split() for line in (published / ATTRIBUTES).read_text().splitlines()[2:]]
    for split, table in enumerate((data.train, data.validation, data.test)):
        here = [line for line, kind in zip(lines, SPLITS, strict=True) if kind == split]
        assert torch.equal(table.values["image"], torch.stack([by_hand(published, line[0]) for line in here]))
        for column, title in enumerate(TITLES, 1):
            assert table.values[title].tolist() == [int(line[column] == "1") for line in here]


def test_rows_are_paired_by_name(published, root, cache):
    """Lines in any order, in both lists, and pictures that were written in another order."""
    head, titles, *lines = (root / ATTRIBUTES).read_text().splitlines()
    random.Random(1).shuffle(lines)
    (root / ATTRIBUTES).write_text("\r\n".join([head, titles, *lines, ""]))
    lines = (root / PARTITION).read_text().splitlines()
    random.Random(2).shuffle(lines)
    (root / PARTITION).write_text("\n".join(lines))
    for path in sorted((root / "img_align_celeba").iterdir(), reverse=True):
        path.write_bytes(path.unlink() or (published / "img_align_celeba" / path.name).read_bytes())
    assert same(load("celeba", root=published), load("celeba", root=root))


@pytest.mark.parametrize("pictures", ["img_align_celeba", "Img/img_align_celeba"])
def test_lists_in_their_folders(published, root, cache, pictures):
    for folder, name in {"Anno": ATTRIBUTES, "Eval": PARTITION}.items():
        (root / folder).mkdir()
        (root / name).rename(root / folder / name)
    (root / pictures).parent.mkdir(exist_ok=True)
    (root / "img_align_celeba").rename(root / pictures)
    assert same(load("celeba", root=published), load("celeba", root=root))


def test_a_second_call_reads_no_picture(root, cache, monkeypatch):
    first = load("celeba", root=root)
    monkeypatch.setattr(MODULE, "fill_images", None)
    again = load("celeba", root=root)
    assert same(first, again)
    source = again.validation.source
    assert source["split"] == "validation"
    assert same(first, load(source["dataset"], **source["arguments"]))
    (root / "img_align_celeba" / "000001.jpg").write_bytes(b"other")
    with pytest.raises(TypeError, match="not callable"):
        load("celeba", root=root)


@pytest.mark.parametrize("how", ["cut", b"<html>", b"", "small"])
def test_damaged_pictures(root, cache, how):
    for number in (15, 2):  # in the test and the training rows
        path = root / "img_align_celeba" / f"{number:06d}.jpg"
        if how == "small":
            Image.new("RGB", (218, 178)).save(path)
        else:
            path.write_bytes(path.read_bytes()[:2000] if how == "cut" else how)
    why = "it must be 178x218 pixels; got 218x178" if how == "small" else ""
    with pytest.raises(ValueError, match=rf"000002.jpg cannot be used: {why}.*2 of 16 images are damaged.*mmlab"):
        load("celeba", root=root)
    assert not left(cache)


def test_missing_pictures(root, cache):
    for number in (16, 2, 4):
        (root / "img_align_celeba" / f"{number:06d}.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"000002.jpg must exist.*3 of 16 images are missing.*mmlab"):
        load("celeba", root=root)
    assert not left(cache)


def test_an_interrupt_leaves_nothing(root, cache, monkeypatch):
    """And the next call makes it."""
    middle, calls = MODULE._middle, []

    def interrupted(row, picture):
        calls.append(row)
        if len(calls) == 12:  # within the second of the three tables
            interrupt_main()
            time.sleep(1)
        return middle(row, picture)

    monkeypatch.setattr(MODULE, "_middle", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load("celeba", root=root)
    assert not left(cache)
    assert len(calls) <= 12
    monkeypatch.undo()
    monkeypatch.setenv("POLYMODAL_CACHE", str(cache))
    assert len(load("celeba", root=root).train) == 9


@pytest.mark.parametrize(
    ("name", "old", "new", "error"),
    [
        (ATTRIBUTES, "16\n", "17\n", "must have 17 images, as it states; got 16"),
        (ATTRIBUTES, "16\n", "", "line 1 .*the number of images"),
        (ATTRIBUTES, "Young", "", r"line 2 .*40 names of attributes \(39 here\)"),
        (ATTRIBUTES, "Young", "Bald", "line 2 .*40 names"),
        (ATTRIBUTES, "Young", "image", "line 2 .*40 names"),
        (ATTRIBUTES, "000003.jpg ", "000003.jpg 1 ", r"line 5 .*40 of -1, 1 \(41 here\)"),
        (ATTRIBUTES, "000003.jpg ", "000003.jpg 0", "line 5 .*40 of -1, 1"),
        (ATTRIBUTES, "000003.jpg", "000004.jpg", "must name each image once; 1 names occur again"),
        (PARTITION, "000003.jpg 0", "000003.jpg 3", "line 3 .*1 of 0, 1, 2"),
        (PARTITION, "000003.jpg 0", "000003.jpg", r"line 3 .*1 of 0, 1, 2 \(0 here\)"),
        (PARTITION, "000003.jpg 0\n", "", r"they differ in 000003.jpg \(1 such"),
        (PARTITION, "000003.jpg 0\n", "000033.jpg 0\n", r"they differ in 000003.jpg \(2 such"),
    ],
)
def test_wrong_lines(root, cache, name, old, new, error):
    swap(root / name, old, new)
    with pytest.raises(ValueError, match=f"{error}.*mmlab") as told:
        load("celeba", root=root)
    assert str(root / name) in str(told.value)
    assert not left(cache)


@pytest.mark.parametrize("name", [ATTRIBUTES, PARTITION])
@pytest.mark.parametrize("how", ["missing", "cut", b"", b"\x89PNG\x00\xff"])
def test_damaged_lists(root, cache, name, how):
    path = root / name
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:99] if how == "cut" else how)
    with pytest.raises((ValueError, FileNotFoundError), match=r"list_.*\.txt.*mmlab"):
        load("celeba", root=root)
    assert not left(cache)


def test_no_split_is_empty(root, cache):
    path = root / PARTITION
    path.write_text(path.read_text().replace(" 1\n", " 0\n"))
    with pytest.raises(ValueError, match="must have images of all three splits"):
        load("celeba", root=root)


def test_nothing_there(tmp_path, cache):
    with pytest.raises(FileNotFoundError, match=r"must hold img_align_celeba, list_attr.*mmlab.*by hand"):
        load("celeba", root=tmp_path)
    with pytest.raises(FileNotFoundError, match=r"downloads.celeba"):
        load("celeba")

"""CUB, from a miniature in the layout of the authors' files."""

import random
import shutil
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from polymodal.datasets import DATASETS, load, storage
from polymodal.datasets.base import facts
from polymodal.datasets.cub import REMOTES

MODULE = sys.modules["polymodal.datasets.cub"]  # the package has the function under this name

SPECIES = ["001.Black_footed_Albatross", "002.Laysan_Albatross", "003.Sooty_Albatross"]
EACH = 7  # pictures of a species: three to train on
LISTS = ["images.txt", "train_test_split.txt", "bounding_boxes.txt", "image_class_labels.txt"]
WORDS = ["small", "red", "bird", "beak", "long", "white", "wing", "a", "with", "black"]


def boxes(rng):
    """Left, top, width, height, as the authors have them: whole numbers, now and then out of the picture's middle."""
    return [
        float(rng.integers(0, 60)),
        float(rng.integers(0, 40)),
        float(rng.integers(9, 90)),
        float(rng.integers(9, 90)),
    ]


def caption(number, which):
    """A sentence as people write it: a capital, a comma, a full stop."""
    kind = "training" if number % EACH < 3 else "unseen"
    words = random.Random(100 * number + which).choices(WORDS, k=6)
    return f"This {words[0]} {words[1]}, {' '.join(words[2:])} {kind}{number} ."


def write(root, captions="CUB_200_2011/text"):
    """A miniature: the lists, pictures (some of them grey) and ten captions of each."""
    folder, rng = root / "CUB_200_2011", np.random.default_rng(0)
    lists = {name: [] for name in LISTS}
    for number in range(len(SPECIES) * EACH):
        species = number // EACH
        name = f"{SPECIES[species]}/{SPECIES[species][4:]}_{number:04d}_{796 + number}"
        size = (*rng.integers(80, 160, 2), 3)[: 2 if number % 5 == 0 else 3]
        path = folder / "images" / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)).save(path)
        text = root / captions / f"{name}.txt"
        text.parent.mkdir(parents=True, exist_ok=True)
        text.write_text("\n".join(caption(number, which) for which in range(10)) + "\n")
        fields = f"{name}.jpg", number % EACH < 3, " ".join(map(str, boxes(rng))), species + 1
        for lines, field in zip(lists.values(), fields, strict=True):
            lines.append(f"{number + 1} {int(field) if isinstance(field, bool) else field}")
    for name, lines in lists.items():
        (folder / name).write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    return write(tmp_path_factory.mktemp("cub"))


@pytest.fixture
def root(published, tmp_path, cache):
    """A copy of the miniature to spoil."""
    return shutil.copytree(published, tmp_path / "cub")


def read(root, name):
    return [line.split() for line in (root / "CUB_200_2011" / name).read_text().splitlines()]


def by_hand(root, number):
    """A picture's square, cut from its array of pixels."""
    with Image.open(root / "CUB_200_2011" / "images" / read(root, "images.txt")[number][1]) as file:
        pixels = np.array(file.convert("RGB"))
    left, top, width, height = (int(float(field)) for field in read(root, "bounding_boxes.txt")[number][1:])
    reach = int(0.75 * max(width, height))
    x, y = left + width // 2, top + height // 2
    square = pixels[max(0, y - reach) : y + reach, max(0, x - reach) : x + reach]
    resized = Image.fromarray(square).resize((64, 64), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1)


def made(cache):
    """What is left in the cache."""
    return [path.name for path in cache.rglob("*")]


def prints(data):
    """All that the tables hold."""
    return [
        [*(table.values[name] for name in data.schema), table.alternatives["text"]]
        for table in (data.train, data.validation, data.test)
    ]


def same(data, other):
    return all(
        torch.equal(a, b) for x, y in zip(prints(data), prints(other), strict=True) for a, b in zip(x, y, strict=True)
    )


def test_schema_and_rows(published, cache):
    data = load("cub", root=published)
    assert [len(table) for table in (data.train, data.validation, data.test)] == [9, 6, 6]
    assert list(data.schema) == ["img", "text", "label"]
    assert (data.schema["img"].shape, data.schema["text"].shape) == ((3, 64, 64), (18,))
    assert data.schema["label"].names == ("Black footed Albatross", "Laysan Albatross", "Sooty Albatross")
    for table in (data.train, data.validation, data.test):
        assert table.observed.all()
        counts = table.values["label"].bincount()
        assert counts.max() == counts.min()
    assert sum(facts(DATASETS["cub"]).rows) == 11_788


def test_squares_are_those_cut_by_hand(published, cache):
    """Every picture, in its split: training rows in their order, the others in either half and in one alone."""
    data = load("cub", root=published)
    training = [number for number in range(21) if number % EACH < 3]
    assert torch.equal(data.train.values["img"], torch.stack([by_hand(published, number) for number in training]))
    assert data.train.values["label"].tolist() == [number // EACH for number in training]
    held_out = [*data.validation.values["img"], *data.test.values["img"]]
    labels = [*data.validation.values["label"].tolist(), *data.test.values["label"].tolist()]
    found = []
    for picture, label in zip(held_out, labels, strict=True):
        numbers = [n for n in range(21) if torch.equal(picture, by_hand(published, n))]
        assert len(numbers) == 1
        assert label == numbers[0] // EACH
        found += numbers
    assert sorted(found) == [number for number in range(21) if number % EACH >= 3]


def test_some_squares_leave_their_picture_and_some_pictures_are_grey(published):
    """Else the test above would show less than it says."""
    leave = grey = 0
    for number, (_, name) in enumerate(read(published, "images.txt")):
        with Image.open(published / "CUB_200_2011" / "images" / name) as file:
            left, top, width, height = (
                int(float(field)) for field in read(published, "bounding_boxes.txt")[number][1:]
            )
            reach = int(0.75 * max(width, height))
            leave += left + width // 2 + reach > file.width or top + height // 2 < reach
            grey += file.mode == "L"
    assert leave > 2
    assert grey > 2


def test_lines_in_another_order(published, root, cache):
    for seed, name in enumerate(LISTS):
        path = root / "CUB_200_2011" / name
        lines = path.read_text().splitlines()
        random.Random(seed).shuffle(lines)
        path.write_text("\r\n".join(lines))
    assert same(load("cub", root=published), load("cub", root=root))


@pytest.mark.parametrize("captions", ["CUB_200_2011/text_c10", "text", "text_c10", "cvpr2016_cub/text_c10"])
def test_folders_of_captions(published, tmp_path, cache, captions):
    assert same(load("cub", root=published), load("cub", root=write(tmp_path / "other", captions)))


def test_root_is_the_authors_folder(published, cache):
    assert same(load("cub", root=published), load("cub", root=published / "CUB_200_2011"))


def test_captions_are_alternatives(published, cache):
    data = load("cub", root=published)
    text = data.schema["text"]
    for row, number in enumerate(n for n in range(21) if n % EACH < 3):
        told = [text.write(choice) for choice in data.train.alternatives["text"][row]]
        assert told == [caption(number, which).lower().replace(",", "").replace(" .", "") for which in range(10)]
    drawn = {
        tuple(batch.values["text"][row].tolist())
        for epoch in range(20)
        for batch in data.train.batches(9, seed=0, epoch=epoch)
        for row in range(9)
    }
    known = {tuple(choice.tolist()) for choices in data.train.alternatives["text"] for choice in choices}
    assert drawn <= known
    assert len(drawn) > 60


def test_vocabulary_is_of_the_training_captions_alone(published, cache):
    data = load("cub", root=published)
    words = set(data.schema["text"].vocabulary)
    training = [number for number in range(21) if number % EACH < 3]
    assert words == {
        w for n in training for i in range(10) for w in caption(n, i).lower().strip(" .").replace(",", "").split()
    }
    assert not any(word.startswith("unseen") for word in words)
    assert (data.test.alternatives["text"] == 2).any(-1).all()  # each has an unknown word
    assert not (data.train.alternatives["text"] == 2).any()


def test_length_of_texts(published, cache):
    short = load("cub", root=published, length=5).train.alternatives["text"]
    assert short.shape == (9, 10, 5)
    assert (short[..., -1] == 1).all()
    with pytest.raises(ValueError, match="length must be"):
        load("cub", root=published, length=0)


def test_the_first_ten_lines_with_words_count(published, root, cache):
    path = root / "CUB_200_2011" / "text" / read(root, "images.txt")[0][1].replace(".jpg", ".txt")
    lines = path.read_text().splitlines()
    path.write_text("\n".join(["", *lines[:4], " . ", *lines[4:], "one more"]))
    assert same(load("cub", root=published), load("cub", root=root))


def test_a_second_call_reads_no_picture(root, cache, monkeypatch):
    first = load("cub", root=root)
    monkeypatch.setattr(MODULE, "fill_images", None)
    again = load("cub", root=root)
    assert same(first, again)
    source = again.test.source
    assert same(first, load(source["dataset"], **source["arguments"]))
    (root / "CUB_200_2011" / "text" / read(root, "images.txt")[5][1].replace(".jpg", ".txt")).write_text("new\n" * 10)
    with pytest.raises(TypeError, match="not callable"):
        load("cub", root=root)


def test_download_fetches_the_pictures(root, cache, monkeypatch):
    asked = []
    monkeypatch.setattr(MODULE, "fetch", lambda *arguments: asked.append(arguments))
    load("cub", root=root, download=True)
    load("cub", root=root)
    assert asked == []  # they are there
    shutil.rmtree(root / "CUB_200_2011" / "text")
    with pytest.raises(FileNotFoundError, match=r"text.* must exist.*reedscot"):
        load("cub", root=root, download=True)
    assert asked == []
    shutil.rmtree(root / "CUB_200_2011")
    with pytest.raises(FileNotFoundError, match=r"images.* must exist.*reedscot"):
        load("cub", root=root, download=True)
    ((remotes, place, by_hand),) = asked
    assert (remotes, place) == (REMOTES, root)
    assert "reedscot" in by_hand


def spoil(path, how):
    if how == "missing":
        path.unlink()
    elif how == "cut":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        path.write_bytes(how)


@pytest.mark.parametrize("how", ["cut", b"a web page", b""])
def test_damaged_pictures(root, cache, how):
    names = [name for _, name in read(root, "images.txt")]
    for number in (20, 1):
        spoil(root / "CUB_200_2011" / "images" / names[number], how)
    with pytest.raises(ValueError, match=rf"{names[1]} cannot be used: .*2 of 21 images are damaged.*caltech"):
        load("cub", root=root)
    assert not any("cub-" in name for name in made(cache))


def test_missing_pictures(root, cache):
    names = [name for _, name in read(root, "images.txt")]
    for number in (7, 1):
        spoil(root / "CUB_200_2011" / "images" / names[number], "missing")
    with pytest.raises(FileNotFoundError, match=rf"{names[1]} must exist.*2 of 21 images are missing.*caltech"):
        load("cub", root=root)
    assert not any("cub-" in name for name in made(cache))


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("missing", "must exist.*1 of 21 files of captions are missing"),
        (b"one\ntwo\n\n \n", "cannot be used: it must have 10 lines of words, and has 2; 1 of 21 files"),
        (b"\xff\xd8\xff" * 50, "cannot be used: .*1 of 21 files of captions are damaged"),
    ],
)
def test_captions_must_be_there_and_ten(root, cache, how, error):
    spoil(root / "CUB_200_2011" / "text" / read(root, "images.txt")[5][1].replace(".jpg", ".txt"), how)
    with pytest.raises(
        (ValueError, FileNotFoundError), match=rf"Black_footed_Albatross_0005_801.txt {error}.*reedscot"
    ):
        load("cub", root=root)
    assert not any("cub-" in name for name in made(cache))


@pytest.mark.parametrize(
    ("name", "line", "error"),
    [
        ("images.txt", "22 ../../secret.jpg", "line 22 .*its folder and file"),
        ("images.txt", "3 001.A/b.jpg", "line 22 .*that no earlier line has"),
        ("train_test_split.txt", "22 2", "line 22 .*1 for training"),
        ("bounding_boxes.txt", "22 1.0 2.0 3.0", "line 22 .*left, top, width and height"),
        ("bounding_boxes.txt", "22 1.0 2.0 nan 4.0", "line 22 .*left, top, width and height"),
        ("image_class_labels.txt", "22 0", "line 22 .*from 1 on"),
        ("image_class_labels.txt", "22 1", "one line for each of the 21 images.*image 22 "),
    ],
)
def test_wrong_lines(root, cache, name, line, error):
    with (root / "CUB_200_2011" / name).open("a") as file:
        file.write(line)
    with pytest.raises(ValueError, match=f"{error}.*caltech") as told:
        load("cub", root=root)
    assert name in str(told.value)


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("how", ["missing", "cut", b"", b"\x89PNG\x00\xff"])
def test_damaged_lists(root, cache, name, how):
    spoil(root / "CUB_200_2011" / name, how)
    with pytest.raises((ValueError, FileNotFoundError), match=r"\.txt.*caltech"):
        load("cub", root=root)
    assert not made(cache)


def test_a_species_has_one_folder(root, cache):
    path = root / "CUB_200_2011" / "image_class_labels.txt"
    path.write_text(path.read_text().replace("\n8 2\n", "\n8 1\n"))
    with pytest.raises(ValueError, match="one number for each folder"):
        load("cub", root=root)


def test_a_box_beside_its_picture(root, cache):
    path = root / "CUB_200_2011" / "bounding_boxes.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(["1 900.0 900.0 9.0 9.0", *lines[1:]]))
    with pytest.raises(ValueError, match=r"_0000_796.jpg cannot be used: its box .* must overlap the image"):
        load("cub", root=root)


def test_nothing_there(tmp_path, cache):
    with pytest.raises(FileNotFoundError, match=r"must hold images.txt.*caltech.*reedscot"):
        load("cub", root=tmp_path)
    with pytest.raises(FileNotFoundError, match=r"downloads.cub"):
        load("cub")
    assert storage.place("cub", None).parent.parent == cache

"""Emoji: what the docstrings of both data sets promise."""

import csv
import importlib
import re
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from polymodal.datasets import load, noto
from polymodal.datasets.emoji import _text
from polymodal.datasets.storage import SPLITS

ATTRIBUTES = importlib.import_module("polymodal.datasets.emoji_attributes")
NAMES = ("emoji", "emoji-attributes")
TONE = re.compile(r"1F3F[B-F]")


@pytest.fixture(scope="session")
def made(shared_data, tmp_path_factory):
    """Both data sets, from the real files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POLYMODAL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield {name: load(name, root=str(shared_data)) for name in NAMES}


@pytest.fixture(scope="session")
def rows(shared_data):
    """The file's rows, read as plainly as can be."""
    with (shared_data / noto.TEXTS).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="session")
def every(shared_data):
    return noto.read(shared_data)


@pytest.fixture(scope="session")
def splits(every):
    return noto.split(every, 0)


def test_rows_and_shapes(made):
    for name, data in made.items():
        facts = importlib.import_module(f"polymodal.datasets.{name.replace('-', '_')}").FACTS
        assert tuple(len(getattr(data, split)) for split in SPLITS) == facts.rows == (2730, 336, 337)
        assert all(getattr(data, split).observed.all() for split in SPLITS)
    schema = made["emoji"].schema
    assert {name: modality.shape for name, modality in schema.items()} == {
        "img": (3, 64, 64),
        "text": (40,),
        "label": (),
    }
    assert schema["label"].names == noto.GROUPS
    schema = made["emoji-attributes"].schema
    assert list(schema) == ["image", *schema.groups["attributes"]]
    assert len(schema.groups["attributes"]) == 40
    assert {schema[name].classes for name in schema.groups["attributes"]} == {2}


def test_every_row_is_in_one_split(splits):
    assert sorted(np.concatenate(list(splits.values()))) == list(range(3403))
    assert [np.all(np.diff(part) > 0) for part in splits.values()] == [True] * 3


def test_no_emoji_crosses_the_splits_in_another_skin_tone(splits, rows):
    """Told by its codes, and by its name."""
    for key in (lambda row: re.sub("-?(1F3F[B-F]|FE0F)", "", row["codepoints"]), lambda row: _untoned(row)):
        where = [{key(rows[i]) for i in part if rows[i]["group"] != "Component"} for part in splits.values()]
        assert sum(map(len, where)) == len(set.union(*where)) > 1600


def test_no_picture_is_in_two_splits(splits, every):
    where = [{every.images[i].tobytes() for i in part} for part in splits.values()]
    assert sum(map(len, where)) == len(set.union(*where))


def test_every_toned_emoji_has_a_base_without_tone(every, rows):
    plain = {base for base, row in zip(every.bases, rows, strict=True) if row["skin_tone_variant"] == "0"}
    assert plain == set(every.bases)
    assert not any(
        TONE.search(base) for base, row in zip(every.bases, rows, strict=True) if row["group"] != "Component"
    )
    assert Counter(Counter(every.bases).values()) == {1: 1311, 6: 292, 26: 13, 2: 1}  # two families have one picture


def test_groups_are_split_alike(splits, every):
    for group in range(10):
        bases = [len({every.bases[i] for i in part if every.groups[i] == group}) for part in splits.values()]
        assert min(bases) >= 1
        total = sum(bases)
        np.testing.assert_allclose(bases, [0.8 * total, 0.1 * total, 0.1 * total], atol=1.1)
    sizes = np.array([len(splits[split]) for split in SPLITS])
    np.testing.assert_allclose(sizes / sizes.sum(), [0.8, 0.1, 0.1], atol=0.02)


def test_a_seed_is_another_split(every, splits):
    other = noto.split(every, 1)
    assert not np.array_equal(other["test"], splits["test"])
    assert np.array_equal(noto.split(every, 1)["test"], other["test"])


def test_pictures_are_laid_on_white_then_resized(made, splits, every):
    """As PIL does it; and nothing of the colour under a cover of nothing is seen."""
    for i in (0, 77, 200):
        picture = Image.fromarray(every.images[splits["test"][i]], "RGBA")
        white = Image.new("RGBA", picture.size, "white")
        plain = Image.alpha_composite(white, picture).convert("RGB").resize((64, 64), Image.Resampling.BICUBIC)
        away = made["emoji"].test.values["img"][i].permute(1, 2, 0).numpy() - np.asarray(plain).astype(int)
        assert np.abs(away).max() <= 2
        assert torch.equal(made["emoji-attributes"].test.values["image"][i], made["emoji"].test.values["img"][i])


def test_cover_is_the_part_of_the_colour():
    image = np.zeros((1, 72, 72, 4), np.uint8)
    image[0, :, :36] = (200, 0, 100, 255)
    image[0, :, 36:] = (200, 0, 100, 51)
    image[0, :36] = (1, 2, 3, 0)
    drawn = noto.composite_on_white(image)[0]
    assert drawn[:, 50, 10].tolist() == [200, 0, 100]
    assert drawn[:, 50, 54].tolist() == [244, 204, 224]
    assert drawn[:, 10, 30].tolist() == [255, 255, 255]


def test_texts_are_the_name_and_what_it_does_not_say(made, splits, rows):
    data = made["emoji"]
    words = data.schema["text"]
    assert (
        words.write(data.train.values["text"][0])
        == "grinning face , cheerful , cheery , grin , happy , laugh , nice , "
        "smile , smiling , teeth"
    )
    for row in (100, 1000, 2000):
        source = rows[splits["train"][row]]
        said = words.write(data.train.values["text"][row]).replace(" , ", ", ")
        keywords = [k for k in source["cldr_keywords"].split("|") if not _words(k) <= _words(source["emoji_test_name"])]
        expected = ", ".join([source["emoji_test_name"], *keywords]).lower()
        assert re.findall(r"\w+|[^\w\s]+", said) == re.findall(r"\w+|[^\w\s]+", expected)


def test_words_are_those_of_training_rows_alone(made, splits, every):
    learned = set(made["emoji"].schema["text"].vocabulary)
    known, other = (
        {word for split in some for i in splits[split] for word in _words(_text(every.names[i], every.keywords[i]))}
        for some in (("train",), ("validation", "test"))
    )
    assert known <= learned
    assert other - known
    assert not (other - known) & learned
    assert not (made["emoji"].train.values["text"] == 2).any()  # the unknown word


def test_texts_are_rarely_cut(every):
    tokens = [len(re.findall(r"\w+|[^\w\s]+", _text(*each))) for each in zip(every.names, every.keywords, strict=True)]
    assert np.mean(np.array(tokens) >= 40) < 0.02


def test_labels_are_groups(made, splits, rows):
    for split, part in splits.items():
        told = [made["emoji"].schema["label"].write(value) for value in getattr(made["emoji"], split).values["label"]]
        assert told == [rows[i]["group"] for i in part]


def test_attributes_are_keywords(made, splits, rows):
    data = made["emoji-attributes"]
    for name in ("face", "animal", "dark skin tone", "Japanese"):
        for split, part in splits.items():
            has = [not {name, name + "s"}.isdisjoint(rows[i]["cldr_keywords"].split("|")) for i in part]
            assert getattr(data, split).values[name].bool().tolist() == has


def test_no_two_attributes_mark_nearly_the_same_rows(made):
    data = made["emoji-attributes"]
    names = data.schema.groups["attributes"]
    marks = torch.stack([data.train.values[name] for name in names]).double()
    both = marks @ marks.T
    either = marks.sum(1, keepdim=True) + marks.sum(1) - both
    assert (both / either).fill_diagonal_(0).max() < 0.9
    assert not {f"{name}{ending}" for name in names for ending in ("s", "es")} & {*names}
    assert {"eye", "smile", "bird"} < {*names}
    assert not {"eyes", "smiling", "ornithology", "time"} & {*names}
    assert marks.sum(1).min() >= 10


def test_attributes_are_the_most_frequent_keywords_of_training_rows(made, every, splits):
    """A keyword that is more frequent than the last of them is one of them, or marks nearly what one of them does."""
    names = made["emoji-attributes"].schema.groups["attributes"]
    assert names[:8] == ["face", "animal", "woman", "man", "person", "button", "hand", "dark skin tone"]
    sizes = Counter(every.bases[i] for i in splits["train"])
    known = {word for i in splits["train"] for word in every.keywords[i]}
    rows = {}
    for i in splits["train"]:
        for word in every.keywords[i]:
            rows.setdefault(word[:-1] if word[-1] == "s" and word[:-1] in known else word, set()).add(i)

    def frequency(marked):
        return sum(1 / sizes[every.bases[i]] for i in marked)

    most = [frequency(rows[name]) for name in names]
    assert all(first >= second - 1e-6 for first, second in pairwise(most))
    for word in rows.keys() - {*names}:
        if frequency(rows[word]) > most[-1] + 1e-6:
            assert max(frequency(rows[word] & rows[n]) / frequency(rows[word] | rows[n]) for n in names) > 0.7, word


def test_near_copies_and_plurals_are_one_keyword():
    words = [{"a", "copy"}] * 8 + [{"a"}, {"copy", "b"}] + [{f"w{i}"} for i in range(39)]
    names = ATTRIBUTES._select_keywords(words, list(map(str, range(len(words)))))
    assert names == ["a", "b", *sorted(f"w{i}" for i in range(39))[:38]]
    toned = [{"a"}] * 6 + [{"c"}, {"c"}] + [{f"w{i}"} for i in range(39)]
    bases = ["one"] * 6 + ["two", "three", *(f"{i}" for i in range(39))]
    assert ATTRIBUTES._select_keywords(toned, bases)[:2] == ["c", "a"]  # all tones count as one
    with pytest.raises(ValueError, match="must have 40 keywords that differ"):
        ATTRIBUTES._select_keywords(words[:20], bases[:20])


COLUMNS = [*noto.COLUMNS, "cldr_short_name"]


def emoji_files(root, number=12):
    """Small files of the true form: so many emoji of each group, each with keywords of its own."""
    rng = np.random.default_rng(0)
    (root / "emoji").mkdir(parents=True, exist_ok=True)
    table = [
        {
            "codepoints": f"{16 * i + number * 16 * g + 0x2000:X}",
            "emoji_test_name": f"thing {g} {i}",
            "cldr_keywords": f"thing|word{g}x{i}",
            "group": group,
            "subgroup": "all",
            "cldr_short_name": "x",
        }
        for g, group in enumerate(noto.GROUPS)
        for i in range(number)
    ]
    np.savez_compressed(root / noto.IMAGES, images=rng.integers(0, 255, (len(table), 72, 72, 4)).astype(np.uint8))
    write(root, table)
    return table


def write(root, table):
    with (root / noto.TEXTS).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(table)


@pytest.fixture
def small(tmp_path, monkeypatch):
    monkeypatch.setenv("POLYMODAL_CACHE", str(tmp_path / "cache"))
    return tmp_path, emoji_files(tmp_path)


def test_small_files_and_their_source(small):
    root, _ = small
    data = load("emoji", root=str(root), length=6, seed=3)
    assert (len(data.train), len(data.validation), len(data.test)) == (90, 10, 20)
    assert data.schema["text"].length == 6
    arguments = {"root": str(root), "length": 6, "seed": 3}
    assert data.test.source == {"dataset": "emoji", "split": "test", "arguments": arguments}
    assert load("emoji", **arguments).test.fingerprint() == data.test.fingerprint()
    assert load("emoji-attributes", root=str(root)).train.values["thing"].all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("file", [noto.IMAGES, noto.TEXTS])
def test_a_missing_file(small, name, file):
    root, _ = small
    (root / file).unlink()
    with pytest.raises(
        FileNotFoundError, match=rf"{file} must exist, and does not; .* googlefonts|{file}.*googlefonts"
    ):
        load(name, root=str(root))


def _pictures(array):
    return lambda root, table: np.savez(root / noto.IMAGES, images=array)


def _bytes(name, change):
    return lambda root, table: (root / name).write_bytes(change((root / name).read_bytes()))


def _rows(change):
    return lambda root, table: write(root, change(table))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (
            _pictures(np.zeros((3, 72, 72, 3), np.uint8)),
            r"images, uint8 of shape \(any, 72, 72, 4\); got uint8 \(3, 72",
        ),
        (_pictures(np.zeros((3, 72, 72, 4), np.uint8)), "one row for each of the 3 images of .*; it has 120"),
        (_bytes(noto.IMAGES, lambda whole: whole[: len(whole) // 2]), r"rgba72\.npz must be a complete \.npz file"),
        (_bytes(noto.IMAGES, lambda whole: b"PNG"), r"rgba72\.npz must be a complete \.npz file"),
        (_bytes(noto.TEXTS, lambda whole: b"\xff\xfe\x00" + whole), r"emoji_text\.csv must be a CSV file in UTF-8"),
        (_bytes(noto.TEXTS, lambda whole: whole[:-9]), r"emoji_text\.csv must have .* in every row"),
        (_bytes(noto.TEXTS, lambda whole: whole[: len(whole) // 2]), r"emoji_text\.csv must have"),
        (_bytes(noto.TEXTS, lambda whole: b""), "one row for each of the 120 images of .*; it has 0"),
        (_bytes(noto.TEXTS, lambda whole: b"a,b\n1,2\n"), "must have codepoints, .* row 0 has"),
        (_rows(lambda table: [{**table[0], "group": "Things"}, *table[1:]]), "as group; row 0 has 'Things'"),
        (_rows(lambda table: [{**table[0], "codepoints": ""}, *table[1:]]), "must have codepoints.* row 0 has"),
        (_rows(lambda table: [{**row, "group": "Flags"} for row in table]), "at least 6 emoji of each group; Smileys"),
    ],
)
def test_damaged_files(small, damage, said):
    root, table = small
    damage(root, table)
    for name in NAMES:
        with pytest.raises(ValueError, match=said):
            load(name, root=str(root))
    made = root / "cache" / "datasets"
    assert not made.exists() or not list(made.iterdir())


def test_too_short_a_text(small):
    with pytest.raises(ValueError, match="length must be at least 1; got 0"):
        load("emoji", root=str(small[0]), length=0)


def _words(text):
    return set(re.findall(r"\w+", text.lower()))


def _untoned(row):
    return re.sub(r"[:,] (medium-light|medium-dark|light|dark|medium) skin tone", "", row["emoji_test_name"])

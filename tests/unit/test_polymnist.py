"""PolyMNIST: the recipe held to a plain loop, the pairing to its laws, both layouts, and files that are not right."""

import gzip
import json
import shutil
import struct
from hashlib import blake2b, md5
from importlib import import_module
from itertools import combinations
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from polymodal.cli import run_folder
from polymodal.datasets import Dataset, load, shards
from polymodal.datasets.polymnist import NAMES, REMOTES, pairing
from polymodal.datasets.splits import halves
from polymodal.datasets.storage import cache
from polymodal.table.table import Table

PINNED = {
    "m0": "92b694dc44089a49",
    "m1": "5f9c1732a382c400",
    "m2": "dd62a5a804971fb7",
    "m3": "bae3ac51d32a4047",
    "m4": "a4696594739556f3",
}
"""blake2b of the test rows' bytes from the real files; m1, m3 and m4 rest on Pillow's decoder of JPEG too."""


def idx(array: np.ndarray) -> bytes:
    """An IDX file."""
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def make_recipe(root: Path, rows: dict[str, int]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """MNIST and backgrounds in miniature, half of the files gzipped; pictures and labels by published split."""
    (root / "mnist").mkdir(parents=True)
    (root / "backgrounds").mkdir()
    made = {}
    for split, name in {"train": "train", "test": "t10k"}.items():
        rng = np.random.default_rng(rows[split])
        images = rng.integers(0, 256, (rows[split], 28, 28)).astype(np.uint8)
        labels = rng.permutation(np.arange(rows[split]) % 10).astype(np.uint8)
        (root / f"mnist/{name}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        (root / f"mnist/{name}-labels-idx1-ubyte").write_bytes(idx(labels))
        made[split] = images, labels
    rng = np.random.default_rng(0)
    for modality, (width, height) in enumerate([(29, 29), (60, 40), (29, 80), (40, 40), (33, 31)]):
        pixels = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
        PIL.Image.fromarray(pixels).save(root / f"backgrounds/m{modality}_some.png")
    return made


def make_authors(root: Path, counts: dict[str, list[int]]) -> None:
    """The authors' pictures in miniature: so many of each class, counted anew in each."""
    rng = np.random.default_rng(0)
    for split, per_class in counts.items():
        for name in NAMES:
            folder = root / "MMNIST" / split / name
            folder.mkdir(parents=True)
            keys = [(number, label) for label, count in enumerate(per_class) for number in range(count)]
            for at in rng.permutation(len(keys)):  # another order in each folder
                number, label = keys[at]
                pixels = rng.integers(0, 256, (28, 28, 3)).astype(np.uint8)
                PIL.Image.fromarray(pixels).save(folder / f"{number}.{label}.png")


@pytest.fixture(autouse=True)
def cached(request, monkeypatch, tmp_path_factory):
    if "real" not in request.fixturenames:
        monkeypatch.setenv("POLYMODAL_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def real(shared_data, tmp_path_factory) -> Dataset:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POLYMODAL_CACHE", str(tmp_path_factory.mktemp("real")))
        return load("polymnist", root=shared_data)


@pytest.fixture
def root(tmp_path):
    make_recipe(tmp_path / "files", {"train": 70, "test": 41})
    return tmp_path / "files"


def refused(root: Path, *told: str, kind: type[Exception] = ValueError) -> None:
    """One error that tells all of this, and nothing in the cache."""
    with pytest.raises(kind) as caught:
        load("polymnist", root=root)
    for words in told:
        assert words in str(caught.value)
    assert not list(cache().rglob("*.safetensors*"))


# The recipe


def test_pictures_are_those_of_a_plain_loop(tmp_path):
    """Each picture is its handwriting, inverted into some piece of its background that lies wholly inside."""
    made = make_recipe(tmp_path, {"train": 70, "test": 41})
    data = load("polymnist", root=tmp_path, seed=3)
    first, second = halves(torch.from_numpy(made["test"][1]).long())
    parts = {"train": np.arange(70), "validation": first.numpy(), "test": second.numpy()}
    corners = set()
    for split, rows in parts.items():
        images, labels = made["train" if split == "train" else "test"]
        table = getattr(data, split)
        assert table.labels.tolist() == labels[rows].tolist()
        written = pairing(labels, 3, "train" if split == "train" else "test")[rows]
        for modality, name in enumerate(NAMES):
            pixels = np.array(PIL.Image.open(tmp_path / f"backgrounds/m{modality}_some.png"))
            for i in range(0, len(rows), 9):
                ink = images[written[i, modality]] > 128
                picture = table.values[name][i].numpy().transpose(1, 2, 0).copy()
                picture[ink] = 255 - picture[ink]
                found = [
                    (top, left)
                    for top in range(pixels.shape[0] - 28)
                    for left in range(pixels.shape[1] - 28)
                    if np.array_equal(pixels[top : top + 28, left : left + 28], picture)
                ]
                assert len(found) == 1
                corners.add((modality, *found[0]))
    assert len(corners) > 20


def test_pieces_are_drawn_evenly_and_from_the_whole_background(tmp_path):
    """With empty handwriting the corner can be read off: rows 0..2 and columns 0..4 of 31x33, and no other."""
    make_recipe(tmp_path, {"train": 3_000, "test": 20})
    blank = np.zeros((3_000, 28, 28), np.uint8)
    (tmp_path / "mnist/train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(blank)))
    pixels = np.zeros((31, 33, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = np.arange(31)[:, None], np.arange(33)
    PIL.Image.fromarray(pixels).save(tmp_path / "backgrounds/m4_some.png")
    picture = load("polymnist", root=tmp_path).train.values["m4"]
    counts = np.zeros((3, 5), int)
    np.add.at(counts, (picture[:, 0, 0, 0].numpy(), picture[:, 1, 0, 0].numpy()), 1)
    assert ((counts - 200) ** 2 / 200).sum() < 36  # chi-squared of 14 degrees of freedom, p = 0.001


def test_each_stream_is_its_own():
    """What stands in one modality of one split depends on neither the other split nor the seed's neighbours."""
    labels = np.random.default_rng(0).integers(0, 10, 500)
    table = pairing(labels, 0, "test")
    assert np.array_equal(table, pairing(labels, 0, "test"))
    others = [pairing(labels, 1, "test"), pairing(labels, 0, "train"), pairing(labels, 2**32, "test")]
    columns = [column for each in (table, *others) for column in each.T]
    for one, other in combinations(columns, 2):
        assert (one == other).mean() < 0.1


def test_there_is_no_pairing_of_a_half():
    with pytest.raises(ValueError, match="unknown published split 'validation'; known are train, test"):
        pairing(np.arange(10), 0, "validation")


def test_pictures_are_a_function_of_the_seed(root):
    first, again, other = (load("polymnist", root=root, seed=seed).test for seed in (1, 1, 2))
    for name in NAMES:
        assert torch.equal(first.values[name], again.values[name])
        assert not torch.equal(first.values[name], other.values[name])
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()


def test_test_rows_do_not_depend_on_training_rows(root, tmp_path):
    make_recipe(tmp_path / "longer", {"train": 90, "test": 41})
    one, other = (load("polymnist", root=folder) for folder in (root, tmp_path / "longer"))
    assert len(one.train) != len(other.train)
    for name in NAMES:
        assert torch.equal(one.test.values[name], other.test.values[name])


def test_the_label_is_a_modality_on_demand_and_always_at_hand(root):
    without, having = load("polymnist", root=root), load("polymnist", root=root, label=True)
    assert list(without.schema) == list(NAMES)
    assert list(having.schema) == [*NAMES, "label"]
    for split in ("train", "validation", "test"):
        bare, full = getattr(without, split), getattr(having, split)
        assert torch.equal(full.values["label"], full.labels)
        assert torch.equal(bare.labels, full.labels)
        assert torch.equal(bare.values["m1"], full.values["m1"])
        assert full.observed.all()


def test_labels_follow_the_rows_of_a_table(root):
    table = load("polymnist", root=root, label=True).test
    observed = table.observed.clone()
    observed[::3, 2] = False
    some = Table(table.values, observed, table.schema, labels=table.labels)
    assert torch.equal(some.complete().labels, table.labels[observed.all(1)])
    assert torch.equal(some.to("cpu").labels, table.labels)
    assert torch.equal(shards.load(shards.save(some, root / "some.safetensors")).labels, table.labels)
    with pytest.raises(ValueError, match=r"labels must be int64 \(20,\), one per row; got torch.int64 \(19,\)"):
        Table(table.values, observed, table.schema, labels=table.labels[1:])


def test_it_can_be_loaded_again_by_its_source(root):
    data = load("polymnist", root=root, label=True, seed=5)
    source = data.test.source
    again = load(source["dataset"], **source["arguments"])
    assert source["split"] == "test"
    assert again.test.fingerprint() == data.test.fingerprint()
    assert torch.equal(again.test.values["m2"], data.test.values["m2"])


def test_the_first_rows_and_again_by_their_source(root):
    every, some = load("polymnist", root=root), load("polymnist", root=root, rows=7, held_out_rows=5)
    for split, rows in {"train": 7, "validation": 5, "test": 5}.items():
        whole, part = getattr(every, split), getattr(some, split)
        assert torch.equal(part.values["m3"], whole.values["m3"][:rows])
        assert torch.equal(part.labels, whole.labels[:rows])
    again = load("polymnist", **some.test.source["arguments"])
    assert again.train.fingerprint() == some.train.fingerprint() != every.train.fingerprint()
    with pytest.raises(ValueError, match=r"validation rows of polymnist: rows must be in 1"):
        load("polymnist", root=root, held_out_rows=1_000_000)


# The real files


def test_sizes_balance_and_splits(real):
    assert [len(table) for table in (real.train, real.validation, real.test)] == [60_000, 5_000, 5_000]
    assert real.train.labels.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    counts = torch.stack([table.labels.bincount() for table in (real.validation, real.test)])
    assert counts.sum(0).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]  # MNIST's own
    assert (counts[0] - counts[1]).abs().max() <= 1
    assert real.train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]  # in the order of MNIST
    for name in NAMES:
        assert real.train.values[name].shape == (60_000, 3, 28, 28)
        assert real.train.values[name].dtype == torch.uint8


def test_the_pinned_test_rows(real):
    made = {n: blake2b(v.numpy().tobytes(), digest_size=8).hexdigest() for n, v in real.test.values.items()}
    assert made == PINNED


@pytest.mark.parametrize("split", ["train", "test"])
def test_partners_share_the_label_alone(real, split):
    tables = [real.train] if split == "train" else [real.validation, real.test]
    labels = torch.cat([table.labels for table in tables]).numpy()
    table = pairing(labels, 0, split)
    assert (labels[table] == labels[:, None]).all()
    for column in table.T:
        assert np.array_equal(np.sort(column), np.arange(len(labels)))  # each handwriting once
    # By chance a handwriting meets itself as often as a permutation has fixed points: once a class, Poisson.
    for a, b in combinations([*table.T, np.arange(len(labels))], 2):
        assert (a == b).sum() <= 26  # of mean 10, p < 1e-5


def test_pictures_show_what_the_labels_say(real):
    """Ink is bright on the dark m1: the nearest of ten mean pictures is mostly that of the label."""
    ink = (real.test.values["m1"].float().mean(1) > 128).flatten(1).float()
    mean = torch.stack([ink[real.test.labels == digit].mean(0) for digit in range(10)])
    other = (real.validation.values["m1"].float().mean(1) > 128).flatten(1).float()
    assert (torch.cdist(other, mean).argmin(1) == real.validation.labels).float().mean() > 0.75


# The authors' pictures


@pytest.fixture
def authors(tmp_path):
    make_authors(tmp_path / "files", {"train": [3, 1, 2, 12, 1, 1, 1, 1, 1, 1], "test": [2] * 10})
    return tmp_path / "files"


def test_rows_are_paired_by_number_and_class(authors):
    data = load("polymnist", root=authors, label=True)
    keys = sorted((number, label) for label, n in enumerate([3, 1, 2, 12, 1, 1, 1, 1, 1, 1]) for number in range(n))
    assert data.train.labels.tolist() == [label for _, label in keys]
    assert keys[-1] == (11, 3)  # 11 is after 2 and 9
    for modality in NAMES:
        for row, (number, label) in enumerate(keys):
            with PIL.Image.open(authors / f"MMNIST/train/{modality}/{number}.{label}.png") as file:
                expected = np.asarray(file).transpose(2, 0, 1)
            assert np.array_equal(data.train.values[modality][row].numpy(), expected)
    assert data.validation.labels.sort().values.tolist() == data.test.labels.sort().values.tolist() == list(range(10))


def test_the_seed_is_nothing_to_the_authors_pictures(authors):
    one, other = (load("polymnist", root=authors, seed=seed) for seed in (0, 1))
    assert one.test.fingerprint() == other.test.fingerprint()


def test_other_pictures_are_another_data_set(authors):
    before = load("polymnist", root=authors).test.fingerprint()
    pixels = np.zeros((28, 28, 3), np.uint8)
    PIL.Image.fromarray(pixels).save(authors / "MMNIST/test/m2/1.4.png")
    assert load("polymnist", root=authors).test.fingerprint() != before


@pytest.mark.parametrize("lacking", ["m0", "m4"])
def test_a_missing_partner(authors, lacking):
    gone = authors / f"MMNIST/test/{lacking}/1.4.png"
    gone.unlink()
    refused(authors, str(gone), "1.4.png must have a partner", "there are 1.0.png")


def test_another_label(authors):
    path = authors / "MMNIST/train/m3/11.3.png"
    path.rename(path.with_name("11.5.png"))
    refused(authors, f"{authors}/MMNIST/train/m0/11.3.png must have a partner {path}", "there are 11.5.png, of other")


def test_pictures_that_are_not_as_they_must_be(authors):
    path = authors / "MMNIST/test/m1/0.7.png"
    whole = path.read_bytes()
    pixels = np.zeros((28, 29, 3), np.uint8)
    PIL.Image.fromarray(pixels).save(path)
    refused(authors, str(path), "must be 28x28 pixels of mode RGB; it is 29x28")
    PIL.Image.fromarray(pixels[:, :28, 0]).save(path)
    refused(authors, str(path), "it is 28x28 of L")
    for content in (whole[:-200], whole[:20], b"no picture", b""):
        path.write_bytes(content)
        refused(authors, str(path), "must be an image")
    path.rename(path.with_name("seven.png"))
    refused(authors, "seven.png must be called <number>.<class>.png")


def test_the_authors_pictures_go_first(authors, tmp_path):
    make_recipe(tmp_path / "both", {"train": 70, "test": 41})
    shutil.copytree(authors / "MMNIST", tmp_path / "both/MMNIST")
    assert len(load("polymnist", root=tmp_path / "both").train) == 24


# Files of the recipe that are not right


def test_missing_files(root):
    (root / "mnist/t10k-labels-idx1-ubyte").unlink()
    refused(root, "t10k-labels-idx1-ubyte", "must exist, and does not", "thomassutter", kind=FileNotFoundError)


@pytest.mark.parametrize("content", [b"", b"text in place of bytes", bytes([0, 0, 13, 3]) + bytes(40)])
@pytest.mark.parametrize("name", ["mnist/train-images-idx3-ubyte.gz", "mnist/t10k-labels-idx1-ubyte"])
def test_foreign_files(root, name, content):
    (root / name).write_bytes(content)
    refused(root, name, "must be a complete IDX file")
    if name.endswith(".gz"):
        (root / name).write_bytes(gzip.compress(content))
        refused(root, name, "its header must describe unsigned bytes (rows, 28, 28)")


@pytest.mark.parametrize("share", [0.001, 0.5, 0.999])
def test_gzip_cut_short(root, share):
    path = root / "mnist/train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    refused(root, str(path), "must be a complete IDX file")


def test_idx_cut_short_or_too_long(root):
    path = root / "mnist/t10k-labels-idx1-ubyte"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    refused(root, str(path), "must hold 41 bytes after its header; it holds 40")
    path.write_bytes(whole + b"\0")
    refused(root, str(path), "it holds more than 41")
    path.write_bytes(idx(np.arange(40).astype(np.uint8) % 10))
    refused(root, str(path), "must hold 41 classes", "it holds 40 in 0..9")
    path.write_bytes(idx(np.arange(41).astype(np.uint8)))
    refused(root, str(path), "it holds 41 in 0..40")


def test_a_head_that_claims_all_the_memory(root):
    path = root / "mnist/train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(bytes([0, 0, 8, 3]) + struct.pack(">3I", 2**32 - 1, 28, 28)))
    refused(root, str(path), "must be a complete IDX file")


def test_backgrounds(root):
    path = root / "backgrounds/m2_some.png"
    PIL.Image.fromarray(np.zeros((28, 40, 3), np.uint8)).save(path)
    refused(root, str(path), "must have sides above 28 pixels; it is 40x28")
    path.write_bytes((root / "backgrounds/m1_some.png").read_bytes()[:4_000])
    refused(root, str(path), "must be an image")
    shutil.copy(root / "backgrounds/m1_some.png", root / "backgrounds/m2_other.png")
    refused(root, "must contain one image m2*; it contains m2_other.png and m2_some.png")


def test_any_picture_makes_a_background(root):
    """Grey, transparent and JPEG; what is drawn does not depend on it."""
    grey = PIL.Image.fromarray(np.full((40, 40), 77, np.uint8))
    for name, picture in {"m0.jpg": grey, "m1.png": grey.convert("LA"), "m2.webp": grey.convert("RGB")}.items():
        next((root / "backgrounds").glob(f"{name[:2]}*")).unlink()
        picture.save(root / "backgrounds" / name)
    values = load("polymnist", root=root).train.values
    for name in ("m0", "m1", "m2"):
        assert values[name].unique().tolist() == [77, 178]  # the picture, and inverted


def test_wrong_seed(root):
    with pytest.raises(ValueError, match="seed must be at least 0; got -1"):
        load("polymnist", root=root, seed=-1)


def test_a_download_asks_for_nine_files(root, monkeypatch):
    """And for none where the authors' pictures are."""
    asked = []
    monkeypatch.setattr(import_module("polymodal.datasets.polymnist"), "fetch", lambda *given: asked.append(given))
    load("polymnist", root=root, download=True)
    ((remotes, at, _),) = asked
    assert at == root
    assert [remote.path.split("/")[0] for remote in remotes] == ["mnist"] * 4 + ["backgrounds"] * 5
    make_authors(root, {"train": [1] * 10, "test": [2] * 10})
    assert len(load("polymnist", root=root, download=True).train) == 10
    assert len(asked) == 1


def test_the_checksums_are_those_of_the_real_files(shared_data):
    for remote in REMOTES:
        content = (shared_data / remote.path).read_bytes()
        if "train-images" in remote.path:
            continue  # compressed anew there
        assert len(content) == remote.size
        assert md5(content, usedforsecurity=False).hexdigest() == remote.md5


@pytest.mark.parametrize("there", [True, False])
def test_a_run_from_anybody_makes_no_download(root, tmp_path, monkeypatch, there):
    monkeypatch.setattr(import_module("polymodal.datasets.polymnist"), "fetch", lambda *given: pytest.fail("fetched"))
    arguments = {"root": str(root if there else tmp_path / "nowhere"), "download": True}
    run = tmp_path / "run"
    run.mkdir()
    run.joinpath("experiment.json").write_text(
        json.dumps({"data": {"dataset": "polymnist", "split": "train", "arguments": arguments}})
    )
    if there:
        assert len(run_folder.open_table(run)) == len(load("polymnist", root=root).test)
    else:
        with pytest.raises(FileNotFoundError, match="nowhere"):
            run_folder.open_table(run)

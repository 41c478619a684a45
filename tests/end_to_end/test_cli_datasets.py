"""`polymodal datasets`, and what is said where a data set's files are not there."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from commands import within
from unit import test_celeba, test_cub, test_mhd

import polymodal as pm
from polymodal.datasets import DATASETS, shards, storage
from polymodal.datasets.base import Facts

WIDTHS = (60, 80, 140)
FACTS = Facts(
    shapes="image 3x64x64, text 18 words [sic]",
    rows=(1_234, 56, 7),
    licence="for looking at",
    size="1.2 GB",
    origin="Nobody, 2021",
    layouts=(("birds.txt", "pictures/*.png"), ("birds.csv",)),
    get="get birds.zip from http://example.org/birds",
)


@FACTS
def birds(root: str | Path | None = None, *, length: int = 18, download: bool = False):
    """Photographs of birds, and what
    people say of them.

    All rows are complete. The pictures are `image`,
    from the middle.

    - Of each bird
      there is one.
    - Of each word there are two.

    Arguments:
        root: The folder of the files;
            by default where downloads are.
        length: Of a text, in tokens.

    Returns:
        Nothing that is shown.
    """
    found = FACTS.require(storage.place("birds", root))
    schema = pm.Schema({"size": pm.Vector(1)})
    table = pm.Table({"size": torch.zeros(2, 1)}, schema=schema)

    def make(folder, told):
        for split in storage.SPLITS:
            shards.save(table, folder / f"{split}.safetensors")

    return storage.load_or_build("birds", {"root": root, "length": length}, [], make, version=found)


def plain(size):
    raise AssertionError("it is only listed")


@pytest.fixture(autouse=True)
def places(monkeypatch, tmp_path):
    monkeypatch.setenv("POLYMODAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "1000")
    monkeypatch.setitem(DATASETS, "birds", birds)
    monkeypatch.setitem(DATASETS, "plain", plain)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def polymodal(monkeypatch, capsys):
    return lambda *arguments: within(monkeypatch, capsys, *arguments)


def listed(printed):
    """The lines of the list by data set, without the space around words."""
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    return {line.split()[0]: line for line in lines if line.split(" ")[0] in DATASETS}


def described(printed):
    """The lines of a description, without the space around words."""
    return [" ".join(line.split()) for line in printed.splitlines()]


def put(root):
    (root / "pictures").mkdir(parents=True)
    (root / "birds.txt").write_text("birds")
    (root / "pictures" / "1.png").write_text("a bird")


def test_what_is_known_is_listed(polymodal):
    done = polymodal("datasets")
    assert done.returncode == 0
    lines = listed(done.stdout)
    assert [*lines] == sorted(DATASETS)
    assert lines["birds"] == "birds Photographs of birds, and what people say of them. no"
    assert lines["plain"] == "plain No description."
    assert lines["polydigits"].endswith("backgrounds, and its label. yes")
    assert "polymodal datasets NAME" in done.stdout


def test_what_polydigits_says_of_itself_is_so(polymodal):
    data = pm.datasets.load("polydigits")
    assert pm.datasets.base.facts(DATASETS["polydigits"]).rows == (
        len(data.train),
        len(data.validation),
        len(data.test),
    )
    shapes = {name: "x".join(map(str, modality.shape)) for name, modality in data.schema.items()}
    assert {shapes.pop(f"m{i}") for i in range(5)} == {"3x16x16"}
    assert "values m0..m4 3x16x16, label 10" in described(polymodal("datasets", "polydigits").stdout)
    assert data.schema["label"].classes == 10


@pytest.mark.parametrize("layout", [0, 1])
def test_files_that_are_there_are_found(polymodal, tmp_path, layout):
    root = tmp_path / "cache" / "downloads" / "birds"
    put(root) if layout == 0 else root.mkdir(parents=True) or (root / "birds.csv").write_text("birds")
    assert listed(polymodal("datasets").stdout)["birds"].endswith(" yes")
    assert f"available yes, in {root}" in described(polymodal("datasets", "birds").stdout)
    assert listed(polymodal("datasets", "--root", tmp_path / "here").stdout)["birds"].endswith(" no")


def test_a_folder_of_ones_own_is_looked_into(polymodal, tmp_path):
    put(tmp_path / "mine")
    assert listed(polymodal("datasets", "--root", tmp_path / "mine").stdout)["birds"].endswith(" yes")
    assert listed(polymodal("datasets").stdout)["birds"].endswith(" no")
    said = described(polymodal("datasets", "birds", "--root", tmp_path / "mine").stdout)
    assert f"available yes, in {tmp_path / 'mine'}" in said


def test_what_is_not_there_is_said_to_be_missed_and_where(polymodal, tmp_path):
    said = described(polymodal("datasets", "birds").stdout)
    assert f"available no, not in {tmp_path / 'cache' / 'downloads' / 'birds'}" in said
    assert "to train polymodal train birds --set root=FOLDER" in said


def test_half_a_layout_is_not_there(polymodal, tmp_path):
    put(tmp_path / "mine")
    (tmp_path / "mine" / "pictures" / "1.png").unlink()
    assert listed(polymodal("datasets", "--root", tmp_path / "mine").stdout)["birds"].endswith(" no")


def test_files_that_are_another_data_sets_too_are_found_there(polymodal, monkeypatch, tmp_path):
    def flock():
        """Birds again."""

    monkeypatch.setitem(DATASETS, "flock", replace(FACTS, shares="birds")(flock))
    put(tmp_path / "cache" / "downloads" / "birds")
    assert listed(polymodal("datasets").stdout)["flock"].endswith(" yes")
    there = f"available yes, in {tmp_path / 'cache' / 'downloads' / 'birds'}"
    assert there in described(polymodal("datasets", "flock").stdout)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", [(), ("birds",), ("polydigits",)])
def test_it_is_read_in_any_terminal(polymodal, monkeypatch, width, name):
    monkeypatch.setenv("COLUMNS", str(width))
    narrow = polymodal("datasets", *name).stdout
    assert max(map(len, narrow.splitlines())) <= width
    monkeypatch.setenv("COLUMNS", "1000")
    wide = polymodal("datasets", *name).stdout
    if name:
        assert "".join(narrow.split()) == "".join(wide.split())
    else:  # the lines of a cell are apart
        assert sorted(narrow.replace("─", "").split()) == sorted(wide.replace("─", "").split())


def test_one_is_shown_in_full(polymodal, tmp_path):
    put(tmp_path / "mine")
    done = polymodal("datasets", "birds", "--root", tmp_path / "mine")
    assert done.returncode == 0
    assert [" ".join(line.split()) for line in done.stdout.splitlines()] == [
        "birds Photographs of birds, and what people say of them.",
        "",
        "All rows are complete. The pictures are image, from the middle.",
        "",
        "- Of each bird there is one.",
        "- Of each word there are two.",
        "",
        "values image 3x64x64, text 18 words [sic]",
        "rows 1,234 training, 56 validation, 7 test",
        "origin Nobody, 2021",
        "licence for looking at",
        "size 1.2 GB",
        "",
        "root=None The folder of the files; by default where downloads are.",
        "length=18 Of a text, in tokens.",
        "download=False",
        "",
        f"available yes, in {tmp_path / 'mine'}",
        "files birds.txt, pictures/*.png",
        "or birds.csv",
        "to get Get birds.zip from http://example.org/birds.",
        "to download polymodal train birds --set download=true",
        f"to train polymodal train birds --set root={tmp_path / 'mine'}",
        f"cache nothing in {tmp_path / 'cache' / 'datasets'}",
    ]


def test_what_is_cached_is_weighed(polymodal, tmp_path):
    put(tmp_path / "mine")
    for length in (3, 4):
        pm.datasets.load("birds", root=tmp_path / "mine", length=length)
    other = tmp_path / "cache" / "datasets" / f"birds-of-prey-{'0' * 32}"
    other.mkdir()
    (other / "train.safetensors").write_bytes(bytes(10**7))
    said = [" ".join(line.split()) for line in polymodal("datasets", "birds").stdout.splitlines()][-3:]
    folders = sorted((tmp_path / "cache" / "datasets").glob("birds-????????*"))
    mine = [folder for folder in folders if folder != other]
    assert len(mine) == 2
    size = sum(file.stat().st_size for folder in mine for file in folder.iterdir())
    assert said == [f"cache {size / 1000:.1f} kB:", *map(str, mine)]


def test_what_needs_no_files_says_nothing_of_a_cache(polymodal):
    said = polymodal("datasets", "polydigits").stdout.splitlines()
    assert " ".join(said[-1].split()) == "available yes, generated from images that scikit-learn contains"


def test_a_data_set_without_facts_is_shown(polymodal):
    done = polymodal("datasets", "plain")
    assert done.returncode == 0
    said = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert said == ["plain No description.", "", "size", "", f"cache nothing in {storage.cache() / 'datasets'}"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["datasets", "birs"], "unknown data set 'birs'; known are birds, "),
        (["datasets", "--root", "nowhere"], "--root must be a folder; got nowhere, which does not exist"),
        (["datasets", "birds", "--root", "a-file"], "--root must be a folder; got a-file, which is a file"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(polymodal, tmp_path, arguments, said):
    (tmp_path / "here" / "a-file").write_text("")
    done = polymodal(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(f"polymodal: {said}")
    assert done.stderr.count("\n") == 1
    assert not done.stdout


FROM_FILES = [name for name, make in DATASETS.items() if getattr(make, "facts", FACTS).layouts] + ["birds"]


def home(name, tmp_path):
    return tmp_path / "cache" / "downloads" / (DATASETS[name].facts.shares or name)


@pytest.mark.parametrize("name", FROM_FILES)
def test_without_its_files_a_data_set_says_what_to_do(name, tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        pm.datasets.load(name)
    said = str(caught.value)
    assert said.startswith(str(home(name, tmp_path)))
    assert DATASETS[name].facts.get in said
    assert "\n" not in said
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("name", FROM_FILES)
def test_without_its_files_nothing_is_trained(polymodal, name, tmp_path):
    done = polymodal("train", name)
    assert done.returncode == 2
    assert done.stderr.startswith(f"polymodal: {home(name, tmp_path)}")
    assert DATASETS[name].facts.get in done.stderr
    assert done.stderr.count("\n") == 1
    assert not done.stdout
    assert not [*(tmp_path / "here").iterdir()]
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("name", ["mhd", "cub", "celeba"])
def test_what_its_authors_publish_is_trained_on_scored_and_reported(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("POLYMODAL_CACHE", str(tmp_path / "cache"))
    root, folder = tmp_path / "root", tmp_path / "run"
    root.mkdir()
    if name == "mhd":
        for split, rows in {"train": 200, "test": 40}.items():
            torch.save(tuple(test_mhd.published(rows)), root / f"mhd_{split}.pt")
    else:
        {"cub": test_cub, "celeba": test_celeba}[name].write(root)
    small = ["latent_dim=8", "draws=2", "widths=4,8"] + ["layers=1", "feedforward=16"] * (name == "cub")
    settings = [part for setting in (f"root={root}", *small) for part in ("--set", setting)]
    for command in (
        ["train", name, "--folder", folder, "--epochs", 2, "--batch-size", 16, *settings],
        ["evaluate", folder],
        ["report", folder],
    ):
        done = within(monkeypatch, capsys, *command)
        assert done.returncode == 0, done.stderr
    assert f"mac-wae on {name}" in (folder / "report.html").read_text(encoding="utf-8")
    losses = [line.split(",") for line in (folder / "history.csv").read_text().splitlines()]
    place = losses[0].index("train/total")
    assert float(losses[2][place]) < float(losses[1][place])

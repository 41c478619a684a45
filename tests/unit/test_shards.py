"""Tables in files that are mapped into memory."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from importlib import import_module
from threading import Barrier

import pytest
import torch
from conftest import EXAMPLES, rows_of
from safetensors.torch import save_file

from polymodal.datasets import shards, storage
from polymodal.io import checkpoint
from polymodal.modalities import Label, Vector
from polymodal.schema import Schema
from polymodal.table.table import Table

SCHEMA = Schema({"x": Vector(2), "label": Label(3)})


@pytest.fixture
def table(complete):
    schema = Schema(EXAMPLES, groups={"two": ["audio", "image"]})
    batch = rows_of(schema, 23, complete=complete)
    values = {name: value for name, value in batch.values.items() if name != "text"}
    return Table(values, batch.observed, schema, {"text": torch.randint(3, (23, 4, 5))}, {"from": "here"})


@pytest.fixture
def small():
    return Table({"x": torch.rand(9, 2), "label": torch.arange(9) % 3}, schema=SCHEMA)


@pytest.fixture
def cached(cache):
    return cache / "datasets"


def assert_same(first: Table, second: Table) -> None:
    assert (first.schema, dict(first.source)) == (second.schema, dict(second.source))
    assert first.fingerprint() == second.fingerprint()
    assert torch.equal(first.observed, second.observed)
    for one, other in ((first.values, second.values), (first.alternatives, second.alternatives)):
        assert one.keys() == other.keys()
        for name in one:
            torch.testing.assert_close(one[name], other[name], rtol=0, atol=0, equal_nan=True)


def test_a_table_comes_back(table, tmp_path):
    assert_same(shards.load(shards.save(table, tmp_path / "a.safetensors")), table)


def test_a_first_value_of_its_own_comes_back(table, tmp_path):
    table = replace(table, values={**table.values, "text": torch.randint(3, (23, 5))})
    assert_same(shards.load(shards.save(table, tmp_path / "a.safetensors")), table)


def test_a_file_filled_row_by_row_is_one_that_was_saved(table, tmp_path):
    digest = table.fingerprint()
    with shards.fill(
        tmp_path / "a.safetensors", table.schema, 23, alternatives={"text": 4}, digest=digest, source=table.source
    ) as filling:
        assert not (tmp_path / "a.safetensors").exists()
        for row in range(23):
            filling.observed[row] = table.observed[row]
            filling.alternatives["text"][row] = table.alternatives["text"][row]
            for name in filling.values:
                filling.values[name][row] = table.values[name][row]
    assert_same(shards.load(tmp_path / "a.safetensors"), table)
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_nothing_is_read_before_it_is_looked_at(tmp_path):
    """The pages of a mapped file count as the file's, not as the process's own."""
    code = f"""
import torch
from polymodal.datasets import shards
def own():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon")) / 1024
before = own()
table = shards.load({str(tmp_path / "a.safetensors")!r})
total = sum(float(batch.values["x"].sum()) for batch in table.batches(500, device="cpu"))
print(total, own() - before)
"""
    with shards.fill(tmp_path / "a.safetensors", Schema({"x": Vector(1000)}), 50_000, digest="a") as filling:
        filling.values["x"][:] = 1.0
        filling.observed[:] = True
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    total, grown = map(float, done.stdout.split())
    assert total == 50_000 * 1000
    assert grown < 40  # MiB, of 191


def test_a_mapped_table_can_be_changed_and_the_file_is_not(small, tmp_path):
    path = shards.save(small, tmp_path / "a.safetensors")
    before = path.read_bytes()
    shards.load(path).values["x"][:] = 7
    assert path.read_bytes() == before
    table = shards.load(path)
    path.unlink()
    assert torch.equal(table.values["x"], small.values["x"])


def test_what_is_made_of_a_mapped_table_is_another_one(small, tmp_path):
    table = shards.load(shards.save(small, tmp_path / "a.safetensors"))
    assert replace(table, source={"from": "there"}).fingerprint() == table.fingerprint()
    values = {**table.values, "x": table.values["x"] + 1}
    assert replace(table, values=values).fingerprint() != table.fingerprint()
    with pytest.raises(ValueError, match="'x': values must be finite"):
        replace(table, values={**table.values, "x": table.values["x"] * torch.nan})


def test_an_error_leaves_the_old_file(small, tmp_path):
    path = shards.save(small, tmp_path / "a.safetensors")
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="stop"), shards.fill(path, SCHEMA, 9, digest="b"):
        raise RuntimeError("stop")
    assert path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_a_full_disk_is_an_error_before_anything_is_filled(tmp_path):
    code = f"""
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
from polymodal.datasets import shards
from polymodal.modalities import Vector
from polymodal.schema import Schema
try:
    with shards.fill({str(tmp_path / "a.safetensors")!r}, Schema({{"x": Vector(100)}}), 1000, digest="a"):
        print("filled")
except OSError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "bytes are needed" in done.stdout
    assert str(tmp_path / "a.safetensors") in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("bytes_left", [0, 7, 100, -1])
def test_a_truncated_file_is_refused(small, tmp_path, bytes_left):
    path = shards.save(small, tmp_path / "a.safetensors")
    path.write_bytes(path.read_bytes()[:bytes_left])
    with pytest.raises(ValueError, match=r"a\.safetensors must"):
        shards.load(path)


def test_foreign_files_are_refused(small, tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"x": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match="must be JSON"):
        shards.load(path)
    for document in ({}, {"format": 9}, {"format": 1}, {"format": 1, "schema": [], "source": {}, "digest": "a"}):
        checkpoint.write_state(path, {"value/x": torch.zeros(3)}, document)
        with pytest.raises(ValueError, match=r"a\.safetensors must contain a table"):
            shards.load(path)
    shards.save(small, path)
    tensors, document = checkpoint.read_state(path)
    for name, wrong in {
        "value/label": tensors["value/label"] + 1,  # a class that is not there
        "value/x": torch.zeros(9, 3),
        "observed": torch.zeros(9, 2, dtype=torch.bool),
        "value/other": torch.zeros(9),
    }.items():
        checkpoint.write_state(path, {**tensors, name: wrong}, document)
        with pytest.raises(ValueError, match=r"a\.safetensors must contain a table"):
            shards.load(path)
    with pytest.raises(FileNotFoundError, match="must exist"):
        shards.load(tmp_path / "b.safetensors")


def keep(small, files=(), *, called=None, **arguments):
    def make(folder, told):
        if called is not None:
            called.append(arguments)
        for split in storage.SPLITS:
            shards.save(replace(small, **told(split)), folder / f"{split}.safetensors")

    return storage.load_or_build("mine", {"root": "somewhere", **arguments}, files, make)


def test_a_data_set_is_made_once_for_what_determines_it(small, tmp_path, cached):
    source, called = tmp_path / "source.txt", []
    source.write_text("one")
    first = keep(small, [source], called=called, seed=0)
    again = keep(small, [source], called=called, seed=0, root=str(tmp_path))
    assert len(called) == 1
    assert first.test.fingerprint() == again.test.fingerprint() != again.train.fingerprint()
    assert torch.equal(again.train.values["x"], small.values["x"])
    assert again.test.source == {
        "dataset": "mine", "split": "test", "arguments": {"root": str(tmp_path), "seed": 0}
    }  # fmt: skip
    other = keep(small, [source], called=called, seed=1)
    source.write_text("two")
    changed = keep(small, [source], called=called, seed=0)
    assert len(called) == 3
    assert len({data.test.fingerprint() for data in (first, other, changed)}) == 3
    assert len(list(cached.iterdir())) == 3


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
def test_what_breaks_off_leaves_nothing_in_the_cache(cached, error):
    def make(folder, told):
        with shards.fill(folder / "train.safetensors", SCHEMA, 9, digest=told("train")["digest"]):
            raise error("halfway")

    with pytest.raises(error, match="halfway"):
        storage.load_or_build("mine", {}, [], make)
    assert list(cached.iterdir()) == []


@pytest.mark.parametrize("locks", [True, False])
def test_what_several_ask_for_at_once_is_made_once_and_serves_all(small, cached, monkeypatch, locks):
    called, together = [], Barrier(1 if locks else 4)

    def slow(folder, told):
        called.append(folder)
        together.wait(300)
        for split in storage.SPLITS:
            shards.save(replace(small, **told(split)), folder / f"{split}.safetensors")
        time.sleep(0.1 * called.index(folder))

    if not locks:
        monkeypatch.setattr(storage, "alone", lambda folder, does: nullcontext(False))
    with ThreadPoolExecutor(4) as pool:
        made = [pool.submit(storage.load_or_build, "mine", {}, [], slow) for _ in range(4)]
    assert len({each.result().test.fingerprint() for each in made}) == 1
    assert len(called) == (1 if locks else 4)
    assert len(list(cached.iterdir())) == 1


def test_what_lacks_a_split_is_made_anew(small, cached):
    called = []
    keep(small, called=called)
    (folder,) = cached.iterdir()
    (folder / "validation.safetensors").unlink()
    assert torch.equal(keep(small, called=called).validation.values["x"], small.values["x"])
    assert len(called) == 2


def test_what_a_killed_process_left_in_the_cache_goes_when_the_next_data_set_is_made(small, cached):
    keep(small, seed=0)
    (folder,) = cached.iterdir()
    left = cached / f".{folder.name}-0123abcd.partial"
    left.mkdir()
    (left / "train.safetensors").write_bytes(b"half of it")
    keep(small, seed=1)
    assert not left.exists()
    assert len(list(cached.iterdir())) == 2


def test_what_is_damaged_in_the_cache_says_so(small, cached):
    keep(small)
    (folder,) = cached.iterdir()
    (folder / "validation.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"validation\.safetensors must"):
        keep(small)


def test_a_cache_that_cannot_be_written_is_named(small, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("POLYMODAL_CACHE", str(tmp_path / "file"))
    with pytest.raises(OSError, match=rf"{tmp_path}/file/datasets must be .* another cache in \$POLYMODAL_CACHE"):
        keep(small)


def test_the_cache_is_where_people_say(monkeypatch, tmp_path):
    monkeypatch.setenv("POLYMODAL_CACHE", str(tmp_path))
    assert storage.place("mine", None) == tmp_path / "downloads" / "mine"
    assert storage.place("mine", "data") == storage.Path("data")
    monkeypatch.delenv("POLYMODAL_CACHE")
    assert storage.cache() == storage.Path("~").expanduser() / ".cache" / "polymodal"


def test_a_tilde_is_the_home_of_the_user(small, monkeypatch, tmp_path):
    """No shell has seen what stands in a file of settings, or behind `--set root=`."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("POLYMODAL_CACHE", "~/cache")
    assert storage.cache() == tmp_path / "cache"
    assert storage.place("mine", "~/data") == tmp_path / "data"
    assert keep(small, root="~/data").train.source["arguments"]["root"] == str((tmp_path / "data").resolve())


def test_loading_the_rows_of_a_run_again_fetches_nothing(small, cached):
    assert keep(small, download=True, seed=1).train.source["arguments"].keys() == {"root", "seed"}


@pytest.mark.parametrize(
    ("name", "folder"), [("emoji", "emoji"), ("emoji_attributes", "emoji"), ("pendigits_mhd", "pendigits-mhd")]
)
def test_a_run_whose_files_are_in_the_cache_finds_them_when_it_has_moved(cached, monkeypatch, name, folder):
    home, module = storage.place(folder, None), import_module(f"polymodal.datasets.{name}")
    for file in module.FACTS.layouts[0]:
        (home / file).parent.mkdir(parents=True, exist_ok=True)
        (home / file).touch()
    noted = []
    monkeypatch.setattr(
        module, "load_or_build", lambda name, arguments, files, make: noted.append((arguments["root"], files))
    )
    getattr(module, name)()
    getattr(module, name)(str(home))
    assert noted == [(root, [home / file for file in module.FACTS.layouts[0]]) for root in (None, str(home))]

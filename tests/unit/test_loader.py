"""Batches made ahead in threads are the batches that are made in turn."""

import threading
from types import SimpleNamespace

import pytest
import torch
from conftest import EXAMPLES, rows_of
from torch import Tensor

from polymodal.batch import Batch
from polymodal.modalities import Vector
from polymodal.runtime.prefetch import DEPTH, prefetch_batches
from polymodal.schema import Schema
from polymodal.table import table_checks
from polymodal.table.table import Table
from polymodal.training.training_rows import move_to_gpu_if_fits


@pytest.fixture
def table(complete):
    schema = Schema(EXAMPLES)
    batch = rows_of(schema, 23, complete=complete)
    return Table(batch.values, batch.observed, schema, {"text": torch.randint(3, (23, 4, 5))})


def assert_equal(first: Batch, second: Batch) -> None:
    assert torch.equal(first.observed, second.observed)
    for name in EXAMPLES:
        assert torch.equal(first.values[name], second.values[name])


@pytest.mark.parametrize("start", [0, 2])
def test_threads_change_nothing(table, start):
    plain = list(table.batches(4, seed=1, epoch=2, start=start))
    made = list(table.batches(4, seed=1, epoch=2, start=start, device="cpu"))
    assert len(plain) == len(made) == 6 - start
    for one, other in zip(plain, made, strict=True):
        assert_equal(one, other)


def test_rows_on_a_device_are_the_same_rows(table):
    moved = table.to("cpu")
    assert moved.fingerprint() == table.fingerprint()
    for one, other in zip(table.batches(4, seed=3), moved.batches(4, seed=3), strict=True):
        assert_equal(one, other)


def test_no_more_is_made_than_is_needed_soon():
    made = []

    def make(part):
        made.append(int(part))
        return Batch({}, torch.ones(1, 1, dtype=torch.bool))

    batches = prefetch_batches(make, torch.arange(100).split(1), "cpu")
    next(batches)
    assert len(made) <= DEPTH + 1
    batches.close()
    assert len(made) <= DEPTH + 1
    assert not any("polymodal-loader" in thread.name for thread in threading.enumerate())


def test_an_error_reaches_the_one_who_waits():
    def make(part):
        if int(part) == 2:
            raise ValueError("row 2 is broken")
        return Batch({"x": part}, torch.ones(1, 1, dtype=torch.bool))

    batches = prefetch_batches(make, torch.arange(5).split(1), "cpu")
    assert [int(next(batches).values["x"]) for _ in range(2)] == [0, 1]
    with pytest.raises(ValueError, match="row 2 is broken"):
        next(batches)
    assert not any("polymodal-loader" in thread.name for thread in threading.enumerate())


@pytest.mark.parametrize("piece", [1, 100, 10**9])
def test_pieces_change_no_fingerprint(table, piece, monkeypatch):
    whole = table.fingerprint()
    monkeypatch.setattr(table_checks, "CHUNK_BYTES", piece)
    assert table.fingerprint() == whole


@pytest.mark.parametrize("row", [0, 11, 22])
def test_every_piece_is_checked(row, monkeypatch):
    monkeypatch.setattr(table_checks, "CHUNK_BYTES", 16)
    values = torch.rand(23, 2)
    values[row, 1] = torch.nan
    with pytest.raises(ValueError, match="'x': values must be finite"):
        Table({"x": values}, schema=Schema({"x": Vector(2)}))


@pytest.mark.parametrize(("device", "behind"), [("cpu", False), (torch.device("cpu"), False), ("meta", True)])
def test_copies_to_the_cpu_are_waited_for(monkeypatch, device, behind):
    """A copy from a GPU that is not waited for is read before it is there."""
    batch, asked, to = Batch({"x": torch.arange(3)}, torch.ones(3, 1, dtype=torch.bool)), [], Tensor.to
    monkeypatch.setattr(Tensor, "to", lambda x, *given, non_blocking=False: asked.append(non_blocking) or to(x, *given))
    batch.to(device)
    assert asked == [behind, behind]


def test_what_fits_is_placed_on_a_gpu(table, monkeypatch):
    moved = []
    monkeypatch.setattr(Table, "to", lambda rows, device: moved.append(device) or rows)
    gpu = torch.device("cuda", 0)
    for free, expected in ((2 * table.nbytes, [gpu]), (2 * table.nbytes - 1, [])):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 10**12))
        assert move_to_gpu_if_fits(table, gpu) is table
        assert moved == expected
        moved.clear()
    assert move_to_gpu_if_fits(table, torch.device("cpu")) is table
    own = SimpleNamespace(batches=table.batches)
    assert move_to_gpu_if_fits(own, gpu) is own  # pyright: ignore[reportArgumentType]
    assert moved == []

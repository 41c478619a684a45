"""Memory that is freed stays with the process while it is held, and only then."""

import ctypes
import resource
import sys
from pathlib import Path

import pytest
import torch

from polymodal import memory

SIZE = 64 * 2**20
PAGES = SIZE // resource.getpagesize()


def faults(times=3):
    """Pages that the system had to clear for blocks that were taken and freed, after the first ones.

    The C library keeps the rests of the first seven aligned blocks for small ones, and cannot take those blocks again.
    """
    for _ in range(16):
        torch.ones(SIZE // 4)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        torch.ones(SIZE // 4)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


needs_glibc = pytest.mark.skipif(
    not sys.platform.startswith("linux") or memory._tunable() is None, reason="the GNU C library is not in use"
)


@needs_glibc
def test_blocks_are_taken_again_without_new_pages():
    with memory.held():
        assert faults() < PAGES / 10
    assert faults() > PAGES / 10  # large pages, where the system gives them, are fewer


@needs_glibc
def test_all_is_given_back_afterwards():
    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    before = resident()
    with memory.held():
        blocks = [torch.ones(SIZE // 4) for _ in range(4)]
        del blocks
        assert resident() > before + 3 * SIZE
    assert resident() < before + SIZE


def test_an_environment_that_tunes_it_is_left_alone(monkeypatch):
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    assert memory._tunable() is None
    monkeypatch.undo()
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
    assert memory._tunable() is None


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert memory._tunable() is None
    with memory.held():
        assert torch.ones(3).sum() == 3

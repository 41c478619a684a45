"""Memory that is freed stays with the process while it is held, and only then."""

import ctypes
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from polymodal.runtime import memory

pytestmark = pytest.mark.slow

SIZE = 64 * 2**20
PAGES = SIZE // resource.getpagesize()


def faults(size=SIZE, times=3):
    """Pages that the system had to clear for blocks that were taken and freed, after the first ones.

    The C library keeps the rests of the first seven aligned blocks for small ones, and cannot take those blocks again.
    """
    for _ in range(16 * SIZE // size):
        torch.ones(size // 4)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        torch.ones(size // 4)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


needs_glibc = pytest.mark.skipif(
    not sys.platform.startswith("linux") or memory._load_tunable_library() is None,
    reason="the GNU C library is not in use",
)


def blocks_are_taken_again():
    with memory.retain_freed_memory():
        assert faults() < PAGES / 10
    # What small blocks that came later have cut off from the heap's end can be taken again, so ask for more than that.
    assert faults(16 * SIZE) > 16 * PAGES / 10  # large pages, where the system gives them, are fewer


def all_is_given_back():
    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    before = resident()
    with memory.retain_freed_memory():
        blocks = [torch.ones(SIZE // 4) for _ in range(4)]
        del blocks
        assert resident() > before + 3 * SIZE
    assert resident() < before + SIZE


@needs_glibc
@pytest.mark.parametrize("law", [blocks_are_taken_again, all_is_given_back])
def test_in_a_process_of_its_own(law):
    """Where other tests have left a hole in the heap, blocks are taken from it whatever the C library is told."""
    program = f"import test_memory; test_memory.{law.__name__}()"
    done = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_environment_that_tunes_it_is_left_alone(monkeypatch):
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    assert memory._load_tunable_library() is None
    monkeypatch.undo()
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
    assert memory._load_tunable_library() is None


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert memory._load_tunable_library() is None
    with memory.retain_freed_memory():
        assert torch.ones(3).sum() == 3

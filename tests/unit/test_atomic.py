"""Files and folders that take their name whole: killed at every step, in several processes at once, on full disks."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

import pytest
import torch

import polymodal as pm
from polymodal.io import atomic, checkpoint
from polymodal.io.locks import LOCK, hold_lock

pytestmark = pytest.mark.slow

SCHEMA = pm.Schema({"size": pm.Vector(2, hidden=(4,))})
OLD, NEW = ({"a.json": {"x": number}, "a.safetensors": {"w": torch.full((3,), float(number))}} for number in (1, 2))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def held(folder):
    """Which of the versions a folder holds: all of it."""
    folder = checkpoint.find_folder(folder)
    number = checkpoint.read_json(folder / "a.json")["x"]
    assert checkpoint.read_tensors(folder / "a.safetensors")["w"].tolist() == [number] * 3
    assert names(folder) == ["a.json", "a.safetensors"]
    return number


def child(write):
    """Runs something in a process of its own; the exit status."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            write()
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1]


STEPS = ("mkdir", "rename", "replace", "unlink")


def die_at(number):
    """SIGKILL before the so-manieth step that changes names, or that writes."""
    left = [number]

    def deadly(plain):
        def act(*arguments, **options):
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            return plain(*arguments, **options)

        return act

    for name in STEPS:
        setattr(Path, name, deadly(getattr(Path, name)))
    Path.write_bytes, Path.write_text = deadly(Path.write_bytes), deadly(Path.write_text)
    atomic._exchange, checkpoint._save = deadly(atomic._exchange), deadly(checkpoint._save)
    atomic.flush = checkpoint.flush = deadly(atomic.flush)
    atomic.shutil.rmtree = deadly(atomic.shutil.rmtree)
    os.fsync, os.rmdir = deadly(os.fsync), deadly(os.rmdir)


@pytest.mark.parametrize("exchange", [True, False])
@pytest.mark.parametrize("older", [True, False])
def test_a_folder_killed_at_every_step(tmp_path, monkeypatch, exchange, older):
    if not exchange:
        monkeypatch.setattr(atomic, "_exchange", lambda one, other: None)
    folder, step, seen = tmp_path / "deep" / "m", 0, set()
    while True:
        step += 1
        if older:
            checkpoint.write(folder, OLD)

        def write(step=step):
            die_at(step)
            checkpoint.write(folder, NEW)

        status = child(write)
        if older:
            seen.add(held(folder))
        elif folder.exists():
            assert held(folder) == 2
        if status == 0:
            break
        assert status == signal.SIGKILL
        assert step < 60
        checkpoint.write(folder, OLD if older else NEW)
        assert names(folder.parent) == ["m"]
        if not older:
            atomic.shutil.rmtree(folder)
    assert step > 6
    assert seen == ({1, 2} if older else set())
    assert names(folder.parent) == ["m"]


WRITERS = {
    "text": (lambda path, number: checkpoint.write_text(path, str(number) * 999)),
    "state": (lambda path, number: checkpoint.write_state(path, {"w": torch.full((99,), number)}, {"x": number})),
}


def _fill(path, number):
    with checkpoint.create_state(path, {"w": (torch.uint8, (99,))}, {"x": number}) as tensors:
        tensors["w"].fill_(number)


def _parquet(path, number):
    import pyarrow as pa

    from polymodal.cli import parquet_output

    with parquet_output.write_parquet(path, pa.schema([("x", pa.int64())])) as write:
        write({"x": [number] * 9})
        write({"x": [number] * 9})


WRITERS |= {"tensors in place": _fill, "parquet": _parquet}


@pytest.mark.parametrize("kind", WRITERS)
def test_a_file_killed_at_every_step(tmp_path, kind):
    path, write, step = tmp_path / "o.file", WRITERS[kind], 0
    versions = []
    for number in (2, 1):
        write(path, number)
        versions.append(path.read_bytes())
    while True:
        step += 1

        def deadly(step=step):
            die_at(step)
            write(path, 2)

        status = child(deadly)
        assert path.read_bytes() in versions
        if status == 0:
            break
        assert status == signal.SIGKILL
        write(path, 1)
        assert names(tmp_path) == ["o.file"]
    assert step > 2
    assert path.read_bytes() == versions[0]


@pytest.mark.parametrize("exchange", [True, False])
def test_processes_that_save_one_folder_never_fail_and_leave_one_whole(tmp_path, monkeypatch, exchange):
    if not exchange:
        monkeypatch.setattr(atomic, "_exchange", lambda one, other: None)
    children = []
    for number in range(8):
        if not (pid := os.fork()):
            code = 1
            try:
                files = {"a.json": {"x": number}, "a.safetensors": {"w": torch.full((3,), float(number))}}
                for _ in range(15):
                    checkpoint.write(tmp_path / "m", files)
                code = 0
            except BaseException:
                traceback.print_exc()
                raise
            finally:
                os._exit(code)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 8
    held(tmp_path / "m")
    assert names(tmp_path) == ["m"]


def test_an_older_version_whose_process_was_killed_is_loaded_and_put_back(tmp_path):
    model = pm.build("mac-wae", SCHEMA, latent_dim=2, seed=4)
    model.save(tmp_path / "m")
    (tmp_path / "m").rename(tmp_path / ".m-0123abcd.previous")
    assert pm.load(tmp_path / "m").seed == 4
    assert names(tmp_path) == [".m-0123abcd.previous"]
    checkpoint.sweep(tmp_path)
    assert names(tmp_path) == ["m"]
    assert pm.load(tmp_path / "m").seed == 4


def test_two_versions_without_a_name_as_earlier_releases_left_them(tmp_path):
    checkpoint.write(tmp_path / "m", OLD)
    (tmp_path / "m").rename(tmp_path / ".m-ffffffff.partial")
    os.utime(tmp_path / ".m-ffffffff.partial", (1, 1))
    checkpoint.write(tmp_path / "n", NEW)
    (tmp_path / "n").rename(tmp_path / ".m-00000000.partial")
    assert held(tmp_path / "m") == 1
    checkpoint.sweep(tmp_path)
    assert names(tmp_path) == ["m"]
    assert held(tmp_path / "m") == 1


@pytest.mark.parametrize(
    "name", [".m-0123abcd.part", ".m.partial", "m-0123abcd.partial", ".m-0123ABCD.partial", ".-0123abcd.partial"]
)
def test_names_of_others_stay(tmp_path, name):
    (tmp_path / name).write_text("mine")
    checkpoint.write(tmp_path / "m", NEW)
    checkpoint.write_text(tmp_path / "text", "a")
    checkpoint.sweep(tmp_path)
    assert (tmp_path / name).read_text() == "mine"


def test_what_a_living_process_writes_stays_and_what_a_dead_one_left_goes(tmp_path):
    with checkpoint.replace_folder(tmp_path / "m") as fresh:
        (fresh / "a").write_text("half")
        (tmp_path / ".m-0123abcd.partial").mkdir()
        (tmp_path / ".m-1123abcd.partial").write_text("of an earlier release")
        (tmp_path / ".other-0123abcd.partial").mkdir()
        checkpoint.write_text(tmp_path / "m.csv", "a")
        with checkpoint.replace_file(tmp_path / "m") as file:
            assert len(names(tmp_path)) == 4  # of the two that write, of the other name, and the CSV file
            file.touch()
        (tmp_path / "m").unlink()
    assert (tmp_path / "m" / "a").read_text() == "half"


def test_links_are_removed_and_not_what_they_point_to(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "data").write_text("years")
    (tmp_path / ".m-0123abcd.partial").symlink_to(tmp_path / "precious")
    checkpoint.sweep(tmp_path)
    checkpoint.write(tmp_path / "m", NEW)
    assert (tmp_path / "precious" / "data").read_text() == "years"


FULL = {"no room": errno.ENOSPC, "quota": errno.EDQUOT, "input/output error": errno.EIO, "read only": errno.EROFS}


@pytest.mark.parametrize("number", FULL.values(), ids=FULL)
@pytest.mark.parametrize("place", ["write", "flush", "mkdir"])
def test_a_disk_that_refuses_leaves_the_older_version_and_nothing_else(tmp_path, monkeypatch, number, place):
    checkpoint.write(tmp_path / "m", OLD)
    checkpoint.write_text(tmp_path / "t", "old")

    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    places = {
        "write": [(Path, "write_bytes"), (Path, "write_text")],
        "flush": [(os, "fsync")],
        "mkdir": [(os, "mkdir")],
    }
    for owner, name in places[place]:
        monkeypatch.setattr(owner, name, refuse)
    for write in (lambda: checkpoint.write(tmp_path / "m", NEW), lambda: checkpoint.write_text(tmp_path / "t", "new")):
        with pytest.raises(OSError, match=os.strerror(number).replace("/", ".")):
            write()
    monkeypatch.undo()
    assert held(tmp_path / "m") == 1
    assert (tmp_path / "t").read_text() == "old"
    assert names(tmp_path) == ["m", "t"]


# Locks


def test_a_second_process_is_told_who_holds_a_lock(tmp_path):
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom polymodal.io.locks import hold_lock\n"
        "with hold_lock(Path(sys.argv[1]), 'it', 'trains'):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / LOCK)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        year = time.strftime("%Y")
        with (
            pytest.raises(
                ValueError, match=rf"^it must be used by one process at a time, and process {process.pid} trains since"
            ) as told,
            hold_lock(tmp_path / LOCK, "it", "trains"),
        ):
            pass
        assert f"since {year}-" in str(told.value)
    finally:
        process.kill()
        process.wait()
    assert names(tmp_path) == [LOCK]
    with hold_lock(tmp_path / LOCK, "it", "trains"):  # a dead process has no locks
        pass
    assert names(tmp_path) == []


def test_a_lock_is_for_other_threads_too_and_not_for_what_is_called_within(tmp_path):
    from threading import Thread

    told = []

    def claim():
        try:
            with hold_lock(tmp_path / LOCK, "it", "trains"):
                told.append("hold_lock")
        except ValueError as error:
            told.append(str(error))

    with hold_lock(tmp_path / LOCK, "it", "trains"):
        with hold_lock(tmp_path / LOCK, "it", "scores"):
            pass
        assert names(tmp_path) == [LOCK]
        thread = Thread(target=claim)
        thread.start()
        thread.join()
    assert f"process {os.getpid()} (this one) trains since" in told[0]
    claim()
    assert told[1] == "hold_lock"
    assert names(tmp_path) == []


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "hard link"])
def test_what_stands_in_the_place_of_a_lock_is_left_alone(tmp_path, kind):
    (tmp_path / "precious").write_text("years")
    lock = tmp_path / LOCK
    if kind == "link":
        lock.symlink_to(tmp_path / "precious")
    elif kind == "pipe":
        os.mkfifo(lock)
    elif kind == "folder":
        lock.mkdir()
    else:
        lock.hardlink_to(tmp_path / "precious")
    with hold_lock(lock, "it", "trains"):
        pass
    assert (tmp_path / "precious").read_text() == "years"
    assert names(tmp_path) == [LOCK, "precious"]


def test_a_folder_that_cannot_be_written_or_locked_is_used_without_a_lock(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    with hold_lock(tmp_path / "missing" / LOCK, "it", "trains"):
        pass
    monkeypatch.setattr(fcntl, "flock", refuse)
    with hold_lock(tmp_path / LOCK, "it", "trains"), hold_lock(tmp_path / LOCK, "it", "trains"):
        pass
    checkpoint.write(tmp_path / "m", NEW)
    assert held(tmp_path / "m") == 2


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG, errno.EDQUOT])
@pytest.mark.parametrize("write", [atomic.replace_file, atomic.replace_folder])
def test_where_there_is_no_room_the_file_is_named(tmp_path, write, number):
    with pytest.raises(OSError, match=r"out\.csv") as caught, write(tmp_path / "out.csv"):
        raise OSError(number, os.strerror(number))
    assert caught.value.errno == number
    with pytest.raises(OSError, match=r"other\.csv"), write(tmp_path / "out.csv"):
        raise OSError(number, os.strerror(number), "other.csv")

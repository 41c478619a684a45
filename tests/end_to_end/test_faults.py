"""Commands that are killed at any step, or find the disk full, no memory, no rights, no home: the old result or the new
one is there, whole, and nothing else; and what went wrong is one line."""

import errno
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from commands import Kept, within
from deaths import command, die_at, litter, snapshot

from polymodal.io.locks import LOCK

TRAIN = "train t.csv --epochs 1 --model mac-vae --batch-size 64 --latent-dim 2 --folder r"


def scores():
    lines = [
        ("many-to-one", "digits", name, "acc", "higher", model, 50 + 7 * place + 3 * number)
        for place, model in enumerate(("one", "other", "third"))
        for number, name in enumerate(("m0", "m1"))
    ]
    names = ["task", "dataset", "modality", "metric", "better", "model", "value"]
    return pd.DataFrame(lines, columns=names)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with a table and a run, and every result that a command has made before.

    It is made in this process, which then has imported all that its forks need.
    """
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("world")
    frame = pd.DataFrame({"kind": ["oak", "elm", "ash"] * 8, "height": np.arange(24) / 7})
    frame.loc[::5, "height"] = np.nan
    frame.to_csv(folder / "t.csv", index=False)
    frame.to_parquet(folder / "t.parquet")
    scores().to_csv(folder / "scores.csv", index=False)
    scores().assign(value=1.0 * np.arange(6)).to_csv(folder / "other.csv", index=False)
    with pytest.MonkeyPatch.context() as always:
        always.setenv("POLYMODAL_CACHE", str(tmp_path_factory.mktemp("cache")))
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            for line in (TRAIN, *(old for old, _, _ in COMMANDS.values())):
                assert within(patch, Kept(), *line.split()).returncode == 0
        with (folder / "r" / "report.html").open("a") as page:
            page.write("<!-- an older version -->")
        assert litter(folder) == []
        yield folder


@pytest.fixture
def place(world, tmp_path):
    """A copy of it."""
    return Path(shutil.copytree(world, tmp_path / "place"))


COMMANDS = {
    "impute": ("impute r t.csv --out o.csv", "impute r t.csv --out o.csv --sure --overwrite", "o.csv"),
    "impute parquet": (
        "impute r t.parquet --out o.parquet",
        "impute r t.parquet --out o.parquet --marked --batch-size 7 --overwrite",
        "o.parquet",
    ),
    "translate": (
        "translate r t.csv --to kind",
        "translate r t.csv --to height --rows 0:3 --overwrite",
        "r/translations",
    ),
    "translate parquet": (
        "translate r t.csv --to kind --out k.parquet",
        "translate r t.csv --to height --out k.parquet --batch-size 7 --overwrite",
        "k.parquet",
    ),
    "embed": ("embed r t.csv --out z.parquet", "embed r t.csv --out z.parquet --given kind --overwrite", "z.parquet"),
    "sample": ("sample r --number 2 --out s", "sample r --number 3 --seed 1 --out s --overwrite", "s"),
    "evaluate": ("evaluate r --tasks reconstruction", "evaluate r --tasks many-to-one", "r/scores.csv"),
    "report": ("report r", "report r", "r/report.html"),
}
"""What has made a result, what makes another one, and where."""
SLOW = ("impute parquet", "translate", "translate parquet", "embed", "report", "evaluate")
"""Whose rarer faults are for `make torture`."""


def news(place, name):
    """The older version of a command's result, and the newer one."""
    _, new, out = COMMANDS[name]
    old = snapshot(place / out)
    other = place.with_name("other")
    shutil.copytree(place, other)
    steps = []
    done = command(*new.split(), cwd=other, before=lambda: count_steps(other / "steps"))
    assert done.status == 0, done.err
    steps = int((other / "steps").read_text())
    made = snapshot(other / out)
    shutil.rmtree(other)
    assert old != made
    return old, made, steps


def count_steps(path):
    """Writes how many steps this process has taken, at its end."""
    left = die_at(-1)
    leave = os._exit

    def note(code):
        file = os.open(path, os.O_WRONLY | os.O_CREAT)
        os.write(file, str(-1 - left[0]).encode())
        leave(code)

    os._exit = note


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_killed_at_steps_of_its_writing(place, name):
    old, new, steps = news(place, name)
    out = place / COMMANDS[name][2]
    chance = random.Random(name)
    assert steps > 4
    for step in sorted(chance.sample(range(1, steps + 1), min(steps, 4))):
        done = command(*COMMANDS[name][1].split(), cwd=place, before=lambda step=step: die_at(step))
        assert done.status == -signal.SIGKILL, done.err
        assert snapshot(out) in (old, new)
    done = command(*COMMANDS[name][1].split(), cwd=place)
    assert done.status == 0, done.err
    assert snapshot(out) == new
    assert litter(place) == []


@pytest.mark.torture
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_killed_at_fifty_random_moments(place, name):
    old, new, _ = news(place, name)
    out, seed = place / COMMANDS[name][2], random.SystemRandom().randrange(10**6)
    print("seed", seed)
    timed = shutil.copytree(place, place.with_name("timed"))
    older = (shutil.copytree if out.is_dir() else shutil.copy)(out, place.with_name("older"))
    chance, began = random.Random(seed), time.monotonic()
    assert command(*COMMANDS[name][1].split(), cwd=timed).status == 0
    longest = time.monotonic() - began
    for _ in range(50):
        command(*COMMANDS[name][1].split(), cwd=place, seconds=chance.uniform(0, longest))
        assert snapshot(out) in (old, new)
        if snapshot(out) == new:
            shutil.rmtree(out) if out.is_dir() else out.unlink()
            (shutil.copytree if older.is_dir() else shutil.copy)(older, out)
    assert command(*COMMANDS[name][1].split(), cwd=place).status == 0
    assert snapshot(out) == new
    assert litter(place) == []


def trained(folder):
    model = snapshot(folder / "model")
    history = pd.read_csv(folder / "history.csv").drop(columns="seconds")
    return model, history.to_csv()


def finish_training(place):
    """What people do after a run has died: go on, or begin again where it has not begun."""
    done = command("train", "--resume", "n", cwd=place)
    return done if done.status == 0 else command(*TRAIN.replace("--folder r", "--folder n").split(), cwd=place)


@pytest.mark.parametrize("kind", ["steps", pytest.param("moments", marks=pytest.mark.torture)])
def test_training_that_is_killed_goes_on(place, kind, monkeypatch):
    """And so is what makes the table's files in the cache."""
    monkeypatch.setenv("POLYMODAL_CACHE", str(place / "cache"))
    train = TRAIN.replace("--folder r", "--folder n").split()
    began = time.monotonic()
    for number in range(4 if kind == "steps" else 50):
        if kind == "steps":
            done = command(*train, cwd=place, before=lambda number=number: die_at(2 + 7 * number))
            assert done.status == -signal.SIGKILL, done.err
        else:
            longest = time.monotonic() - began if number < 1 else longest  # noqa: F821
            command(*train, cwd=place, seconds=random.uniform(0, max(1.0, longest)))
        done = finish_training(place)
        assert done.status == 0, done.err
        assert trained(place / "n") == trained(place / "r")
        assert litter(place) == []
        for name in ("n", "cache"):
            shutil.rmtree(place / name, ignore_errors=True)


@pytest.mark.parametrize("kind", ["steps", pytest.param("moments", marks=pytest.mark.torture)])
def test_scores_are_compared_and_killed(place, kind):
    """Each file of the folder is the older or the newer one, and what is not its own stays."""
    assert command("compare", "--scores", "scores.csv", "--out", "c", cwd=place).status == 0
    (place / "c" / "mine.txt").write_text("years")
    old = snapshot(place / "c")
    shutil.copytree(place / "c", place / "d")
    began = time.monotonic()
    assert command("compare", "--scores", "other.csv", "--out", "d", "--overwrite", cwd=place).status == 0
    new, longest = snapshot(place / "d"), time.monotonic() - began
    again = ["compare", "--scores", "other.csv", "--out", "c", "--overwrite"]
    for step in (3, 20, 41, 60) if kind == "steps" else range(50):
        if kind == "steps":
            command(*again, cwd=place, before=lambda step=step: die_at(step))
        else:
            command(*again, cwd=place, seconds=random.uniform(0, longest))
        for name, content in snapshot(place / "c").items():
            assert content in (old.get(name), new.get(name)), name
    assert command(*again, cwd=place).status == 0
    assert snapshot(place / "c").keys() == new.keys()
    assert (place / "c" / "mine.txt").read_text() == "years"
    assert litter(place) == []


def one_line(done, *words):
    """A mistake or failure in a line, without a traceback."""
    assert done.status in (1, 2), done
    told = [line for line in done.err.splitlines() if line.startswith("polymodal: ")]
    assert len(told) == 1, done.err
    assert "Traceback" not in done.err
    assert "raise " not in done.err
    for word in words:
        assert word in told[0], told[0]


def limit(what, number):
    return lambda: resource.setrlimit(what, (number, resource.getrlimit(what)[1]))


@pytest.mark.parametrize("size", [300, *(pytest.param(size, marks=pytest.mark.torture) for size in (0, 1, 1000, 2500))])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk_is_one_line_and_leaves_the_older_result(place, name, size):
    _, new, out = COMMANDS[name]
    old, before = snapshot(place / out), snapshot(place)
    done = command(*new.split(), cwd=place, before=limit(resource.RLIMIT_FSIZE, size))
    if done.status != 0:
        one_line(done)
        assert snapshot(place / out) == old
        assert snapshot(place) == before
    assert size or done.status
    assert litter(place) == []


@pytest.mark.parametrize("step", [2, 5, *(pytest.param(step, marks=pytest.mark.torture) for step in (3, 4, 6, 8))])
@pytest.mark.parametrize(
    "name", ["impute", "sample", *(pytest.param(name, marks=pytest.mark.torture) for name in SLOW)]
)
def test_a_step_that_fails_is_one_line_and_leaves_the_older_result(place, name, step):
    _, new, out = COMMANDS[name]
    old, number = snapshot(place / out), [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT][step % 4]

    def refuse():
        raise OSError(number, os.strerror(number))

    done = command(*new.split(), cwd=place, before=lambda: die_at(step, refuse))
    if done.status != 0:
        one_line(done, os.strerror(number))
    if done.status != 0:
        assert snapshot(place / out) == old
    assert litter(place) == []


ODD = {
    "pipe": lambda path: os.mkfifo(path),
    "device": lambda path: path.symlink_to("/dev/zero"),
    "link to itself": lambda path: path.symlink_to(path),
    "folder": lambda path: path.mkdir(),
    "noise": lambda path: path.write_bytes(bytes(range(256)) * 9),
    "nothing": lambda path: path.write_bytes(b""),
}
READERS = {
    "settings.yaml": ["train --resume r --epochs 2"],
    "history.csv": ["train --resume r --epochs 2", "report r"],
    "experiment.json": ["train --resume r --epochs 2", "impute r t.csv --out new.csv"],
    "state/state.safetensors": ["train --resume r --epochs 2"],
    "model/model.json": ["impute r t.csv --out new.csv"],
    "model/weights.safetensors": ["impute r t.csv --out new.csv"],
    "scores.csv": ["report r", "evaluate r --tasks many-to-one"],
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("name", READERS)
def test_what_stands_in_the_place_of_a_file_is_refused_in_one_line(place, name, kind):
    """And nobody waits for it: a pipe that nobody writes into, a device that never ends."""
    path = place / "r" / name
    path.unlink()
    ODD[kind](path)
    before = snapshot(place / "r")
    for line in READERS[name]:
        done = command(*line.split(), cwd=place, before=lambda: signal.alarm(60))
        assert done.status != -signal.SIGALRM, "it waits"
        if name == "history.csv" and line.startswith("train") and done.status == 0:
            continue  # it is made anew, from the state
        one_line(done)
        assert snapshot(place / "r") == before
        assert not (place / "new.csv").exists()
    assert litter(place) == []


def used():
    """Bytes of address space that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="looks at the process's memory")
@pytest.mark.parametrize(
    "more", [2**18, *(pytest.param(2**size, marks=pytest.mark.torture) for size in (0, 21, 23, 25))]
)
@pytest.mark.parametrize(
    "name", ["impute", "sample", *(pytest.param(name, marks=pytest.mark.torture) for name in SLOW)]
)
def test_no_memory_is_one_line_and_leaves_the_older_result(place, name, more):
    _, new, out = COMMANDS[name]
    old = snapshot(place / out)
    done = command(*new.split(), cwd=place, before=lambda: limit(resource.RLIMIT_AS, used() + more)())
    if done.status > 0:
        one_line(done)
    if done.status != 0:
        assert snapshot(place / out) == old


@pytest.mark.parametrize("more", [1, *(pytest.param(more, marks=pytest.mark.torture) for more in (0, 2, 3, 4, 6))])
@pytest.mark.parametrize(
    "name", ["impute", "sample", *(pytest.param(name, marks=pytest.mark.torture) for name in SLOW)]
)
def test_no_more_files_is_one_line_and_leaves_the_older_result(place, name, more):
    _, new, out = COMMANDS[name]
    old = snapshot(place / out)
    before = lambda: limit(resource.RLIMIT_NOFILE, len(os.listdir("/proc/self/fd")) - 1 + more)()  # noqa: E731, PTH208
    done = command(*new.split(), cwd=place, before=before)
    if done.status != 0:
        one_line(done)
        assert snapshot(place / out) == old
    assert litter(place) == []


def test_a_folder_that_cannot_be_written_is_one_line(world):
    """As a user without rights, for root may write anywhere."""
    base = Path(tempfile.mkdtemp())
    try:
        shutil.copytree(world, base / "place")
        base.chmod(0o755)
        for path in base.rglob("*"):
            path.chmod(0o555 if path.is_dir() else 0o444)
        before = snapshot(base / "place")

        def nobody():
            if os.geteuid() == 0:
                os.setuid(65534)

        for _, new, _ in COMMANDS.values():
            done = command(*new.split(), cwd=base / "place", before=nobody)
            one_line(done, "Permission denied")
        assert snapshot(base / "place") == before
        assert litter(base) == []
    finally:
        for path in [base, *base.rglob("*")]:
            path.chmod(0o755)
        shutil.rmtree(base)


def test_no_home_is_one_line_that_names_the_variable(place, monkeypatch):
    def homeless():
        os.environ.pop("POLYMODAL_CACHE", None)
        os.environ.pop("HOME", None)
        os.setuid(4242) if os.geteuid() == 0 else None  # that no file of users knows

    if os.geteuid():
        pytest.skip("only root can become a user without a home")
    place.chmod(0o777)
    done = command("train", "emoji", "--folder", "/tmp/nowhere/r", cwd="/", before=homeless)
    one_line(done, "POLYMODAL_CACHE")


def test_a_removed_working_folder_is_one_line(place):
    gone = place / "gone"
    gone.mkdir()
    done = command("impute", "r", "t.csv", cwd=gone, before=gone.rmdir)
    one_line(done)


def held_by_another(lock):
    """A process that holds a lock until it is killed."""
    script = (
        "import fcntl, os, sys, time\nfile = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)\n"
        "fcntl.flock(file, fcntl.LOCK_EX)\nos.write(file, f'{os.getpid()} {int(time.time())} writes it'.encode())\n"
        "print('held', flush=True)\ntime.sleep(600)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(lock)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize("name", ["training", *(name for name in COMMANDS if name != "evaluate")])
def test_a_second_process_at_one_place_is_told_who_is_there(place, name):
    arguments, out = f"{TRAIN[:-1]}n", "n"
    if name != "training":
        _, arguments, out = COMMANDS[name]
    (place / "n").mkdir()
    lock = place / "n" / LOCK if name == "training" else (place / out).with_name(f".{Path(out).name}{LOCK}")
    old, process = snapshot(place / out), held_by_another(lock)
    try:
        one_line(command(*arguments.split(), cwd=place), f"process {process.pid} writes it since")
        assert snapshot(place / out) == old
    finally:
        process.kill()
        process.wait()
    assert command(*arguments.split(), cwd=place).status == 0
    assert litter(place) == []


# Standard output


def shell(line, cwd):
    polymodal = f"{sys.executable} -m polymodal"
    return subprocess.run(
        ["bash", "-c", line.replace("polymodal", polymodal, 1)], capture_output=True, text=True, cwd=cwd, check=False
    )


def test_output_that_nobody_reads_is_no_success_and_says_at_most_a_line():
    """As `polymodal datasets | head -1`."""

    def act():
        read, write = os.pipe()
        os.close(read)
        os.dup2(write, 1)

    done = command("datasets", cwd="/", before=act)
    assert done.status == 1
    assert len(done.err.splitlines()) <= 1
    assert "Error" not in done.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_output_that_does_not_fit_is_one_line():
    def act():
        os.dup2(os.open("/dev/full", os.O_WRONLY), 1)

    one_line(command("datasets", cwd="/", before=act), "No space left on device")


def test_closed_output_and_error(tmp_path):
    """Nothing that is opened later gets their numbers, and no file what is printed."""
    done = shell("polymodal datasets >&-; echo $? >&2", tmp_path)
    assert done.stderr.strip() == "0"
    done = shell("polymodal report nowhere >&- 2>&-; echo $? > code", tmp_path)
    assert (tmp_path / "code").read_text().strip() == "2"

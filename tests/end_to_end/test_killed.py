"""Training processes that are killed, and disks that refuse."""

import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import pytest

SCRIPT = Path(__file__).with_name("trainer.py")


def train(folder, *arguments, **options):
    command = [sys.executable, str(SCRIPT), str(folder), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def outcome(folder):
    weights = (folder / "model" / "weights.safetensors").read_bytes()
    history = pd.read_csv(folder / "history.csv", dtype=str).drop(columns="seconds")
    return weights, (folder / "model" / "model.json").read_bytes(), history.to_csv()


def names(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def unharmed(tmp_path_factory):
    """What a run that is never killed leaves."""
    folder = tmp_path_factory.mktemp("unharmed") / "run"
    done = train(folder)
    assert done.returncode == 0, done.stderr
    return outcome(folder)


def killed(folder, *arguments):
    done = train(folder, *arguments)
    assert done.returncode == -9, done.stderr


def test_three_kills_at_random_moments(unharmed, tmp_path):
    """By a clock; within an epoch, after a random update; and while a random part of the state is written."""
    seed = random.SystemRandom().randrange(10**6)
    print("seed", seed)  # shown where the test fails
    chance = random.Random(seed)
    folder = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(folder), "--slowly"], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr.readline() == "started\n"
    time.sleep(chance.uniform(0, 1.5))
    process.kill()
    process.communicate()
    assert process.returncode == -9
    killed(folder, "--step", chance.randrange(1, 10), "--every", chance.choice([1, 2, 3]))
    killed(folder, "--write", chance.random(), "--after", chance.randrange(3), "--every", 2)
    half = [name for name in names(folder) if name.startswith("state/.state.safetensors-")]
    assert len(half) == 1
    done = train(folder)
    assert done.returncode == 0, done.stderr
    assert outcome(folder) == unharmed
    assert names(folder) == {
        "experiment.json",
        "history.csv",
        "model/model.json",
        "model/weights.safetensors",
        "state/state.safetensors",
    }


def test_kills_at_every_boundary_of_writing(unharmed, tmp_path):
    """Before each step that gives a file or a folder its name, one after the other."""
    folder = tmp_path / "run"
    done, kills = train(folder, "--rename", 1), 0
    while done.returncode == -9:
        kills += 1
        done = train(folder, "--rename", 2 + kills % 5)
        assert kills < 40
    assert done.returncode == 0, done.stderr
    assert kills > 5
    assert outcome(folder) == unharmed


def test_a_full_disk_is_one_error_and_leaves_the_earlier_state(unharmed, tmp_path):
    folder = tmp_path / "run"
    done = train(folder, "--full")
    assert done.returncode == 3, done.stderr
    message = done.stdout.strip()
    assert "\n" not in message
    assert message.startswith(f"OSError: {folder} must be writable: ")
    assert "earlier files are unchanged" in message
    assert len(pd.read_csv(folder / "history.csv")) == 1
    done = train(folder)
    assert "resuming in epoch 2/3, after 0 of its 10 steps" in done.stderr
    assert outcome(folder) == unharmed


def test_a_folder_without_the_right_to_write_is_one_error(tmp_path):
    base = Path(tempfile.mkdtemp())  # pytest's own is closed to others, and root may write anywhere
    try:
        base.chmod(0o755)
        assert train(base / "run", "--epochs", 1).returncode == 0
        for path in [base, *base.rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        before = {path: path.read_bytes() for path in base.rglob("*") if path.is_file()}
        for folder in (base / "run", base / "new"):
            done = train(folder, "--nobody")
            assert done.returncode == 3, done.stderr
            assert done.stdout.strip().startswith(f"OSError: {folder} must be writable: Permission denied; ")
            assert done.stdout.count("\n") == 1
        assert before == {path: path.read_bytes() for path in base.rglob("*") if path.is_file()}
    finally:
        for path in [base, *base.rglob("*")]:
            path.chmod(0o755)
        shutil.rmtree(base)

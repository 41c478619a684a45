"""Several processes, started as people start them, against one: weights, history, scores, stops, deaths."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import together
import torch
from commands import within
from safetensors.torch import load_file

from polymodal.models import MODELS

SCRIPT = Path(__file__).with_name("together.py")
TRAIN = "train polydigits --folder run --epochs 6 --batch-size 25 --latent-dim 4 --set widths=4,8 --set rows=120 "
TRAIN += "--set held_out_rows=40 --set draws=2 --set build.hidden=[8] --seed 1 "
TRAIN += "--set regularizer=mmd --set relative=false --set beta=1.0 --set p0=0.4 --set skip=false"
"""In float32 the order of sums must not decide the order of codes; every penalty is compared in float64."""
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
ACCELERATE = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_machines", "1"]


def torchrun(count, *arguments):
    return [*TORCHRUN, "--standalone", "--nproc-per-node", str(count), *map(str, arguments)]


def finished(command, **options):
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=900, **options)


@pytest.fixture(scope="module", params=[2, 3])
def processes(request, tmp_path_factory):
    """What each of several processes came to in every one of `together.FITS`, by name and number."""
    folder = tmp_path_factory.mktemp("processes")
    done = finished(torchrun(request.param, SCRIPT, folder))
    assert done.returncode == 0, done.stderr
    numbers = range(request.param)
    held = {
        name: [load_file(folder / f"{name}-{number}.safetensors") for number in numbers]
        for name in (*together.FITS, "noise", "models")
    }
    return held | {"refusals": [json.loads((folder / f"refusals-{number}.json").read_text()) for number in numbers]}


@pytest.mark.parametrize("name", together.FITS)
def test_they_end_with_the_weights_history_and_scores_of_one_process(processes, name):
    """In float64, in which nothing but the order of sums differs."""
    one = together.outcome(name)
    for several in processes[name]:
        assert several.keys() == one.keys()
        for key, value in one.items():
            torch.testing.assert_close(several[key], value, rtol=1e-9, atol=1e-9, equal_nan=True, msg=f"{key}")


def test_noise_differs_between_them_and_nothing_else_does(processes):
    """Dropout within a model: all have the same weights after it, and no two the same masks."""
    first, *others = processes["noise"]
    for other in others:
        assert other.keys() == first.keys()
        for key, value in first.items():
            assert torch.equal(other[key], value) == (key != "mask"), key


def test_every_model_ends_with_the_same_weights_and_history_in_all(processes):
    first, *others = processes["models"]
    assert {key.partition("/")[0] for key in first} == {*MODELS}
    for other in others:
        assert other.keys() == first.keys()
        for key, value in first.items():
            assert value.isfinite().all(), key
            assert torch.equal(other[key], value), key


def test_what_is_wrong_in_one_is_an_error_of_all(processes):
    """A loss that is not finite is that of all at once, for they compare their codes."""
    for said in processes["refusals"]:
        assert said["settings"].startswith("ValueError: all processes must have the same model, data and settings")
        assert said["loss"].startswith("FloatingPointError: the train loss must stay finite; in epoch 1, step 1, ")
        assert said["measured"].startswith(
            "FloatingPointError: the cost of the best constant prediction of 'size' must be finite"
        )
        assert said["folder"].startswith("OSError: /dev/null/run must be writable: Not a directory")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The folder of a run in one process."""
    folder = tmp_path_factory.mktemp("undisturbed")
    done = finished([sys.executable, "-m", "polymodal", *TRAIN.split()], cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "run"


def start(command, cwd, line):
    """A launcher whose processes have come so far, and what they said."""
    process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    said = []
    for said_line in process.stderr:
        said.append(said_line)
        if said_line.startswith(line):
            return process, said
    raise AssertionError("".join(said))


def workers(launcher):
    """The processes that a launcher has started, by number."""
    found = {}
    for path in Path("/proc").iterdir():
        if not path.name.isdecimal():
            continue
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            variables = dict(part.split("=", 1) for part in (path / "environ").read_text().split("\0") if "=" in part)
        except (OSError, ValueError):
            continue
        if parent == launcher.pid and "RANK" in variables:
            found[int(variables["RANK"])] = int(path.name)
    return found


def same_run(folder, other):
    """Up to the order of sums in float32."""
    histories = [pd.read_csv(run / "history.csv").drop(columns="seconds") for run in (folder, other)]
    pd.testing.assert_frame_equal(*histories, rtol=1e-4)
    weights = [load_file(run / "model" / "weights.safetensors") for run in (folder, other)]
    for name, weight in weights[0].items():
        torch.testing.assert_close(weights[1][name], weight, rtol=1e-3, atol=1e-3, msg=name)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes by /proc")
def test_a_killed_one_ends_the_others_with_one_message_and_the_run_goes_on(undisturbed, tmp_path):
    """The main one, at that; and the run goes on with another number of processes."""
    launcher, said = start(torchrun(3, "-m", "polymodal", *TRAIN.split()), tmp_path, "epoch 2/6")
    began = time.monotonic()
    os.kill(workers(launcher)[0], signal.SIGKILL)
    said += launcher.communicate(timeout=300)[1].splitlines(keepends=True)
    assert time.monotonic() - began < 300  # far from the ten minutes of patience
    assert launcher.returncode != 0
    told = [line for line in said if line.startswith("polymodal: ")]
    assert len(told) == 1, "".join(said)
    assert told[0].startswith("polymodal: another process of this run has ended")
    assert "is in run; start all processes again with resume=True (polymodal train --resume run)" in told[0]
    done = finished(torchrun(2, "-m", "polymodal", "train", "--resume", "run"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Best epoch") == 1
    assert done.stderr.count("resuming in epoch") == 1
    same_run(undisturbed, tmp_path / "run")


def test_ctrl_c_is_met_by_all_and_the_run_goes_on(undisturbed, tmp_path):
    command = [*ACCELERATE, "--num_processes", "2", "-m", "polymodal", *TRAIN.split()]
    launcher, said = start(command, tmp_path, "epoch 2/6")
    launcher.send_signal(signal.SIGINT)
    said += launcher.communicate(timeout=300)[1].splitlines(keepends=True)
    told = [line for line in said if line.startswith("polymodal")]
    assert len(told) == 2, "".join(said)
    assert told[0].startswith("polymodal: training stopped ")
    assert told[1] == "polymodal train --resume run\n"
    done = finished([sys.executable, "-m", "polymodal", "train", "--resume", "run"], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    same_run(undisturbed, tmp_path / "run")


def test_scores_are_those_of_one_process_and_mistakes_are_said_once(undisturbed, tmp_path):
    (tmp_path / "run").symlink_to(undisturbed)
    evaluate = ["-m", "polymodal", "evaluate", "run", "--batch-size", "16"]
    done = finished([sys.executable, *evaluate], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    one = pd.read_csv(undisturbed / "scores.csv")
    (undisturbed / "scores.csv").unlink()
    done = finished(torchrun(2, *evaluate), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Scores: ") == 1
    pd.testing.assert_frame_equal(pd.read_csv(undisturbed / "scores.csv"), one)
    done = finished(torchrun(2, "-m", "polymodal", *TRAIN.split()), cwd=tmp_path)
    assert done.returncode != 0
    mistake = "polymodal: run must not hold a run, and it does"
    assert done.stderr.count("polymodal: ") == done.stderr.count(mistake) == 1, done.stderr


def test_other_commands_refuse_to_be_started_in_several(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    done = within(monkeypatch, capsys, "report", "run")
    assert done.returncode == 2
    assert done.stderr.startswith("polymodal: report must be started in one process, without torchrun or accelerate")


INTERRUPTED = """
import os, signal, sys
from polymodal.cli import app, processes
from polymodal.runtime.distributed import GoneError

def stop(*_, **settings):
    if sys.argv[1] == "before":
        try:
            raise GoneError("another process of this run has ended")
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
    raise GoneError("another process of this run has ended")

def first(text):
    if sys.argv[1] == "after":
        os.kill(os.getpid(), signal.SIGTERM)
    return True

app.app, processes.is_first_to_report = stop, first
app.main()
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_signal_of_the_launcher_does_not_take_the_message(when, tmp_path):
    """It may arrive while the error is on its way, and while it is reported."""
    command = [sys.executable, "-c", INTERRUPTED, when]
    environment = {**os.environ, "RANK": "1", "WORLD_SIZE": "2"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert done.stderr == "polymodal: another process of this run has ended\n"

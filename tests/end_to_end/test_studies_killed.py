"""Studies that are killed, on this process and on Ray's workers."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from polymodal.studies.executors import _run_in_worker

STUDY = """
name: two
datasets: {polydigits: {data.rows: 300, held_out_rows: 50, widths: [4, 8]}}
models: {mac-wae: {draws: 2}, mopoe: null}
settings: {latent_dim: 4, epochs: 6, batch_size: 16}
seeds: 2
"""
RUNS = 4


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    path = tmp_path_factory.mktemp("study") / "two.yaml"
    path.write_text(STUDY)
    return path


def command(study, folder, *options):
    return [sys.executable, "-m", "polymodal", "compare", str(study), "--folder", str(folder), *options]


ONE = {**os.environ, "OMP_NUM_THREADS": "1"}
"""A run has the same bits wherever it has as many threads."""


def start(study, folder, *options):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command(study, folder, *options), **pipes, text=True, env=ONE)


def finish(study, folder, *options):
    done = subprocess.run(command(study, folder, *options), capture_output=True, text=True, check=False, env=ONE)
    assert done.returncode == 0, done.stderr
    return done


def scores(folder):
    """Of all runs, by run."""
    return {path.parent.name: path.read_bytes() for path in sorted((folder / "runs").glob("*/scores.csv"))}


def stamps(folder):
    """Of the scores of finished runs, whose records name the tasks: a kill may come between scores and record."""
    records = (folder / "runs").glob("*/experiment.json")
    noted = [path for path in records if json.loads(path.read_text()).get("run", {}).get("tasks")]
    files = [path.with_name("scores.csv") for path in noted]
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


def wait_for(condition, process):
    """Until it holds; the process must be there until then. Ray's workers are slow where others work: they are nice."""
    until = time.monotonic() + 600
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.005)


def under_way(folder):
    """Runs in training: they have a state, and no scores."""
    states = (folder / "runs").glob("*/state/state.safetensors")
    return [run for path in states if not ((run := path.parents[1]) / "scores.csv").exists()]


@pytest.fixture(scope="module")
def unharmed(study, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unharmed")
    finish(study, folder)
    assert len(scores(folder)) == RUNS
    return folder


def test_two_kills_and_the_same_scores(study, unharmed, tmp_path):
    for already in (1, 2):  # in the middle of the second run, and of the third
        process = start(study, tmp_path)
        wait_for(lambda already=already: len(stamps(tmp_path)) >= already and under_way(tmp_path), process)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        before = stamps(tmp_path)
        assert already <= len(before) < RUNS
    done = finish(study, tmp_path)
    assert f"{len(before)} of {RUNS} runs are finished already" in done.stderr
    assert stamps(tmp_path).items() >= before.items()
    assert scores(tmp_path) == scores(unharmed)
    for name in ("ranks.csv", "win_loss.csv", "best.csv"):
        assert (tmp_path / "two" / name).read_bytes() == (unharmed / "two" / name).read_bytes()


def workers(parent):
    """The processes of Ray that work at a run. Ray names a process after the function that it runs."""
    found = []
    for process in psutil.Process(parent).children(recursive=True):
        try:
            if process.cmdline()[:1] and process.cmdline()[0].startswith(f"ray::{_run_in_worker.__name__}"):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return found


def test_a_worker_of_ray_that_is_killed(study, unharmed, tmp_path):
    """Two workers on a cluster of this machine's; one of them is killed while all that have a run train."""
    process = start(study, tmp_path, "--on", "ray", "--cpus", "1")
    wait_for(lambda: 0 < len(workers(process.pid)) <= len(under_way(tmp_path)), process)
    victim = workers(process.pid)[0]
    os.kill(victim.pid, signal.SIGKILL)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    assert "failed" not in errors
    assert scores(tmp_path) == scores(unharmed)
    before = stamps(tmp_path)
    finish(study, tmp_path)  # in this process: the same files, and nothing left to do
    assert stamps(tmp_path) == before
    assert (tmp_path / "two" / "comparison.html").exists()


def test_ctrl_c_says_how_to_go_on(study, tmp_path):
    process = start(study, tmp_path)
    wait_for(lambda: under_way(tmp_path), process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 128 + signal.SIGINT
    assert errors.splitlines()[-1] == "polymodal: stopped. To continue the study, run the same command again"
    assert under_way(tmp_path)  # its state is there

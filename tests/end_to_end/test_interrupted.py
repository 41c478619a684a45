"""`polymodal train`, interrupted as people and schedulers do it, and resumed with the command that it prints."""

import shlex
import signal
import subprocess
import sys

import pandas as pd

TRAIN = "polymodal train polydigits --folder runs/{} --epochs 8 --batch-size 25 --latent-dim 4 --set widths=4,8 "
SMALL = "--set rows=100 --set held_out_rows=50 --set draws=2 --set build.hidden=[8] --set fit.schedule=cosine"


def start(command, cwd):
    program, *arguments = shlex.split(command)
    assert program == "polymodal"
    command = [sys.executable, "-m", "polymodal.cli.app", *arguments]
    return subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def interrupted(command, cwd, after, number):
    """Starts a command, sends a signal after a line that begins so, and gives the command that it then prints."""
    process = start(command, cwd)
    for line in process.stderr:
        if line.startswith(after):
            break
    process.send_signal(number)
    _, said = process.communicate()
    assert process.returncode == 128 + number, said
    assert "Traceback" not in said
    where, again = said.splitlines()[-2:]
    assert where.startswith("polymodal: training stopped in epoch ")
    assert where.endswith("and its state is written. To resume the run:")
    return again


def test_it_prints_the_command_that_goes_on_and_ends_with_the_same_bytes(tmp_path):
    whole = start((TRAIN + SMALL).format("whole"), tmp_path)
    assert whole.communicate()[1].count("epoch ") == 8
    again = interrupted((TRAIN + SMALL).format("mine"), tmp_path, "epoch 2/8", signal.SIGTERM)
    assert again == "polymodal train --resume runs/mine"
    assert interrupted(again, tmp_path, "epoch 4/8", signal.SIGINT) == again
    end = start(again, tmp_path)
    said = end.communicate()[1]
    assert end.returncode == 0, said
    assert said.startswith("resuming in epoch ")
    runs = [tmp_path / "runs" / name for name in ("whole", "mine")]
    for file in ("model/weights.safetensors", "model/model.json"):
        one, other = ((run / file).read_bytes() for run in runs)
        assert one == other, file
    histories = [pd.read_csv(run / "history.csv", dtype=str).drop(columns="seconds") for run in runs]
    pd.testing.assert_frame_equal(*histories)
    assert len(histories[0]) == 8

"""Scores beyond the paper's tasks from the command line, with weights of Inception-v3 and without."""

import functools

import pandas as pd
import pytest
import torch
from commands import within
from safetensors.torch import save_file

import polymodal as pm
from polymodal.cli import run_folder
from polymodal.networks import Inception

TRAIN = [
    "train",
    "polydigits",
    "--set",
    "rows=60",
    "--set",
    "held_out_rows=10",
    "--set",
    "widths=4,8",
    "--device",
    "cpu",
]
TRAIN += ["--model", "m-wae", "--latent-dim", "4", "--epochs", "1"]


@pytest.fixture
def command(monkeypatch, capsys):
    return functools.partial(within, monkeypatch, capsys)


@pytest.fixture
def run(command, tmp_path):
    done = command(*TRAIN, "--folder", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    return tmp_path / "run"


def test_fid_is_written_and_shown(command, run, tmp_path, monkeypatch):
    """As from Python; of few features, for a distance of 2,048 takes ten seconds."""
    monkeypatch.setattr("polymodal.networks.inception.SIDE", 75)
    with torch.random.fork_rng():
        save_file(Inception().state_dict(), tmp_path / "weights.safetensors")
    whole = pm.evaluation.load_inception(tmp_path / "weights.safetensors")
    few = lambda x: 1e6 * whole(x)[:, :5]  # noqa: E731 (random weights leave little at the end)
    asked = []
    monkeypatch.setattr(run_folder.evaluation, "load_inception", lambda *where: asked.append(where) or few)
    done = command(
        "evaluate", run, "--tasks", "generation", "--inception", tmp_path / "weights.safetensors", "--device", "cpu"
    )
    assert done.returncode == 0, done.stderr
    assert asked == [(tmp_path / "weights.safetensors", torch.device("cpu"))]
    scores = pd.read_csv(run / "scores.csv", keep_default_na=False)
    data = pm.datasets.load("polydigits", rows=60, held_out_rows=10)
    expected = pm.evaluate(pm.load(run / "model"), data.test, tasks="generation", train=data.train, features=few)
    pd.testing.assert_frame_equal(scores, expected, check_exact=False, rtol=1e-6)
    fid = scores[scores["metric"] == "fid"].set_index("modality")["value"]
    assert list(fid.index) == ["m0", "m1", "m2", "m3", "m4"]
    shown = {tuple(words[1:5]): words[-1] for line in done.stdout.splitlines() if "fid" in (words := line.split())}
    assert shown == {(name, "nothing", "fid", "↓"): f"{value:.4g}" for name, value in fid.items()}
    monkeypatch.setattr(run_folder, "is_rgb_or_grey", lambda modality: False)
    done = command("evaluate", run, "--tasks", "generation", "--inception", tmp_path / "weights.safetensors")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "inception is for images, in colour or grey, and the model of " in done.stderr


def test_further_tasks_are_scored_shown_and_left_out_of_the_report(command, run):
    done = command("evaluate", run, "--tasks", "many-to-one,probe,likelihood,translation", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    scores = pd.read_csv(run / "scores.csv", keep_default_na=False)
    assert list(scores["task"].unique()) == ["many-to-one", "translation", "probe"]  # m-wae has no density
    told = done.stdout
    assert told.index("many-to-one") < told.index("translation") < told.index("probe")
    done = command("report", run, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "many-to-one" in page
    assert "1 other" not in page


@pytest.mark.parametrize(
    ("tasks", "file", "said"),
    [
        ("many-to-one", "weights.safetensors", "inception is for the task generation, and the tasks are many-to-one"),
        ("generation", "no.safetensors", "no.safetensors must exist, and does not"),
        ("generation", "weights.pth", "weights.pth must be a .safetensors file, because a pickle can run any code"),
    ],
)
def test_what_cannot_be_is_one_line_before_anything_long(command, tmp_path, monkeypatch, tasks, file, said):
    torch.save({}, tmp_path / "weights.pth")
    monkeypatch.setattr(run_folder, "open_tables", lambda *rows: pytest.fail("it loads"))
    done = command("evaluate", tmp_path, "--tasks", tasks, "--inception", tmp_path / file, "--device", "cpu")
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1

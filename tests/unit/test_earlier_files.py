"""Models and runs that an earlier version wrote load, predict and go on as before.

`tests/data/format_1` was written by the version before penalties could have a relative weight: a model of every kind,
what each of them predicted, and two runs that ended in the middle of an epoch beside the same runs, whole.
`tests/data/format_2` was written by the version before the package's modules had today's names: two models with a flow,
what each of them predicted and sampled, and a run that ended in the middle of an epoch beside the same run, whole.
"""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from polymodal.cli.app import app
from polymodal.io.checkpoint import read_json
from polymodal.models import load
from polymodal.objectives.regularizers import MMD

DATA = Path(__file__).parents[1] / "data" / "format_1"
LATER = Path(__file__).parents[1] / "data" / "format_2"
EXPECTED = json.loads((DATA / "expected.json").read_text(encoding="utf-8"))


@pytest.fixture
def batch():
    size, species = torch.tensor([[0.1, 0.2], [-0.5, 0.3], [1.0, -1.0]]), torch.tensor([0, 2, 1])
    return lambda model: model.schema.batch({"size": size, "species": species})


@pytest.mark.parametrize("name", EXPECTED)
def test_models_predict_and_lose_as_before(name, batch, tmp_path):
    shutil.copytree(DATA / "models" / name, tmp_path / "model")
    model = load(tmp_path / "model")
    for given, expected in EXPECTED[name].items():
        if given != "loss":
            made = model.translate(batch(model), None if given == "all" else given.split("+"))
            for key, numbers in expected.items():
                assert made[key].flatten()[:6].tolist() == pytest.approx(numbers, abs=2e-6)
    torch.manual_seed(5)
    loss = model.double().train().loss(batch(model), progress=0.5)
    told = {"total": float(loss.total.detach()), **{key: float(term) for key, term in loss.terms.items()}}
    assert {key: told[key] for key in EXPECTED[name]["loss"]} == pytest.approx(EXPECTED[name]["loss"], rel=1e-6)


def test_what_was_absolute_stays_absolute_and_is_written_anew(batch, tmp_path):
    model = load(DATA / "models" / "mac-wae-bandwidth")
    assert (model.relative, model.p0, model.penalty, model.bandwidth) == (False, 0.4, MMD(2.0), None)
    document = read_json(model.save(tmp_path / "again") / "model.json")
    assert document["format"] == 2
    assert document["arguments"]["regularizer"] == "mmd(2)"
    assert repr(load(tmp_path / "again")) == repr(model)


@pytest.mark.parametrize("name", ["mac-wae", "mac-vae"])
def test_models_with_a_flow_predict_and_sample_as_before(name, tmp_path):
    expected = json.loads((LATER / "expected.json").read_text(encoding="utf-8"))
    model = load(shutil.copytree(LATER / "models" / name, tmp_path / "model"))
    rows = model.schema.batch({key: torch.tensor(value) for key, value in expected["rows"].items()})
    made = {
        "all": model.translate(rows),
        "size": model.translate(rows, ["size"]),
        "species": model.translate(rows, ["species"]),
        "sample": model.sample(3, seed=5),
        "samples given species": model.translate(rows, ["species"], ["size"], samples=2, seed=5),
    }
    assert made.keys() == expected[name].keys()
    for given, values in made.items():
        for key, numbers in expected[name][given].items():
            assert values[key].flatten()[:6].tolist() == pytest.approx(numbers, abs=1e-5)


@pytest.mark.parametrize(("data", "name"), [(DATA, ""), (DATA, "-bandwidth"), (LATER, "")])
def test_runs_go_on_in_the_middle_of_an_epoch(data, name, tmp_path):
    folder = shutil.copytree(data / "runs" / f"broken{name}", tmp_path / "run")
    folder.chmod(0o755)
    done = CliRunner().invoke(app, ["train", "--resume", str(folder)])
    assert done.exit_code == 0, done.output
    ours, theirs = (pd.read_csv(run / "history.csv") for run in (folder, data / "runs" / f"whole{name}"))
    pd.testing.assert_frame_equal(
        ours[theirs.columns].drop(columns="seconds"), theirs.drop(columns="seconds"), rtol=1e-4
    )
    ours, theirs = (load(run / "model").state_dict() for run in (folder, data / "runs" / f"whole{name}"))
    for key, tensor in theirs.items():
        torch.testing.assert_close(ours[key], tensor, rtol=1e-3, atol=1e-5)


def test_its_settings_can_be_run_again(tmp_path):
    settings = DATA / "runs" / "whole-bandwidth" / "settings.yaml"
    asked = ["train", "--config", str(settings), "--folder", str(tmp_path / "again"), "--epochs", "1"]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    model = load(tmp_path / "again" / "model")
    assert (model.relative, model.regularizer, model.beta) == (False, "mmd(2)", 100)
    ours, theirs = (pd.read_csv(run / "history.csv") for run in (tmp_path / "again", DATA / "runs" / "whole-bandwidth"))
    assert ours["train/total"][0] == pytest.approx(theirs["train/total"][0], rel=1e-5)

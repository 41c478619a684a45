"""A metric and a regulariser that a user adds, as `docs/own.md` says, without a change to the package."""

import json
import sys
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

import polymodal as pm
from polymodal.cli.app import main
from polymodal.datasets import Dataset
from polymodal.evaluation import RowMetric
from polymodal.objectives.regularizers import Regularizer
from polymodal.testing import check_metric, check_regularizer


class PSNR(RowMetric):
    """The peak signal-to-noise ratio in decibels, of values in [0, 1]."""

    better = "higher"
    kind = "numbers"
    axes = 3

    def score_rows(self, prediction, target):
        return -10 * (prediction - target).square().flatten(1).mean(1).log10()


@dataclass(frozen=True)
class Moments(Regularizer):
    """The squared differences of the first moments of codes from those of the standard normal distribution."""

    order: int = 2
    centred: bool = False

    def __call__(self, posterior, z, prior):
        normal = [0.0, 1.0, 0.0, 3.0]
        z = z - z.mean(-2, keepdim=True) if self.centred else z
        differences = [(z**n).mean(-2) - normal[n - 1] for n in range(1, self.order + 1)]
        return torch.stack(differences).square().mean((0, -1))


SCHEMA = pm.Schema({"photo": pm.Image(1, 9, 9, widths=(4, 8), metric="psnr"), "kind": pm.Label(3)})


def make_table(rows, split):
    generator = torch.Generator().manual_seed(rows)
    values = {
        "photo": torch.randint(256, (rows, 1, 9, 9), generator=generator, dtype=torch.uint8),
        "kind": torch.randint(3, (rows,), generator=generator),
    }
    return pm.Table(values, schema=SCHEMA, source={"dataset": "noise", "split": split, "arguments": {}})


def noise() -> Dataset:
    """Images of noise, with labels that mean nothing."""
    return Dataset("noise", make_table(40, "train"), make_table(20, "validation"), make_table(21, "test"))


@pytest.fixture(autouse=True)
def additions(monkeypatch):
    monkeypatch.setitem(pm.METRICS, "psnr", PSNR)
    monkeypatch.setitem(pm.REGULARIZERS, "moments", Moments)
    monkeypatch.setitem(pm.DATASETS, "noise", noise)


def call(monkeypatch, capsys, *arguments):
    """Runs the command line within this process, in which the additions are registered."""
    monkeypatch.setattr(sys, "argv", ["polymodal", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        main()
    printed = capsys.readouterr()
    return left.value.code or 0, printed.out, printed.err


def build(schema=SCHEMA, **arguments):
    torch.manual_seed(0)
    return pm.build("mac-wae", schema, **{"latent_dim": 3, "draws": 2, "weights": "sum", **arguments})


def test_additions_fulfil_the_laws():
    check_metric("psnr")
    check_metric(PSNR, (3, 5, 7))
    for regularizer in ("moments", "moments(3)", Moments(order=4)):
        check_regularizer(regularizer)


class TestMetric:
    def test_is_that_of_scikit_image(self):
        model, table = build(), make_table(30, "test")
        scores = pm.evaluate(model, table, tasks=["reconstruction"])
        made = model.predict(table[:], None, ["photo"])["photo"].mean.detach().double()
        true = SCHEMA.hide(table[:], torch.float64)["photo"]
        theirs = [peak_signal_noise_ratio(x.numpy(), y.numpy(), data_range=1) for x, y in zip(true, made, strict=True)]
        row = scores[scores["metric"] == "psnr"].iloc[0]
        assert (row["modality"], row["better"], row["rows"]) == ("photo", "higher", 30)
        assert row["value"] == pytest.approx(np.mean(theirs), rel=1e-5)

    def test_is_asked_for_by_the_modality_and_by_evaluate(self):
        plain = pm.Schema({"photo": pm.Image(1, 9, 9, widths=(4, 8)), "kind": pm.Label(3)})
        model, table = build(), make_table(30, "test")
        other = build(plain)
        assert set(pm.evaluate(model, table)["metric"]) == {"psnr", "acc"}
        assert set(pm.evaluate(other, table)["metric"]) == {"ssim", "ssim-paper", "acc"}
        both = pm.evaluate(other, table, metrics={"photo": ["psnr", "ssim"]})
        pairs = zip(both["modality"], both["metric"], strict=True)
        assert set(pairs) == {("photo", "psnr"), ("photo", "ssim"), ("kind", "acc")}
        mine, asked = (
            frame[frame["metric"] == "psnr"]["value"].tolist() for frame in (pm.evaluate(model, table), both)
        )
        assert mine == asked
        assert set(pm.evaluate(model, table, metrics={"photo": "ssim"})["metric"]) == {"ssim", "acc"}

    def test_stands_in_files_only_where_it_is_not_the_default(self, tmp_path):
        model = build()
        document = json.loads((model.save(tmp_path / "model") / "model.json").read_text(encoding="utf-8"))
        photo, kind = document["schema"]["modalities"]
        assert photo["metric"] == "psnr"
        assert "metric" not in kind
        again = pm.load(tmp_path / "model").schema
        assert (again["photo"].metric, again["kind"].metric) == ("psnr", "acc")
        assert repr(again["photo"]).endswith("metric='psnr')")
        default = pm.Schema({"photo": pm.Image(1, 9, 9, metric="ssim")})
        assert default.to_json() == pm.Schema({"photo": pm.Image(1, 9, 9)}).to_json()

    @pytest.mark.parametrize(
        ("metrics", "error", "message"),
        [
            ({"photo": ["psrn"]}, ValueError, "unknown metric of 'photo' 'psrn'; known are psnr"),
            ({"kind": ["acc", "psnr"]}, ValueError, r"'kind' must be for .*classes of shape \(\); got 'psnr'.*acc"),
            ({"foto": ["psnr"]}, ValueError, "unknown modality 'foto'; known are photo"),
            ({"photo": []}, ValueError, "metrics of 'photo' must hold at least one"),
            ({"photo": [3]}, TypeError, "metrics of 'photo' must be a list of names; got 3"),
            (["psnr"], TypeError, "metrics must be a mapping"),
        ],
    )
    def test_a_wrong_one_is_one_clear_error(self, metrics, error, message):
        with pytest.raises(error, match=message):
            pm.evaluate(build(), make_table(5, "test"), metrics=metrics)

    def test_a_wrong_one_of_a_modality_is_an_error_too(self):
        with pytest.raises(TypeError, match=r"metric must be a name in polymodal.METRICS.*got 3"):
            pm.Image(1, 9, 9, metric=3)
        schema = pm.Schema({"photo": pm.Image(1, 9, 9, widths=(4, 8)), "kind": pm.Label(3, metric="rmse")})
        with pytest.raises(ValueError, match=r"metric of 'kind' must be for.*got 'rmse'; choose among acc"):
            pm.evaluate(build(schema), make_table(5, "test"))

    @pytest.mark.parametrize("modality", [pm.Vector(2), pm.Text(4, ("a", "b")), pm.Audio(9, 5), pm.Label(2)])
    def test_every_kind_of_modality_takes_one(self, modality):
        other = replace(modality, metric="one-off")
        assert other.metric == replace(other, network=None).metric == "one-off"
        assert pm.Schema({"it": modality}).replace(metric="one-off")["it"].metric == "one-off"
        again = pm.Schema.from_json(pm.Schema({"it": other}).to_json())
        assert again["it"].metric == "one-off"


class TestRegularizer:
    @pytest.mark.parametrize("given", ["moments(3)", "moments( 3 )", Moments(order=3), "moments(3, False)"])
    def test_is_given_by_name_or_as_an_object_and_saved(self, given, tmp_path):
        model = build(regularizer=given)
        assert (model.penalty, model.regularizer) == (Moments(3), "moments(3)")
        assert "penalty/moments" in model.loss(make_table(6, "train")[:]).terms
        document = json.loads((model.save(tmp_path / "model") / "model.json").read_text(encoding="utf-8"))
        assert document["arguments"]["regularizer"] == "moments(3)"
        assert pm.load(tmp_path / "model").penalty == Moments(3)

    def test_two_arguments_come_back(self, tmp_path):
        folder = build(regularizer=Moments(4, centred=True)).save(tmp_path / "model")
        assert pm.load(folder).regularizer == "moments(4, True)"

    def test_one_that_is_not_registered_is_one_clear_error(self, tmp_path, monkeypatch):
        folder = build(regularizer="moments(3)").save(tmp_path / "model")
        monkeypatch.delitem(pm.REGULARIZERS, "moments")
        with pytest.raises(ValueError, match=r"unknown regularizer 'moments'.*polymodal.REGULARIZERS\['moments'\] ="):
            pm.load(folder)

    def test_bandwidth_belongs_to_mmd_only(self):
        with pytest.raises(ValueError, match=r"bandwidth belongs to 'mmd'; got bandwidth=2.0 .*'moments'"):
            build(regularizer="moments", bandwidth=2.0)


class TestCommandLine:
    """Both by name on the command line and in a settings file, where a program has registered them."""

    def test_train_evaluate_and_report(self, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        run = tmp_path / "run"
        settings = ["latent_dim=3", "draws=2", "epochs=1", "batch_size=16", "regularizer=moments(3)"]
        options = [part for setting in settings for part in ("--set", setting)]
        code, _, err = call(monkeypatch, capsys, "train", "noise", "--folder", run, *options)
        assert code == 0, err
        document = json.loads((run / "model" / "model.json").read_text(encoding="utf-8"))
        assert document["arguments"]["regularizer"] == "moments(3)"
        code, out, err = call(monkeypatch, capsys, "evaluate", run)
        assert code == 0, err
        assert "psnr" in out
        scores = pd.read_csv(run / "scores.csv")
        assert scores[scores["modality"] == "photo"]["metric"].unique().tolist() == ["psnr"]
        code, _, err = call(monkeypatch, capsys, "report", run)
        assert code == 0, err
        assert "psnr" in (run / "report.html").read_text(encoding="utf-8")

    def test_a_wrong_metric_is_an_error_before_the_training(self, tmp_path, monkeypatch, capsys):
        monkeypatch.delitem(pm.METRICS, "psnr")
        code, _, err = call(
            monkeypatch, capsys, "train", "noise", "--folder", tmp_path / "run", "--set", "latent_dim=3"
        )
        assert code == 2
        assert "unknown metric of 'photo' 'psnr'" in err
        assert not (tmp_path / "run").exists()

    def test_a_study(self, tmp_path):
        study = {
            "datasets": ["noise"],
            "models": {"mac-wae": None},
            "settings": {"latent_dim": 3, "draws": 2, "epochs": 1, "batch_size": 16},
            "vary": {"regularizer": ["moments(3)", "sliced"]},
            "seeds": 1,
        }
        pm.studies.compare(study, folder=tmp_path / "study", progress=False)
        scores = pd.concat(map(pd.read_csv, (tmp_path / "study" / "runs").rglob("scores.csv")))
        assert {"psnr", "acc"} == set(scores["metric"])
        models = [json.loads(path.read_text(encoding="utf-8")) for path in (tmp_path / "study").rglob("model.json")]
        assert {model["arguments"]["regularizer"] for model in models} == {"moments(3)", "sliced"}

"""A model, a modality and a data set are added by one class or function and one line in a registry."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import torch
from additions import Average, Count, registered
from torch import nn

import polymodal as pm
from polymodal.testing import check_modality, check_model

pytestmark = pytest.mark.slow

SCHEMA = pm.Schema(
    {"size": pm.Vector(2, hidden=(4,)), "kind": pm.Label(3, hidden=(4,)), "age": pm.Vector(1, hidden=())}
)
FILES = (
    "contracts/test_models.py",
    "contracts/test_modalities.py",
    "identities/test_equations.py",
    "identities/test_naive.py",
    "unit/test_settings.py",
)
"""Tests that run over registries."""


@pytest.fixture
def added():
    with registered():
        yield
    assert not {"average", "count", "visits"} & {*pm.MODELS, *pm.MODALITIES, *pm.DATASETS}


def run_command(monkeypatch, *arguments):
    """Runs the command line in this process, and returns its exit code."""
    from polymodal.cli.app import main

    monkeypatch.setattr(sys, "argv", ["polymodal", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    return stop.value.code or 0


def visitors(rows=60):
    """Rows of two columns: a count of many different values, and a kind on which it depends."""
    torch.manual_seed(0)
    kind = torch.randint(3, (rows,))
    counts = torch.poisson(9.0 * kind + 3).long().tolist()
    return pd.DataFrame({"visits": counts, "kind": [("child", "adult", "guide")[k] for k in kind]})


class TestModel:
    def test_passes_the_check_as_a_class_and_is_removed_from_the_registry(self):
        check_model(Average, SCHEMA, beta=0.5)
        assert "average" not in pm.MODELS

    def test_trains_saves_and_loads(self, added, tmp_path):
        data = pm.datasets.load("visits")
        model = pm.build("average", data.schema, latent_dim=4)
        history = pm.fit(model, data.train, data.validation, epochs=3, progress=False).history
        assert history["train/total"].iloc[-1] < history["train/total"].iloc[0]
        again = pm.load(model.save(tmp_path / "model"))
        assert isinstance(again, Average)
        assert torch.equal(again.embed(data.test), model.eval().embed(data.test))

    def test_is_named_on_the_command_line(self, added, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        command = ["train", "visits", "--model", "average", "--epochs", "1", "--folder", "run", "--set", "beta=0.5"]
        assert run_command(monkeypatch, *command) == 0, capsys.readouterr()
        assert pm.load(tmp_path / "run" / "model").arguments["beta"] == 0.5

    def test_a_broken_one_is_told_which_law_it_breaks(self):
        class Leaky(Average):
            def encode(self, batch, given=None):
                q = super().encode(batch, given)
                return type(q)(q.mean + q.mean.mean(-2, keepdim=True), q.stddev)

        with pytest.raises(
            AssertionError, match=r"'leaky' breaks a law: The code .* of a row do not depend on the other"
        ):
            check_model(Leaky, SCHEMA)


class TestModality:
    def test_passes_the_check(self, added):
        check_modality(Count(width=8))

    def test_must_be_registered(self):
        with pytest.raises(AssertionError, match=r"Count is not a registered modality"):
            check_modality(Count())

    def test_is_inferred_from_a_data_frame_on_request_only(self, added):
        frame, kinds = visitors(), [*pm.MODALITIES]
        assert isinstance(pm.Schema.infer(frame, say=None)["visits"], pm.Vector)
        said = []
        schema = pm.Schema.infer(frame, kinds=kinds, say=said.append)
        assert schema["visits"] == Count()
        assert isinstance(schema["kind"], pm.Label)
        assert "counts from" in said[0]
        assert pm.Schema.infer(frame, modalities={"visits": "count"}, say=None)["visits"] == Count()
        only = pm.Schema.infer(frame, kinds=["count"], say=said.append)
        assert [*only] == ["visits"]
        assert "no considered type (count) suits it" in said[1]

    @pytest.mark.parametrize(
        ("kinds", "message"), [(["cuont"], r"unknown modality type 'cuont'.*count"), ([], "at least one type")]
    )
    def test_unknown_kinds_are_an_error(self, added, kinds, message):
        with pytest.raises(ValueError, match=message):
            pm.Schema.infer(visitors(), kinds=kinds, say=None)

    def test_trains_imputes_saves_and_loads(self, added, tmp_path):
        frame = visitors()
        frame["visits"] = frame["visits"].astype("Int64")
        frame.loc[:9, "visits"] = None
        table = pm.Table.from_frame(frame, pm.Schema.infer(frame, kinds=[*pm.MODALITIES], say=None), say=None)
        model = pm.build("mac-wae", table.schema, latent_dim=4)
        pm.fit(model, table, table, epochs=3, progress=False)
        again = pm.load(model.save(tmp_path / "model"))
        assert again.schema == table.schema
        imputed = pm.impute(again, frame)["visits"]
        assert (imputed >= 0).all()
        assert imputed[10:].tolist() == frame["visits"][10:].tolist()

    def test_a_broken_one_is_told_which_law_it_breaks(self, registries):
        @dataclass(frozen=True)
        class Endless(Count):
            def distribution(self, parameters):
                return super().distribution(parameters / 0)

            def build_decoder(self, latent_dim):
                return self.decoder(latent_dim)

        pm.MODALITIES["endless"] = Endless
        with pytest.raises(AssertionError, match=r"Endless\(width=16\) breaks a law"):
            check_modality(Endless())

    def test_one_whose_encoder_mixes_rows_is_told_so(self, registries):
        @dataclass(frozen=True)
        class Mixed(Count):
            def encoder(self, features):
                return nn.Sequential(super().encoder(features), nn.Softmax(0))

        pm.MODALITIES["mixed"] = Mixed
        with pytest.raises(AssertionError, match=r"process each row independently of the others"):
            check_modality(Mixed())


class TestDataset:
    def test_is_loaded_by_name(self, added):
        data = pm.datasets.load("visits", seed=3)
        assert [len(data.train), len(data.validation), len(data.test)] == [60, 20, 20]

    def test_is_listed_and_trained_on(self, added, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        assert run_command(monkeypatch, "datasets") == 0
        assert "visits" in capsys.readouterr().out
        assert run_command(monkeypatch, "datasets", "visits") == 0
        assert "Numbers of visits that depend on the kind of a visitor" in capsys.readouterr().out
        assert run_command(monkeypatch, "train", "visits", "--epochs", "1", "--folder", "run") == 0
        assert [*pm.load(tmp_path / "run" / "model").schema] == ["visits", "kind"]


def test_existing_tests_pass_with_the_additions():
    """The tests over registries run on the additions, without a change to any of them."""
    here = Path(__file__).parent
    files = [str(here.parent / file) for file in FILES]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "additions", "-p", "no:cacheprovider", *files]
    path = os.pathsep.join([str(here), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [*command, "-k", "average or count or visits or without or example"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        cwd=here.parents[1],
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    for registry in ("PLAIN in tests/identities/plain_losses.py", "NAIVE in benchmarks/naive.py"):
        assert f"to {registry} for: average" in done.stdout

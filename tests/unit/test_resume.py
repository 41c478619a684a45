"""A run that was interrupted and resumed ends with the bits of one that was not."""

import json
import signal

import pandas as pd
import pytest
import torch
from conftest import EXAMPLES, draw, rows_of
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from polymodal.modalities import Label
from polymodal.models import build, load
from polymodal.schema import Schema
from polymodal.table.table import Table
from polymodal.training import Stopped, fit
from polymodal.training.records import Records

pytestmark = pytest.mark.slow

STATE = "state/state.safetensors"
ROWS, BATCH, STEPS = 24, 5, 5

SETTINGS = {
    "plain": {},
    "cosine": {"schedule": "cosine", "learning_rate_warmup": 2},
    "plateau": {"schedule": "plateau", "learning_rate": 1e-30, "epochs": 9},
    "accumulate": {"accumulate": 2, "clip": 0.5},
    "average": {"ema": 0.8, "warmup": 2},
    "patience": {"learning_rate": 0.3, "patience": 1, "epochs": 9},
    "bf16": {"precision": "bf16"},
}


class Crash(Exception):
    """Stands for anything that ends a process."""


class Rows(Table):
    """A table that breaks off, or does something else, before a step of an epoch; epoch 0 is validation's."""

    def upset(self, epoch, step, act=None):
        object.__setattr__(self, "moment", (epoch, step))
        object.__setattr__(self, "act", act)
        return self

    def batches(self, batch_size, *, seed=None, epoch=0, start=0, device=None):
        for step, batch in enumerate(
            super().batches(batch_size, seed=seed, epoch=epoch, start=start, device=device), start
        ):
            if getattr(self, "moment", None) == (epoch, step):
                if self.act is None:
                    raise Crash
                self.act()
            yield batch


@pytest.fixture
def schema():
    """With dropout, and with alternatives in the table: all that draws."""
    return Schema({"text": EXAMPLES["text"], "vector": EXAMPLES["vector"], "label": EXAMPLES["label"]}).replace(
        dropout=0.3
    )


def table(schema, seed=0):
    batch = rows_of(schema, ROWS, complete=False, seed=seed)
    captions = torch.stack([draw(schema["text"], ROWS, seed=s) for s in range(3)], dim=1)
    return Rows(batch.values, batch.observed, schema, alternatives={"text": captions})


def run(schema, folder, *, train=None, validation=None, name="mac-wae", beta=1.0, **settings):
    model = build(name, schema, latent_dim=4, draws=2, beta=beta)
    settings = {"epochs": 4, "batch_size": BATCH, "learning_rate": 1e-2, "progress": False} | settings
    train, validation = train or table(schema), validation or table(schema, seed=9)
    return model, fit(model, train, validation, folder=folder, seed=3, **settings)


def outcome(folder, model, fitted):
    """All that a run leaves, but for the seconds it took."""
    history = pd.read_csv(folder / "history.csv").drop(columns="seconds")
    with safe_open(folder / STATE, framework="pt") as file:
        document = json.loads(file.metadata()["document"])
    for row in [document, *document["history"]]:
        del row["seconds"]
    return {
        "weights": {name: value.clone() for name, value in model.state_dict().items()},
        "files": {path.name: path.read_bytes() for path in (folder / "model").iterdir()},
        "state": load_file(folder / STATE),
        "document": document,
        "history": history,
        "best": fitted.best_epoch,
    }


def assert_same(one, other):
    assert one["files"] == other["files"]
    assert one["best"] == other["best"]
    assert one["document"] == other["document"]
    pd.testing.assert_frame_equal(one["history"], other["history"], check_exact=True)
    for part in ("weights", "state"):
        assert one[part].keys() == other[part].keys()
        assert all(torch.equal(value, other[part][name]) for name, value in one[part].items()), part


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("save_every", [1, None], ids=["every update", "every epoch"])
def test_resumed_after_crashes_it_ends_with_the_same_bits(schema, tmp_path, settings, save_every):
    whole = tmp_path / "whole"
    expected = outcome(whole, *run(schema, whole, save_every=save_every, **settings))
    broken = tmp_path / "broken"
    for epoch, step in ((1, 0), (1, 3), (2, 4), (3, 1)):
        with pytest.raises(Crash):
            run(schema, broken, train=table(schema).upset(epoch, step), save_every=save_every, resume=True, **settings)
    validation = table(schema, seed=9).upset(0, 2)
    with pytest.raises(Crash):
        run(schema, broken, validation=validation, save_every=save_every, resume=True, **settings)
    resumed = run(schema, broken, save_every=save_every, resume=True, **settings)
    assert_same(outcome(broken, *resumed), expected)
    pd.testing.assert_frame_equal(
        resumed[1].history.drop(columns="seconds"), expected["history"], check_exact=True, check_dtype=False
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("where", ["training", "validation", "last step"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_signal_is_met_after_the_update_and_leaves_a_state(schema, tmp_path, number, where, accumulate):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    expected = outcome(whole, *run(schema, whole, accumulate=accumulate))
    train, validation = table(schema), table(schema, seed=9)
    if where == "validation":
        validation.upset(0, 2, lambda: signal.raise_signal(number))
    else:
        train.upset(2, 2 if where == "training" else STEPS - 1, lambda: signal.raise_signal(number))
    before = signal.getsignal(number)
    with pytest.raises(
        Stopped, match=r"to resume, call fit with the same arguments, folder='.*broken' and resume=True"
    ) as stopped:
        run(schema, broken, train=train, validation=validation, accumulate=accumulate)
    assert stopped.value.signal == number
    assert isinstance(stopped.value, KeyboardInterrupt)
    assert signal.getsignal(number) == before
    epoch, step = {"training": (2, 4 if accumulate == 2 else 3), "validation": (1, 5), "last step": (2, 5)}[where]
    assert f"stopped in epoch {epoch}, after {step} of its 5 steps" in str(stopped.value)
    assert_same(outcome(broken, *run(schema, broken, accumulate=accumulate, resume=True)), expected)


def test_a_second_signal_breaks_off_at_once_and_without_a_folder_so_does_the_first(schema, tmp_path):
    def twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as broken:
        run(schema, tmp_path / "run", train=table(schema).upset(1, 2, twice))
    assert not isinstance(broken.value, Stopped)
    with pytest.raises(KeyboardInterrupt) as broken:
        run(schema, None, train=table(schema).upset(1, 2, lambda: signal.raise_signal(signal.SIGINT)))
    assert not isinstance(broken.value, Stopped)


def test_a_signal_that_is_ignored_stays_ignored(schema, tmp_path):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        train = table(schema).upset(1, 2, lambda: signal.raise_signal(signal.SIGINT))
        assert len(run(schema, tmp_path / "run", train=train)[1].history) == 4
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_signal_at_the_end_is_not_lost(schema, tmp_path, monkeypatch):
    asked = iter([signal.SIGTERM])
    monkeypatch.setattr(Records, "publish", lambda *_: [signal.raise_signal(number) for number in asked])
    with pytest.raises(Stopped, match="training stopped at its end"):
        run(schema, tmp_path / "run", epochs=1)
    monkeypatch.undo()
    assert len(run(schema, tmp_path / "run", epochs=1, resume=True)[1].history) == 1


def test_a_finished_run_is_not_run_again_and_more_epochs_go_on(schema, tmp_path):
    folder = tmp_path / "run"
    expected = outcome(folder, *run(schema, folder))
    refuse = table(schema).upset(1, 0)
    assert_same(outcome(folder, *run(schema, folder, train=refuse, resume=True)), expected)
    longer = outcome(folder, *run(schema, folder, epochs=6, resume=True))
    assert_same(longer, outcome(tmp_path / "whole", *run(schema, tmp_path / "whole", epochs=6)))
    assert json.loads((folder / "experiment.json").read_text())["fit"]["epochs"] == 6


def test_what_people_read_is_made_anew_from_the_state(schema, tmp_path):
    folder = tmp_path / "run"
    expected = outcome(folder, *run(schema, folder))
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    (folder / "model" / "weights.safetensors").write_bytes(b"")
    (folder / "history.csv").unlink()
    (folder / ".history.csv-0123abcd.partial").write_text("half")
    (folder / "state" / ".state.safetensors-0123abcd.partial").write_text("half")
    (folder / "notes.txt").write_text("mine")
    (folder / ".backup-20240101").write_text("mine")
    assert_same(outcome(folder, *run(schema, folder, resume=True)), expected)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before | {
        "notes.txt": b"mine",
        ".backup-20240101": b"mine",
    }
    assert [path.name for path in (folder / "state").iterdir()] == ["state.safetensors"]


def test_an_early_stop_is_told_and_more_patience_goes_on(schema, tmp_path, capsys):
    folder, early = tmp_path / "run", {"learning_rate": 0.5, "patience": 1, "epochs": 12}
    stopped = len(run(schema, folder, **early)[1].history)
    assert stopped < 12
    again = run(schema, folder, resume=True, **early | {"epochs": 15, "progress": True})[1]
    assert len(again.history) == stopped
    said = capsys.readouterr().err
    assert (
        f"this run is over, after {stopped} epochs, because the best epoch is {again.best_epoch} and patience" in said
    )
    assert "going on" not in said
    longer = outcome(folder, *run(schema, folder, resume=True, **early | {"patience": None}))
    assert_same(longer, outcome(tmp_path / "whole", *run(schema, tmp_path / "whole", **early | {"patience": None})))


def test_where_the_rows_came_from_stays_noted(schema, tmp_path):
    noted = table(schema)
    object.__setattr__(noted, "source", {"dataset": "mine", "command": "demo"})
    run(schema, tmp_path / "run", train=noted, epochs=1)
    run(schema, tmp_path / "run", epochs=2, resume=True)
    data = json.loads((tmp_path / "run" / "experiment.json").read_text())["data"]
    assert (data["dataset"], data["command"]) == ("mine", "demo")


def test_a_model_without_a_state_is_not_overwritten(schema, tmp_path):
    model, _ = run(schema, None, epochs=1)
    model.save(tmp_path / "run" / "model")
    for resume in (False, True):
        with pytest.raises(ValueError, match=r"must (not contain a run|contain state/state.safetensors)"):
            run(schema, tmp_path / "run", epochs=1, resume=resume)


def test_a_buffer_may_be_infinite(schema, tmp_path):
    def masked():
        model = build("mac-wae", schema, latent_dim=4, draws=2)
        model.encoders[1].register_buffer("mask", torch.full((2, 2), -torch.inf))
        return model

    for epochs in (1, 2):
        rows = table(schema)
        fit(masked(), rows, rows, epochs=epochs, batch_size=8, folder=tmp_path / "run", resume=True, progress=False)
    assert len(pd.read_csv(tmp_path / "run" / "history.csv")) == 2


def test_numbers_of_numpy_are_numbers(schema, tmp_path):
    import numpy as np

    _, fitted = run(schema, tmp_path / "run", epochs=np.int64(2), batch_size=np.int64(BATCH))
    assert len(fitted.history) == 2
    assert json.loads((tmp_path / "run" / "experiment.json").read_text())["fit"]["epochs"] == 2


class TestAnotherExperiment:
    @pytest.fixture
    def folder(self, schema, tmp_path):
        run(schema, tmp_path / "run", epochs=1)
        return tmp_path / "run"

    def refused(self, folder, message, schema, **changes):
        before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        with pytest.raises(ValueError, match=message) as error:
            run(schema, folder, **({"epochs": 1, "resume": True} | changes))
        assert "\n" not in str(error.value)
        assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def test_epochs_of_a_decreasing_learning_rate_cannot_change(self, schema, tmp_path):
        run(schema, tmp_path / "run", epochs=1, schedule="cosine")
        message = "fit.epochs is 1 there, but 2 .*cosine.*train a new run"
        self.refused(tmp_path / "run", message, schema, epochs=2, schedule="cosine")

    def test_it_names_the_first_difference(self, schema, folder):
        self.refused(folder, "must not contain a run.*pass resume=True", schema, resume=False)
        self.refused(folder, "different experiment: fit.learning_rate is 0.01 .*0.1 ", schema, learning_rate=0.1)
        self.refused(folder, "different experiment: model.arguments.beta is 1.0 .*2.0 ", schema, beta=2.0)
        self.refused(folder, 'different experiment: model.model is "mac-wae" .*"mac-vae"', schema, name="mac-vae")
        self.refused(folder, "different experiment: data.train is", schema, train=table(schema, seed=1))
        self.refused(folder, "different experiment: data.validation is", schema, validation=table(schema))
        wider = schema.replace(cost="l2")
        self.refused(folder, "different experiment: model.schema.modalities is", wider, train=table(schema))

    def test_a_cosine_has_its_end_from_the_start(self, schema, tmp_path):
        run(schema, tmp_path / "run", epochs=2, schedule="cosine")
        self.refused(tmp_path / "run", "fit.epochs is 2 .*3 ", schema, schedule="cosine", epochs=3)

    def test_without_a_state(self, schema, folder):
        (folder / STATE).unlink()
        self.refused(folder, "must contain state/state.safetensors to be resumed", schema)


class TestDamaged:
    @pytest.fixture
    def folder(self, schema, tmp_path):
        run(schema, tmp_path / "run", epochs=1)
        return tmp_path / "run"

    def edit(self, folder, change):
        path = folder / STATE
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
        tensors, document = load_file(path), json.loads(metadata["document"])
        change(tensors, document)
        save_file(tensors, path, {"document": json.dumps(document)})

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda t, d: d.update(format=2), "must be of format 1; got 2; if it is newer, update polymodal"),
            (lambda t, d: d.pop("experiment"), "a different experiment"),
            (lambda t, d: d.pop("history"), "damaged or edited: history must be a list of numbers by name"),
            (lambda t, d: d.update(history=[{}]), "damaged or edited"),
            (lambda t, d: d.update(step="x"), "damaged or edited"),
            (lambda t, d: t.pop("random/cpu"), "damaged or edited"),
            (lambda t, d: t.pop(next(k for k in t if k.startswith("model/"))), "damaged or edited"),
            (lambda t, d: t.update({"random/cpu": torch.zeros(3, dtype=torch.uint8)}), "damaged or edited"),
            (lambda t, d: t.update({"optimizer/0/exp_avg": torch.zeros(7)}), "optimizer/0/exp_avg must be float32"),
            (lambda t, d: t.update({"optimizer/999/exp_avg": torch.zeros(7)}), "damaged or edited"),
            (lambda t, d: t.update({"optimizer/x/exp_avg": torch.zeros(7)}), "damaged or edited"),
        ],
    )
    def test_edited(self, schema, folder, change, message):
        self.edit(folder, change)
        with pytest.raises(ValueError, match=message) as error:
            run(schema, folder, epochs=2, resume=True)
        assert "\n" not in str(error.value)

    def test_truncated_or_another_file(self, schema, folder):
        whole = (folder / STATE).read_bytes()
        for content in (b"", whole[:100], whole[:-1], b"not at all"):
            (folder / STATE).write_bytes(content)
            with pytest.raises(ValueError, match="must be a safetensors file"):
                run(schema, folder, epochs=2, resume=True)

    def test_the_model_is_as_it_was(self, schema, folder):
        self.edit(folder, lambda t, d: d.pop("seconds"))
        model = build("mac-wae", schema, latent_dim=4, draws=2, beta=1.0)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        with pytest.raises(ValueError, match="damaged or edited"):
            fit(
                model,
                table(schema),
                table(schema, seed=9),
                epochs=2,
                batch_size=BATCH,
                learning_rate=1e-2,
                seed=3,
                folder=folder,
                resume=True,
                progress=False,
            )
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_an_unregistered_modality_is_refused_before_training(schema, tmp_path):
    class Kind(Label):
        """Of one's own."""

    own = Schema({"label": Kind(4), "vector": EXAMPLES["vector"]})
    batch = rows_of(own, ROWS, complete=True)
    rows = Table(batch.values, batch.observed, own)
    with pytest.raises(ValueError, match="not a registered modality"):
        fit(build("mac-wae", own, latent_dim=4), rows, rows, epochs=1, folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_average_is_what_is_saved(schema, tmp_path):
    model, _ = run(schema, tmp_path / "run", ema=0.9)
    saved = load(tmp_path / "run" / "model")
    assert all(torch.equal(value, saved.state_dict()[name]) for name, value in model.state_dict().items())

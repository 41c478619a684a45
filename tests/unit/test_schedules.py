"""What schedules, accumulation, averaging, clipping and trackers do: to weights and to what is logged."""

import math

import pytest
import torch
from conftest import EXAMPLES, rows_of

from polymodal.models import build, load
from polymodal.schema import Schema
from polymodal.table.table import Table
from polymodal.training import check_settings, fit

pytestmark = pytest.mark.slow

ROWS, BATCH, UPDATES = 24, 8, 3


@pytest.fixture
def schema():
    return Schema({"vector": EXAMPLES["vector"], "label": EXAMPLES["label"]})


def table(schema, seed=0):
    batch = rows_of(schema, ROWS, complete=True, seed=seed)
    return Table(batch.values, batch.observed, schema)


def make(schema, **arguments):
    own = {"latent_dim": 6, "draws": 2, "weights": "sum", "regularizer": "mmd", "relative": False}
    return build("mac-wae", schema, **own | {"beta": 1.0, "p0": 0.4, "skip": False} | arguments).double()


def run(schema, *, model=None, **settings):
    model = model or make(schema)
    settings = {"epochs": 4, "batch_size": BATCH, "learning_rate": 1e-2, "progress": False} | settings
    return model, fit(model, table(schema), table(schema, seed=9), **settings)


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def plain(schema, epochs, rate, *, decay=None, batch_size=BATCH, model=None):
    """The weights after each update of a loop written out with stock PyTorch; `rate` gives each update's."""
    model = (model or make(schema)).train()
    adam = torch.optim.Adam(model.parameters(), weight_decay=1e-5)
    torch.manual_seed(0)
    average, update = None, 0
    for epoch in range(1, epochs + 1):
        for batch in table(schema).batches(batch_size, seed=0, epoch=epoch):
            adam.param_groups[0]["lr"] = rate(update)
            adam.zero_grad()
            model.loss(batch).total.backward()
            adam.step()
            now, update = weights(model), update + 1
            average = now if average is None or decay is None else decay * average + (1 - decay) * now
    return average


def last_weights(schema, monkeypatch, **settings):
    """The weights after the last update, whichever epoch was the best."""
    monkeypatch.setattr("polymodal.training.run_state.Best.offer", lambda self, epoch, loss, model: self.keep(model))
    monkeypatch.setattr(
        "polymodal.training.run_state.Best.keep",
        lambda self, model: vars(self).update(weights={k: v.clone() for k, v in model.state_dict().items()}),
        raising=False,
    )
    return weights(run(schema, **settings)[0])


def cosine(update, warmup, total, peak=1e-2):
    if update < warmup:
        return peak * (update + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (update - warmup) / (total - warmup)))


class TestSchedules:
    def test_cosine_moves_the_weights_as_its_formula_says(self, schema, monkeypatch):
        ours = last_weights(schema, monkeypatch, schedule="cosine", learning_rate_warmup=1)
        by_hand = plain(schema, 4, lambda update: cosine(update, UPDATES, 4 * UPDATES))
        torch.testing.assert_close(ours, by_hand, rtol=1e-9, atol=1e-9)
        assert (ours - plain(schema, 4, lambda update: 1e-2)).abs().max() > 1e-3

    def test_constant_with_a_warmup(self, schema, monkeypatch):
        ours = last_weights(schema, monkeypatch, learning_rate_warmup=2)
        by_hand = plain(schema, 4, lambda update: 1e-2 * min(1, (update + 1) / (2 * UPDATES)))
        torch.testing.assert_close(ours, by_hand, rtol=1e-9, atol=1e-9)

    def test_the_history_has_each_epochs_last_rate(self, schema):
        _, fitted = run(schema, schedule="cosine", learning_rate_warmup=1, epochs=6)
        expected = [cosine(UPDATES * (epoch + 1) - 1, UPDATES, 6 * UPDATES) for epoch in range(6)]
        assert fitted.history["learning_rate"].tolist() == pytest.approx(expected, rel=1e-12)

    def test_cosine_is_that_of_pytorch(self, schema):
        _, fitted = run(schema, schedule="cosine", epochs=5)
        adam = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=1e-2)
        stock = torch.optim.lr_scheduler.CosineAnnealingLR(adam, T_max=5 * UPDATES)
        rates = []
        for _ in range(5 * UPDATES):
            rates.append(adam.param_groups[0]["lr"])
            adam.step()
            stock.step()
        assert fitted.history["learning_rate"].tolist() == pytest.approx(rates[UPDATES - 1 :: UPDATES], rel=1e-9)

    def test_a_plateau_halves_the_rate_after_more_than_five_epochs_without_a_better_one(self, schema):
        _, fitted = run(schema, schedule="plateau", learning_rate=1e-30, epochs=15)
        rates = fitted.history["learning_rate"].tolist()
        assert fitted.history["validation/total"].nunique() == 1
        assert rates == [1e-30] * 7 + [5e-31] * 6 + [2.5e-31] * 2

    def test_a_plateau_counts_from_the_last_better_epoch(self, schema):
        _, fitted = run(schema, schedule="plateau", learning_rate=3e-2, epochs=25)
        best, waited, rate, expected = math.inf, 0, 3e-2, []
        for loss in fitted.history["validation/total"]:
            expected.append(rate)
            best, waited = (loss, 0) if loss < best else (best, waited + 1)
            if waited > 5:
                rate, waited = rate / 2, 0
        assert fitted.history["learning_rate"].tolist() == expected
        assert len(set(expected)) > 1


class TestAccumulation:
    def sum_of_rows(self, schema):
        """A loss that is a mean over rows: every row is given all, and there is no penalty."""
        return make(schema, p0=0.0, draws=1, beta=0.0)

    @pytest.mark.parametrize(("small", "accumulate"), [(8, 3), (5, 5), (12, 2)])
    def test_it_is_a_larger_batch(self, schema, monkeypatch, small, accumulate):
        """With batches of 5 of 24 rows, the last one of an update has 4."""
        whole = last_weights(schema, monkeypatch, model=self.sum_of_rows(schema), batch_size=ROWS)
        parts = last_weights(
            schema, monkeypatch, model=self.sum_of_rows(schema), batch_size=small, accumulate=accumulate
        )
        torch.testing.assert_close(parts, whole, rtol=1e-9, atol=1e-9)

    def test_what_is_left_of_an_epoch_is_an_update_too(self, schema, monkeypatch):
        """Three batches, two per update: 16 rows, then 8."""
        ours = last_weights(schema, monkeypatch, model=self.sum_of_rows(schema), accumulate=2, epochs=1)
        model = self.sum_of_rows(schema).train()
        adam = torch.optim.Adam(model.parameters(), lr=1e-2, weight_decay=1e-5)
        rows = torch.cat([batch.values["vector"] for batch in table(schema).batches(BATCH, seed=0, epoch=1)])
        labels = torch.cat([batch.values["label"] for batch in table(schema).batches(BATCH, seed=0, epoch=1)])
        for part in (slice(0, 16), slice(16, 24)):
            adam.zero_grad()
            model.loss(schema.batch({"vector": rows[part], "label": labels[part]})).total.backward()
            adam.step()
        torch.testing.assert_close(ours, weights(model), rtol=1e-9, atol=1e-9)

    def test_the_gradient_is_clipped_once_it_is_whole(self, schema, monkeypatch):
        norms = []
        clip = torch.nn.utils.clip_grad_norm_
        monkeypatch.setattr(
            torch.nn.utils,
            "clip_grad_norm_",
            lambda parameters, *arguments, **named: norms.append(clip(parameters, *arguments, **named)),
        )
        run(schema, accumulate=3, clip=0.1, epochs=2)
        assert len(norms) == 2


class TestAverage:
    def test_it_is_the_moving_average_of_the_weights_after_each_update(self, schema, monkeypatch):
        ours = last_weights(schema, monkeypatch, ema=0.7)
        torch.testing.assert_close(ours, plain(schema, 4, lambda update: 1e-2, decay=0.7), rtol=1e-9, atol=1e-9)
        assert (ours - plain(schema, 4, lambda update: 1e-2)).abs().max() > 1e-3

    def test_it_is_what_is_validated_and_saved_and_it_does_not_change_the_training(self, schema, tmp_path):
        model, fitted = run(schema, ema=0.7, folder=tmp_path / "run")
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(0)
            parts = [(float(model.loss(b).total), len(b)) for b in table(schema, seed=9).batches(BATCH)]
        by_hand = sum(loss * n for loss, n in parts) / ROWS
        assert fitted.history["validation/total"].min() == pytest.approx(by_hand, rel=1e-6)
        assert torch.equal(weights(load(tmp_path / "run" / "model")), weights(model))
        columns = fitted.history.filter(like="train/").columns
        _, without = run(schema)
        assert fitted.history[columns].equals(without.history[columns])

    def test_its_buffers_are_the_models(self, schema):
        model = make(schema, weights="balanced")
        run(schema, model=model, ema=0.7)
        assert bool(model.weighed)
        assert model.weight.tolist() != [1, 1]


def test_clipping_at_next_to_nothing_freezes_the_weights(schema, monkeypatch):
    before = weights(make(schema))
    clipped = last_weights(schema, monkeypatch, clip=1e-12, weight_decay=0.0)
    assert (clipped - before).abs().max() < 1e-4
    assert (last_weights(schema, monkeypatch, weight_decay=0.0) - before).abs().max() > 1e-2


class TestTrackers:
    def scalars(self, folder):
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(folder)).Reload()
        return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}

    def test_tensorboard_gets_the_history_under_its_names(self, schema, tmp_path):
        _, fitted = run(schema, folder=tmp_path / "run", trackers=["tensorboard"])
        seen = self.scalars(tmp_path / "run" / "logs" / "polymodal")
        assert set(seen) == {*fitted.history.columns} - {"epoch"}
        for name in ("train/total", "validation/total", "validation/cost/label", "learning_rate"):
            assert [step for step, _ in seen[name]] == [1, 2, 3, 4]
            assert [value for _, value in seen[name]] == pytest.approx(fitted.history[name].tolist(), rel=1e-6)

    def test_a_resumed_run_goes_on_in_the_same_log(self, schema, tmp_path):
        run(schema, folder=tmp_path / "run", trackers=["tensorboard"], epochs=2)
        run(schema, folder=tmp_path / "run", trackers=["tensorboard"], resume=True)
        seen = self.scalars(tmp_path / "run" / "logs" / "polymodal")
        assert [step for step, _ in seen["validation/total"]] == [1, 2, 3, 4]

    def test_a_tracker_that_is_unknown_or_missing_is_refused(self, schema, monkeypatch, tmp_path):
        with pytest.raises(ValueError, match="unknown tracker 'tensorbord'; known are tensorboard"):
            check_settings(trackers=["tensorbord"])
        with pytest.raises(ValueError, match=r"write \['tensorboard'\]"):
            check_settings(trackers="tensorboard")
        monkeypatch.setattr("accelerate.tracking._available_trackers", [])
        with pytest.raises(ValueError, match=r"tensorboard.*not installed.*pip install tensorboard"):
            run(schema, trackers=["tensorboard"], folder=tmp_path)
        with pytest.raises(ValueError, match="trackers needs a run folder"):
            run(schema, trackers=["tensorboard"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"schedule": "cosin"}, "schedule of fit must be 'constant', 'cosine', 'plateau'; got 'cosin'"),
        ({"schedule": "plateau", "learning_rate_warmup": 1}, "learning_rate_warmup must be 0 .*'plateau'; got 1"),
        ({"accumulate": 0}, "accumulate must be positive"),
        ({"ema": 1.0}, "ema must be between 0 and 1"),
        ({"save_every": 3}, "save_every needs a run folder"),
        ({"resume": True}, "resume needs a run folder"),
        ({"learning_rate_warmup": -1}, "learning_rate_warmup must be at least 0 .*-1"),
        ({"learning_rate_warmup": 5}, "learning_rate_warmup must be at most epochs .*got 5"),
        ({"seed": -1}, "seed must be at least 0 .*-1"),
        ({"learning_rate": "fast"}, "learning_rate of fit must be float; got 'fast'"),
    ],
)
def test_out_of_range(schema, settings, message):
    with pytest.raises(ValueError, match=message):
        run(schema, **settings)

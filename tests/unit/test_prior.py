"""The flow over codes as the second phase of training, and what is sampled by it."""

import os
import signal
from collections import Counter
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import EXAMPLES, rows_of
from safetensors.torch import load_file
from scipy.stats import ttest_rel

import polymodal as pm
from polymodal.inference.passes import encode_distinct
from polymodal.inference.streaming import translate_samples
from polymodal.io.checkpoint import read_json
from polymodal.modalities import Image, Label, Text, Vector
from polymodal.models import MODELS, build, load
from polymodal.networks import CodeFlow
from polymodal.report import write
from polymodal.schema import Schema
from polymodal.table.table import Table
from polymodal.training import Stopped, fit, prior, prior_features
from polymodal.training.display import TrainingProgress
from polymodal.training.prior import PriorTraining, count_prior_epochs

pytestmark = pytest.mark.slow

SCHEMA = Schema({"text": EXAMPLES["text"], "vector": EXAMPLES["vector"], "label": EXAMPLES["label"]})
NAMES = ["mac-wae", "m-wae", "mac-vae"]


@pytest.fixture(autouse=True, scope="module")
def small():
    """A small network for the flow, so that the tests are fast."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("polymodal.models.execution.CodeFlow", partial(CodeFlow, width=32, layers=2))
        yield


def table(rows=40, seed=0, *, complete=False):
    batch = rows_of(SCHEMA, rows, complete=complete, seed=seed)
    return Table(batch.values, batch.observed, SCHEMA)


def train(name="mac-wae", model=None, prior="flow", **settings):
    if model is None:
        model = build(name, SCHEMA, latent_dim=4, draws=2, hidden=[16], prior=prior)
    settings = {"epochs": 2, "batch_size": 8, "prior_epochs": 12, "seed": 3, "progress": False} | settings
    return model, fit(model, table(), table(20, seed=9), **settings)


@pytest.fixture(scope="module")
def trained():
    return train(epochs=2, prior_epochs=25)[0]


def same(one, other):
    one, other = (part if isinstance(part, dict) else part.state_dict() for part in (one, other))
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("name", NAMES)
def test_the_flow_changes_nothing_of_the_autoencoder(name):
    (model, fitted), (plain, other) = train(name), train(name, prior="normal")
    weights = {key: value for key, value in model.state_dict().items() if not key.startswith("flow.")}
    assert same(weights, plain)
    assert len(model.state_dict()) > len(weights)
    drop = {"columns": "seconds"}
    pd.testing.assert_frame_equal(fitted.history.drop(**drop), other.history.drop(**drop), check_exact=True)
    rows = table(7)[:]
    expected = plain.translate(rows)
    assert all(torch.equal(value, expected[key]) for key, value in model.translate(rows).items())
    rows = table(7, complete=True)[:]
    assert torch.equal(model.embed(rows, ["vector"]), plain.embed(rows, ["vector"]))


@pytest.mark.parametrize("name", NAMES)
def test_training_the_prior_alone_gives_the_flow_of_both_phases(name, tmp_path):
    (model, fitted), (later, _) = train(name), train(name, prior="normal")
    torch.manual_seed(5)
    _, alone = train(model=later, only="prior")
    assert same(model, later)
    assert alone.history.empty
    assert alone.prior_history["prior/validation"].tolist() == fitted.prior_history["prior/validation"].tolist()
    assert "prior='flow'" in repr(later)


def test_the_loss_of_the_flow_falls_on_rows_that_it_was_not_trained_on():
    model = build("mac-wae", SCHEMA, latent_dim=4, draws=2, hidden=[16], prior="flow")
    settings = {"epochs": 2, "batch_size": 8, "prior_epochs": 60, "seed": 3, "progress": False}
    losses = fit(model, table(200), table(100, seed=9), **settings).prior_history["prior/validation"]
    assert losses.min() < 0.8 * losses.iloc[0]


@pytest.mark.parametrize("name", NAMES)
def test_saved_and_loaded_it_samples_the_same(name, tmp_path):
    model, _ = train(name)
    again = load(model.save(tmp_path / "model"))
    assert same(model, again)
    assert not again.deterministic
    for one, other in zip(model.sample(5, seed=1).values(), again.sample(5, seed=1).values(), strict=True):
        assert torch.equal(one, other)


def test_a_model_that_was_saved_without_a_flow_loads_as_before_and_can_get_one(tmp_path):
    model, _ = train(prior="normal")
    folder = model.save(tmp_path / "model")
    document = read_json(folder / "model.json")
    del document["arguments"]["prior"]  # as before there was a choice
    (folder / "model.json").write_text(pm.io.checkpoint.to_json(document))
    old = load(folder)
    assert same(model, old)
    assert old.deterministic
    with pytest.raises(ValueError, match=r"deterministic.*only='prior'"):
        old.translate(table(4)[:], samples=2)
    train(model=old, only="prior")
    assert old.translate(table(4)[:], samples=2)["label"].shape == (2, 4)


@pytest.mark.parametrize(("code", "width"), [(2, 128), (32, 256), (64, 512), (500, 512)])
def test_longer_codes_have_a_wider_flow(code, width):
    assert CodeFlow(code, 2).width == width


EARLIER = {"layers": 4, "sigma": 0.5, "context": 0, "frequencies": 32}
TODAY = {"width": 24, "layers": 2, "sigma": 0.7, "context": 8, "frequencies": 5}


@pytest.mark.parametrize(
    ("sizes", "written"),
    [
        (TODAY, TODAY),
        ({**EARLIER, "width": 24}, {"width": 24}),
        ({**EARLIER, "width": 24, "context": 8}, {"width": 24, "context": 8}),
        ({**EARLIER, "width": 512}, True),
    ],
    ids=["today", "before the layers knew what is given", "before layers and noise could differ", "before all sizes"],
)
def test_a_flow_loads_as_it_was_saved_today_and_before(sizes, written, tmp_path):
    model = build("mac-wae", SCHEMA, latent_dim=4)
    model.make_flow(**sizes)
    folder = model.save(tmp_path / "model")
    document = read_json(folder / "model.json")
    assert document["flow"] == sizes
    (folder / "model.json").write_text(pm.io.checkpoint.to_json({**document, "flow": written}))
    old = load(folder)
    assert same(model, old)
    assert old.flow.sizes == sizes


@pytest.mark.parametrize(
    "flow",
    [
        {"width": "8"},
        {"width": -1},
        {"widht": 8},
        {"width": 10**12},
        {"layers": 4},
        {"layers": 10**9},
        {"width": 8, "context": -1},
        {"sigma": 0},
        {"sigma": "1"},
        {"frequencies": 0},
        {"frequencies": 10**9},
        8,
    ],
)
def test_a_damaged_flow_in_a_file_is_refused(flow, tmp_path):
    folder = train()[0].save(tmp_path / "model")
    document = {**read_json(folder / "model.json"), "flow": flow}
    (folder / "model.json").write_text(pm.io.checkpoint.to_json(document))
    with pytest.raises(ValueError, match=r"model\.json|weights\.safetensors"):
        load(folder)


def test_a_flow_in_a_file_must_be_of_a_model_that_can_have_one(tmp_path):
    folder = build("mvae", SCHEMA, latent_dim=4).save(tmp_path / "model")
    document = {**read_json(folder / "model.json"), "flow": True}
    (folder / "model.json").write_text(pm.io.checkpoint.to_json(document))
    with pytest.raises(ValueError, match="only mac-wae, m-wae and mac-vae"):
        load(folder)


@pytest.mark.parametrize("name", sorted({*MODELS} - {*NAMES}))
def test_other_models_refuse_a_prior_alone(name):
    with pytest.raises(ValueError, match=f"flow; got {name}"):
        fit(build(name, SCHEMA, latent_dim=4), table(complete=True), table(complete=True), only="prior")


class Interrupted(TrainingProgress):
    """Sends a signal after so many steps in all."""

    after = 0

    def advance(self):
        super().advance()
        type(self).after -= 1
        if not self.after:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("after", [3, 10, 11, 16, 22])  # two epochs of 5 steps, then 12 of the flow
def test_interrupted_in_either_phase_it_ends_with_the_same_bits(after, tmp_path, monkeypatch):
    monkeypatch.setattr("polymodal.training.prior.PATIENCE", 12)  # all steps are taken
    model, fitted = train(folder=tmp_path / "whole")
    monkeypatch.setattr("polymodal.training.run_setup.TrainingProgress", Interrupted)
    monkeypatch.setattr(Interrupted, "after", after)
    with pytest.raises(Stopped, match="prior" if after > 10 else "training stopped"):
        train(folder=tmp_path / "run")
    monkeypatch.setattr(Interrupted, "after", 0)
    again, other = train(folder=tmp_path / "run", resume=True)
    assert same(model, again)
    assert same(
        load_file(tmp_path / "whole/state/state.safetensors"), load_file(tmp_path / "run/state/state.safetensors")
    )
    for file in ("model/model.json", "model/weights.safetensors"):
        assert (tmp_path / "run" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
    drop = {"columns": "seconds"}
    pd.testing.assert_frame_equal(fitted.prior_history.drop(**drop), other.prior_history.drop(**drop))
    written = pd.read_csv(tmp_path / "run/prior_history.csv")
    assert [*written] == ["epoch", "seconds", "learning_rate", "prior/train", "prior/validation"]


def test_a_run_that_is_over_goes_on_with_more_epochs_and_trains_the_flow_again(tmp_path):
    train(folder=tmp_path / "run")
    again, _ = train(folder=tmp_path / "run", resume=True)  # over: nothing changes
    assert same(load(tmp_path / "run/model"), again)
    longer, _ = train(folder=tmp_path / "run", resume=True, epochs=3)
    assert same(longer, train(epochs=3)[0])


def test_a_damaged_state_of_the_prior_is_refused(tmp_path):
    train(folder=tmp_path / "run")
    path = tmp_path / "run/state/state.safetensors"
    tensors, document = pm.io.checkpoint.read_state(path)
    for spoil in ({"step": -1}, {"step": 10**6}, {"history": "none"}, {"worse": -1}, {"worse": None}):
        pm.io.checkpoint.write_state(path, tensors, {**document, "prior": {**document["prior"], **spoil}})
        with pytest.raises(ValueError, match=r"is damaged or edited: .*(step|list|worse)"):
            train(folder=tmp_path / "run", resume=True)
    pm.io.checkpoint.write_state(path, {k: v for k, v in tensors.items() if k != "prior/best/mean"}, document)
    with pytest.raises(ValueError, match="prior/best/mean"):
        train(folder=tmp_path / "run", resume=True)


def test_features_in_a_file_give_the_same_flow(monkeypatch):
    expected = train()[0]
    monkeypatch.setattr(prior_features, "measure_free_memory", lambda device: 0)
    assert same(expected, train()[0])


def test_training_further_is_as_without_an_earlier_flow():
    (model, _), (plain, _) = train(), train(prior="normal")
    assert same(train(model=model, epochs=1)[0], train(model=reuse(plain), epochs=1)[0])


def reuse(model):
    """The same model, but that `fit` trains a flow."""
    model.enable_flow()
    return model


def test_what_is_refused_leaves_the_flow_as_it_was(tmp_path):
    model, _ = train(folder=tmp_path / "run")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match="must not contain a run"):
        train(model=model, folder=tmp_path / "run")
    assert same(before, model)


def test_unconditional_samples_are_scored_from_the_normal_prior_as_well():
    model, tasks = train()[0], ["coherence", "generation"]
    rows = table(60, complete=True)
    scores = pm.evaluate(model, rows, tasks=tasks, train=rows)
    of = {given: part.reset_index(drop=True) for given, part in scores.groupby("given")}
    model.drop_flow()
    plain = pm.evaluate(model, rows, tasks=tasks, train=rows)
    assert "nothing, normal prior" not in set(plain["given"])
    expected = plain[plain["given"] == "nothing"].reset_index(drop=True)
    found = of["nothing, normal prior"].assign(given="nothing")
    pd.testing.assert_frame_equal(found, expected, check_exact=True)
    assert len(of["nothing"]) == len(expected)
    assert not of["nothing"]["value"].equals(expected["value"])


def test_codes_sampled_by_a_flow_have_no_bound():
    model, _ = train("mac-vae")
    assert not pm.evaluate(model, table(20), tasks=["likelihood", "one-to-one"])["task"].eq("likelihood").any()
    with pytest.raises(ValueError, match="likelihood with a density"):
        pm.evaluate(model, table(20), tasks=["likelihood"])


def test_a_sample_depends_on_its_seed_and_its_row_alone(trained):
    rows = table(9, complete=True)
    whole = trained.translate(rows[:], ["vector"], samples=4, seed=7)
    part = trained.translate(rows[3:6], ["vector"], samples=2, seed=7, rows=[3, 4, 5])
    for name, value in part.items():
        torch.testing.assert_close(value, whole[name][:2, 3:6])
    other = trained.translate(rows[:], ["vector"], samples=4, seed=8)
    assert not torch.equal(other["vector"], whole["vector"])
    before = torch.get_rng_state()
    trained.translate(rows[:], ["vector"], samples=4, seed=7)
    trained.sample(3, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(0)
    one = trained.sample(3)
    torch.manual_seed(0)
    assert torch.equal(trained.sample(3)["vector"], one["vector"])
    torch.testing.assert_close(trained.sample(3, seed=1)["vector"], trained.sample(5, seed=1)["vector"][:3])


def test_samples_of_a_table_do_not_depend_on_its_batches(trained):
    rows = table(23, seed=4)
    some = (rows.observed & SCHEMA.mask(["text", "label"])).any(1).nonzero()[:, 0]
    assert 0 < len(some) < 23
    options = {"samples": 3, "seed": 2, "steps": 4}
    expected = trained.translate(rows[some], ["text", "label"], ["vector"], rows=some.tolist(), **options)
    for batch_size in (5, 23):
        parts = list(translate_samples(trained, rows, ["text", "label"], ["vector"], batch_size, **options))
        assert torch.cat([numbers for numbers, _ in parts]).equal(some)
        made = torch.cat([values["vector"] for _, values in parts], dim=1)
        torch.testing.assert_close(made, expected["vector"], rtol=1e-4, atol=1e-5)
    rest = Table(rows[10:].values, rows[10:].observed, SCHEMA)
    later = [*translate_samples(trained, rest, ["text", "label"], ["vector"], first=10, **options)]
    torch.testing.assert_close(later[0][1]["vector"], expected["vector"][:, some >= 10], rtol=1e-4, atol=1e-5)
    ((numbers, one),) = translate_samples(
        trained, rows, ["label"], ["vector"], rows=some[:2], combine="mean", **options
    )
    assert one["vector"].shape == (len(numbers), *SCHEMA["vector"].shape)


def test_batches_without_what_is_given_are_left_out_of_samples():
    values, observed = rows_of(SCHEMA, 8, complete=True).values, torch.ones(8, 3, dtype=torch.bool)
    observed[:5, 0] = False
    rows, model = Table(values, observed, SCHEMA), build("mac-vae", SCHEMA, latent_dim=4)
    parts = translate_samples(model, rows, ["text"], ["label"], 4, samples=2)
    assert [numbers.tolist() for numbers, _ in parts] == [[5, 6, 7]]
    with pytest.raises(ValueError, match="seed must be"):
        next(translate_samples(model, rows, ["text"], samples=2, seed=-1))


def test_conditionings_share_a_rows_noise(trained):
    rows = table(5, complete=True)[:]
    given = torch.tensor([[[True, False, False]], [[False, True, True]]])
    both = trained.encode(rows, given).draw([3], seed=2)
    assert both.shape == (3, 2, 5, 4)
    for place in range(2):
        torch.testing.assert_close(both[:, place], trained.encode(rows, given[place]).draw([3], seed=2))


def test_samples_combined(trained):
    rows = table(5, complete=True)[:]
    samples = trained.translate(rows, ["vector"], samples=9, seed=1)
    combined = trained.translate(rows, ["vector"], samples=9, seed=1, combine="mean")
    torch.testing.assert_close(combined["vector"], samples["vector"].mean(0))
    for row in range(5):
        counts = Counter(samples["label"][:, row].tolist())
        assert counts[int(combined["label"][row])] == max(counts.values())
        assert combined["text"][row].tolist() in samples["text"][:, row].tolist()


def test_the_text_that_shares_most_tokens():
    samples = torch.tensor([[[1, 2, 3]], [[1, 2, 4]], [[1, 5, 4]], [[6, 6, 6]]])
    assert Text(3, tuple("abcdef")).combine(samples).tolist() == [[1, 2, 4]]
    assert Image(1, 2, 2).combine(torch.stack([torch.zeros(3, 1, 2, 2), torch.ones(3, 1, 2, 2)])).unique() == 0.5
    assert Label(2).combine(torch.tensor([[1], [0], [1]])).tolist() == [1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"samples": 0}, "samples must be at least 1"),
        ({"samples": 2, "combine": "median"}, "combine must be 'mean'"),
        ({"combine": "mean"}, "samples is None"),
        ({"seed": 1}, "samples is None"),
        ({"samples": 2, "steps": 0}, "steps must be in 1"),
        ({"samples": 2, "seed": -1}, "seed must be at least 0"),
        ({"samples": 2, "guidance": -1.0}, "guidance must be finite"),
        ({"samples": 2, "guidance": float("nan")}, "guidance must be finite"),
        ({"samples": 2, "temperature": -0.5}, "temperature must be finite"),
        ({"temperature": 0.5}, "temperature concern posterior samples"),
    ],
)
def test_arguments_out_of_range(trained, arguments, message):
    with pytest.raises(ValueError, match=message):
        trained.translate(table(4)[:], **arguments)


def test_options_of_a_flow_are_refused_by_a_model_without_one():
    model = build("mvae", SCHEMA, latent_dim=4)
    with pytest.raises(ValueError, match="steps belong to a model that samples its codes by a flow"):
        model.translate(table(4)[:], samples=2, steps=3)
    one, other = (model.translate(table(4)[:], samples=2, seed=3) for _ in range(2))
    assert torch.equal(one["vector"], other["vector"])


def test_clearly_higher_losses_are_more_than_two_standard_errors_above_those_of_the_same_rows():
    torch.manual_seed(0)
    before = torch.rand(50, dtype=torch.float64)
    for shift in (-0.1, 0.0, 0.005, 0.01, 0.02, 0.1):
        after = before + shift + 0.05 * torch.randn(50, dtype=torch.float64)
        assert prior._is_clearly_higher(after, before) == (ttest_rel(after, before).statistic > prior.CLEARLY)
    assert not prior._is_clearly_higher(before, before)
    assert not prior._is_clearly_higher(before, torch.full_like(before, float("inf")))  # the first round
    assert not prior._is_clearly_higher(before[:1] + 1, before[:1])  # one row tells nothing


@pytest.mark.parametrize(
    ("higher", "ends", "kept"),
    [
        ([0.0] * 20, 20, 20),
        ([0.0, -0.1, *[0.2] * 18], 7, 2),  # five rounds that are clearly worse than the second
        ([0.0, -0.1, *[0.2] * 4, -0.1, *[0.2] * 13], 12, 7),  # one that is not, in time
        ([0.0, -0.1, *[-0.099, -0.101] * 9], 20, 20),  # differences by chance
    ],
    ids=["equal", "overfitting", "recovered", "chance"],
)
def test_the_flow_stops_where_it_clearly_overfits_and_keeps_the_last_round_that_does_not(
    higher, ends, kept, monkeypatch
):
    seen = []

    def validate(self):
        chance = 0.05 * torch.randn(20, generator=torch.Generator().manual_seed(len(seen)), dtype=torch.float64)
        seen.append({name: tensor.clone() for name, tensor in self.average.state_dict().items()})
        return 1 + higher[len(seen) - 1] + chance

    monkeypatch.setattr(PriorTraining, "_validate", validate)
    model, fitted = train(prior_epochs=40)
    assert len(seen) == len(fitted.prior_history) == ends
    assert same(model.flow, seen[kept - 1])
    assert not same(model.flow, seen[kept - 2])


def test_how_long_the_flow_is_trained_by_default(monkeypatch):
    monkeypatch.setattr("polymodal.training.prior.PATIENCE", 12)
    rows = table(600, complete=True)
    model = build("mac-wae", SCHEMA, latent_dim=4, draws=1, prior="flow")
    fitted = fit(model, rows, table(20), epochs=1, batch_size=100, progress=False)
    assert fitted.prior_history["epoch"].iloc[-1] == count_prior_epochs(600, 6) == 8


def test_what_incomplete_rows_teach():
    """A row whose mask observes all that it has trains the unconditional distribution; a complete row does not."""
    seen = []

    class Spy(torch.nn.Module):
        def loss(self, w, c, b, noise, t):
            seen.append(b)
            return w.sum(-1)

    model, _ = train(prior="normal")
    training = PriorTraining(model, table(200), table(20), epochs=1, seed=0, device=torch.device("cpu"))
    features = training.train
    for place in range(20):
        training._losses(Spy(), features, torch.arange(200), slice(0, 200), place)
    given, observed = torch.stack(seen), table(200).observed
    complete = observed.all(1)
    assert not ((given == observed) & given.any(-1, keepdim=True)).all(-1)[:, ~complete].any()
    assert not (given & ~observed).any()
    never = ~given.any(-1).any(0)
    single = observed.sum(1) == 1
    assert 0 < single.sum() < 200
    assert (~given.any(-1))[:, single].all()
    assert not never[observed.sum(1) > 1].any()


def test_imputations_differ_as_the_model_is_uncertain():
    schema = Schema({"size": Vector(1), "kind": Label(3, names=("a", "b", "c"))})
    frame = pd.DataFrame({"size": [0.5, None, 1.5, None] * 10, "kind": ["a", "b", None, "c"] * 10})
    data = Table.from_frame(frame, schema, say=None)
    model = build("mac-wae", data.schema, latent_dim=3, draws=2, hidden=[16], prior="flow")
    fit(model, data, data, epochs=3, prior_epochs=30, batch_size=8, progress=False)
    several = pm.impute(model, frame, imputations=4, seed=1)
    assert len(several) == 4
    holes = frame["size"].isna()
    sizes = np.stack([one["size"].to_numpy() for one in several])
    assert (sizes[:, ~holes] == frame["size"][~holes].to_numpy()).all()
    assert sizes[:, holes].std(0).min() > 0
    again = pm.impute(model, frame, imputations=2, seed=1, batch_size=7)
    np.testing.assert_allclose(again[1]["size"], several[1]["size"], rtol=1e-4)
    assert pm.impute(model, frame, sure=True)["size_sure"][holes].min() > 0
    with pytest.raises(ValueError, match="at least 1"):
        pm.impute(model, frame, imputations=0)
    plain = build("mac-wae", data.schema, latent_dim=3, prior="normal")
    with pytest.raises(ValueError, match="one code per row"):
        pm.impute(plain, frame, imputations=2)


def test_batches_that_ask_for_point_predictions_do_not_sample(trained, monkeypatch):
    monkeypatch.setattr(type(trained.flow), "velocity", None)
    z, _ = encode_distinct(trained, table(6)[:], torch.eye(3).bool())
    assert z.shape[-1] == 4


def test_mixed_precision_trains_the_flow_too():
    losses = train(precision="bf16")[1].prior_history["prior/validation"]
    assert losses.notna().all()


def test_the_report_shows_the_loss_of_the_flow(tmp_path):
    model, fitted = train()
    path = write(tmp_path / "report.html", model, table(6), history=fitted.history, prior_history=fitted.prior_history)
    page = path.read_text(encoding="utf-8")
    best = fitted.prior_history.set_index("epoch")["prior/validation"].idxmin()
    assert "loss of the flow" in page
    assert f"epoch {best:.3g} has its lowest validation loss" in page


def test_a_settled_run_folder_has_the_model_with_its_flow(tmp_path):
    model, _ = train(folder=tmp_path / "run")
    assert same(load(tmp_path / "run/model"), model)
    assert read_json(tmp_path / "run/model/model.json")["flow"] == {
        "width": 32,
        "layers": 2,
        "sigma": 1.0,
        "context": 64,
        "frequencies": 8,
    }

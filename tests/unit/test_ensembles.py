"""An ensemble is one model: the mixture of its members, each of which is trained as it would be alone."""

import json
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import rows_of
from torch.distributions import Bernoulli, Categorical, Independent, Normal

import polymodal as pm
from polymodal.evaluation import TASKS
from polymodal.evaluation.likelihood import estimate_log_likelihood, has_density
from polymodal.modalities import Audio, Image, Label, Text, Vector
from polymodal.models import MODELS, Ensemble, build, load
from polymodal.models.ensemble_codes import mix_predictions
from polymodal.objectives.regularizers import Regularizer
from polymodal.schema import Schema
from polymodal.table.table import Table
from polymodal.training import fit

MEMBERS = 3
SMALL = Schema({"a": Vector(2, hidden=(6,)), "b": Label(3, hidden=(6,)), "c": Vector(1, hidden=(6,))})
TINY = {"latent_dim": 4, "hidden": (8,), "draws": 3}


@dataclass(frozen=True)
class Square(Regularizer):
    """A penalty without random numbers."""

    def __call__(self, posterior, z, prior):
        return z.square().mean((-2, -1))


def alike(name="mac-wae", schema=SMALL, **arguments):
    """An ensemble of equal members, and the model that they equal."""
    one = build(name, schema, latent_dim=4, **arguments).double().eval()
    many = build(name, schema, latent_dim=4, members=MEMBERS, **arguments).double().eval()
    many.load_state_dict(
        {
            key: value if key in ("weight", "weighed") else value.expand(MEMBERS, *value.shape)
            for key, value in one.state_dict().items()
        }
    )
    return one, many


def table_of(schema=SMALL, rows=24, **options):
    batch = rows_of(schema, rows, complete=False, **options)
    return Table(batch.values, batch.observed, schema)


def member_of(model, number):
    """The weights of a member, as those of a model."""
    return {k: v if k in ("weight", "weighed") else v[number] for k, v in model.state_dict().items()}


def test_the_first_member_is_the_model_without_members():
    one, many = build("mac-wae", SMALL, seed=3, **TINY), build("mac-wae", SMALL, seed=3, members=2, **TINY)
    assert type(build("mac-wae", SMALL, members=1, **TINY)) is type(one)
    assert one.state_dict().keys() == many.state_dict().keys()
    for key, value in one.state_dict().items():
        assert torch.equal(member_of(many, 0)[key], value)
    assert not torch.equal(member_of(many, 1)["joint.first.weight"], one.joint.first.weight)


@pytest.mark.parametrize("name", ["mac-wae", "mac-vae", "mopoe", "nexus"])
def test_equal_members_predict_as_one(name, schema):
    one, many = alike(name, schema)
    batch = rows_of(schema, 5, complete=False)
    assert torch.allclose(many.embed(batch), one.embed(batch).repeat(1, MEMBERS))
    for key, value in one.translate(batch).items():
        assert torch.allclose(many.translate(batch)[key].double(), value.double(), atol=1e-9)
    predicted = many.predict(batch)
    x = schema.hide(batch, torch.float64)
    for key, distribution in one.predict(batch).items():
        assert predicted[key].batch_shape == distribution.batch_shape
        assert predicted[key].event_shape == distribution.event_shape
        has = batch.observed[:, schema.index(key)]
        truth = x[key].clamp(min=0)
        assert torch.allclose(predicted[key].log_prob(truth)[has], distribution.log_prob(truth)[has])
        if schema[key].levels is None:
            assert torch.allclose(predicted[key].variance, distribution.variance)


def test_equal_members_have_the_likelihood_of_one():
    one, many = alike("mac-vae")
    assert has_density(many)
    table = table_of()
    bounds = [estimate_log_likelihood(model, table, draws=12, seed=1) for model in (one, many)]
    assert bounds[0] == pytest.approx(bounds[1], rel=1e-9)


def test_the_likelihood_of_an_ensemble_is_that_of_the_mixture():
    many = build("mac-vae", SMALL, members=2, latent_dim=4).double().eval()
    table = table_of(rows=3)
    with torch.no_grad():
        singles = []
        for number in range(2):
            single = build("mac-vae", SMALL, latent_dim=4).double().eval()
            single.load_state_dict(member_of(many, number))
            singles.append(single)
        found, _ = estimate_log_likelihood(many, table, draws=20_000)
        rows = []
        for row in range(3):
            batch = table[[row]]
            some = Table(batch.values, batch.observed, SMALL)
            logs = [estimate_log_likelihood(single, some, draws=20_000)[0] for single in singles]
            rows.append(np.logaddexp(*logs) - np.log(2))
    assert found == pytest.approx(np.mean(rows), abs=0.02)


def test_deterministic_members_have_no_likelihood():
    assert not has_density(build("mac-wae", SMALL, members=2, reconstruction="likelihood", **TINY))


def test_equal_members_impute_as_one():
    frame = make_frame()
    table = pm.Table.from_frame(frame, say=None)
    one, many = alike(schema=table.schema)
    whole = pm.impute(one, frame, say=None)
    made = pm.impute(many, frame, sure=True, say=None)
    pd.testing.assert_frame_equal(made[[*whole]], whole, rtol=1e-9)
    assert made["grams_sure"].dropna().abs().max() < 1e-9
    assert made["grams_sure"].notna().sum() == frame["grams"].isna().sum()


def make_frame(rows=40):
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "grams": random.normal(100, 20, rows).round(2),
            "kind": random.choice(["owl", "emu", "hen"], rows),
            "metres": random.normal(3, 1, rows).round(3),
        }
    )
    for column in ("grams", "kind"):
        frame.loc[random.random(rows) < 0.3, column] = None
    return frame


def test_the_certainty_of_numbers_is_their_deviation_over_members():
    frame = make_frame()
    schema = pm.Table.from_frame(frame, say=None).schema
    many = build("mac-wae", schema, members=MEMBERS, **TINY)
    made = pm.impute(many, frame, sure=True, bounds="none", say=None)
    singles = []
    for number in range(MEMBERS):
        single = build("mac-wae", schema, **TINY)
        single.load_state_dict(member_of(many, number))
        singles.append(pm.impute(single, frame, bounds="none", say=None)["grams"])
    empty = frame["grams"].isna()
    each = np.stack([single[empty] for single in singles])
    assert np.allclose(made["grams"][empty], each.mean(0), rtol=1e-4)
    assert np.allclose(made["grams_sure"][empty], each.std(0, ddof=1), rtol=1e-3)


def test_the_certainty_of_numbers_is_calibrated_after_training():
    frame = make_frame()
    table = pm.Table.from_frame(frame, say=None)
    many = build("mac-wae", table.schema, members=MEMBERS, **TINY)
    pm.fit(many, table, table, epochs=1, progress=False)
    options = {"sure": True, "interval": 0.8, "bounds": "none", "say": None}
    made = pm.impute(many, frame, **options)
    empty = frame["grams"].isna()
    ends = (made["grams_low"][empty], made["grams_high"][empty])
    scores = many.calibration["grams"]
    ratio = scores.compute_quantile(0.8) / scores.deviation
    assert np.allclose((ends[1] - ends[0]) / 2, ratio * made["grams_sure"][empty], rtol=1e-3)


def test_each_imputation_takes_another_member():
    frame = make_frame()
    schema = pm.Table.from_frame(frame, say=None).schema
    many = build("mac-wae", schema, members=MEMBERS, **TINY)
    singles = []
    for number in range(MEMBERS):
        single = build("mac-wae", schema, **TINY)
        single.load_state_dict(member_of(many, number))
        singles.append(pm.impute(single, frame, bounds="none", say=None))
    made = pm.impute(many, frame, imputations=MEMBERS, bounds="none", say=None)
    first = set()
    for row in frame.index[frame["grams"].isna()]:
        values = [one["grams"][row] for one in made]
        expected = [one["grams"][row] for one in singles]
        assert sorted(values) == pytest.approx(sorted(expected), rel=1e-5)
        first.add(int(np.abs(np.array(expected) - values[0]).argmin()))
    assert len(first) > 1, "rows start with different members"
    with pytest.raises(ValueError, match="members="):
        pm.impute(build("mac-wae", schema, **TINY), frame, imputations=2, say=None)


def test_predictions_are_the_mixture_of_the_members():
    mean, scale = torch.randn(5, MEMBERS, 2).double(), torch.rand(5, MEMBERS, 2).double()
    mixed = mix_predictions(Independent(Normal(mean, scale), 1))
    assert torch.allclose(mixed.mean, mean.mean(1))
    assert torch.allclose(mixed.variance, scale.square().mean(1) + mean.var(1, correction=0))
    x = torch.randn(5, 2).double()
    each = Independent(Normal(mean, scale), 1).log_prob(x[:, None])
    assert torch.allclose(mixed.log_prob(x), each.exp().mean(1).log())
    logits = torch.randn(5, MEMBERS, 4, 6).double()  # texts of 4 tokens
    tokens = mix_predictions(Independent(Categorical(logits=logits), 1))
    assert torch.allclose(tokens.base_dist.probs, logits.softmax(-1).mean(1))
    assert torch.equal(tokens.mode, logits.softmax(-1).mean(1).argmax(-1))
    pixels = mix_predictions(Independent(Bernoulli(logits=logits), 2))
    assert torch.allclose(pixels.mean, logits.sigmoid().mean(1))
    assert (pixels.batch_shape, pixels.event_shape) == ((5,), (4, 6))


@pytest.mark.parametrize("cost", ["l2", "bernoulli", "laplace(0.5)", "categorical-squashed"])
def test_every_cost_has_a_mixture(cost):
    kinds = {"x": Vector(2, hidden=()), "i": Image(1, 4, 4, widths=(2,)), "t": Text(3, ("one", "two"), hidden=(4,))}
    schema = Schema(kinds | {"k": Label(3)})
    fitting = {name: m for name, m in schema.items() if cost.partition("(")[0] in m.costs}
    schema = Schema({**fitting, "extra": Vector(1)}).replace(cost=cost) if fitting else schema
    model = build("mac-wae", schema, members=2, **TINY).eval()
    batch = rows_of(schema, 4, complete=True)
    for name, value in model.translate(batch).items():
        assert value.shape == (4, *schema[name].shape)
        assert torch.isfinite(value.double()).all()


def train_by_hand(model, batches, plans, steps):
    adam = torch.optim.Adam(model.parameters(), lr=1e-2, weight_decay=1e-2, fused=True)
    for step in range(steps):
        model(batches[step], 0.7, plans[step]).total.backward()
        adam.step()
        adam.zero_grad()


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("name", ["mac-wae", "m-wae"])
def test_stacked_training_equals_separate_training(name, batched):
    options = {**TINY, "regularizer": Square(), "beta": 0.5, "members": MEMBERS}
    many = build(name, SMALL, **options).double().train()
    alone = [build(name, SMALL, **{**options, "members": 1}).double().train() for _ in range(MEMBERS)]
    for number, single in enumerate(alone):
        single.load_state_dict(member_of(many, number))
    many._is_batched = None if batched else False
    steps, batches = 6, [rows_of(SMALL, 8, complete=False, seed=seed) for seed in range(6)]
    torch.manual_seed(0)
    plans = [many.plan(batch.observed) for batch in batches]
    train_by_hand(many, batches, plans, steps)
    assert many._is_batched is batched
    for number, single in enumerate(alone):
        own = [many._split_plan(plan)[number] for plan in plans]
        train_by_hand(single, batches, own, steps)
        for key, value in single.state_dict().items():
            assert torch.allclose(member_of(many, number)[key], value, atol=1e-9), key


def test_the_loss_is_the_mean_and_its_gradient_that_of_each_member():
    many = build("mac-wae", SMALL, members=MEMBERS, regularizer=Square(), **TINY).double().train()
    batch = rows_of(SMALL, 8, complete=False)
    plan = many.plan(batch.observed)
    loss = many.loss(batch, plan=plan)
    loss.total.backward()
    totals = []
    for number in range(MEMBERS):
        single = build("mac-wae", SMALL, regularizer=Square(), **TINY).double().train()
        single.load_state_dict(member_of(many, number))
        one = single.loss(batch, plan=many._split_plan(plan)[number])
        one.total.backward()
        totals.append(one.total.detach())
        for (key, parameter), stacked in zip(single.named_parameters(), many.parameters(), strict=True):
            assert torch.allclose(parameter.grad, stacked.grad[number]), key
    assert torch.allclose(loss.total.detach(), torch.stack(totals).mean())
    assert loss.terms.keys() == one.terms.keys()


@pytest.mark.parametrize("name", [*MODELS])
def test_a_batched_loss_equals_that_of_a_loop(name, schema):
    """Also its gradients, for all networks without convolutions; random numbers are the same in both."""
    schema = Schema({key: modality for key, modality in schema.items() if not isinstance(modality, Image | Audio)})
    options = {"regularizer": Square()} if name in ("mac-wae", "m-wae") else {}
    many = build(name, schema, members=2, latent_dim=4, **options).double().train()
    batch = rows_of(schema, 6, complete=many.rows is not None)
    if not many._can_batch(batch, 1.0, many._split_plan(many.plan(batch.observed))):
        assert name in ("mmvae", "mmvae-plus"), "only samples of Laplace distributions need a loop"
        return
    for modules in zip(*(member.modules() for member in many.open_members()), strict=True):
        assert len({type(module) for module in modules}) == 1
    expected = None
    for batched in (True, False):
        many._is_batched = batched
        many.zero_grad()
        with equal_noise():
            loss = many.loss(batch, plan=make_plan(many, batch))
        loss.total.backward()
        found = [loss.total.detach(), *loss.terms.values(), *(p.grad for p in many.parameters())]
        if expected is None:
            expected = found
        for one, other in zip(found, expected, strict=True):
            assert torch.allclose(one, other, atol=1e-10)


def make_plan(model, batch):
    torch.manual_seed(1)
    return model.plan(batch.observed)


@contextmanager
def equal_noise():
    """All random numbers are replaced by a half, so that a loop and a batched loss have the same ones."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("randn", "rand"):
            make = getattr(torch, name)
            patch.setattr(torch, name, lambda *a, make=make, **k: 0 * make(*a, **k) + 0.5)
        patch.setattr(torch, "randperm", torch.arange)
        patch.setattr(torch, "randint", lambda high, size, device: torch.zeros(size, dtype=torch.int64, device=device))
        yield


def test_members_of_a_batched_step_have_their_own_random_numbers():
    _, many = alike(regularizer="mmd")
    many.train()
    batch = rows_of(SMALL, 8, complete=True)
    plan = many._split_plan(many.plan(batch.observed))
    same = [plan[0]] * MEMBERS
    assert many._can_batch(batch, 1.0, same)
    _, terms = many._compute_batched(batch, 1.0, same)
    assert torch.allclose(terms["cost/a"], terms["cost/a"][:1])
    assert len(terms["penalty/mmd"].unique()) == MEMBERS


def test_a_member_with_convolutions_trains_in_a_loop():
    schema = Schema({"i": Image(1, 4, 4, widths=(2,)), "k": Label(3), "x": Vector(1)})
    model = build("mac-wae", schema, members=2, **TINY)
    table = table_of(schema)
    fit(model, table, table, epochs=1, progress=False)
    assert model._is_batched is False


@pytest.mark.parametrize("options", [{}, {"ema": 0.9}, {"accumulate": 2, "clip": 0.5}], ids=str)
def test_a_resumed_run_ends_like_one_without_a_pause(options, tmp_path):
    table = table_of()
    models = [build("mac-wae", SMALL, members=2, **TINY) for _ in range(2)]
    settings = {"batch_size": 5, "progress": False, **options}
    whole = fit(models[0], table, table, epochs=4, **settings)
    fit(models[1], table, table, epochs=2, folder=tmp_path / "run", **settings)
    resumed = build("mac-wae", SMALL, members=2, **TINY)
    done = fit(resumed, table, table, epochs=4, folder=tmp_path / "run", resume=True, **settings)
    for key, value in models[0].state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key
    terms = [name for name in whole.history if name != "seconds"]
    pd.testing.assert_frame_equal(whole.history[terms], done.history[terms])
    saved = load(tmp_path / "run" / "model")
    assert isinstance(saved, Ensemble)
    assert saved.weighed
    assert len(saved.weight) == len(SMALL)


def test_members_have_the_same_loss_weights_and_their_own_files_names(tmp_path):
    table = table_of()
    many, one = build("mac-wae", SMALL, members=2, **TINY), build("mac-wae", SMALL, **TINY)
    for model in (many, one):
        fit(model, table, table, epochs=1, progress=False)
    assert torch.equal(many.weight, one.weight)
    assert torch.equal(many.reference_cost, one.reference_cost.expand(2))
    assert many.constants == one.constants
    many.save(tmp_path / "many")
    document = json.loads((tmp_path / "many" / "model.json").read_text())
    assert document["members"] == 2
    assert "members" not in one.document
    again = load(tmp_path / "many")
    batch = rows_of(SMALL, 4, complete=True)
    assert torch.equal(again.embed(batch), many.embed(batch))


@pytest.mark.parametrize("members", [10**9, 10**18, 3, -1, 0, True, "x", None, [2], 2.0, 1e300])
def test_a_forged_number_of_members_is_an_error(members, tmp_path):
    build("mac-wae", SMALL, members=2, **TINY).save(tmp_path / "model")
    path = tmp_path / "model" / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"members": members}))
    with pytest.raises(ValueError, match=r"model.json|weights.safetensors") as error:
        load(tmp_path / "model")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("members", [0, -1, True, "x", 2.5])
def test_members_must_be_a_whole_number(members):
    with pytest.raises((TypeError, ValueError), match="members"):
        build("mac-wae", SMALL, members=members)


def test_an_ensemble_is_not_compiled():
    model, table = build("mac-wae", SMALL, members=2, **TINY), table_of()
    with pytest.raises(ValueError, match=r"compile.*members"):
        fit(model, table, table, epochs=1, compile=True, progress=False)


def test_an_ensemble_has_no_flow():
    with pytest.raises(ValueError, match="prior='normal'"):
        build("mac-wae", SMALL, members=2, prior="flow")
    model, table = build("mac-wae", SMALL, members=2, **TINY), table_of()
    with pytest.raises(ValueError, match="members"):
        fit(model, table, table, only="prior", progress=False)


def test_samples_come_from_single_members():
    many = build("mac-wae", SMALL, members=MEMBERS, **TINY).eval()
    batch = rows_of(SMALL, 4, complete=True)
    made = many.translate(batch, samples=MEMBERS, seed=0)["a"]
    each = torch.stack([member.translate(batch)["a"] for member in many.open_members()])
    assert torch.allclose(made.sort(0).values, each.sort(0).values, atol=1e-6)
    assert torch.allclose(many.translate(batch)["a"], each.mean(0), atol=1e-6)
    rows = many.translate(batch[2:3], samples=MEMBERS, seed=0, rows=[2])["a"]
    assert torch.allclose(rows[:, 0], made[:, 2], atol=1e-6)
    assert many.sample(7, seed=0)["a"].shape == (7, 2)


def test_evaluation_and_report_accept_an_ensemble(tmp_path):
    table = table_of(rows=30)
    model = build("mac-vae", SMALL, members=2, latent_dim=4)
    scores = pm.evaluate(model, table, train=table, tasks=[*TASKS, "likelihood", "sampling"], progress=False)
    assert {"likelihood", "sampling", "many-to-one"} <= {*scores["task"]}
    page = pm.report.write(tmp_path / "report.html", model, table, examples=2)
    assert "of 2 members" in page.read_text()

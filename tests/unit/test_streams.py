"""What is drawn belongs to its seed: whatever other threads draw, and whatever rows are next to a row."""

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import polymodal as pm
from polymodal.distributions import Concatenated, DiagLaplace, DiagNormal, Dirac, Hierarchical, Mixture
from polymodal.evaluation import evaluate, train_classifiers
from polymodal.inference.streaming import translate_samples
from polymodal.models import MODELS
from polymodal.models.flow_codes import sample_codes, sample_rows
from polymodal.runtime.seeding import OwnStreams, global_streams, let_others_run, own_streams, seed_streams

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
SCHEMA = pm.Schema(
    {
        "size": pm.Vector(2, hidden=(4,)),
        "kind": pm.Label(3, hidden=(4,)),
        "text": pm.Text(3, ("a", "b"), width=8, layers=1, heads=2, feedforward=8, hidden=(8,), dropout=0.5),
    }
)


def table(rows=24):
    generator = torch.Generator().manual_seed(0)
    values = {
        "size": torch.rand(rows, 2, generator=generator),
        "kind": torch.arange(rows) % 3,
        "text": torch.randint(1, 5, (rows, 3), generator=generator),
    }
    return pm.Table(values, schema=SCHEMA)


def build(name="mac-vae", **arguments):
    return pm.build(name, SCHEMA, latent_dim=4, **arguments)


def generators():
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 (the global one is what is looked at)
    return [torch.get_rng_state().tolist(), python, numpy[0], numpy[1].tolist(), numpy[2:]]


def same(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


FRAME = pd.DataFrame({"kind": ["oak", "elm", "ash"] * 20, "height": np.arange(60) / 7, "rings": np.arange(60) % 37})


@pytest.fixture(scope="module")
def imputer():
    """A model of numbers and a class with a distribution over codes."""
    rows = pm.Table.from_frame(FRAME, say=None)
    model = pm.build("mac-vae", rows.schema.replace(hidden=(8,)), latent_dim=4)
    pm.fit(model, rows, rows, epochs=2, progress=False)
    return model


# Draws


DRAWS = {
    "rand": lambda: torch.rand(40),
    "randn": lambda: torch.randn(7, 3),
    "randn of one": lambda: torch.cat([torch.randn(1) for _ in range(5)]),
    "randint": lambda: torch.randint(9, (20,)),
    "randint from": lambda: torch.randint(3, 9, (20,)),
    "randperm": lambda: torch.randperm(30),
    "rand_like": lambda: torch.rand_like(torch.zeros(5)),
    "randn_like": lambda: torch.randn_like(torch.zeros(5, dtype=torch.float64)),
    "normal": lambda: torch.normal(torch.zeros(6), torch.ones(6)),
    "multinomial": lambda: torch.multinomial(torch.ones(5), 9, replacement=True),
    "bernoulli": lambda: torch.bernoulli(torch.full((20,), 0.5)),
    "in place": lambda: torch.empty(4).uniform_().add_(torch.empty(4).normal_()),
    "dropout": lambda: nn.functional.dropout(torch.ones(50), 0.5),
    "linear": lambda: nn.Linear(4, 3).weight.detach(),
    "laplace": lambda: torch.distributions.Laplace(torch.zeros(3), torch.ones(3)).sample(),
    "categorical": lambda: torch.distributions.Categorical(logits=torch.zeros(3, 4)).sample((5,)),
    "gamma": lambda: torch.distributions.Gamma(torch.ones(5), torch.ones(5)).sample(),
    "attention": lambda: nn.TransformerEncoderLayer(8, 2, 16)(torch.ones(3, 1, 8)).detach(),
}


@pytest.mark.parametrize("name", DRAWS)
def test_own_streams_are_those_of_the_global_generator(name):
    draw = DRAWS[name]
    with seed_streams(5, CPU):
        expected = [draw(), draw()]
    before = generators()
    with own_streams(5):
        made = [draw(), draw()]
    assert all(map(torch.equal, made, expected))
    assert generators() == before


def test_own_streams_go_on_where_they_were_and_do_not_nest():
    own = OwnStreams(3)
    with own:
        one = torch.rand(3)
        with own_streams(4):
            torch.rand(9)
    with own:
        other = torch.rand(3)
    assert torch.equal(torch.cat([one, other]), torch.rand(6, generator=torch.Generator().manual_seed(3)))


def test_an_operation_without_a_generator_leaves_the_global_one_as_it_was(monkeypatch):
    monkeypatch.setattr("polymodal.runtime.seeding._find_overload_with_generator", lambda operation: None)
    before = generators()
    with own_streams(5):
        made = torch.rand(4), torch.rand(4)
    assert generators() == before
    assert torch.equal(torch.cat(made), torch.rand(8, generator=torch.Generator().manual_seed(5)))


def test_threads_within_seeded_take_turns_and_give_way():
    """Two that draw step by step, and one that draws from the global generator meanwhile."""
    torch.manual_seed(9)
    expected = torch.rand(3, generator=torch.Generator().manual_seed(9))
    order = []

    def steps(seed):
        with seed_streams(seed, CPU):
            drawn = []
            for _ in range(20):
                drawn.append(torch.rand(2))
                order.append(seed)
                time.sleep(0.001)
                let_others_run(CPU)
        return torch.cat(drawn)

    def plain(_):
        with global_streams():
            return torch.rand(1)

    with ThreadPoolExecutor(5) as pool:
        several = [pool.submit(steps, seed) for seed in (1, 2)]
        other = [pool.submit(plain, None) for _ in range(3)]
        for seed, future in zip((1, 2), several, strict=True):
            assert torch.equal(future.result(), torch.rand(40, generator=torch.Generator().manual_seed(seed)))
        assert torch.equal(torch.cat([future.result() for future in other]).sort()[0], expected.sort()[0])
    assert order != sorted(order), "they did not take turns"


def test_a_fork_forgets_the_threads_that_it_has_not():
    import os

    inside, leave = threading.Event(), threading.Event()

    def hold():
        with seed_streams(1, CPU):
            inside.set()
            leave.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait()
    child = os.fork()
    if not child:
        with seed_streams(2, CPU):
            os._exit(0)
    began = time.monotonic()
    while not (ended := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < began + 300:
        time.sleep(0.01)
    leave.set()
    thread.join()
    assert ended[0] == child
    assert ended[1] == 0


# Models in threads


@pytest.mark.parametrize("name", ["mac-wae", "mmvae-plus", "nexus"])
def test_models_that_are_built_in_threads_have_the_weights_of_their_seed(name):
    expected, before = build(name, seed=1).state_dict(), generators()
    with ThreadPoolExecutor(8) as pool:
        for made in pool.map(lambda _: build(name, seed=1).state_dict(), range(32)):
            same(made, expected)
    assert generators() == before


def test_runs_in_threads_are_those_that_come_one_after_the_other():
    def run(seed):
        model = build(seed=seed)
        pm.fit(model, table(), table(), epochs=2, batch_size=8, seed=seed, progress=False)
        return model.state_dict()

    expected, before = [run(seed) for seed in range(3)], generators()
    with ThreadPoolExecutor(4) as pool:
        drawn = pool.submit(lambda: [build(seed=7).state_dict() for _ in range(20)])
        for made, alone in zip(pool.map(run, range(3)), expected, strict=True):
            same(made, alone)
        for made in drawn.result():
            same(made, build(seed=7).state_dict())
    assert generators() == before


def test_frames_that_are_imputed_in_threads_are_equal(imputer):
    holes = FRAME.assign(height=np.nan)
    expected, before = pm.impute(imputer, holes, sure=True), generators()
    several = pm.impute(imputer, holes, imputations=2)
    with ThreadPoolExecutor(6) as pool:
        futures = [pool.submit(pm.impute, imputer, holes, sure=True) for _ in range(48)]
        more = [pool.submit(pm.impute, imputer, holes, imputations=2) for _ in range(6)]
        for future in futures:
            pd.testing.assert_frame_equal(future.result(), expected, check_exact=True)
        for future in more:
            for one, other in zip(future.result(), several, strict=True):
                pd.testing.assert_frame_equal(one, other, check_exact=True)
    assert generators() == before


@pytest.mark.parametrize("call", ["translate", "translate_samples", "sample", "embed", "evaluate"])
def test_a_model_in_training_mode_that_answers_in_threads(call):
    """Its dropout is off for each of them, and it is in training mode afterwards."""
    model, batch = build().train(), table(6)[:]
    calls = {
        "translate": lambda: model.translate(batch, ["text"]),
        "translate_samples": lambda: model.translate(batch, ["text"], samples=2, seed=3),
        "sample": lambda: model.sample(4, seed=2),
        "embed": lambda: {"z": model.embed(batch)},
        "evaluate": lambda: {"value": torch.from_numpy(evaluate(model, table(6))["value"].to_numpy(float).copy())},
    }
    ask = calls[call]
    expected = ask()
    times = 24 if call == "evaluate" else 160
    with ThreadPoolExecutor(8) as pool:
        for made in pool.map(lambda _: ask(), range(times)):
            same(made, expected)
    assert all(part.training for part in model.modules())


def test_a_part_that_is_in_evaluation_mode_stays_so():
    model = build().train()
    model.decoders.eval()
    model.embed(table(2)[:])
    assert model.training
    assert not any(part.training for part in model.decoders.modules())


# A row's samples


@pytest.mark.parametrize("size", [1, 3, 60])
def test_how_sure_a_model_is_of_a_row_does_not_depend_on_the_others(imputer, size):
    holes = FRAME.assign(height=np.nan)
    whole = pm.impute(imputer, holes, sure=True)["height_sure"]
    pieces = pm.impute(imputer, holes, sure=True, batch_size=size)["height_sure"]
    np.testing.assert_allclose(pieces, whole, rtol=1e-4)
    for some in ([5], [5, 2], [40, 5, 59]):
        part = pm.impute(imputer, holes.iloc[some], sure=True)["height_sure"]
        np.testing.assert_allclose(part, whole.iloc[some], rtol=1e-4)


def test_imputed_frames_do_not_depend_on_the_size_of_a_batch(imputer):
    holes = FRAME.assign(height=np.nan)
    for one, other in zip(
        pm.impute(imputer, holes, imputations=2), pm.impute(imputer, holes, imputations=2, batch_size=7), strict=True
    ):
        np.testing.assert_allclose(one["height"], other["height"], rtol=1e-4)


@pytest.mark.parametrize("name", [name for name in MODELS if not build(name).deterministic])
def test_samples_of_a_row_do_not_depend_on_the_rows_next_to_it(name):
    model = build(name)
    batch = table(9)[:]
    q = model.encode(batch, ["size", "kind"])
    whole = sample_rows(q, [4], seed=3)
    part = sample_rows(model.encode(batch[torch.tensor([7, 2])], ["size", "kind"]), [4], seed=3, rows=[7, 2])
    torch.testing.assert_close(part, whole[:, [7, 2]], rtol=1e-4, atol=1e-5)
    assert not torch.equal(whole[:, 1], whole[:, 2])
    every = {rows.tolist()[0]: x["size"] for rows, x in translate_samples(model, table(9), samples=2, batch_size=2)}
    again = {rows.tolist()[0]: x["size"] for rows, x in translate_samples(model, table(9), samples=2, batch_size=8)}
    torch.testing.assert_close(every[8], again[8], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(every[4], again[0][:, 4:6], rtol=1e-4, atol=1e-5)


def _zeros(*shape):
    return torch.zeros(*shape, dtype=torch.float64)


def _mixture(of):
    means = torch.tensor([[[-4.0, 1.0], [3.0, 0.0], [9.0, 9.0]]], dtype=torch.float64)
    present = torch.tensor([[True, True, False]])
    return Mixture(of(means, torch.full_like(means, 0.5)), present, torch.tensor([0]))


def _hierarchical():
    below = DiagNormal(_zeros(1, 3, 2), 2 + _zeros(1, 3, 2))
    top = DiagNormal(1 + _zeros(1, 2), 1 + _zeros(1, 2))
    has = torch.tensor([[True, False, False]])
    return Hierarchical(top, below, has, lambda z: 3 * z[..., None, :].expand(*z.shape[:-1], 3, 2))


LAWS = {
    "normal": lambda: DiagNormal(2 + _zeros(1, 3), 0.5 + _zeros(1, 3)),
    "laplace": lambda: DiagLaplace(2 + _zeros(1, 3), 0.5 + _zeros(1, 3)),
    "mixture": lambda: _mixture(DiagNormal),
    "mixture of laplace": lambda: _mixture(DiagLaplace),
    "concatenated": lambda: Concatenated([_mixture(DiagNormal), DiagLaplace(_zeros(1, 1), 1 + _zeros(1, 1))]),
    "hierarchical": _hierarchical,
    "dirac": lambda: Dirac(3 + _zeros(1, 2)),
}


@pytest.mark.parametrize("name", LAWS)
def test_samples_from_noise_have_the_distribution_of_samples(name):
    """Quantiles of each element, and the covariance."""
    q, count = LAWS[name](), 40_000
    noise = torch.randn(count, 1, q.noise_dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    made, drawn = q.from_noise(noise)[:, 0], sample_codes(q, [count], seed=1)[:, 0]
    assert made.shape == drawn.shape
    quantiles = torch.tensor([0.05, 0.3, 0.45, 0.7, 0.95], dtype=torch.float64)
    torch.testing.assert_close(made.quantile(quantiles, 0), drawn.quantile(quantiles, 0), rtol=0.05, atol=0.1)
    torch.testing.assert_close(made.T.cov(), drawn.T.cov(), rtol=0.05, atol=0.15)


# Every public call


def _whole(model, tmp_path):
    model.save(tmp_path / "model")
    return pm.load(tmp_path / "model")


CALLS = {
    "build": lambda model, rows, path: build(seed=3),
    "fit": lambda model, rows, path: pm.fit(build(), rows, rows, epochs=1, batch_size=8, progress=False),
    "fit in a folder": lambda model, rows, path: pm.fit(
        build(), rows, rows, epochs=1, folder=path / "run", progress=False
    ),
    "fit with a flow": lambda model, rows, path: pm.fit(
        build("mac-wae", prior="flow"), rows, rows, epochs=1, prior_epochs=1, progress=False
    ),
    "translate": lambda model, rows, path: model.translate(rows[:], ["size"]),
    "translate with samples": lambda model, rows, path: model.translate(rows[:], ["size"], samples=3, seed=0),
    "predict": lambda model, rows, path: model.predict(rows[:]),
    "reconstruct": lambda model, rows, path: model.reconstruct(rows[:]),
    "embed": lambda model, rows, path: model.embed(rows[:]),
    "sample": lambda model, rows, path: model.sample(5, seed=1),
    "evaluate": lambda model, rows, path: pm.evaluate(model, rows, tasks=pm.evaluation.TASKS, train=rows),
    "train_classifiers": lambda model, rows, path: train_classifiers(rows, epochs=1),
    "save and load": lambda model, rows, path: _whole(model, path),
    "report": lambda model, rows, path: pm.report.write(path / "report.html", model, rows),
    "load data": lambda model, rows, path: pm.datasets.load("polydigits", rows=20, held_out_rows=10, seed=3),
    "from_frame": lambda model, rows, path: pm.Table.from_frame(FRAME, say=None),
    "infer": lambda model, rows, path: pm.Schema.infer(FRAME),
}


@pytest.mark.parametrize("name", CALLS)
def test_global_generators_are_untouched(name, tmp_path):
    model, rows = build(), table()
    torch.rand(1), random.random(), np.random.rand(1)  # noqa: NPY002
    before = generators()
    CALLS[name](model, rows, tmp_path)
    assert generators() == before

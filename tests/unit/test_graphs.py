"""Steps as graphs: which shapes are captured, and that a captured step is the step. A fake stands in for CUDA."""

import warnings

import pytest
import torch
from conftest import EXAMPLES, rows_of

from polymodal.batch import Batch
from polymodal.modalities import Vector
from polymodal.models import build
from polymodal.schema import Schema
from polymodal.table.table import Table
from polymodal.training import fit, graphs
from polymodal.training.graphs import Graphs, Inputs, Recorder

pytestmark = pytest.mark.slow

SCHEMA = Schema({"vector": EXAMPLES["vector"], "label": EXAMPLES["label"], "other": Vector(3)})
RATE = 2**-7  # as exact in 32 bits, in which a graph has it, as in 64


class Fake(Recorder):
    """Captures as CUDA does: the function does not run then, and runs later on the tensors that it had."""

    def __init__(self, waits=None, error=None):
        self.waits, self.error, self.ran, self.captured, self.replayed = waits, error, 0, 0, 0

    def run(self, function):
        self.ran += 1
        return function()

    def watch(self, function):
        return self.run(function), self.waits

    def record(self, function):
        if self.error:
            raise self.error
        self.captured += 1

        def replay():
            self.replayed += 1
            return function()

        return replay


def table(rows, seed=0, *, complete=False):
    batch = rows_of(SCHEMA, rows, complete=complete, seed=seed)
    return Table(batch.values, batch.observed, SCHEMA)


def trained(name="mac-wae", rows=43, *, complete=False, model=None, **arguments):
    model = model or build(name, SCHEMA, latent_dim=4)
    arguments = {"epochs": 4, "batch_size": 4, "learning_rate": RATE, "device": "cpu", "progress": False} | arguments
    fitted = fit(model, table(rows, complete=complete), table(9, 1), **arguments)
    return torch.cat([p.detach().flatten() for p in model.parameters()]), fitted.history


def with_graphs(monkeypatch, recorder, *arguments, **named):
    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "of", lambda accelerator: recorder)
        return trained(*arguments, **named)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"complete": True},
        {"schedule": "cosine", "learning_rate_warmup": 1, "clip": 0.5, "ema": 0.9},
        {"schedule": "plateau", "warmup": 3, "weight_decay": 0.1},
        {"accumulate": 3, "clip": 0.5, "ema": 0.9, "schedule": "cosine"},
        {"name": "mmvae"},
        {"name": "mvae"},
        {"precision": "bf16"},
    ],
)
def test_a_run_as_graphs_is_the_run(monkeypatch, arguments):
    recorder = Fake()
    weights, history = with_graphs(monkeypatch, recorder, **arguments)
    same, losses = trained(**arguments)
    torch.testing.assert_close(weights, same, rtol=1e-3, atol=1e-4)
    near = 1e-2 if "precision" in arguments else 1e-3
    torch.testing.assert_close(
        *(torch.tensor(h.drop(columns="seconds").to_numpy()) for h in (history, losses)), rtol=near, atol=1e-4
    )
    assert recorder.captured
    assert recorder.replayed > recorder.captured
    assert recorder.ran + recorder.replayed == 4 * 11


def test_shapes_that_come_again_are_captured_and_rare_ones_are_not(monkeypatch):
    """Complete rows: a graph for each number of distinct indices; the last three rows make a batch of their own."""
    recorder = Fake()
    made = []
    model = build("mac-wae", SCHEMA, latent_dim=4, draws=4)
    plan, model.plan = model.plan, lambda observed: made.append(plan(observed)) or made[-1]
    with_graphs(monkeypatch, recorder, complete=True, model=model, epochs=2)
    train = [once.shape for i, (once, _, _) in enumerate(made) if i % 13 < 11]  # 11 batches, then 2 of validation
    times = {shape: train.count(shape) for shape in train}
    assert len(times) > 1
    assert recorder.captured == sum(count > graphs.BEFORE for count in times.values())
    assert recorder.replayed == sum(max(0, count - graphs.BEFORE) for count in times.values())


def test_random_streams_go_on_as_without(monkeypatch):
    """Dropout and noise within a captured step are drawn anew at every run, and no capture draws any."""
    model = build("mac-vae", SCHEMA, latent_dim=4, indices="per-sample")
    weights, _ = with_graphs(monkeypatch, Fake(), model=model)
    same, _ = trained(model=build("mac-vae", SCHEMA, latent_dim=4, indices="per-sample"))
    torch.testing.assert_close(weights, same, rtol=1e-4, atol=1e-5)


def test_a_resumed_run_as_graphs_is_the_run(monkeypatch, tmp_path):
    arguments = {"ema": 0.9, "accumulate": 2, "complete": True}
    with_graphs(monkeypatch, Fake(), epochs=2, folder=tmp_path / "run", **arguments)
    weights, _ = with_graphs(monkeypatch, Fake(), epochs=4, folder=tmp_path / "run", resume=True, **arguments)
    same, _ = trained(**arguments)
    torch.testing.assert_close(weights, same, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("recorder", "said"),
    [
        (Fake(waits="line 7 of own.py waits for it"), "line 7 of own.py waits for it"),
        (Fake(error=RuntimeError("operation not permitted when stream is capturing")), "operation not permitted"),
    ],
)
def test_what_cannot_be_captured_is_said_once_and_trains_as_it_is(monkeypatch, recorder, said):
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        weights, _ = with_graphs(monkeypatch, recorder, complete=True)
    (warning,) = [each for each in heard if "CUDA graph" in str(each.message)]
    assert said in str(warning.message)
    assert "continues without" in str(warning.message)
    assert recorder.replayed == 0
    assert torch.equal(weights, trained(complete=True)[0])


def test_no_more_graphs_are_kept_than_there_may_be(monkeypatch):
    monkeypatch.setattr(graphs, "MAX_GRAPHS", 2)
    recorder, done = Fake(), []
    step = Graphs(lambda inputs, rows: done.append(len(inputs.batch)), recorder, torch.float32, lambda: None)
    for _ in range(6):
        for rows in (2, 3, 4):
            batch = Batch({"x": torch.zeros(rows, 1)}, torch.ones(rows, 1, dtype=torch.bool))
            step(Inputs(batch, (), 1.0, 1e-3), rows)
    assert (recorder.captured, recorder.replayed, len(done)) == (2, 6, 18)


def test_inputs_of_a_graph_are_memory_of_its_own_and_take_the_next_steps_numbers():
    first = Inputs(Batch({"x": torch.zeros(2, 1)}, torch.ones(2, 1, dtype=torch.bool)), (torch.zeros(3),), 0.5, 0.1)
    second = Inputs(Batch({"x": torch.ones(2, 1)}, torch.zeros(2, 1, dtype=torch.bool)), (torch.ones(3),), 1.0, 0.2)
    fixed = first.copy_to_new_memory(torch.float64)
    fixed.fill(second)
    assert [tensor.sum().item() for tensor in first.tensors] == [0, 2, 0]
    assert [tensor.sum().item() for tensor in fixed.tensors] == [2, 0, 3]
    assert (fixed.progress.item(), fixed.progress.dtype) == (1.0, torch.float64)
    assert fixed.rate.item() == pytest.approx(0.2)
    assert first.shapes == fixed.shapes


def test_other_shapes_types_names_and_missing_modalities_are_other_graphs():
    def shapes(values, rows=2, plan=()):
        return Inputs(Batch(values, torch.ones(rows, 1, dtype=torch.bool)), plan, 1.0, 0.1).shapes

    x = torch.zeros(2, 1)
    every = [
        shapes({"x": x}),
        shapes({"y": x}),
        shapes({}),
        shapes({"x": x.double()}),
        shapes({"x": torch.zeros(3, 1)}, 3),
        shapes({"x": x}, plan=(torch.zeros(1),)),
        shapes({"x": x}, plan=(torch.zeros(2),)),
    ]
    assert len(set(every)) == len(every)
    assert every[0] == shapes({"x": x + 1})

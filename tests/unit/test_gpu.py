"""What only a GPU can show: that a step is captured, waits for nothing and trains as on the CPU."""

import warnings

import pytest
import torch
from conftest import EXAMPLES, rows_of

from polymodal.modalities import Vector
from polymodal.models import MODELS, build
from polymodal.schema import Schema
from polymodal.table.table import Table
from polymodal.training import fit, run_state
from polymodal.training.accelerator import make_accelerator
from polymodal.training.graphs import Recorder
from polymodal.training.loop import complete_settings
from polymodal.training.step import Step, sample_plan

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU")]

SCHEMA = Schema({**{name: EXAMPLES[name] for name in ("vector", "label", "image")}, "other": Vector(3)})
SETTINGS = {"learning_rate": 1e-3, "weight_decay": 1e-5, "batch_size": 8, "clip": 1.0, "ema": 0.9}
DEVICE = torch.device("cuda", 0)


def table(rows, seed=0):
    batch = rows_of(SCHEMA, rows, complete=True, seed=seed)
    return Table(batch.values, batch.observed, SCHEMA)


def made(model, *, graphs=True, precision=None):
    accelerator = make_accelerator("cuda", precision)
    model = model.to(DEVICE).train()
    recorder = Recorder.of(accelerator) if graphs else None
    assert (recorder is not None) == graphs
    return Step(model, accelerator, complete_settings(**SETTINGS), recorder)


def weights(model):
    return torch.cat([p.detach().flatten().cpu() for p in model.parameters()])


def stepped(name, times=20, **arguments):
    """Weights and totals after steps on the same rows, that take turns."""
    model = build(name, SCHEMA, latent_dim=4)
    step = made(model, **arguments)
    batches = [table(8, seed).to(DEVICE)[:] for seed in range(3)]
    torch.manual_seed(0)
    totals = [step(batches[i % 3], 1.0, 8).values[-1].clone() for i in range(times)]
    return weights(model), torch.stack(totals).cpu(), step


@pytest.mark.parametrize("name", MODELS)
def test_graphs_train_as_steps_do(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # which would say that it is not captured
        captured, totals, step = stepped(name)
    plain, losses, _ = stepped(name, graphs=False)
    assert step.graphs.kept
    torch.testing.assert_close(totals, losses, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(captured, plain, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("graphs", [False, True])
def test_a_step_waits_for_nothing(name, graphs):
    """Rows on the device, whose `observed` is at hand on the CPU, as `Table.batches` gives them."""
    step = made(build(name, SCHEMA, latent_dim=4), graphs=graphs)
    rows = table(32).to(DEVICE)
    batches = [*rows.batches(8, seed=0, device=DEVICE)]

    def epoch():
        torch.manual_seed(0)  # the same shapes every time
        for batch in batches:
            step(batch, 1.0, 8)

    for _ in range(5):  # by then all shapes are captured
        epoch()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        epoch()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_the_plan_is_that_of_the_cpu():
    model, rows = build("mac-wae", SCHEMA, latent_dim=4), table(8)
    torch.manual_seed(3)
    here = sample_plan(model, rows[:])
    torch.manual_seed(3)
    there = sample_plan(model.to(DEVICE), rows[:].to(DEVICE))
    for a, b in zip(here, there, strict=True):
        assert b.is_cuda
        assert torch.equal(a, b.cpu())


@pytest.mark.parametrize("arguments", [{}, {"accumulate": 2, "clip": 1.0, "ema": 0.9, "schedule": "cosine"}])
def test_a_run_is_that_of_the_cpu_as_far_as_noise_allows(arguments):
    """Training losses of the first epochs, before rounding has grown: the prior's draws differ, the rows do not."""

    def history(device):
        model = build("mac-wae", SCHEMA, latent_dim=4, beta=0.0)
        named = {"batch_size": 8, "learning_rate": 1e-3, "progress": False, **arguments}
        return fit(model, table(43), table(9, 1), epochs=3, device=device, **named).history["train/total"]

    assert history("cuda").tolist() == pytest.approx(history("cpu").tolist(), rel=1e-3)


@pytest.mark.parametrize("precision", ["bf16", "fp16", "tf32"])
def test_precisions_train(precision):
    model = build("mac-wae", SCHEMA, latent_dim=4)
    named = {"epochs": 15, "batch_size": 8, "learning_rate": 1e-2, "progress": False}
    losses = fit(model, table(43), table(9, 1), device="cuda", precision=precision, **named).history["train/total"]
    assert losses.iloc[-1] < losses.iloc[0]
    assert weights(model).dtype == torch.float32


def test_compiled_networks_train():
    model = build("mac-wae", SCHEMA, latent_dim=4)
    named = {"epochs": 3, "batch_size": 8, "learning_rate": 1e-2, "progress": False}
    losses = fit(model, table(43), table(9, 1), device="cuda", compile=True, **named).history["train/total"]
    assert losses.iloc[-1] < losses.iloc[0]
    assert not any("forward" in vars(module) for module in model.modules())


def test_a_run_goes_on_from_its_state(tmp_path):
    def trained(epochs, folder, **arguments):
        model = build("mac-wae", SCHEMA, latent_dim=4)
        named = {"batch_size": 8, "learning_rate": 1e-3, "progress": False, "ema": 0.9, **arguments}
        fit(model, table(43), table(9, 1), epochs=epochs, folder=folder, device="cuda", **named)
        return weights(model)

    trained(2, tmp_path / "a")
    torch.testing.assert_close(
        trained(4, tmp_path / "a", resume=True), trained(4, tmp_path / "b"), rtol=1e-2, atol=1e-3
    )


def test_a_loss_that_is_not_finite_ends_the_run(monkeypatch):
    monkeypatch.setattr(run_state, "READ_BACK", 4)
    model = build("mac-wae", SCHEMA, latent_dim=4, weights=dict.fromkeys(SCHEMA, 1e38))
    with pytest.raises(FloatingPointError, match=r"steps 1 to 4, .*total is"):
        fit(model, table(64), table(9, 1), epochs=1, batch_size=8, learning_rate=1e30, device="cuda", progress=False)
    assert weights(model).isfinite().all()

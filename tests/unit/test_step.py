"""One training step against PyTorch's own pieces."""

import pytest
import torch
from conftest import EXAMPLES, rows_of
from test_graphs import Fake
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from polymodal.models import build
from polymodal.schema import Schema
from polymodal.training.accelerator import make_accelerator
from polymodal.training.graphs import BEFORE
from polymodal.training.loop import complete_settings
from polymodal.training.step import Step, sample_plan

SCHEMA = Schema({"vector": EXAMPLES["vector"], "label": EXAMPLES["label"]})
SETTINGS = {"learning_rate": 0.01, "weight_decay": 0.1, "batch_size": 4}


def made(recorder=None, **settings):
    model = build("mac-wae", SCHEMA, latent_dim=4, draws=2).train()
    return Step(model, make_accelerator("cpu", None), complete_settings(**SETTINGS, **settings), recorder)


def rows(number=4, seed=0):
    return rows_of(SCHEMA, number, complete=False, seed=seed)


def test_it_is_a_step_of_stock_pytorch():
    step, plain = made(clip=0.1), made().model
    adam = torch.optim.Adam(plain.parameters(), lr=0.01, weight_decay=0.1)
    for seed in range(3):
        torch.manual_seed(seed)
        terms = step(rows(seed=seed), 0.5, 4)
        torch.manual_seed(seed)
        loss = plain.loss(rows(seed=seed), progress=0.5)
        loss.total.backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), 0.1)
        adam.step()
        adam.zero_grad()
        assert terms.names == (*loss.terms, "total")
        torch.testing.assert_close(terms.values, torch.stack([*loss.terms.values(), loss.total]).detach())
        for p, q in zip(step.model.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)
            assert p.grad is None


def test_batches_of_an_update_weigh_by_their_rows():
    """Two batches, of 4 rows and of 3, and one gradient: that of the mean over the 7."""
    step, plain = made(accumulate=2, clip=1e9), made().model
    seen = []
    step.adam.register_step_pre_hook(lambda *_: seen.extend(p.grad.clone() for p in step.model.parameters()))
    torch.manual_seed(0)
    step(rows(4), 1.0)
    step(rows(3, seed=1), 1.0, 7)
    torch.manual_seed(0)
    (sum(plain.loss(rows(n, seed=seed)).total * n for seed, n in enumerate((4, 3))) / 7).backward()
    for gradient, p in zip(seen, plain.parameters(), strict=True):
        torch.testing.assert_close(gradient, p.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("recorder", [None, Fake()])
def test_the_average_is_pytorchs_own(recorder):
    step = made(recorder, ema=0.9)
    model = step.model
    same = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    for update in range(6):
        model.weight.fill_(update)  # a buffer, which is copied
        step(rows(), 1.0, 4)
        same.update_parameters(model)
    ours, theirs = step.average.state_dict(), same.state_dict()
    assert ours["n_averaged"] == 6
    for name, value in theirs.items():
        assert torch.equal(ours[name], value), name


def test_an_average_goes_on_where_it_was():
    first, again = made(ema=0.9), made(ema=0.9)
    for _ in range(2):
        first(rows(), 1.0, 4)
    again.average.load_state_dict(first.average.state_dict())
    again.model.load_state_dict(first.model.state_dict())
    before = again.average.module.state_dict()["joint.first.weight"].clone()
    again(rows(), 1.0, 4)
    after = again.average.module.state_dict()["joint.first.weight"]
    torch.testing.assert_close(after, 0.9 * before + 0.1 * again.model.joint.first.weight.detach())


def test_a_graph_reads_its_learning_rate_from_memory_and_adam_is_as_before_elsewhere():
    """What Python holds when a graph is captured stays in it; so nothing that changes may be a number there."""
    step, read = made(Fake()), []
    step.adam.register_step_pre_hook(
        lambda adam, *_: read.append((adam.param_groups[0]["lr"], adam.param_groups[0]["capturable"]))
    )
    batch = rows_of(SCHEMA, 4, complete=True)
    step.model.draws = 1
    for i in range(BEFORE + 3):
        step.adam.param_groups[0]["lr"] = 0.01 / 2**i
        step(batch, 1.0, 4)
        assert step.adam.param_groups[0]["lr"] == 0.01 / 2**i
        assert step.adam.param_groups[0]["capturable"] is False
    assert [capturable for _, capturable in read] == [False] * BEFORE + [True] * 3
    rates = [rate for rate, _ in read[BEFORE:]]
    assert all(rate is rates[0] for rate in rates)
    assert rates[0].item() == pytest.approx(0.01 / 2 ** (BEFORE + 2))


def test_gradients_that_graphs_add_to_stay_where_they_are():
    step, places = made(Fake(), accumulate=2), set()
    step.model.indices = "exhaustive"  # all steps of one shape
    for i in range(12):
        step(rows(), 1.0, 8 if i % 2 else 0)
        places.add(tuple(p.grad.data_ptr() for p in step.model.parameters()))
    assert len(places) == 1
    assert step.graphs.recorder.captured == 2
    assert all(not p.grad.any() for p in step.model.parameters())


def test_what_a_row_has_is_at_hand_on_the_cpu():
    """On the meta device nothing can be read back."""
    batch = rows(6)
    moved = batch.to("meta")
    assert moved.observed.is_meta
    for each in (batch, moved, moved.to("meta")):
        assert torch.equal(each.known, batch.observed)


def test_the_plan_comes_from_what_is_at_hand():
    model, batch = build("mac-wae", SCHEMA, latent_dim=4), rows()
    torch.manual_seed(1)
    here = sample_plan(model, batch)
    torch.manual_seed(1)
    there = model.plan(batch.to("meta").known)
    assert all(torch.equal(a, b) for a, b in zip(here, there, strict=True))

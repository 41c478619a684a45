"""The loops that every model's steps are timed beside do the work that ours do, and ours share what they repeat."""

from collections import Counter

import pytest
import torch
from conftest import EXAMPLES, rows_of
from plain_losses import assert_same_loss

from benchmarks import naive
from benchmarks.models import LIMITS, SHAPES, model_of
from polymodal.models import MODELS, build
from polymodal.schema import Schema

pytestmark = pytest.mark.slow

MMD = {name: {"regularizer": "mmd"} for name in ("mac-wae", "m-wae")}
"""The loop has the paper's penalty."""
ONCE = ("jmvae", "mvtcae", "nexus")
HOLDING = {"mopoe": 16, "mvae": 2}
"""Passes that need one modality's encoder: the subsets, and the sets, that it is in; of the other models all."""


LOOPED = [name for name in MODELS if name in naive.NAIVE]


def test_models_without_a_plain_loop_are_listed():
    if missing := [name for name in MODELS if name not in naive.NAIVE]:
        pytest.skip(f"add a loop to NAIVE in benchmarks/naive.py for: {', '.join(missing)}")


def small(name, **arguments):
    return (
        build(name, Schema(EXAMPLES), latent_dim=4, weights={"label": 5.0, "text": 0.5}, **arguments).double().train()
    )


@pytest.mark.parametrize("name", LOOPED)
def test_loss_and_gradients_are_the_same(name):
    model = small(name, **MMD.get(name, {}))
    batch = rows_of(model.schema, 37, complete=True)
    assert len(assert_same_loss(model, batch, lambda model, batch, _: naive.loss(model, batch))) <= 1


def runs(model, compute):
    """How often each encoder and each decoder ran."""
    count = Counter()
    parts = {f"{kind} {m}": part for kind in ("encoders", "decoders") for m, part in enumerate(getattr(model, kind))}
    hooks = [part.register_forward_hook(lambda *_, key=key: count.update([key])) for key, part in parts.items()]
    compute()
    for hook in hooks:
        hook.remove()
    return [{count[f"{kind} {m}"] for m in range(len(model.schema))} for kind in ("encoders", "decoders")]


@pytest.mark.parametrize("name", LOOPED)
def test_ours_runs_each_network_once_and_the_naive_loop_once_per_pass(name):
    model = small(name)
    batch = rows_of(model.schema, 37, complete=True)
    on_blanks = name in ("mac-wae", "m-wae", "mac-vae")
    model.loss(batch)  # the first step sees how much memory a code takes
    assert runs(model, lambda: model.loss(batch)) == [{1 + on_blanks}, {1}]
    encoders, decoders = runs(model, lambda: naive.loss(model, batch))
    assert (naive.count_passes(model) == 1) == (name in ONCE)
    assert encoders == {HOLDING.get(name, naive.count_passes(model))}
    assert decoders == {2 if name == "mvae" else naive.count_passes(model)}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_made_for_every_shape(name, shape):
    with torch.device("meta"):
        model, note = model_of(name, shape)
    assert (model.name, model.weights, model.training) == (name, "sum", True)
    assert list(model.schema) == list(SHAPES[shape].modalities)
    assert all(modality.cost != "l2" for modality in model.schema.values())
    assert bool(note) == ((name, shape) in LIMITS)

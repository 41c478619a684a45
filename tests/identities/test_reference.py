"""The loop that training steps are timed beside does the work that ours does."""

from dataclasses import replace

import pytest
import torch
from conftest import EXAMPLES
from conftest import rows_of as rows_of_examples

from benchmarks import reference
from benchmarks.shapes import SHAPES, TOKENS, model_of, rows_of
from polymodal.models import build
from polymodal.schema import Schema

SMALL = {"text": {"vocabulary": ("one", "two"), "width": 8, "layers": 1, "feedforward": 8, "dropout": 0.0}}


def assert_same_loss_and_gradients(model, batch):
    ours, our_gradients = loss_and_gradients(model, lambda: model.loss(batch).total)
    plain, plain_gradients = loss_and_gradients(model, lambda: reference.loss(model, batch))
    torch.testing.assert_close(ours, plain, rtol=1e-9, atol=1e-9)
    for key, gradient in our_gradients.items():
        torch.testing.assert_close(gradient, plain_gradients[key], rtol=1e-9, atol=1e-9, msg=key)
        assert gradient.abs().max() > 0, key


def loss_and_gradients(model, compute):
    torch.manual_seed(11)
    model.zero_grad()
    total = compute()
    total.backward()
    return total.detach(), {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("indices", ["per-batch", "per-sample"])
@pytest.mark.parametrize("name", ["mac-wae", "m-wae"])
def test_every_modality(name, indices, complete):
    schema = Schema(EXAMPLES).replace(cost="l2")
    arguments = {"indices": indices, "beta": 2.0, "regularizer": "mmd", "weights": {"label": 5.0, "text": 0.5}}
    model = build(name, schema, latent_dim=4, draws=6, **arguments)
    assert_same_loss_and_gradients(model.double().train(), rows_of_examples(schema, 5, complete=complete))


@pytest.mark.parametrize("name", SHAPES)
def test_the_shapes_that_are_timed(name):
    """Dropout is off, of which ours has one draw per row and the loop one per pass; the text's network is small."""
    shape = SHAPES[name]
    modalities = {key: replace(modality, **SMALL.get(key, {})) for key, modality in shape.modalities.items()}
    model = model_of(replace(shape, modalities=modalities), draws=4).double()
    batch = rows_of(model.schema, 3)
    assert_same_loss_and_gradients(model, batch)


def test_captions_have_the_number_of_tokens_that_is_stated():
    assert SHAPES["cub"].modalities["text"].levels == TOKENS

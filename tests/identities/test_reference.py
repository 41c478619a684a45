"""The loop that training steps are timed beside does the work that ours does."""

from dataclasses import replace

import pytest
from conftest import EXAMPLES
from conftest import rows_of as rows_of_examples
from plain_losses import assert_same_loss

from benchmarks import reference
from benchmarks.shapes import SHAPES, TOKENS, model_of, rows_of
from polymodal.models import build
from polymodal.schema import Schema

SMALL = {"text": {"vocabulary": ("one", "two"), "width": 8, "layers": 1, "feedforward": 8, "dropout": 0.0}}


def assert_same(model, batch):
    assert not assert_same_loss(model, batch, lambda model, batch, _: reference.loss(model, batch))


@pytest.mark.parametrize(("name", "indices"), [("mac-wae", "per-batch"), ("m-wae", "per-sample")])
def test_every_modality(name, indices, complete):
    schema = Schema(EXAMPLES).replace(cost="l2")
    arguments = {"indices": indices, "beta": 2.0, "regularizer": "mmd", "weights": {"label": 5.0, "text": 0.5}}
    model = build(name, schema, latent_dim=4, draws=6, **arguments)
    assert_same(model.double().train(), rows_of_examples(schema, 5, complete=complete))


@pytest.mark.parametrize("name", SHAPES)
def test_the_shapes_that_are_timed(name):
    """Dropout is off, of which ours has one draw per row and the loop one per pass; the text's network is small."""
    shape = SHAPES[name]
    modalities = {key: replace(modality, **SMALL.get(key, {})) for key, modality in shape.modalities.items()}
    model = model_of(replace(shape, modalities=modalities), draws=4).double()
    batch = rows_of(model.schema, 3)
    assert_same(model, batch)


def test_captions_have_the_number_of_tokens_that_is_stated():
    assert SHAPES["cub"].modalities["text"].levels == TOKENS

"""What every registered model promises."""

import json
import subprocess
import sys
from dataclasses import dataclass

import pytest
import torch
from conftest import rows_of

from polymodal.batch import Batch
from polymodal.modalities import *  # noqa: F403 (repr names them)
from polymodal.modalities import NETWORKS, Network
from polymodal.models import MODELS, build, load
from polymodal.schema import Schema
from polymodal.table.table import Table
from polymodal.training import fit

pytestmark = pytest.mark.parametrize("name", MODELS)


def make(name, schema, **arguments):
    return build(name, schema, latent_dim=6, **arguments).double()


def rows_for(model, schema, rows, *, complete):
    """Rows that the model can be trained on, incomplete ones unless it needs complete ones."""
    return rows_of(schema, rows, complete=complete or model.rows is not None)


def seeded_loss(model, batch, **arguments):
    torch.manual_seed(3)
    model.zero_grad()
    loss = model.loss(batch, **arguments)
    loss.total.backward()
    return loss.total.detach(), [p.grad.clone() for p in model.parameters()]


@pytest.mark.parametrize("rows", [2, 7])
def test_loss_and_every_gradient_are_finite(name, schema, complete, rows):
    model = make(name, schema).train()
    loss, gradients = seeded_loss(model, rows_for(model, schema, rows, complete=complete))
    assert loss.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("rows", [2, 7])
@pytest.mark.parametrize("cost", ["l2", None])
def test_what_lies_under_the_mask_is_never_read(name, schema, rows, cost):
    schema = schema if cost is None else schema.replace(cost=cost)
    model = make(name, schema)
    batch = rows_of(schema, rows, complete=False)
    spoilt = {}
    for column, (key, value) in enumerate(batch.values.items()):
        spoilt[key] = value.clone()
        spoilt[key][~batch.observed[:, column]] = float("nan") if value.is_floating_point() else 99
    spoilt = Batch(spoilt, batch.observed)
    assert torch.equal(model.eval().encode(batch).mean, model.encode(spoilt).mean)
    if model.rows is not None:
        return
    (loss, gradients), (other, others) = (seeded_loss(model.train(), b) for b in (batch, spoilt))
    assert torch.equal(loss, other)
    assert all(torch.equal(a, b) for a, b in zip(gradients, others, strict=True))


def test_a_modality_that_no_row_has_may_be_left_out(name, schema):
    model = make(name, schema)
    batch = rows_of(schema, 4, complete=True)
    observed = batch.observed & ~schema.mask(["image", "text"])
    less = Batch({k: v for k, v in batch.values.items() if k not in ("image", "text")}, observed)
    assert torch.equal(model.embed(less), model.embed(Batch(batch.values, observed)))
    if model.rows is not None:
        return
    assert seeded_loss(model, less)[0] == seeded_loss(model, Batch(batch.values, observed))[0]
    with pytest.raises(ValueError, match="'image' is marked as observed"):
        model.loss(Batch(less.values, batch.observed))


@pytest.mark.parametrize("given", [None, ["label", "vector"]])
def test_each_row_is_treated_alone(name, schema, given):
    model = make(name, schema).eval()
    batch = rows_of(schema, 7, complete=True)
    code = model.encode(batch, given).mean
    values = model.translate(batch, given)
    for row in (0, 6):
        alone = batch[row : row + 1]
        torch.testing.assert_close(model.encode(alone, given).mean, code[row : row + 1])
        for key, value in model.translate(alone, given).items():
            torch.testing.assert_close(value, values[key][row : row + 1])


@pytest.mark.parametrize("rows", ["one", "each"])
def test_leading_axes_of_given_are_one_call_each(name, schema, complete, rows):
    model = make(name, schema).eval()
    batch = rows_of(schema, 5, complete=complete)
    given = torch.rand(2, 3, 1 if rows == "one" else 5, len(schema)) < 0.5
    given |= ~(given & batch.observed).any(-1).all(-1)[..., None, None]  # whoever leaves a row empty gives all
    together = model.encode(batch, given)
    assert together.batch_shape == (2, 3, 5)
    parameters = model.emit(together.mean)
    values = model.translate(batch, given)
    for i in range(2):
        for k in range(3):
            alone = model.encode(batch, given[i, k])
            torch.testing.assert_close(together.mean[i, k], alone.mean)
            torch.testing.assert_close(together.variance[i, k], alone.variance)
            for key, output in model.emit(alone.mean).items():
                torch.testing.assert_close(parameters[key][i, k], output)
            for key, value in model.translate(batch, given[i, k]).items():
                torch.testing.assert_close(values[key][i, k], value)


def test_reconstruct_predicts_each_modality_from_all_that_are_observed(name, schema, complete):
    model = make(name, schema).eval()
    batch = rows_of(schema, 5, complete=complete)
    values = model.reconstruct(batch)
    assert [*values] == [*schema]
    for key in schema:
        for alike in (model.translate(batch, batch.observed, [key]), model.reconstruct(batch, [key])):
            assert [*alike] == [key]
            torch.testing.assert_close(alike[key], values[key])
        if complete:
            torch.testing.assert_close(model.translate(batch, [*schema], [key])[key], values[key])


def test_given_names_equal_given_masks_and_order_changes_nothing(name, schema):
    model = make(name, schema).eval()
    batch = rows_of(schema, 5, complete=True)
    names = ["text", "audio"]
    turned = Batch(dict(reversed(batch.values.items())), batch.observed)
    code = model.encode(batch, names).mean
    assert torch.equal(code, model.encode(batch, schema.mask(names).expand(1, -1)).mean)
    assert torch.equal(code, model.encode(turned, names[::-1]).mean)
    assert list(model.translate(batch, names, ["vector", "label"])) == ["vector", "label"]


def test_given_is_checked(name, schema):
    model = make(name, schema)
    batch = rows_of(schema, 5, complete=True)
    observed = batch.observed.clone()
    observed[3] = schema.mask(["label"])
    with pytest.raises(ValueError, match="row 3 has only label"):
        model.translate(Batch(batch.values, observed), ["image", "text"])
    with pytest.raises(ValueError, match=r"unknown modality 'imgae'; known are image"):
        model.encode(batch, ["imgae"])
    with pytest.raises(TypeError, match=r"write it as \['image'\]"):
        model.encode(batch, "image")
    with pytest.raises(TypeError, match="must be bool"):
        model.encode(batch, torch.ones(1, 5))
    with pytest.raises(ValueError, match=r"must end in rows and modalities, \(\*, 1, 5\) or \(\*, 5, 5\)"):
        model.encode(batch, torch.ones(3, 5, dtype=torch.bool))


def test_a_saved_model_answers_equally_in_a_fresh_process(name, schema, tmp_path):
    model = make(name, schema).eval()
    batch = rows_of(schema, 5, complete=False)
    model.save(tmp_path / "model")
    torch.save(dict(batch.values) | {"observed": batch.observed}, tmp_path / "batch.pt")
    script = """
import sys, torch, polymodal as pm
model = pm.load(sys.argv[1] + "/model")
values = torch.load(sys.argv[1] + "/batch.pt", weights_only=True)
batch = pm.Batch(values, values.pop("observed"))
print([model.name, [value.double().sum().item() for value in model.translate(batch).values()]])
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )
    expected = [name, [value.double().sum().item() for value in model.translate(batch).values()]]
    assert json.loads(done.stdout.replace("'", '"')) == [name, pytest.approx(expected[1], rel=1e-12)]


def test_load_equals_save(name, schema, tmp_path):
    model = make(name, schema)
    model.weight.mul_(3)
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert (again.name, again.arguments, again.schema) == (model.name, model.arguments, model.schema)
    assert not again.training
    for key, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key
    model.save(tmp_path / "model")  # over a model


def test_repr_rebuilds(name, schema):
    model = build(name, schema, latent_dim=6, seed=5)
    again = eval(repr(model), globals() | {"Schema": Schema})
    assert repr(again) == repr(model)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_weights_are_seeded_and_the_global_stream_is_left_alone(name, schema):
    state = torch.get_rng_state()
    first, same, other = (build(name, schema, seed=seed) for seed in (5, 5, 6))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), same.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_terms_have_names_for_the_log(name, schema, complete):
    model = make(name, schema)
    loss = model.loss(rows_for(model, schema, 6, complete=complete), progress=0.5)
    assert [key for key in loss.terms if key.startswith("cost/")] == [f"cost/{key}" for key in schema]
    assert any(key.startswith("penalty/") for key in loss.terms)
    assert all(term.shape == () and term.isfinite() for term in [loss.total, *loss.terms.values()])


def test_incomplete_rows_are_trained_on_or_refused_in_a_sentence(name, schema):
    model = make(name, schema)
    batch = rows_of(schema, 6, complete=False)
    if model.rows is None:
        assert model.loss(batch).total.isfinite()
        return
    with pytest.raises(ValueError, match=r"must be trained on complete rows.*row 0 lacks.*rows='complete'") as error:
        model.loss(batch)
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="must be trained on complete rows"):
        fit(model, Table(batch.values, batch.observed, schema), Table(batch.values, batch.observed, schema), epochs=1)


def test_a_row_s_answer_does_not_depend_on_the_order_of_the_rows(name, schema):
    model = make(name, schema).eval()
    batch = rows_of(schema, 7, complete=False)
    turned = torch.arange(7).flip(0)
    torch.testing.assert_close(model.embed(batch)[turned], model.embed(batch[turned]))


def test_samples_come_from_the_prior(name, schema):
    model = make(name, schema)
    values = model.sample(9)
    assert {key: tuple(value.shape) for key, value in values.items()} == {
        key: (9, *modality.shape) for key, modality in schema.items()
    }


def test_16_bits_compute_a_loss(name, schema):
    model = build(name, schema, latent_dim=6).bfloat16()
    assert model.loss(rows_for(model, schema, 4, complete=False)).total.isfinite()


def test_a_table_of_another_schema_is_refused(name, schema):
    turned = Schema(dict(reversed(list(schema.items()))))
    batch = rows_of(turned, 4, complete=True)
    with pytest.raises(ValueError, match="the table must have the model's modalities in their order, audio, image"):
        make(name, schema).translate(Table(batch.values, batch.observed, turned))


def test_wrong_kinds_of_things(name, schema):
    model = make(name, schema)
    batch = rows_of(schema, 3, complete=True)
    with pytest.raises(TypeError, match=r"write it as \['label'\]"):
        model.translate(batch, to="label")
    with pytest.raises(TypeError, match="rows must be a Batch or a Table; got list"):
        model.translate([1, 2])
    with pytest.raises(TypeError, match="schema must be a Schema; got dict"):
        build(name, dict(schema))
    for weights in ([1, 5], None, "balance"):
        with pytest.raises(ValueError, match=r"weights of .* must be 'balanced', 'sum' or Mapping\[str, float\]; got"):
            build(name, schema, weights=weights)
    with pytest.raises(ValueError, match="the loss weight of 'label' must be finite and not negative; got -3"):
        build(name, schema, weights={"label": -3})


def test_draws_or_a_sentence(name, schema):
    model = make(name, schema)
    batch = rows_of(schema, 4, complete=True)
    if model.deterministic:
        with pytest.raises(ValueError, match="one prediction per row"):
            model.translate(batch, samples=3)
    else:
        values = model.translate(batch, to=["vector"], samples=3)["vector"]
        assert values.shape == (3, 4, 3)
        assert not torch.equal(values[0], values[1])


def test_answers_leave_the_mode_of_every_part_as_it_was(name, schema):
    model = make(name, schema).train()
    part = next(iter(model.decoders))
    part.eval()
    model.translate(rows_of(schema, 3, complete=True))
    assert model.training
    assert not part.training


def test_a_probe_can_be_trained_on_embeddings(name, schema):
    code = make(name, schema).embed(rows_of(schema, 3, complete=True))
    probe = torch.nn.Linear(code.shape[-1], 1).double()
    probe(code).sum().backward()
    assert probe.weight.grad is not None


def test_unknown_arguments_list_the_known(name, schema):
    with pytest.raises(ValueError, match=f"unknown argument of {name} 'latentdim'; known are latent_dim"):
        build(name, schema, latentdim=3)


class Own(torch.nn.Sequential):
    """Marks what a network made."""


@dataclass(frozen=True)
class Both(Network):
    """An encoder and a decoder of other widths, and of a type that can be found again."""

    width: int = 5

    def encoder(self, modality, features):
        return Own(modality.encoder(self.width), torch.nn.Linear(self.width, features))

    def decoder(self, modality, latent_dim):
        return Own(torch.nn.Linear(latent_dim, self.width), modality.decoder(self.width))


def test_networks_take_the_place_of_the_modalities_own(name, schema, complete, registries, tmp_path):
    NETWORKS["both"] = Both
    model = make(name, schema.replace(network=Both())).train()
    assert sum(isinstance(part, Own) for part in model.modules()) >= 2 * len(schema)
    batch = rows_for(model, schema, 7, complete=complete)
    loss, gradients = seeded_loss(model, batch)
    assert loss.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert any(gradient.any() for gradient in gradients)
    model.eval().save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert again.schema == model.schema
    assert torch.equal(again.embed(batch), model.embed(batch))

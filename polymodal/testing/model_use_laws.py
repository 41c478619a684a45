"""Laws of how models are built, trained, used and saved."""

from __future__ import annotations

from dataclasses import dataclass, replace
from inspect import signature
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from polymodal.modalities import MODALITIES, NETWORKS, Modality, Network
from polymodal.models import MODELS, build, load
from polymodal.schema import Schema
from polymodal.table.table import Table
from polymodal.testing.examples import sample_rows
from polymodal.testing.laws import expect_error, require, require_equal, require_finite, temporary_entries
from polymodal.testing.model_subject import ModelSubject, require_same
from polymodal.training import fit

__all__ = ["LAWS"]


def check_load_equals_save(subject: ModelSubject) -> None:
    """A loaded model equals the saved one, and predicts equally."""
    model, batch = subject.make(), sample_rows(subject.schema, 5, complete=False)
    model.weight.mul_(3)
    with TemporaryDirectory() as parent:
        model.save(folder := Path(parent) / "model")
        again = load(folder)
        model.eval().save(folder)  # a second time, over the first
    one, two = ((made.name, made.arguments, made.schema) for made in (again, model))
    require_equal(one, two, "name, arguments and schema of the loaded model")
    require(not again.training, "a loaded model must be in evaluation mode; got training mode")
    for key, value in model.state_dict().items():
        require_same(value, again.state_dict()[key], f"the saved and the loaded {key}")
    for key, value in model.translate(batch).items():
        require_same(value, again.translate(batch)[key], f"predictions of {key!r} of the saved and the loaded model")


def check_repr(subject: ModelSubject) -> None:
    """`repr` is an expression that builds an equal model."""
    model = subject.build(seed=5)
    kinds: list[type[Modality]] = [*MODALITIES.values()]
    names = {kind.__name__: kind for kind in [*kinds, *map(type, subject.schema.values())]}
    again = eval(repr(model), {**names, "Schema": Schema, "build": build})
    require_equal(repr(again), repr(model), "the repr of the rebuilt model")
    for (name, one), two in zip(model.named_parameters(), again.parameters(), strict=True):
        require_same(one, two, f"{name} of the model and the rebuilt one")


def check_seed(subject: ModelSubject) -> None:
    """`build(seed=...)` determines the initial weights, and leaves the global random state unchanged."""
    state = torch.get_rng_state()
    first, same, other = (subject.build(seed=seed) for seed in (5, 5, 6))
    require_same(state, torch.get_rng_state(), "the global random state before and after building")
    for (name, one), two in zip(first.named_parameters(), same.parameters(), strict=True):
        require_same(one, two, f"{name} of the models of seed 5")
    differ = any(not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))
    require(differ, "weights of seeds 5 and 6 must differ; they are equal")


def check_training(subject: ModelSubject) -> None:
    """Training changes the weights to other finite ones, and incomplete rows are used, or refused in one sentence."""
    model, batch = subject.make(), sample_rows(subject.schema, 6, complete=False)
    table = Table(batch.values, batch.observed, subject.schema)
    if model.rows is None:
        require_finite(model.loss(batch).total, "the loss of incomplete rows")
    else:
        with expect_error(ValueError, r"complete rows.*row 0.*rows='complete'", "incomplete rows"):
            model.loss(batch)
        with expect_error(ValueError, "complete rows", "fit on incomplete rows"):
            fit(model, table, table, epochs=1, progress=False)
        batch = subject.rows(6, complete=True)
        table = Table(batch.values, batch.observed, subject.schema)
    model = subject.build()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    fit(model, table, table, epochs=1, batch_size=3, progress=False)
    for name, parameter in model.named_parameters():
        require_finite(parameter, f"{name} after training")
    changed = any(not torch.equal(one, two) for one, two in zip(before, model.parameters(), strict=True))
    require(changed, "training must change the weights; all are equal to the initial ones")


def check_samples_from_prior(subject: ModelSubject) -> None:
    """Samples from the prior have the shapes of the modalities."""
    shapes = {key: tuple(value.shape) for key, value in subject.make().sample(9).items()}
    require_equal(shapes, {key: (9, *modality.shape) for key, modality in subject.schema.items()}, "the shapes")


def check_posterior_samples(subject: ModelSubject) -> None:
    """Predictions from several posterior samples differ; a deterministic model refuses to sample."""
    model, batch = subject.make(), sample_rows(subject.schema, 4, complete=True)
    if model.deterministic:
        with expect_error(ValueError, "per row|deterministic", "samples of a deterministic model"):
            model.translate(batch, samples=3)
        return
    values = model.translate(batch, samples=3)
    for key, modality in subject.schema.items():
        require_equal(tuple(values[key].shape), (3, 4, *modality.shape), f"the shape of 3 samples of {key!r}")
    differ = any(not torch.equal(value[0], value[1]) for value in values.values())
    require(differ, "predictions from two posterior samples must differ; they are equal")


def check_other_schema(subject: ModelSubject) -> None:
    """A table with the modalities in another order is refused."""
    turned = Schema(dict(reversed(list(subject.schema.items()))))
    batch = sample_rows(turned, 4, complete=True)
    names = ", ".join([*subject.schema][:2])
    with expect_error(ValueError, f"order, {names}", "a table of another schema"):
        subject.make().translate(Table(batch.values, batch.observed, turned))


def check_argument_errors(subject: ModelSubject) -> None:
    """Arguments of a wrong type or name are errors that name the rule and the value."""
    wrong: Any = [1, 2]
    model, batch, name = subject.make(), sample_rows(subject.schema, 3, complete=True), [*subject.schema][2]
    with expect_error(TypeError, rf"write it as \['{name}'\]", "a text in place of a list"):
        model.translate(batch, to=name)  # pyright: ignore[reportArgumentType] (this is the error)
    with expect_error(TypeError, "Batch.*Table.*list", "a list of rows"):
        model.translate(wrong)
    with expect_error(TypeError, "Schema.*dict", "a dict in place of a schema"):
        build(subject.name, dict(subject.schema))  # pyright: ignore[reportArgumentType] (this is the error)
    with expect_error(ValueError, "'latentdim'.*known are", "an unknown argument"):
        build(subject.name, subject.schema, latentdim=3)
    if "weights" not in signature(MODELS[subject.name]).parameters:
        return
    for weights in ([1, 5], None, "balance"):
        with expect_error(ValueError, "'balanced', 'sum'.*got", f"{weights!r}"):
            build(subject.name, subject.schema, weights=weights)
    with expect_error(ValueError, f"'{name}'.*-3", "a negative weight"):
        build(subject.name, subject.schema, weights={name: -3})


def check_modes(subject: ModelSubject) -> None:
    """Predictions leave the training mode of every part unchanged."""
    model = subject.make().train()
    part = next(iter(model.decoders))
    part.eval()
    model.translate(sample_rows(subject.schema, 3, complete=True))
    require(model.training, "the model must still be in training mode after a prediction")
    require(not part.training, "a decoder in evaluation mode must still be in it after a prediction")


def check_embeddings(subject: ModelSubject) -> None:
    """A classifier can be trained on embeddings."""
    code = subject.make().embed(sample_rows(subject.schema, 3, complete=True))
    probe = nn.Linear(code.shape[-1], 1).double()
    probe(code).sum().backward()
    require(probe.weight.grad is not None, "a layer on embeddings must get a gradient; it has none")


class Marked(nn.Sequential):
    """A network of `Narrow`, which can be found by its type."""


@dataclass(frozen=True)
class Narrow(Network):
    """Custom networks, in which the default ones have another width."""

    width: int = 5

    def encoder(self, modality: Modality, features: int) -> nn.Module:
        """Creates an encoder."""
        return Marked(modality.encoder(self.width), nn.Linear(self.width, features))

    def decoder(self, modality: Modality, latent_dim: int) -> nn.Module:
        """Creates a decoder."""
        return Marked(nn.Linear(latent_dim, self.width), modality.decoder(self.width))


def check_custom_networks(subject: ModelSubject) -> None:
    """Custom networks replace all encoders and decoders, train, and are saved and loaded."""
    schema = Schema({name: replace(modality, network=Narrow()) for name, modality in subject.schema.items()})
    for complete in (True, False):
        with temporary_entries(NETWORKS, {"narrow": Narrow}), TemporaryDirectory() as parent:
            model = subject.make(schema).train()
            number = sum(isinstance(part, Marked) for part in model.modules())
            require(number >= 2 * len(schema), f"{2 * len(schema)} custom networks must be used; got {number}")
            batch = subject.rows(7, complete=complete)
            model.loss(batch).total.backward()
            for name, parameter in model.named_parameters():
                require(parameter.grad is not None, f"{name} must have a gradient; it has none")
                require_finite(parameter.grad, f"the gradient of {name}")  # pyright: ignore[reportArgumentType]
            model.eval().save(folder := Path(parent) / "model")
            again = load(folder)
            require_equal(again.schema, model.schema, "the schema of the loaded model")
            require_same(again.embed(batch), model.embed(batch), "codes of the saved and the loaded model")


LAWS = [
    check_repr,
    check_seed,
    check_training,
    check_load_equals_save,
    check_samples_from_prior,
    check_posterior_samples,
    check_modes,
    check_embeddings,
    check_custom_networks,
    check_other_schema,
    check_argument_errors,
]
"""Laws of how models are built, trained, used and saved."""

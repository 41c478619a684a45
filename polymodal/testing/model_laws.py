"""Laws of a model's loss, codes and outputs."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from polymodal.batch import Batch
from polymodal.models import Model
from polymodal.testing.examples import sample_rows
from polymodal.testing.laws import expect_error, require, require_equal, require_finite
from polymodal.testing.model_subject import ModelSubject, require_close, require_same

__all__ = ["LAWS"]


class _Seeded(NamedTuple):
    total: Tensor
    gradients: list[Tensor]


def _compute_seeded_loss(model: Model, batch: Batch) -> _Seeded:
    torch.manual_seed(3)
    model.zero_grad()
    loss = model.loss(batch)
    loss.total.backward()
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in model.parameters()]
    return _Seeded(loss.total.detach(), gradients)


def check_finite_loss(subject: ModelSubject) -> None:
    """The loss and all its gradients are finite, for complete and incomplete rows."""
    for rows in (2, 7):
        for complete in (True, False):
            what = f"of {rows} {'complete' if complete else 'incomplete'} rows"
            model = subject.make().train()
            model.loss(subject.rows(rows, complete=complete)).total.backward()
            for name, parameter in model.named_parameters():
                require(parameter.grad is not None, f"{name} must have a gradient; the loss {what} does not use it")
            model.zero_grad()
            loss, gradients = _compute_seeded_loss(model, subject.rows(rows, complete=complete))
            require_finite(loss, f"the loss {what}")
            for (name, _), gradient in zip(model.named_parameters(), gradients, strict=True):
                require_finite(gradient, f"the gradient of {name} {what}")


def check_missing_values_unused(subject: ModelSubject) -> None:
    """Values that are not observed are never used: neither codes, the loss nor gradients depend on them."""
    schemas = [subject.schema]
    if "cost" in {name for modality in subject.schema.values() for name in vars(modality)}:
        schemas.append(subject.schema.replace(cost="l2"))
    for schema in schemas:
        for rows in (2, 7):
            _check_spoilt(subject.make(schema), sample_rows(schema, rows, complete=False))


def _check_spoilt(model: Model, batch: Batch) -> None:
    spoilt = {}
    for column, (key, value) in enumerate(batch.values.items()):
        spoilt[key] = value.clone()
        spoilt[key][~batch.observed[:, column]] = float("nan") if value.is_floating_point() else 99
    other = Batch(spoilt, batch.observed)
    require_same(model.eval().encode(batch).mean, model.encode(other).mean, "codes with other missing values")
    if model.rows is not None:
        return
    one, two = (_compute_seeded_loss(model.train(), rows) for rows in (batch, other))
    require_same(one.total, two.total, "losses with other missing values")
    for (name, _), here, there in zip(model.named_parameters(), one.gradients, two.gradients, strict=True):
        require_same(here, there, f"gradients of {name} with other missing values")


def check_absent_modalities(subject: ModelSubject) -> None:
    """A batch may leave out the values of modalities that no row has."""
    model, batch, absent = subject.make(), sample_rows(subject.schema, 4, complete=True), [*subject.schema][1::2]
    observed = batch.observed & ~subject.schema.mask(absent)
    less = Batch({key: value for key, value in batch.values.items() if key not in absent}, observed)
    require_same(model.embed(less), model.embed(Batch(batch.values, observed)), f"codes without values of {absent}")
    if model.rows is not None:
        return
    one, two = (_compute_seeded_loss(model, rows).total for rows in (less, Batch(batch.values, observed)))
    require_same(one, two, f"losses without values of {absent}")
    with expect_error(ValueError, f"'{absent[0]}' is marked as observed", f"the loss without values of {absent[0]!r}"):
        model.loss(Batch(less.values, batch.observed))


def check_rows_independent(subject: ModelSubject) -> None:
    """The code and the predictions of a row do not depend on the other rows."""
    model, batch = subject.make().eval(), sample_rows(subject.schema, 7, complete=True)
    for given in (None, [*subject.schema][2::2]):
        code, values = model.encode(batch, given).mean, model.translate(batch, given)
        for row in (0, 6):
            alone = batch[row : row + 1]
            what = f"of row {row} given {given or 'all'}, alone and among 7"
            require_close(model.encode(alone, given).mean, code[row : row + 1], f"codes {what}")
            for key, value in model.translate(alone, given).items():
                require_close(value, values[key][row : row + 1], f"predictions of {key!r} {what}")


def check_leading_axes(subject: ModelSubject) -> None:
    """Leading axes of `given` are independent conditionings, computed in one call."""
    for rows in (1, 5):
        for complete in (True, False):
            model, batch = subject.make().eval(), sample_rows(subject.schema, 5, complete=complete)
            given = torch.rand(2, 3, rows, len(subject.schema)) < 0.5
            # All modalities are given in conditionings that would leave a row with nothing.
            given |= ~(given & batch.observed).any(-1).all(-1)[..., None, None]
            _check_conditionings(model, batch, given)


def _check_conditionings(model: Model, batch: Batch, given: Tensor) -> None:
    together, values = model.encode(batch, given), model.translate(batch, given)
    require_equal(tuple(together.batch_shape), (2, 3, 5), "the batch shape given (2, 3) conditionings of 5 rows")
    parameters = model.emit(together.mean)
    for i in range(2):
        for k in range(3):
            alone, what = model.encode(batch, given[i, k]), f"of conditioning {i, k}, alone and among others"
            require_close(together.mean[i, k], alone.mean, f"means {what}")
            require_close(together.variance[i, k], alone.variance, f"variances {what}")
            for key, output in model.emit(alone.mean).items():
                require_close(parameters[key][i, k], output, f"outputs for {key!r} {what}")
            for key, value in model.translate(batch, given[i, k]).items():
                require_close(values[key][i, k], value, f"predictions of {key!r} {what}")


def check_given_names(subject: ModelSubject) -> None:
    """Names in `given` are equal to a mask, and neither their order nor that of the values changes anything."""
    model, batch, every = subject.make().eval(), sample_rows(subject.schema, 5, complete=True), [*subject.schema]
    names = [every[-2], every[0]]
    turned = Batch(dict(reversed([*batch.values.items()])), batch.observed)
    code = model.encode(batch, names).mean
    require_same(code, model.encode(batch, subject.schema.mask(names).expand(1, -1)).mean, "codes given names and mask")
    require_same(code, model.encode(turned, names[::-1]).mean, "codes given names in another order")
    wanted = [every[-1], every[1]]
    require_equal([*model.translate(batch, names, wanted)], wanted, "the order of predictions")


def check_reconstruction(subject: ModelSubject) -> None:
    """`reconstruct` predicts each modality from all that are observed, its own value included."""
    for complete in (True, False):
        model, batch = subject.make().eval(), sample_rows(subject.schema, 5, complete=complete)
        values = model.reconstruct(batch)
        require_equal([*values], [*subject.schema], "the names of reconstructions")
        for name in subject.schema:
            for alike in (model.translate(batch, batch.observed, [name]), model.reconstruct(batch, [name])):
                require_close(alike[name], values[name], f"reconstructions of {name}, together and alone,")


def check_given_errors(subject: ModelSubject) -> None:
    """A wrong `given` is an error that names the row, the modality or the shape."""
    model, schema, batch = subject.make(), subject.schema, sample_rows(subject.schema, 5, complete=True)
    names, number, observed = [*schema], len(schema), batch.observed.clone()
    observed[3] = schema.mask([names[2]])
    with expect_error(ValueError, f"row 3 has only {names[2]}", "a row that is left with nothing"):
        model.translate(Batch(batch.values, observed), [name for name in names if name != names[2]])
    with expect_error(ValueError, f"unknown modality '{names[0]}x'.* known are", "an unknown name"):
        model.encode(batch, [f"{names[0]}x"])
    with expect_error(TypeError, rf"write it as \['{names[0]}'\]", "a text in place of a list"):
        model.encode(batch, names[0])  # pyright: ignore[reportArgumentType] (this is the error)
    with expect_error(TypeError, "must be bool", "a mask of floats"):
        model.encode(batch, torch.ones(1, number))
    shapes = rf"must end in rows and modalities, \(\*, 1, {number}\) or \(\*, 5, {number}\)"
    with expect_error(ValueError, shapes, "a mask of 3 rows for 5"):
        model.encode(batch, torch.ones(3, number, dtype=torch.bool))


def check_order_of_rows(subject: ModelSubject) -> None:
    """The code of a row does not depend on the order of the rows."""
    model, batch, turned = (
        subject.make().eval(),
        sample_rows(subject.schema, 7, complete=False),
        torch.arange(7).flip(0),
    )
    require_close(model.embed(batch)[turned], model.embed(batch[turned]), "codes of rows in another order")


def check_16_bits(subject: ModelSubject) -> None:
    """The loss is finite in bfloat16."""
    model = subject.build().bfloat16()
    require_finite(model.loss(subject.rows(4, complete=False)).total, "the loss in bfloat16")


def check_terms(subject: ModelSubject) -> None:
    """The terms of the loss are finite numbers, called "cost/<modality>" in order, and "penalty/<name>"."""
    for complete in (True, False):
        loss = subject.make().loss(subject.rows(6, complete=complete), progress=0.5)
        costs = [key for key in loss.terms if key.startswith("cost/")]
        require_equal(costs, [f"cost/{key}" for key in subject.schema], "the names of the costs")
        require(any(key.startswith("penalty/") for key in loss.terms), f"a penalty must be named; got {[*loss.terms]}")
        for key, term in {"total": loss.total, **loss.terms}.items():
            require_equal(tuple(term.shape), (), f"the shape of {key}")
            require_finite(term, key)


LAWS = [
    check_finite_loss,
    check_terms,
    check_16_bits,
    check_missing_values_unused,
    check_absent_modalities,
    check_rows_independent,
    check_order_of_rows,
    check_leading_axes,
    check_given_names,
    check_reconstruction,
    check_given_errors,
]
"""Laws of a model's loss, codes and outputs."""

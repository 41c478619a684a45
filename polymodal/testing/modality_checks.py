"""The check of modalities, and the laws that they obey."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from polymodal.evaluation import METRICS
from polymodal.modalities import MODALITIES, NETWORKS, Label, Modality
from polymodal.modalities.costed import Costed
from polymodal.modalities.costs import parse_cost
from polymodal.modalities.profile import Profile
from polymodal.models import build, load
from polymodal.schema import Schema
from polymodal.table.table import Table
from polymodal.testing.examples import sample_rows, sample_values
from polymodal.testing.laws import apply_law, expect_error, require, require_equal, require_finite
from polymodal.testing.model_subject import require_close, require_same
from polymodal.testing.table_laws import change_arguments, check_tables_of, expand_costs
from polymodal.training import fit

__all__ = ["COST_LAWS", "MODALITY_LAWS", "check_modality"]


def check_modality(modality: Modality) -> None:
    """Checks that a modality obeys the laws that polymodal's modalities obey.

    Its class must be registered in `MODALITIES`. If it has a choice of costs, each of them is checked.

    Arguments:
        modality: The modality, of a small size.

    Raises:
        AssertionError: A law is broken. The message contains the law and the values.
        TypeError: The argument is not a modality.

    Example:
        >>> check_modality(Label(3, hidden=(4,)))
    """
    if not isinstance(modality, Modality):
        raise TypeError(f"modality must be an instance of Modality, such as Label(3); got {modality!r}")
    for law in MODALITY_LAWS.values():
        apply_law(law, repr(modality), modality)
    for variant in expand_costs(modality):
        for law in COST_LAWS.values():
            apply_law(law, repr(variant), variant)
    for other in change_arguments(modality):
        apply_law(check_tables_of, f"{modality!r} and {other!r}", modality, other)


def check_shapes(modality: Modality) -> None:
    """Networks, distribution, cost and point prediction have the promised shapes, and the metric is registered."""
    x = modality.prepare(sample_values(modality, 5), torch.float32)
    require_equal(tuple(modality.build_encoder(6)(x).shape), (5, 6), "the shape of the encoder's output")
    parameters = modality.build_decoder(4)(torch.randn(5, 4))
    distribution = modality.distribution(parameters)
    require_equal(tuple(distribution.batch_shape), (5,), "the batch shape of the distribution")
    require_equal(tuple(distribution.event_shape), modality.shape, "the event shape of the distribution")
    require_equal(tuple(modality.value(distribution).shape), (5, *modality.shape), "the shape of the point prediction")
    require_equal(tuple(modality.compute_cost(parameters, x).shape), (5,), "the shape of the cost")
    require(modality.metric in METRICS, f"metric must be one of {', '.join(METRICS)}; got {modality.metric!r}")


def check_broadcasting(modality: Modality) -> None:
    """Costs broadcast over leading axes of the parameters."""
    x = modality.prepare(sample_values(modality, 5), torch.float32)
    parameters = modality.decoder(4)(torch.randn(6 * 5, 4)).unflatten(0, (2, 3, 5))
    for name, measure in (("cost", modality.compute_cost), ("nll", modality.nll)):
        whole = measure(parameters, x)
        require_equal(tuple(whole.shape), (2, 3, 5), f"the shape of {name} for (2, 3) sets of parameters of 5 rows")
        one_by_one = torch.stack([torch.stack([measure(p, x) for p in row]) for row in parameters])
        require_close(whole, one_by_one, f"{name} of all parameters and of one set after the other")


def check_blank(modality: Modality) -> None:
    """The blank has the shape and type of a value, and its costs are finite, with finite gradients."""
    require_equal(tuple(modality.blank.shape), modality.shape, "the shape of the blank")
    require_equal(modality.blank.dtype, modality.dtype, "the type of the blank")
    blank = modality.prepare(modality.blank, torch.float32).expand(5, *modality.shape)
    for name, measure in (("cost", modality.compute_cost), ("nll", modality.nll)):
        decoder = modality.decoder(4)
        costs = measure(decoder(torch.randn(5, 4)), blank)
        require_finite(costs, f"{name} of a blank")
        costs.sum().backward()
        for key, parameter in decoder.named_parameters():
            if parameter.grad is not None:
                require_finite(parameter.grad, f"the gradient of {key} by {name} of a blank")


def check_nll(modality: Modality) -> None:
    """`nll` is the negative logarithm of the distribution's density or probability."""
    x = modality.prepare(sample_values(modality, 5), torch.float64)
    parameters = modality.decoder(4).double()(torch.randn(5, 4).double())
    require_close(modality.nll(parameters, x), -modality.distribution(parameters).log_prob(x), "nll and -log p(x | z)")


def check_constant_cost(modality: Modality) -> None:
    """`constant_cost` is the mean cost of the best constant prediction, and no other constant costs less.

    For modalities without a registered cost, it must be positive and between a quarter and four times of it.
    """
    x = modality.prepare(sample_values(modality, 200), torch.float64)
    mean, square = (moment / 200 for moment in modality.moments(x))
    if not isinstance(modality, Costed):
        start = modality.decoder(4).double()(torch.zeros(1, 4).double()).detach()[0]
        best = float(_mean_cost(modality, _find_best_constant(modality, x, start), x))
        found = float(modality.constant_cost(mean, square))
        right = math.isfinite(found) and found > 0 and (best <= 0 or best / 4 <= found <= 4 * best)
        require(right, f"constant_cost must be positive and near the best constant's cost, {best:g}; got {found:g}")
        return
    code = x if modality.levels is None else F.one_hot(x, modality.levels).double()
    require_close(mean, code.mean(0), "the first moment and the mean")
    require_close(square, code.square().mean(0), "the second moment and the mean of squares")
    parameters = {
        "bernoulli": lambda: mean.logit(eps=1e-12),
        "categorical": lambda: mean.log().clamp(min=-40),
        "categorical-squashed": lambda: _find_best_constant(modality, x, mean),
        "laplace": lambda: x.median(0).values,
    }.get(modality.cost, lambda: mean)()
    costs, found = _mean_cost(modality, parameters, x), modality.constant_cost(mean, square)
    if parse_cost(modality.cost, modality.costs)[0].is_exact:
        torch.testing.assert_close(costs, found, rtol=1e-6, atol=1e-6)
        nll = modality.nll(parameters.expand(200, *parameters.shape), x).mean()
        free = 0.0 if modality.levels or modality.cost == "bernoulli" else math.log(2 * math.pi) / 2 * mean.numel()
        found = modality.constant_cost(mean, square, likelihood=True)
        torch.testing.assert_close(nll - free, found, rtol=1e-4, atol=1e-4)
    else:  # the median does not follow from moments
        require(0.5 * costs < found < 1.5 * costs, f"constant_cost must be near {float(costs):g}; got {float(found):g}")
    for _ in range(20):
        other = float(_mean_cost(modality, parameters + 0.3 * torch.randn(parameters.shape), x))
        require(other > costs, f"no constant must cost less than {float(costs):g}; one costs {other:g}")


def _mean_cost(modality: Modality, parameters: Tensor, x: Tensor) -> Tensor:
    """Returns the mean cost of constant parameters for values `(N, *shape)`."""
    return modality.compute_cost(parameters.expand(len(x), *parameters.shape), x).mean()


def _find_best_constant(modality: Modality, x: Tensor, start: Tensor) -> Tensor:
    """Returns the best constant parameters, by gradient descent."""
    parameters = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([parameters], lr=1, max_iter=500, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimizer.zero_grad()
        cost = _mean_cost(modality, parameters, x)
        cost.backward()
        return float(cost.detach())

    optimizer.step(closure)
    return parameters.detach()


def check_repr_and_json(modality: Modality) -> None:
    """`repr` and JSON rebuild an equal modality, and equal ones have equal hashes."""
    names = {kind.__name__: kind for kind in [*MODALITIES.values(), *NETWORKS.values(), type(modality)]}
    again = eval(repr(modality), names)
    require_equal(again, modality, "the modality rebuilt from its repr")
    require_equal(hash(again), hash(modality), "the hash of the modality rebuilt from its repr")
    schema = Schema({"it": modality})
    require_equal(Schema.from_json(json.loads(json.dumps(schema.to_json()))), schema, "the schema rebuilt from JSON")


def check_written_values(modality: Modality) -> None:
    """Written values can be read, as single values and as cells of a data frame."""
    import pandas as pd

    values = sample_values(modality, 3)
    again = modality.read(modality.write(values[1]))
    require_equal((tuple(again.shape), again.dtype), (modality.shape, modality.dtype), "shape and type of a read value")
    cells = [pd.Series(list(column), dtype=object) for column in modality.write_cells(values)]
    require_equal(len(cells), len(modality.columns("it")), "the number of columns of write_cells")
    read = modality.read_cells(*cells, root=Path())
    require_equal(tuple(read.values.shape), (3, *modality.shape), "the shape of read cells")
    if modality.metric != "bleu-3":  # a text's unknown words and spaces are not kept
        np.testing.assert_allclose(again.numpy(), values[1].numpy(), atol=1e-6)
        require(read.observed.all(), f"written cells must be observed; got {read.observed.tolist()}")
        np.testing.assert_allclose(read.values.numpy(), values.numpy(), atol=1e-6)


def check_missing_cells(modality: Modality) -> None:
    """Missing cells are read as missing values."""
    import pandas as pd

    cells = [pd.Series([None, *column], dtype=object) for column in modality.write_cells(sample_values(modality, 2))]
    observed = modality.read_cells(*cells, root=Path()).observed
    require(not observed[0], "a missing cell must be read as missing; got observed")


def check_encoder_rows(modality: Modality) -> None:
    """Encoders and decoders process each row independently of the others."""
    encoder, decoder = modality.encoder(6).eval().double(), modality.decoder(4).eval().double()
    x = modality.prepare(sample_values(modality, 5), torch.float64)
    require_close(encoder(x)[2:3], encoder(x[2:3]), "the encoder's output for a row, among 5 and alone")
    z = torch.randn(5, 4).double()
    require_close(decoder(z)[2:3], decoder(z[2:3]), "the decoder's output for a row, among 5 and alone")


def check_unknown_cost(modality: Modality) -> None:
    """An unknown cost is an error that lists the known ones."""
    if isinstance(modality, Costed):
        with expect_error(ValueError, "'l2'.*'l3'", "the cost 'l3'"):
            replace(modality, cost="l3")


def check_candidates(modality: Modality) -> None:
    """The suitability for a column is in [0, 1]; where it is positive, the candidate is an instance, with a reason."""
    import pandas as pd

    columns: list[Any] = [[True, False], ["a", "b", "a"], [3, 0, 3, 7], [0.5, -1.5, 2.0], [[1.0, 2.0], [3.0, 4.0]]]
    columns += [
        ["a red bird", "a blue bird"],
        [{"a": 1}, {"a": 2}],
        [b"a", b"b"],
        [pd.Timestamp(day) for day in (0, 1)],
    ]
    for cells in columns:
        profile, kind = Profile.of(pd.DataFrame({"x": cells}), "x"), type(modality)
        suitability = kind.suitability(profile)
        require(0 <= suitability <= 1, f"suitability must be in [0, 1]; got {suitability} for cells {cells}")
        if suitability > 0:
            candidate = kind.candidate(profile)
            found = candidate.modality is None or isinstance(candidate.modality, kind)
            require(found, f"the candidate must be a {kind.__name__}; got {candidate.modality!r} for cells {cells}")
            require(candidate.why, f"a candidate must have a reason; got an empty one for cells {cells}")


def check_training(modality: Modality) -> None:
    """A model with the modality trains on incomplete rows, saves and loads, and predicts equally."""
    schema = Schema({"it": modality, "kind": Label(3, hidden=(4,))})
    batch = sample_rows(schema, 12, complete=False)
    table = Table(batch.values, batch.observed, schema)
    model = build("mac-wae", schema, latent_dim=3, draws=2)
    for loss in fit(model, table, table, epochs=2, batch_size=6, progress=False).history["train/total"]:
        require(math.isfinite(loss), f"the loss must be finite; got {loss}")
    with TemporaryDirectory() as parent:
        model.save(folder := Path(parent) / "model")
        again = load(folder)
    require_equal(again.schema, model.schema, "the schema of the loaded model")
    rows = schema.batch({"kind": torch.tensor([0, 1, 2])})
    one, two = (made.eval().translate(rows, to=["it"])["it"] for made in (model, again))
    require_same(one, two, "predictions of the saved and the loaded model")


COST_LAWS: dict[str, Callable[[Modality], None]] = {
    "shapes": check_shapes,
    "broadcasting": check_broadcasting,
    "blank": check_blank,
    "nll": check_nll,
    "constant_cost": check_constant_cost,
    "repr_and_json": check_repr_and_json,
    "written_values": check_written_values,
    "encoder_rows": check_encoder_rows,
}
"""Laws that are checked for each cost."""

MODALITY_LAWS: dict[str, Callable[[Modality], None]] = {
    "missing_cells": check_missing_cells,
    "unknown_cost": check_unknown_cost,
    "candidates": check_candidates,
    "training": check_training,
}
"""Laws that are checked once for each modality."""

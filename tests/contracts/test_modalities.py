"""What every registered modality promises."""

import json
import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from conftest import EXAMPLES, draw

from polymodal.evaluation import METRICS
from polymodal.modalities import *  # noqa: F403 (repr names them)
from polymodal.modalities import MODALITIES, serialization
from polymodal.modalities.costed import Costed
from polymodal.schema import Schema

VARIANTS = [
    pytest.param(replace(modality, **({"cost": cost} if cost else {})), id=f"{name}-{cost or 'default'}")
    for name, modality in EXAMPLES.items()
    for cost in ([*type(modality).__dict__["cost"].costs] if isinstance(modality, Costed) else [None])
]


def test_there_is_an_example_of_each():
    assert EXAMPLES.keys() == MODALITIES.keys()


def descended(modality, x, start):
    """The best constant parameters, by gradient descent."""
    parameters = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([parameters], lr=1, max_iter=500, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        cost = modality.cost(parameters.expand(len(x), *parameters.shape), x).mean()
        cost.backward()
        return cost

    optimizer.step(closure)
    return parameters.detach()


@pytest.mark.parametrize("modality", VARIANTS)
class TestModality:
    def test_networks_have_the_promised_shapes(self, modality):
        x = modality.prepare(draw(modality, 5), torch.float32)
        assert modality.encoder(6)(x).shape == (5, 6)
        parameters = modality.decoder(4)(torch.randn(5, 4))
        distribution = modality.distribution(parameters)
        assert distribution.batch_shape == (5,)
        assert distribution.event_shape == modality.shape
        assert modality.value(distribution).shape == (5, *modality.shape)
        assert modality.cost(parameters, x).shape == (5,)
        assert modality.metric in METRICS

    def test_cost_broadcasts_over_leading_axes(self, modality):
        x = modality.prepare(draw(modality, 5), torch.float32)
        parameters = modality.decoder(4)(torch.randn(6 * 5, 4)).unflatten(0, (2, 3, 5))
        for measure in (modality.cost, modality.nll):
            whole = measure(parameters, x)
            assert whole.shape == (2, 3, 5)
            one_by_one = torch.stack([torch.stack([measure(p, x) for p in row]) for row in parameters])
            torch.testing.assert_close(whole, one_by_one)

    def test_cost_is_finite_with_finite_gradients_on_a_blank(self, modality):
        blank = modality.prepare(modality.blank, torch.float32).expand(5, *modality.shape)
        for measure in (modality.cost, modality.nll):
            decoder = modality.decoder(4)
            parameters = decoder(torch.randn(5, 4))
            measure(parameters, blank).sum().backward()
            assert all(p.grad is None or p.grad.isfinite().all() for p in decoder.parameters())

    def test_nll_is_that_of_torch_distributions(self, modality):
        x = modality.prepare(draw(modality, 5), torch.float64)
        parameters = modality.decoder(4).double()(torch.randn(5, 4).double())
        torch.testing.assert_close(modality.nll(parameters, x), -modality.distribution(parameters).log_prob(x))

    def test_best_constant_costs_what_it_says_and_nothing_costs_less(self, modality):
        x = modality.prepare(draw(modality, 200), torch.float64)
        mean, square = (moment / 200 for moment in modality.moments(x))
        code = x if modality.levels is None else torch.nn.functional.one_hot(x, modality.levels).double()
        torch.testing.assert_close(mean, code.mean(0))
        torch.testing.assert_close(square, code.square().mean(0))
        parameters = {
            "bernoulli": lambda: mean.logit(eps=1e-12),
            "categorical": lambda: mean.log().clamp(min=-40),
            "categorical-squashed": lambda: descended(modality, x, mean),
            "laplace": lambda: x.median(0).values,
        }.get(getattr(modality, "cost", "l2"), lambda: mean)()
        costs = modality.cost(parameters.expand(200, *parameters.shape), x).mean()
        said = modality.constant_cost(mean, square)
        if getattr(getattr(modality, "cost", None), "exact", True):
            torch.testing.assert_close(costs, said, rtol=1e-6, atol=1e-6)
            nll = modality.nll(parameters.expand(200, *parameters.shape), x).mean()
            free = 0.0 if modality.levels or modality.cost == "bernoulli" else math.log(2 * math.pi) / 2 * mean.numel()
            said = modality.constant_cost(mean, square, likelihood=True)
            torch.testing.assert_close(nll - free, said, rtol=1e-4, atol=1e-4)
        else:  # moments do not tell a median
            assert 0.5 * costs < said < 1.5 * costs
        for _ in range(20):
            other = parameters + 0.3 * torch.randn(parameters.shape)
            assert modality.cost(other.expand(200, *other.shape), x).mean() > costs

    def test_repr_and_json_rebuild_it(self, modality):
        assert eval(repr(modality)) == modality
        schema = Schema({"it": modality})
        assert Schema.from_json(json.loads(json.dumps(schema.to_json()))) == schema
        assert hash(modality) == hash(eval(repr(modality)))

    def test_what_is_written_can_be_read(self, modality):
        value = draw(modality, 3)[1]
        again = modality.read(modality.write(value))
        assert again.shape == modality.shape
        assert again.dtype == modality.dtype
        if modality.metric != "bleu-3":  # a text's unknown words and the gaps between words are not kept
            np.testing.assert_allclose(again.numpy(), value.numpy(), atol=1e-6)

    def test_encoders_treat_each_row_alone(self, modality):
        encoder = modality.encoder(6).eval().double()
        x = modality.prepare(draw(modality, 5), torch.float64)
        torch.testing.assert_close(encoder(x)[2:3], encoder(x[2:3]))


@pytest.mark.parametrize("kind", MODALITIES.values())
def test_an_unknown_cost_lists_the_known(kind):
    if not issubclass(kind, Costed):
        pytest.skip("has no choice of costs")
    example = next(modality for modality in EXAMPLES.values() if type(modality) is kind)
    with pytest.raises(ValueError, match=r"cost must be one of .*'l2'.*got 'l3'"):
        replace(example, cost="l3")


NAMED = {
    "label": replace(EXAMPLES["label"], names=("oak", "elm", "ash", "fir")),
    "vector": replace(EXAMPLES["vector"], center=(1.0, 2.0, 3.0), scale=(1.0, 0.5, 2.0), names=("a", "b", "c")),
}
"""Examples whose every argument says something."""


def others_of(value):
    """Other values of an argument: one part of it changed, its parts in another order, more and fewer of them."""
    if isinstance(value, tuple) and value:
        for first in others_of(value[0]):
            yield (first, *value[1:])
            yield (*value, first)
        yield value[::-1]
        yield value[:-1]
        yield None
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, int | float):
        yield value + 1
        yield value * 1.001 if isinstance(value, float) else value + 8000
    elif isinstance(value, str) and value not in ("linear", "sigmoid"):
        yield value + "s"


def changed_ones():
    for kind, example in {**EXAMPLES, **NAMED}.items():
        for field in fields(example):
            for value in others_of(getattr(example, field.name)):
                try:
                    other = serialization.from_json(serialization.to_json(replace(example, **{field.name: value})))
                except (TypeError, ValueError):
                    continue  # no such modality
                yield pytest.param(example, other, id=f"{kind}-{field.name}-{value}")


def same_in_tables(one, other):
    """Whether two modalities of equal shape read the same columns, and write the same values alike."""
    if (one.shape, one.levels, one.columns("it")) != (other.shape, other.levels, other.columns("it")):
        return False
    x = draw(one, 20)
    return [repr(np.asarray(cells).tolist()) for cells in one.write_cells(x)] == [
        repr(np.asarray(cells).tolist()) for cells in other.write_cells(x)
    ]


@pytest.mark.parametrize(("one", "other"), [*changed_ones()])
def test_a_table_of_another_schema_is_noticed_and_one_of_other_networks_is_not(one, other):
    mine, theirs = Schema({"it": one}), Schema({"it": other})
    mine.require(Schema({"it": replace(one)}), "the table")
    if same_in_tables(one, other) and one.representation == other.representation:
        mine.require(theirs, "the table")
        return
    for here, there in ((mine, theirs), (theirs, mine)):
        with pytest.raises(
            ValueError, match=r"^'it' of the table must .*; got .*; read the rows with the model's schema"
        ):
            here.require(there, "the table")


@pytest.mark.parametrize(
    "modality", [*EXAMPLES.values(), *NAMED.values()], ids=lambda modality: type(modality).__name__
)
def test_what_only_networks_depend_on_does_not_matter_to_tables(modality):
    names = {field.name for field in fields(modality)} & {"hidden", "widths", "cost", "layers", "heads", "feedforward"}
    others = {"cost": "l2", "hidden": (3,), "widths": (3, 5), "layers": 2, "heads": 1, "feedforward": 5}
    other = replace(modality, **{name: others[name] for name in names})
    Schema({"it": modality}).require(Schema({"it": other}, groups={"all": ["it"]}), "the table")

"""Costs c(x, g(z)) and the likelihoods p(x | z) that belong to them.

A cost is its own name: `image.cost == "l2"`, and `image.cost(parameters, x)` computes it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import log, pi
from typing import TYPE_CHECKING, Any, overload

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Distribution, Laplace, Normal

if TYPE_CHECKING:
    from polymodal.modalities.base import Modality

__all__ = ["DISCRETE", "NUMERIC", "Choice", "Cost"]


class Cost(ABC, str):
    """A cost between a decoder's parameters `(*, N, ...)` and values `(N, *shape)`, summed over each value.

    Values are broadcast over the leading axes of the parameters, never copied.

    Source: MAC-WAE, section "Loss computation".
    """

    __slots__ = ()

    exact = True
    """Whether `constant` is that of the best constant, or an estimate from the moments."""

    @abstractmethod
    def __call__(self, parameters: Tensor, x: Tensor) -> Tensor:
        """The cost, `(*, N)`; finite, with finite gradients, on blanks too."""

    @abstractmethod
    def distribution(self, parameters: Tensor) -> Distribution:
        """p(x | z), element by element."""

    def nll(self, parameters: Tensor, x: Tensor) -> Tensor:
        """-log p(x | z) in nats, `(*, N)`."""
        return self(parameters, x)

    def value(self, distribution: Distribution) -> Tensor:
        """The one value to answer with: the mean."""
        return distribution.mean

    @abstractmethod
    def constant(self, mean: Tensor, square: Tensor) -> Tensor:
        """The mean cost of the best constant prediction, additive constants of a likelihood left out.

        Arguments:
            mean: Mean of the values, `(*shape)`; of their one-hot codes, `(*shape, classes)`.
            square: Mean of the squares, the same shape.

        Returns:
            A scalar.
        """

    def nll_constant(self, mean: Tensor, square: Tensor) -> Tensor:
        """The same of `nll` in place of the cost."""
        return self.constant(mean, square)


class Scaled(Cost):
    """A cost whose likelihood has a scale, 1 unless the name says another: "gaussian(0.5)"."""

    __slots__ = ()

    @property
    def scale(self) -> float:
        """Of the likelihood, in the units of the values."""
        return float(self.partition("(")[2].rstrip(")") or 1)


class L2(Cost):
    """`l2`: the squared error, summed. Its likelihood is Normal of variance 1."""

    __slots__ = ()

    def __call__(self, parameters: Tensor, x: Tensor) -> Tensor:
        return total((parameters - x).square(), x)

    def distribution(self, parameters: Tensor) -> Distribution:
        return Normal(parameters, 1.0, validate_args=False)

    def nll(self, parameters: Tensor, x: Tensor) -> Tensor:
        return total((parameters - x).square() / 2 + log(2 * pi) / 2, x)

    def constant(self, mean: Tensor, square: Tensor) -> Tensor:
        return (square - mean.square()).sum()

    def nll_constant(self, mean: Tensor, square: Tensor) -> Tensor:
        return (square - mean.square()).sum() / 2


class Gaussian(Scaled):
    """`gaussian`, `gaussian(s)`: -log of a Normal of standard deviation s less its constant."""

    __slots__ = ()

    def __call__(self, parameters: Tensor, x: Tensor) -> Tensor:
        return total((parameters - x).square(), x) / (2 * self.scale**2)

    def distribution(self, parameters: Tensor) -> Distribution:
        return Normal(parameters, self.scale, validate_args=False)

    def nll(self, parameters: Tensor, x: Tensor) -> Tensor:
        return total(((parameters - x) / self.scale).square() / 2 + log(2 * pi) / 2 + log(self.scale), x)

    def constant(self, mean: Tensor, square: Tensor) -> Tensor:
        return (square - mean.square()).sum() / (2 * self.scale**2)


class LaplaceCost(Scaled):
    """`laplace`, `laplace(s)`: -log of a Laplace distribution of scale s less its constant."""

    __slots__ = ()

    exact = False

    def __call__(self, parameters: Tensor, x: Tensor) -> Tensor:
        return total((parameters - x).abs(), x) / self.scale

    def distribution(self, parameters: Tensor) -> Distribution:
        return Laplace(parameters, self.scale, validate_args=False)

    def nll(self, parameters: Tensor, x: Tensor) -> Tensor:
        return total((parameters - x).abs() / self.scale + log(2 * self.scale), x)

    def constant(self, mean: Tensor, square: Tensor) -> Tensor:
        # The mean absolute deviation of a Gaussian of this variance: moments do not tell that of the values.
        return (2 / pi * (square - mean.square()).clamp(min=0)).sqrt().sum() / self.scale


class Binary(Cost):
    """`bernoulli`: the cross-entropy of values in [0, 1] under logits."""

    __slots__ = ()

    def __call__(self, parameters: Tensor, x: Tensor) -> Tensor:
        return total(F.softplus(parameters) - x * parameters, x)

    def distribution(self, parameters: Tensor) -> Distribution:
        return Bernoulli(logits=parameters, validate_args=False)

    def constant(self, mean: Tensor, square: Tensor) -> Tensor:
        return -(torch.xlogy(mean, mean) + torch.special.xlog1py(1 - mean, -mean)).sum()


class Discrete(Cost):
    """A cost of classes under scores `(*, N, ..., classes)`."""

    __slots__ = ()

    def value(self, distribution: Distribution) -> Tensor:
        """The one value to answer with: the most probable class."""
        return distribution.mode


class CrossEntropy(Discrete):
    """`categorical`: -log of the class's probability under logits `(*, N, ..., classes)`."""

    __slots__ = ()

    def __call__(self, parameters: Tensor, x: Tensor) -> Tensor:
        return -total(pick(parameters.log_softmax(-1), x), x)

    def distribution(self, parameters: Tensor) -> Distribution:
        return Categorical(logits=parameters, validate_args=False)

    def constant(self, mean: Tensor, square: Tensor) -> Tensor:
        return -torch.xlogy(mean, mean).sum()


class SquashedCrossEntropy(CrossEntropy):
    """`categorical-squashed`: `categorical` on the sigmoid of the outputs, as the paper's authors have it.

    No class is ever more probable than e / (e + C - 1).
    """

    __slots__ = ()

    def __call__(self, parameters: Tensor, x: Tensor) -> Tensor:
        return super().__call__(parameters.sigmoid(), x)

    def distribution(self, parameters: Tensor) -> Distribution:
        return super().distribution(parameters.sigmoid())

    def constant(self, mean: Tensor, square: Tensor) -> Tensor:
        # The best scores h in [0, 1] are log p + L, clipped, where L = log sum exp h: found by iterating.
        scores = torch.ones_like(mean)
        for _ in range(200):
            scores = (mean.log() + scores.logsumexp(-1, keepdim=True)).clamp(0, 1)
        return -(mean * scores.log_softmax(-1)).sum()


class OneHotL2(Discrete):
    """`l2` of classes: the squared error against the one-hot code, which is never built.

    Its likelihood is Categorical over the outputs, clamped to be positive and normalised.
    """

    __slots__ = ()

    def __call__(self, parameters: Tensor, x: Tensor) -> Tensor:
        index = x.clamp(min=0).expand(parameters.shape[:-1])
        return total(SquaredError.apply(parameters, index), x)  # pyright: ignore[reportArgumentType]

    def distribution(self, parameters: Tensor) -> Distribution:
        return Categorical(probs=parameters.clamp(min=1e-6), validate_args=False)

    def nll(self, parameters: Tensor, x: Tensor) -> Tensor:
        p = parameters.clamp(min=1e-6)
        return -total((pick(p, x) / p.sum(-1)).log(), x)

    def constant(self, mean: Tensor, square: Tensor) -> Tensor:
        return (mean * (1 - mean)).sum()

    def nll_constant(self, mean: Tensor, square: Tensor) -> Tensor:
        return -torch.xlogy(mean, mean).sum()


class SquaredError(torch.autograd.Function):
    """Of scores `(*, C)` against the one-hot codes of classes `(*)` int64: `(*)`.

    It is `|s|^2 - 2 s_x + 1`. Nothing of the scores' size is made but their gradient, and that in one pass.
    """

    @staticmethod
    def forward(ctx: Any, scores: Tensor, x: Tensor) -> Tensor:
        """The norm reads the scores once."""
        ctx.save_for_backward(scores, x[..., None])
        return torch.linalg.vector_norm(scores, dim=-1).square() - 2 * scores.gather(-1, x[..., None])[..., 0] + 1

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """`2 g (s - onehot(x))`."""
        (scores, x), g = ctx.saved_tensors, 2 * grad_outputs[0][..., None]
        return (scores * g).scatter_add_(-1, x, -g), None


NUMERIC: dict[str, Cost] = {
    "gaussian": Gaussian("gaussian"),
    "laplace": LaplaceCost("laplace"),
    "bernoulli": Binary("bernoulli"),
    "l2": L2("l2"),
}
"""Costs of modalities whose values are numbers."""

DISCRETE: dict[str, Cost] = {
    "categorical": CrossEntropy("categorical"),
    "categorical-squashed": SquashedCrossEntropy("categorical-squashed"),
    "l2": OneHotL2("l2"),
}
"""Costs of modalities whose values are classes."""


class Choice:
    """A field of a modality that is set by a cost's name and holds the cost.

    Arguments:
        costs: The costs to choose from, by name.
        default: The name of the default.
    """

    def __init__(self, costs: dict[str, Cost], default: str) -> None:
        self.costs, self.default = costs, default

    @overload
    def __get__(self, instance: None, owner: type) -> str: ...
    @overload
    def __get__(self, instance: Modality, owner: type) -> Cost: ...
    def __get__(self, instance: Modality | None, owner: type) -> Cost | str:
        # A dataclass reads a field's default from its class.
        return self.default if instance is None else vars(instance)["cost"]

    def __set__(self, instance: Modality, value: str) -> None:
        vars(instance)["cost"] = self._cost(value)

    def _cost(self, value: str) -> Cost:
        name, scaled, rest = value.partition("(") if isinstance(value, str) else (value, "", "")
        if not isinstance(name, str) or name not in self.costs or (scaled and not isinstance(self.costs[name], Scaled)):
            raise ValueError(f"cost must be one of {', '.join(map(repr, self.costs))}; got {value!r}")
        cost = self.costs[name]
        if not scaled:
            return cost
        number = rest.removesuffix(")")
        if not (rest.endswith(")") and _positive(number)):
            raise ValueError(f"a cost's scale must be a positive number, such as '{name}(0.5)'; got {value!r}")
        return type(cost)(value)


def total(cost: Tensor, x: Tensor) -> Tensor:
    """The sum over each value's elements, `(*, N, *shape) -> (*, N)`; x is `(N, *shape)`."""
    return cost.sum(tuple(range(1 - x.dim(), 0))) if x.dim() > 1 else cost


def pick(scores: Tensor, x: Tensor) -> Tensor:
    """The score of class x, `(*, N, ..., C) -> (*, N, ...)`; that of class 0 where x is a blank (-1)."""
    index = x.clamp(min=0).expand(scores.shape[:-1])
    return scores.gather(-1, index[..., None]).squeeze(-1)


def _positive(number: str) -> bool:
    try:
        return 0 < float(number) < float("inf")
    except ValueError:
        return False

"""Costs c(x, g) and the corresponding likelihoods p(x | z).

x are values, g = g(z) the parameters that the decoder computes from a code z, and s the scale of the likelihood. Sums
run over the elements of a value; for classes, g has one score per class, and x is the index of the class:

    l2:                   sum (g - x)^2                  p = Normal(g, 1)
    gaussian(s):          sum (g - x)^2 / (2 s^2)        p = Normal(g, s^2)
    laplace(s):           sum |g - x| / s                p = Laplace(g, s)
    bernoulli:            sum log(1 + e^g) - x g         p = Bernoulli(sigmoid(g))
    categorical:          -sum log softmax(g)_x          p = softmax(g)
    categorical-squashed: -sum log softmax(sigmoid(g))_x p = softmax(sigmoid(g))
    l2 (classes):         sum |g - onehot(x)|^2          p = max(g, 1e-6), normalised

A cost is a string, its name: `image.cost == "l2"` holds, and `image.cost(parameters, x)` computes the cost.
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
    """A cost between a decoder's parameters `(*, N, ...)` and values `(N, *shape)`.

    It is summed over the elements of a value. Values are broadcast over the leading axes of the parameters without
    copying them.

    Source: MAC-WAE, section "Loss computation".
    """

    __slots__ = ()

    exact = True
    """Whether `constant` is the exact cost of the best constant prediction, and not an estimate from the moments."""

    @abstractmethod
    def __call__(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Computes the cost, `(*, N)`. The cost and its gradients are finite, also for blanks."""

    @abstractmethod
    def distribution(self, parameters: Tensor) -> Distribution:
        """Returns p(x | z) of each element."""

    def nll(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Computes -log p(x | z) in nats, `(*, N)`."""
        return self(parameters, x)

    def value(self, distribution: Distribution) -> Tensor:
        """Returns the point prediction: the mean of the distribution."""
        return distribution.mean

    @abstractmethod
    def constant(self, mean: Tensor, square: Tensor) -> Tensor:
        """Computes the mean cost of the best constant prediction, without additive constants of the likelihood.

        Arguments:
            mean: Mean of the values, `(*shape)`; for classes, of their one-hot vectors, `(*shape, classes)`.
            square: Mean of the squares, of the same shape.

        Returns:
            A scalar.
        """

    def nll_constant(self, mean: Tensor, square: Tensor) -> Tensor:
        """Computes the same as `constant`, for `nll` instead of the cost."""
        return self.constant(mean, square)


class Scaled(Cost):
    """A cost whose likelihood has a scale. The default is 1; the name can set another, as in "gaussian(0.5)"."""

    __slots__ = ()

    @property
    def scale(self) -> float:
        """Scale of the likelihood, in the units of the values."""
        return float(self.partition("(")[2].rstrip(")") or 1)


class L2(Cost):
    """`l2`: the sum of squared errors. Its likelihood is a normal distribution with variance 1."""

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
    """`gaussian`, `gaussian(s)`: -log p of a normal distribution with standard deviation s, without its constant."""

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
    """`laplace`, `laplace(s)`: -log p of a Laplace distribution with scale s, without its constant."""

    __slots__ = ()

    exact = False

    def __call__(self, parameters: Tensor, x: Tensor) -> Tensor:
        return total((parameters - x).abs(), x) / self.scale

    def distribution(self, parameters: Tensor) -> Distribution:
        return Laplace(parameters, self.scale, validate_args=False)

    def nll(self, parameters: Tensor, x: Tensor) -> Tensor:
        return total((parameters - x).abs() / self.scale + log(2 * self.scale), x)

    def constant(self, mean: Tensor, square: Tensor) -> Tensor:
        # The moments do not determine the mean absolute deviation; this is that of a Gaussian with this variance.
        return (2 / pi * (square - mean.square()).clamp(min=0)).sqrt().sum() / self.scale


class Binary(Cost):
    """`bernoulli`: the cross-entropy between values in [0, 1] and logits."""

    __slots__ = ()

    def __call__(self, parameters: Tensor, x: Tensor) -> Tensor:
        return total(F.softplus(parameters) - x * parameters, x)

    def distribution(self, parameters: Tensor) -> Distribution:
        return Bernoulli(logits=parameters, validate_args=False)

    def constant(self, mean: Tensor, square: Tensor) -> Tensor:
        return -(torch.xlogy(mean, mean) + torch.special.xlog1py(1 - mean, -mean)).sum()


class Discrete(Cost):
    """A cost between classes and their scores `(*, N, ..., classes)`."""

    __slots__ = ()

    def value(self, distribution: Distribution) -> Tensor:
        """Returns the point prediction: the most probable class."""
        return distribution.mode


class CrossEntropy(Discrete):
    """`categorical`: the cross-entropy between classes and logits `(*, N, ..., classes)`."""

    __slots__ = ()

    def __call__(self, parameters: Tensor, x: Tensor) -> Tensor:
        return -total(pick(parameters.log_softmax(-1), x), x)

    def distribution(self, parameters: Tensor) -> Distribution:
        return Categorical(logits=parameters, validate_args=False)

    def constant(self, mean: Tensor, square: Tensor) -> Tensor:
        return -torch.xlogy(mean, mean).sum()


class SquashedCrossEntropy(CrossEntropy):
    """`categorical-squashed`: `categorical` with the sigmoid of the outputs as logits, as in the authors' code.

    With C classes, no class can have a probability above e / (e + C - 1).
    """

    __slots__ = ()

    def __call__(self, parameters: Tensor, x: Tensor) -> Tensor:
        return super().__call__(parameters.sigmoid(), x)

    def distribution(self, parameters: Tensor) -> Distribution:
        return super().distribution(parameters.sigmoid())

    def constant(self, mean: Tensor, square: Tensor) -> Tensor:
        # The best scores h in [0, 1] satisfy h = clip(log p + L) with L = log sum exp h, which is solved by iteration.
        scores = torch.ones_like(mean)
        for _ in range(200):
            scores = (mean.log() + scores.logsumexp(-1, keepdim=True)).clamp(0, 1)
        return -(mean * scores.log_softmax(-1)).sum()


class OneHotL2(Discrete):
    """`l2` of classes: the squared error to the one-hot vector, which is never allocated.

    Its likelihood is a categorical distribution whose probabilities are the outputs, clamped to be positive and
    normalised.
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
    """Squared error between scores s, `(*, C)`, and the one-hot vectors of classes x, `(*)` int64.

    The result, `(*)`, is `|s - onehot(x)|^2 = |s|^2 - 2 s_x + 1`. The only large tensor that it allocates is the
    gradient.
    """

    @staticmethod
    def forward(ctx: Any, scores: Tensor, x: Tensor) -> Tensor:
        """Computes the squared error; the norm reads the scores only once."""
        ctx.save_for_backward(scores, x[..., None])
        return torch.linalg.vector_norm(scores, dim=-1).square() - 2 * scores.gather(-1, x[..., None])[..., 0] + 1

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Computes the gradient `2 g (s - onehot(x))`, where g is the gradient of the result."""
        (scores, x), g = ctx.saved_tensors, 2 * grad_outputs[0][..., None]
        return (scores * g).scatter_add_(-1, x, -g), None


NUMERIC: dict[str, Cost] = {
    "gaussian": Gaussian("gaussian"),
    "laplace": LaplaceCost("laplace"),
    "bernoulli": Binary("bernoulli"),
    "l2": L2("l2"),
}
"""Costs of modalities with numeric values, by name."""

DISCRETE: dict[str, Cost] = {
    "categorical": CrossEntropy("categorical"),
    "categorical-squashed": SquashedCrossEntropy("categorical-squashed"),
    "l2": OneHotL2("l2"),
}
"""Costs of modalities with classes as values, by name."""


class Choice:
    """A descriptor for a modality's `cost` field: it is set to a cost's name and returns the cost.

    Arguments:
        costs: Available costs, by name.
        default: Name of the default cost.
    """

    def __init__(self, costs: dict[str, Cost], default: str) -> None:
        self.costs, self.default = costs, default

    @overload
    def __get__(self, instance: None, owner: type) -> str: ...
    @overload
    def __get__(self, instance: Modality, owner: type) -> Cost: ...
    def __get__(self, instance: Modality | None, owner: type) -> Cost | str:
        # A dataclass reads the default of a field from the class.
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
    """Sums costs over the elements of each value, `(*, N, *shape) -> (*, N)`; x is `(N, *shape)`."""
    return cost.sum(tuple(range(1 - x.dim(), 0))) if x.dim() > 1 else cost


def pick(scores: Tensor, x: Tensor) -> Tensor:
    """Selects the score of class x, `(*, N, ..., C) -> (*, N, ...)`; that of class 0 where x is a blank (-1)."""
    index = x.clamp(min=0).expand(scores.shape[:-1])
    return scores.gather(-1, index[..., None]).squeeze(-1)


def _positive(number: str) -> bool:
    try:
        return 0 < float(number) < float("inf")
    except ValueError:
        return False

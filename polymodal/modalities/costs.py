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

Except for l2, a cost is -log p(x | z) without its constant terms, which depend at most on s. The scale is 1 unless the
argument `cost` of a modality says otherwise, as in "laplace(0.75)".

`Cost` groups the functions of one cost, and `NUMERIC` and `DISCRETE` list the costs by name. `parse_cost` finds the
cost and the scale that a text describes. Functions of parameters `(*, N, ...)` and values `(N, *shape)` broadcast the
values over the leading axes of the parameters, without copying them.

Source: MAC-WAE, section "Loss computation".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import log, pi
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Distribution, Laplace, Normal

from polymodal.runtime.vectorizing import is_vectorizing

__all__ = ["DISCRETE", "NUMERIC", "Cost", "parse_cost"]


@dataclass(frozen=True)
class Cost:
    """The functions of a cost. If it has a scale, each of them takes the scale as a further argument, by default 1.

    Arguments:
        compute: Computes the cost `(*, N)` of parameters and values. It is finite for blanks, as are its gradients.
        nll: Computes -log p(x | z) in nats, `(*, N)`, of parameters and values, equally finite.
        distribution: Returns p(x | z) of each element, of parameters.
        constant: Computes the mean cost of the best constant prediction, a scalar. It is computed from the mean of the
            values and the mean of their squares, `(*shape)` each; for classes, of their one-hot vectors,
            `(*shape, classes)`.
        constant_nll: Computes the same for `nll`, without terms that depend only on the scale.
        has_scale: Whether the likelihood has a scale.
        is_exact: Whether `constant` is exact, and not an estimate from the moments.
    """

    compute: Callable[..., Tensor]
    nll: Callable[..., Tensor]
    distribution: Callable[..., Distribution]
    constant: Callable[..., Tensor]
    constant_nll: Callable[..., Tensor]
    has_scale: bool = False
    is_exact: bool = True


def parse_cost(text: str, costs: Mapping[str, Cost]) -> tuple[Cost, tuple[float, ...]]:
    """Finds the cost that a text names, and reads the scale if the text contains one.

    Arguments:
        text: Name of a cost, with or without a scale.
        costs: Available costs, by name.

    Returns:
        The cost, and the further arguments of its functions: the scale, or nothing.

    Raises:
        ValueError: There is no such cost, it has no scale, or the scale is not a positive number.

    Example:
        >>> cost, scale = parse_cost("laplace(0.75)", NUMERIC)
        >>> scale
        (0.75,)
        >>> cost.compute(torch.zeros(1, 2), torch.tensor([[0.75, 1.5]]), *scale)
        tensor([3.])
        >>> parse_cost("laplace", NUMERIC)[1]
        ()
    """
    name, parenthesis, rest = text.partition("(") if isinstance(text, str) else ("", "", "")
    if name not in costs or (parenthesis and not costs[name].has_scale):
        raise ValueError(f"cost must be one of {', '.join(map(repr, costs))}; got {text!r}")
    if not parenthesis:
        return costs[name], ()
    number = rest.removesuffix(")")
    if not (rest.endswith(")") and _is_positive(number)):
        raise ValueError(f"a cost's scale must be a positive number, such as '{name}(0.5)'; got {text!r}")
    return costs[name], (float(number),)


def compute_l2(parameters: Tensor, x: Tensor) -> Tensor:
    """Computes `sum (g - x)^2`."""
    return sum_elements((parameters - x).square(), x)


def compute_variance(mean: Tensor, square: Tensor) -> Tensor:
    """Computes the total variance, which is the mean `l2` of the best constant."""
    return (square - mean.square()).sum()


def compute_gaussian(parameters: Tensor, x: Tensor, scale: float = 1.0) -> Tensor:
    """Computes `sum (g - x)^2 / (2 s^2)`."""
    return sum_elements((parameters - x).square(), x) / (2 * scale**2)


def compute_gaussian_nll(parameters: Tensor, x: Tensor, scale: float = 1.0) -> Tensor:
    """Computes `sum ((g - x) / s)^2 / 2 + log(2 pi) / 2 + log s`."""
    return sum_elements(((parameters - x) / scale).square() / 2 + log(2 * pi) / 2 + log(scale), x)


def create_gaussian(parameters: Tensor, scale: float = 1.0) -> Distribution:
    """Creates `Normal(g, s^2)`."""
    return Normal(parameters, scale, validate_args=False)


def compute_gaussian_constant(mean: Tensor, square: Tensor, scale: float = 1.0) -> Tensor:
    """Computes the mean `gaussian` of the best constant, the mean: the total variance, divided by `2 s^2`."""
    return compute_variance(mean, square) / (2 * scale**2)


def compute_laplace(parameters: Tensor, x: Tensor, scale: float = 1.0) -> Tensor:
    """Computes `sum |g - x| / s`."""
    return sum_elements((parameters - x).abs(), x) / scale


def compute_laplace_nll(parameters: Tensor, x: Tensor, scale: float = 1.0) -> Tensor:
    """Computes `sum |g - x| / s + log(2 s)`."""
    return sum_elements((parameters - x).abs() / scale + log(2 * scale), x)


def create_laplace(parameters: Tensor, scale: float = 1.0) -> Distribution:
    """Creates `Laplace(g, s)`."""
    return Laplace(parameters, scale, validate_args=False)


def estimate_laplace_constant(mean: Tensor, square: Tensor, scale: float = 1.0) -> Tensor:
    """Estimates the mean `laplace` of the best constant, the median, for values that are normally distributed.

    The moments do not determine the mean absolute deviation; that of a normal distribution is `sqrt(2 / pi) * std`.
    """
    return (2 / pi * (square - mean.square()).clamp(min=0)).sqrt().sum() / scale


def compute_bernoulli(parameters: Tensor, x: Tensor) -> Tensor:
    """Computes `sum log(1 + e^g) - x g`, the cross-entropy between values in [0, 1] and logits."""
    return sum_elements(F.softplus(parameters) - x * parameters, x)


def create_bernoulli(parameters: Tensor) -> Distribution:
    """Creates `Bernoulli(sigmoid(g))`."""
    return Bernoulli(logits=parameters, validate_args=False)


def compute_bernoulli_constant(mean: Tensor, square: Tensor) -> Tensor:
    """Computes the mean `bernoulli` of the best constant: the entropy of the means."""
    return -(torch.xlogy(mean, mean) + torch.special.xlog1py(1 - mean, -mean)).sum()


def compute_categorical(parameters: Tensor, x: Tensor) -> Tensor:
    """Computes `-sum log softmax(g)_x`, the cross-entropy between classes and logits `(*, N, ..., classes)`."""
    # Several times as fast on a CPU as a log-softmax of all classes, of which only one is read.
    return sum_elements(parameters.logsumexp(-1) - select_scores(parameters, x), x)


def create_categorical(parameters: Tensor) -> Distribution:
    """Creates the categorical distribution with probabilities `softmax(g)`."""
    return Categorical(logits=parameters, validate_args=False)


def compute_categorical_constant(mean: Tensor, square: Tensor) -> Tensor:
    """Computes the mean `categorical` of the best constant: the entropy of the class frequencies."""
    return -torch.xlogy(mean, mean).sum()


def compute_squashed(parameters: Tensor, x: Tensor) -> Tensor:
    """Computes `categorical` with the sigmoid of the outputs as logits, as in the authors' code.

    With C classes, no class can have a probability above e / (e + C - 1).
    """
    return compute_categorical(parameters.sigmoid(), x)


def create_squashed(parameters: Tensor) -> Distribution:
    """Creates the categorical distribution with probabilities `softmax(sigmoid(g))`."""
    return create_categorical(parameters.sigmoid())


def compute_squashed_constant(mean: Tensor, square: Tensor) -> Tensor:
    """Computes the mean `categorical-squashed` of the best constant.

    The best scores h in [0, 1] satisfy h = clip(log p + L) with L = log sum exp h, which is solved by iteration.
    """
    scores = torch.ones_like(mean)
    for _ in range(200):
        scores = (mean.log() + scores.logsumexp(-1, keepdim=True)).clamp(0, 1)
    return -(mean * scores.log_softmax(-1)).sum()


def compute_one_hot_l2(parameters: Tensor, x: Tensor) -> Tensor:
    """Computes `sum |g - onehot(x)|^2`, without creating the one-hot vectors."""
    index = x.clamp(min=0).expand(parameters.shape[:-1])
    if is_vectorizing():
        return sum_elements(parameters.square().sum(-1) - 2 * select_scores(parameters, x) + 1, x)
    return sum_elements(SquaredError.apply(parameters, index), x)  # pyright: ignore[reportArgumentType]


def compute_clamped_nll(parameters: Tensor, x: Tensor) -> Tensor:
    """Computes `-sum log p_x` for the probabilities p of `create_clamped`."""
    p = parameters.clamp(min=1e-6)
    return -sum_elements((select_scores(p, x) / p.sum(-1)).log(), x)


def create_clamped(parameters: Tensor) -> Distribution:
    """Creates the categorical distribution with probabilities `max(g, 1e-6)`, normalised."""
    return Categorical(probs=parameters.clamp(min=1e-6), validate_args=False)


def compute_one_hot_variance(mean: Tensor, square: Tensor) -> Tensor:
    """Computes the mean `l2` of the best constant: the total variance of one-hot vectors, `sum p (1 - p)`."""
    return (mean * (1 - mean)).sum()


NUMERIC: dict[str, Cost] = {
    "gaussian": Cost(
        compute=compute_gaussian,
        nll=compute_gaussian_nll,
        distribution=create_gaussian,
        constant=compute_gaussian_constant,
        constant_nll=compute_gaussian_constant,
        has_scale=True,
    ),
    "laplace": Cost(
        compute=compute_laplace,
        nll=compute_laplace_nll,
        distribution=create_laplace,
        constant=estimate_laplace_constant,
        constant_nll=estimate_laplace_constant,
        has_scale=True,
        is_exact=False,
    ),
    "bernoulli": Cost(
        compute=compute_bernoulli,
        nll=compute_bernoulli,
        distribution=create_bernoulli,
        constant=compute_bernoulli_constant,
        constant_nll=compute_bernoulli_constant,
    ),
    "l2": Cost(
        compute=compute_l2,
        nll=compute_gaussian_nll,
        distribution=create_gaussian,
        constant=compute_variance,
        constant_nll=compute_gaussian_constant,
    ),
}
"""Costs of modalities with numeric values, by name."""

DISCRETE: dict[str, Cost] = {
    "categorical": Cost(
        compute=compute_categorical,
        nll=compute_categorical,
        distribution=create_categorical,
        constant=compute_categorical_constant,
        constant_nll=compute_categorical_constant,
    ),
    "categorical-squashed": Cost(
        compute=compute_squashed,
        nll=compute_squashed,
        distribution=create_squashed,
        constant=compute_squashed_constant,
        constant_nll=compute_squashed_constant,
    ),
    "l2": Cost(
        compute=compute_one_hot_l2,
        nll=compute_clamped_nll,
        distribution=create_clamped,
        constant=compute_one_hot_variance,
        constant_nll=compute_categorical_constant,
    ),
}
"""Costs of modalities with classes as values, by name."""


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


def sum_elements(cost: Tensor, x: Tensor) -> Tensor:
    """Sums costs over the elements of each value, `(*, N, *shape) -> (*, N)`; x is `(N, *shape)`."""
    return cost.sum(tuple(range(1 - x.dim(), 0))) if x.dim() > 1 else cost


def select_scores(scores: Tensor, x: Tensor) -> Tensor:
    """Selects the score of class x, `(*, N, ..., C) -> (*, N, ...)`; that of class 0 where x is a blank (-1)."""
    index = x.clamp(min=0).expand(scores.shape[:-1])
    return scores.gather(-1, index[..., None]).squeeze(-1)


def _is_positive(number: str) -> bool:
    try:
        return 0 < float(number) < float("inf")
    except ValueError:
        return False

"""Vectors with missing elements: which rows are observed, and sums over the observed elements.

A vector with `partial=True` may be partly observed. Its missing elements are NaN in tables, batches and prepared
values. With e_j = 1 where element j of a value x is observed and 0 where it is missing, the cost of x is

    sum_j e_j c(x_j, g_j)

where c is the cost of one element and g are the parameters of the likelihood. The sum is not rescaled by the number of
observed elements, so for a negative log-likelihood it is exactly -log p of the observed elements. Neither the sum nor
its gradient depends on anything in the place of a missing element.

Functions of this module accept every modality; only vectors with `partial` have missing elements.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from polymodal.networks.masked_linear import fill_missing

if TYPE_CHECKING:
    from polymodal.modalities.base import Modality

__all__ = [
    "check_elements",
    "compute_constant_cost",
    "count_elements",
    "find_observed",
    "hide_elements",
    "sum_observed",
]


def find_observed(modality: Modality, x: Tensor) -> Tensor:
    """Returns which of the values `(N, *shape)` have an observed element, `(N,)` bool.

    Example:
        >>> from polymodal.modalities import Vector
        >>> x = torch.tensor([[1.0, 2.0], [3.0, torch.nan], [torch.nan, torch.nan]])
        >>> find_observed(Vector(2, partial=True), x)
        tensor([ True,  True, False])
    """
    if not modality.partial or x.dim() < 2:
        return torch.ones(len(x), dtype=torch.bool, device=x.device)
    return ~x.isnan().flatten(1).all(1)


def check_elements(x: Tensor) -> None:
    """Checks that each of the values `(N, size)` has an observed element.

    Raises:
        ValueError: A value has none. The message names the first one.
    """
    empty = x.isnan().all(-1)
    if empty.any():
        raise ValueError(
            f"values must have at least one observed number; observed row {int(empty.nonzero()[0])} has none, only "
            "NaN; mark it as missing in observed"
        )


def sum_observed(measure: Callable[[Tensor, Tensor], Tensor], parameters: Tensor, x: Tensor) -> Tensor:
    """Sums a cost over the observed elements of each value, `(*, N)`.

    Arguments:
        measure: Function of the parameters `(*, n)` and values `(n,)` of n separate numbers that returns their costs,
            `(*, n)`.
        parameters: Outputs of the decoder, `(*, N, size)`.
        x: Prepared values, `(N, size)`; NaN where an element is missing.

    Example:
        >>> parameters, x = torch.tensor([[1.0, 5.0]]), torch.tensor([[3.0, torch.nan]])
        >>> sum_observed(lambda g, x: (g - x).square(), parameters, x)
        tensor([4.])
    """
    costs = measure(parameters.flatten(-2), fill_missing(x).flatten()).unflatten(-1, x.shape)
    return torch.where(x.isnan(), 0.0, costs).sum(-1)


def hide_elements(x: Tensor) -> Tensor:
    """Hides random elements of a batch of values, `(B, size)`, as the encoder is to learn to do without them.

    If no element of the batch is missing, nothing is hidden: a vector that is always complete is trained as without
    `partial`. Otherwise half of the rows keep all elements. Each element of another row is hidden with a probability
    that is uniform in [0, 1] and differs by row, so that patterns of every size occur.

    Returns:
        The values with NaN in the hidden elements.

    Example:
        >>> complete = torch.rand(4, 3)
        >>> bool((hide_elements(complete) == complete).all())
        True
    """
    missing = x.isnan()
    # On a CPU no random numbers are sampled for complete vectors; a GPU would have to synchronise to find out.
    if x.device.type == "cpu" and not missing.any():
        return x
    share = (2 * torch.rand(len(x), 1, dtype=x.dtype, device=x.device) - 1).clamp(min=0)
    hidden = (torch.rand(x.shape, dtype=x.dtype, device=x.device) < share) & missing.any()
    return torch.where(hidden, torch.nan, x)


def count_elements(modality: Modality, x: Tensor) -> Tensor:
    """Counts the values `(N, *shape)` that have each element: `(size,)` for a vector with `partial`, else a scalar."""
    return (~x.isnan()).sum(0).double() if modality.partial else torch.tensor(float(len(x)), dtype=torch.float64)


def compute_constant_cost(
    modality: Modality, sums: Tensor, squares: Tensor, counts: Tensor, rows: float, *, likelihood: bool
) -> Tensor:
    """Computes the mean cost per row of the best constant prediction, see `Modality.constant_cost`.

    For a vector with `partial`, it is the sum over elements of the cost of an element's best constant, times the share
    of the rows that have the element.

    Arguments:
        modality: The modality.
        sums: Sum of the values, see `Modality.moments`.
        squares: Sum of their squares.
        counts: Result of `count_elements`, summed over all values.
        rows: Number of rows that have the modality, at least 1.
        likelihood: Whether to use `nll` instead of `compute_cost`.

    Example:
        >>> from polymodal.modalities import Vector
        >>> x = torch.tensor([[1.0, 5.0], [-1.0, torch.nan]]).double()
        >>> sums, squares = Vector(2).moments(fill_missing(x))
        >>> vector = Vector(2, cost="l2", partial=True)
        >>> compute_constant_cost(vector, sums, squares, count_elements(vector, x), 2, likelihood=False)
        tensor(1., dtype=torch.float64)
    """
    mean, square = (part / counts.clamp(min=1) for part in (sums, squares))
    if not modality.partial:
        return modality.constant_cost(mean, square, likelihood=likelihood)

    def measure(mean: Tensor, square: Tensor) -> Tensor:
        return modality.constant_cost(mean, square, likelihood=likelihood)

    return (torch.vmap(measure)(mean, square) * counts / rows).sum()

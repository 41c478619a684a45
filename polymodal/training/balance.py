"""Balanced loss weights and the reference cost, computed from the training rows before the first step.

Let c*_m be the mean cost of the best constant prediction of modality m over the training rows that have m, and s_m the
share of rows that have m. The balanced loss weights and the reference cost R are

    w_m = u_m max_j c*_j / c*_m,    R = sum_m w_m c*_m s_m

where the maximum is over all modalities j. The weights of the modalities of a group are also divided by the size of the
group. A relative penalty weight beta is multiplied by R.

The support u_m is 1, except for near-constant columns. Without it, every modality has the same share of the loss of the
best constant prediction, also a column in which a single row differs. All of this column's cost is in that row, from
which nothing general can be learned, and the weight grows with the number of rows. Let e be the cost of a class or of
a number: -log p(x) for the frequency p(x) of the class, or the squared distance from the mean. The effective share r_m
of rows that carry the cost (Kish's effective sample size, divided by the number n_m of rows that have m) and the
support are

    r_m = mean(e)^2 / mean(e^2),    u_m = min(1, r_m / r0_m),    r0_m = min(max(10 / n_m, 1 / 1024), 1 / 30).

For a number, r_m is the reciprocal of the kurtosis. With fewer than 10 effective rows, the relative standard error of
c*_m, which is about (n_m r_m)^(-1/2), is above a third. With fewer than one effective row in 1,024, the largest default
batch, most training steps have none. A small table is not asked for more than one row in 30. Modalities of several
elements, such as images and texts, have the support 1.
"""

from __future__ import annotations

from math import isfinite, prod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from polymodal.modalities.elements import compute_constant_cost, count_elements
from polymodal.networks.masked_linear import fill_missing
from polymodal.runtime import distributed
from polymodal.table.table import steps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from polymodal.modalities import Modality
    from polymodal.models import Model
    from polymodal.schema import Schema
    from polymodal.table.table import Table

__all__ = ["balance", "compute_constant_costs", "compute_loss_weights"]


def balance(model: Model, rows: Table) -> None:
    """Computes a model's balanced loss weights and its reference cost, and stores them in the model.

    Does nothing if they are already set, or if the model needs neither of them.
    """
    if model.weighed:
        return
    costs, present, support = _measure(model.schema, rows, likelihood=model.likelihood)
    with distributed.share_errors():
        _check(model.schema, costs)
    if model.weights == "balanced":
        model.weight.copy_(compute_loss_weights(model.schema, costs, support))
    reference = float(model.weight.cpu().double() @ (costs * present))
    model.set_reference_cost(reference if reference > 0 else 1.0)  # it is 0 if no modality varies
    model.weighed.fill_(True)


def compute_loss_weights(schema: Schema, costs: Tensor, support: Tensor | None = None) -> Tensor:
    """Returns the balanced loss weights `w_m = u_m max_j c_j / c_m`.

    The weights of the modalities of a group are divided by the size of the group. If the best constant prediction of a
    modality costs nothing (the modality does not vary, or no row has it), its weight is 1 before this division.

    Arguments:
        schema: Modalities.
        costs: Mean cost c_m of the best constant prediction of each modality, `(M,)`.
        support: Support u_m of each modality, `(M,)` in [0, 1]; by default 1.

    Returns:
        Loss weights, `(M,)`.

    Example:
        >>> from polymodal.modalities import Label
        >>> from polymodal.schema import Schema
        >>> labels = Schema({"a": Label(2), "b": Label(2), "c": Label(2)}, groups={"g": ["b", "c"]})
        >>> compute_loss_weights(labels, torch.tensor([4.0, 1.0, 2.0]))
        tensor([1., 2., 1.])
    """
    free = costs <= 1e-12 * costs.max()
    weights = torch.where(free, 1.0, costs.max() / torch.where(free, 1.0, costs))
    if support is not None:
        weights = weights * support
    for names in schema.groups.values():
        weights[schema.mask(names)] /= len(names)
    return weights


def _compute_support(modality: Modality, means: Sequence[Tensor], rows: float) -> float:
    """Returns the support u_m of a modality; 1 if it does not vary, or has several elements.

    Arguments:
        modality: The modality m.
        means: For classes, their frequencies first. For a number, the means of its first four powers.
        rows: Number of rows n_m that have the modality.

    Example:
        >>> from polymodal.modalities import Label
        >>> frequencies = torch.tensor([0.99, 0.01]), torch.tensor([0.5, 0.5])
        >>> [round(_compute_support(Label(2), [p], 100), 2) for p in frequencies]
        [0.44, 1.0]
    """
    if modality.levels is not None and means[0].shape == (modality.levels,):
        p = means[0]
        cost, square = -torch.xlogy(p, p).sum(), (p * p.clamp(min=1e-300).log().square()).sum()
    elif len(means) == 4:
        first, second, third, fourth = (mean.squeeze() for mean in means)
        cost = second - first.square()
        square = fourth - 4 * first * third + 6 * first.square() * second - 3 * first**4
        if cost <= PRECISION * second:  # it does not vary, or rounding errors hide how it does
            return 1.0
    else:
        return 1.0
    enough = min(max(ENOUGH / rows, 1 / LARGEST_BATCH), LARGEST_SHARE)
    return min(1.0, float(cost.square() / square) / enough) if square > 0 else 1.0


PRECISION = 1e-6
"""Smallest ratio of the variance of a number to its mean square for which float64 sums give its fourth moment."""
ENOUGH, LARGEST_BATCH, LARGEST_SHARE = 10, 1024, 1 / 30
"""Number of effective rows, rows in the largest default batch, and share of rows that are enough for the support 1."""


MAX_BYTES = 16 * 2**20
"""Maximum bytes of float64 values per batch."""


def compute_constant_costs(
    schema: Schema, rows: Table, *, likelihood: bool = False, batch_size: int | None = None
) -> Tensor:
    """Returns the mean cost of the best constant prediction of each modality, over the rows that have the modality.

    Arguments:
        schema: Modalities.
        rows: Table, or any object with its `batches` and `len`. It is read once; several processes take turns at its
            batches.
        likelihood: Whether to use -log p(x | z) instead of the modality's cost.
        batch_size: Rows per batch; by default as many as fit into 16 MiB of float64 values, at most 1,024.

    Returns:
        Costs, `(M,)` float64; 0 for a modality that no row has.

    Raises:
        FloatingPointError: A cost is not finite; the message names the modality.
    """
    costs, *_ = _measure(schema, rows, likelihood=likelihood, batch_size=batch_size)
    _check(schema, costs)
    return costs


def _measure(
    schema: Schema, rows: Table, *, likelihood: bool = False, batch_size: int | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the costs of `compute_constant_costs`, the share of rows that have each modality, and its support.

    They are `(M,)` float64 each.
    """
    if batch_size is None:
        batch_size = min(1024, max(1, MAX_BYTES // sum(8 * prod(modality.shape) for modality in schema.values())))
    sums: dict[str, list[Tensor]] = {}
    counts = torch.zeros(len(schema), dtype=torch.float64)
    turns = distributed.world_size() if steps(len(rows), batch_size) >= distributed.world_size() else 1
    turn: dict[str, Any] = {"start": distributed.rank(), "stride": turns} if turns > 1 else {}
    for batch in rows.batches(batch_size, **turn):
        values = schema.hide(batch, torch.float64)
        counts += batch.observed.sum(0).cpu()
        for (name, modality), has in zip(schema.items(), batch.observed.unbind(1), strict=True):
            x = values[name][has]
            powers = _sum_powers(modality, fill_missing(x) if modality.partial else x)
            moments = [moment.cpu().double() for moment in (count_elements(modality, x), *powers)]
            sums[name] = [a + b for a, b in zip(sums[name], moments, strict=True)] if name in sums else moments
    if turns > 1:
        counts = distributed.all_reduce_sum(counts)
        sums = {name: [distributed.all_reduce_sum(part) for part in parts] for name, parts in sums.items()}
    costs, support = torch.zeros_like(counts), torch.ones_like(counts)
    for column, (name, modality) in enumerate(schema.items()):
        if n := counts[column]:
            elements, *powers = sums[name]
            total, squares = powers[:2]
            costs[column] = compute_constant_cost(modality, total, squares, elements, float(n), likelihood=likelihood)
            support[column] = _compute_support(modality, [power / n for power in powers], float(n))
    return costs, counts / max(1, len(rows)), support


def _sum_powers(modality: Modality, x: Tensor) -> tuple[Tensor, ...]:
    """Returns the moments of a modality, and for a single number also the sums of its third and fourth powers."""
    further = (x.pow(3).sum(0), x.pow(4).sum(0)) if modality.levels is None and modality.shape == (1,) else ()
    return *modality.moments(x), *further


def _check(schema: Schema, costs: Tensor) -> None:
    for name, cost in zip(schema, costs.tolist(), strict=True):
        if not isfinite(cost):
            raise FloatingPointError(
                f"the cost of the best constant prediction of {name!r} must be finite to balance the loss weights; got "
                f"{cost}; check its values, or pass weights='sum' and relative=False to build"
            )

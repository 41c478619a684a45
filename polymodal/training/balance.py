"""Balanced loss weights and the reference cost, computed from the training rows before the first step.

Let c*_m be the mean cost of the best constant prediction of modality m over the training rows that have m, and s_m the
share of rows that have m. The balanced loss weights and the reference cost R are

    w_m = max_j c*_j / c*_m,    R = sum_m w_m c*_m s_m

where the maximum is over all modalities j. The weights of the modalities of a group are also divided by the size of the
group. A relative penalty weight beta is multiplied by R.
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
    costs, present = _measure(model.schema, rows, likelihood=model.likelihood)
    with distributed.share_errors():
        _check(model.schema, costs)
    if model.weights == "balanced":
        model.weight.copy_(compute_loss_weights(model.schema, costs))
    reference = float(model.weight.cpu().double() @ (costs * present))
    model.set_reference_cost(reference if reference > 0 else 1.0)  # it is 0 if no modality varies
    model.weighed.fill_(True)


def compute_loss_weights(schema: Schema, costs: Tensor) -> Tensor:
    """Returns the balanced loss weights `w_m = max_j c_j / c_m`.

    The weights of the modalities of a group are divided by the size of the group. If the best constant prediction of a
    modality costs nothing (the modality does not vary, or no row has it), its weight is 1 before this division.

    Arguments:
        schema: Modalities.
        costs: Mean cost c_m of the best constant prediction of each modality, `(M,)`.

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
    for names in schema.groups.values():
        weights[schema.mask(names)] /= len(names)
    return weights


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
    costs, _ = _measure(schema, rows, likelihood=likelihood, batch_size=batch_size)
    _check(schema, costs)
    return costs


def _measure(
    schema: Schema, rows: Table, *, likelihood: bool = False, batch_size: int | None = None
) -> tuple[Tensor, Tensor]:
    """Returns the costs of `compute_constant_costs` and the share of rows that have each modality, `(M,)` float64."""
    if batch_size is None:
        batch_size = min(1024, max(1, MAX_BYTES // sum(8 * prod(modality.shape) for modality in schema.values())))
    sums: dict[str, tuple[Any, ...]] = {}
    counts = torch.zeros(len(schema), dtype=torch.float64)
    turns = distributed.world_size() if steps(len(rows), batch_size) >= distributed.world_size() else 1
    turn: dict[str, Any] = {"start": distributed.rank(), "stride": turns} if turns > 1 else {}
    for batch in rows.batches(batch_size, **turn):
        values = schema.hide(batch, torch.float64)
        counts += batch.observed.sum(0).cpu()
        for (name, modality), has in zip(schema.items(), batch.observed.unbind(1), strict=True):
            x = values[name][has]
            moments = *modality.moments(fill_missing(x) if modality.partial else x), count_elements(modality, x)
            before = sums.get(name, (0.0, 0.0, 0.0))
            sums[name] = tuple(a + one.cpu().double() for a, one in zip(before, moments, strict=True))
    if turns > 1:
        counts = distributed.all_reduce_sum(counts)
        sums = {name: tuple(map(distributed.all_reduce_sum, some)) for name, some in sums.items()}
    costs = torch.zeros_like(counts)
    for column, (name, modality) in enumerate(schema.items()):
        if n := counts[column]:
            costs[column] = compute_constant_cost(modality, *sums[name], rows=float(n), likelihood=likelihood)
    return costs, counts / max(1, len(rows))


def _check(schema: Schema, costs: Tensor) -> None:
    for name, cost in zip(schema, costs.tolist(), strict=True):
        if not isfinite(cost):
            raise FloatingPointError(
                f"the cost of the best constant prediction of {name!r} must be finite to balance the loss weights; got "
                f"{cost}; check its values, or pass weights='sum' and relative=False to build"
            )

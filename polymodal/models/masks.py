"""The conditioning masks of a training step of MAC-WAE: which modalities each of its K passes observes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from polymodal.objectives import conditioning

__all__ = ["Indices", "Masks", "check_masks", "pad_masks", "sample_masks", "sample_members_masks"]

Indices = Literal["per-batch", "per-sample", "exhaustive"]
"""How to choose masks: one per pass, one per row and pass, or every mask once."""

MOST_SUBSETS = 4095
"""Maximum number of masks with "exhaustive"."""


class Masks(NamedTuple):
    """Conditioning masks, see `Model.plan`.

    All tensors of n members have a first axis for them, and their masks are not merged: U = K.
    """

    distinct: Tensor
    """The U distinct masks, `(U, B, M)` bool; all K masks if they must not be merged."""
    position: Tensor
    """Position of each pass's mask among them, `(K,)` int64."""
    share: Tensor
    """Weight of each pass in the loss, `(K,)`."""

    def sum_shares(self) -> Tensor:
        """Returns the weight of each distinct mask in the loss, `(U,)`."""
        if self.share.dim() > 1:
            return self.share
        return self.share.new_zeros(len(self.distinct)).index_add(0, self.position, self.share)

    def repeat(self, z: Tensor) -> Tensor:
        """Returns the codes of each pass, `(K, B, D)`, from those of the distinct masks, `(U, B, D)`."""
        return z if self.share.dim() > 1 else z[self.position]


def sample_masks(
    observed: Tensor, draws: int, p0: float | None, indices: Indices, *, merge: bool, dtype: torch.dtype
) -> Masks:
    """Samples the masks of a step for rows with the observed mask `(B, M)` bool.

    Arguments:
        observed: Observed mask, `(B, M)` bool.
        draws: Number of masks K, unless `indices` is "exhaustive".
        p0: Probability that a modality is missing; None samples masks of every size.
        indices: How to choose masks.
        merge: Whether equal masks are merged, because their codes are equal.
        dtype: Type of the weights in the loss.

    Example:
        >>> masks = sample_masks(torch.ones(4, 2).bool(), 9, 0.0, "per-batch", merge=True, dtype=torch.float32)
        >>> masks.distinct.shape, masks.position.shape
        (torch.Size([1, 4, 2]), torch.Size([9]))
    """
    if indices == "exhaustive":
        every = conditioning.subsets(observed.shape[1], observed.device)
        b = every[:, None] & observed
        b, share = torch.where(b.any(-1, keepdim=True), b, observed), conditioning.probabilities(every, p0).to(dtype)
    else:
        b = conditioning.sample(observed, draws, p0, per_sample=indices == "per-sample")
        share = torch.full((draws,), 1 / draws, dtype=dtype, device=observed.device)
    return Masks(*(_find_distinct(b) if merge else (b, torch.arange(len(b), device=b.device))), share)


def sample_members_masks(
    observed: Tensor, members: int, draws: int, p0: float | None, indices: Indices, *, dtype: torch.dtype
) -> list[Masks]:
    """Samples the masks of each of n members; equal ones are not merged. The arguments are those of `sample_masks`.

    Example:
        >>> plans = sample_members_masks(torch.ones(4, 3).bool(), 2, 3, None, "per-batch", dtype=torch.float32)
        >>> [plan.distinct[:, 0].sum(-1).sort().values.tolist() for plan in plans]
        [[1, 2, 3], [1, 2, 3]]
    """
    count = 1 if indices == "exhaustive" else members
    one = sample_masks(observed, draws * count, p0, indices, merge=False, dtype=dtype)
    # Sizes of masks are stratified: they rise along the passes, which the members take in turn.
    position = one.position[: len(one.distinct) // count]
    masks = [Masks(one.distinct[i::count], position, one.share[i::count] * count) for i in range(count)]
    return masks * (members // count)


def pad_masks(plans: Sequence[Masks]) -> list[Masks]:
    """Repeats the last distinct mask so that all plans have equally many; repeated masks have no weight in the loss."""
    most = max(len(plan.distinct) for plan in plans)
    padded = []
    for plan in plans:
        missing = plan.distinct[-1:].expand(most - len(plan.distinct), -1, -1)
        padded.append(plan._replace(distinct=torch.cat([plan.distinct, missing])))
    return padded


def check_masks(p0: float | None, indices: str, modalities: int) -> None:
    """Checks arguments of `sample_masks` for a number of modalities.

    Raises:
        ValueError: p0 is out of its range, or there are too many masks.
    """
    if p0 is not None and not 0 <= p0 < 1:
        raise ValueError(
            f"p0 must be in [0, 1); got {p0}; with 1.0 nothing would ever be observed; None samples masks of every size"
        )
    if indices == "exhaustive" and 2**modalities - 1 > MOST_SUBSETS:
        raise ValueError(
            f"exhaustive indices need 2^M - 1 passes, at most {MOST_SUBSETS}; {modalities} modalities are too many; "
            "use indices='per-batch'"
        )


def _find_distinct(b: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the distinct masks of `(K, B, M)`, and the position of each mask among them, `(K,)`."""
    flat, position = b.flatten(1).unique(dim=0, return_inverse=True)
    return flat.unflatten(1, b.shape[1:]), position

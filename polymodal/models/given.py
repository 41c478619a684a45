"""Conditioning: which modalities a row is encoded from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from polymodal.batch import Batch
from polymodal.runtime.validation import check_names
from polymodal.runtime.vectorizing import is_exporting

if TYPE_CHECKING:
    from polymodal.schema import Schema

__all__ = ["Given", "combine_masks", "make_blank_row"]

Given = list[str] | Tensor | None
"""Conditioning modalities: None for all observed ones, their names, or a bool mask `(*, B, M)` or `(*, 1, M)`."""


def combine_masks(schema: Schema, observed: Tensor, given: Given) -> Tensor:
    """Returns the conditioning mask b, `(*, B, M)` bool: the modalities that are both given and observed.

    Arguments:
        schema: The modalities.
        observed: Observed mask, `(B, M)` bool.
        given: Conditioning modalities, as in `Model.encode`.

    Raises:
        TypeError: `given` is a tensor of another type than bool, or a single name.
        ValueError: None of the given modalities is observed in some row, or `given` has a wrong shape.

    Example:
        >>> from polymodal.modalities import Label, Vector
        >>> from polymodal.schema import Schema
        >>> schema = Schema({"size": Vector(2), "species": Label(3)})
        >>> combine_masks(schema, torch.tensor([[True, False], [True, True]]), ["size"])
        tensor([[ True, False],
                [ True, False]])
    """
    if given is None:
        given = torch.ones_like(observed)
    elif isinstance(given, Tensor):
        _check_mask(given, len(observed), len(schema))
    else:
        check_names("given", given)
        given = schema.mask(given).expand(1, -1)
    b = given.to(observed.device) & observed
    if not is_exporting() and not (seen := b.any(-1)).all():
        row = int((~seen).nonzero()[0, -1])
        names = [name for name, known in zip(schema, observed[row].tolist(), strict=True) if known]
        raise ValueError(
            "every row must have an observed modality among those given; "
            f"row {row} has only {', '.join(names) or 'nothing'}, which was not given"
        )
    return b


def _check_mask(given: Tensor, rows: int, modalities: int) -> None:
    """Checks the type and the shape of a mask `given`."""
    if given.dtype != torch.bool:
        raise TypeError(f"given must be bool if it is a tensor; got {given.dtype}")
    if given.dim() < 2 or given.shape[-2] not in (1, rows) or given.shape[-1] != modalities:
        raise ValueError(
            f"given must end in rows and modalities, (*, 1, {modalities}) or (*, {rows}, {modalities}); "
            f"got {tuple(given.shape)}"
        )


def make_blank_row(schema: Schema, given: Given) -> tuple[Batch, Given]:
    """Returns one blank row, in place of an empty batch that networks may not accept, and its `given`."""
    blanks = {name: modality.blank[None] for name, modality in schema.items()}
    if isinstance(given, Tensor):
        given = given.new_ones(*given.shape[:-2], 1, len(schema))
    return Batch(blanks, torch.ones(1, len(schema), dtype=torch.bool)), given

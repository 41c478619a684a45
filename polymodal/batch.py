"""Rows of several modalities, some of them missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

__all__ = ["Batch", "Rows"]


class Rows(Protocol):
    """What a batch and a table have in common."""

    @property
    def values(self) -> Mapping[str, Tensor]:
        """By modality's name, `(B, *shape)` each."""
        ...

    @property
    def observed(self) -> Tensor:
        """`(B, M)` bool."""
        ...


@dataclass(frozen=True, eq=False)
class Batch:
    """B rows: a tensor per modality, and which of them each row has.

    What lies under `observed == False` is never read: it may be NaN. A modality that no row has may be
    missing from `values`.

    Arguments:
        values: By modality's name, `(B, *shape)` each; pictures uint8, labels and tokens int64, the rest float.
        observed: `(B, M)` bool; column m is the schema's m-th modality.

    Raises:
        ValueError: The values and `observed` do not have the same number of rows.

    Example:
        >>> batch = Batch({"size": torch.rand(4, 2)}, torch.ones(4, 1, dtype=torch.bool))
        >>> len(batch), len(batch[:2])
        (4, 2)
    """

    values: Mapping[str, Tensor]
    observed: Tensor

    def __post_init__(self) -> None:
        if self.observed.dtype != torch.bool or self.observed.dim() != 2:
            raise ValueError(
                "observed must be a bool tensor (B, M), one column a modality; "
                f"got {self.observed.dtype} {tuple(self.observed.shape)}"
            )
        for name, value in self.values.items():
            if len(value) != len(self):
                raise ValueError(
                    f"every modality must have as many rows as observed ({len(self)}); {name!r} has {len(value)}"
                )

    def __len__(self) -> int:
        return self.observed.shape[0]

    def __getitem__(self, index: slice | Tensor | list[int]) -> Batch:
        return Batch({name: value[index] for name, value in self.values.items()}, self.observed[index])

    def to(self, device: torch.device | str) -> Batch:
        """The same rows on `device`."""
        values = {name: value.to(device, non_blocking=True) for name, value in self.values.items()}
        return Batch(values, self.observed.to(device, non_blocking=True))

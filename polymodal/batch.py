"""Rows of several modalities, some of them missing."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Batch", "Index", "Rows", "Whole", "rows"]


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


Index = int | slice | list[int] | Tensor
"""Which rows: one, several, or a bool of each."""


def rows(index: Index, length: int) -> slice | Tensor:
    """An index of rows as tensors take it, that keeps the axis of rows.

    Raises:
        IndexError: A single row that does not exist.
    """
    if isinstance(index, slice):
        backwards = index.step is not None and index.step < 0
        return torch.arange(length)[list(range(length)[index])] if backwards else index
    if isinstance(index, list) or (isinstance(index, Tensor) and index.dim()):
        chosen = torch.as_tensor(index)
        return chosen if chosen.numel() else chosen.long()
    row = operator.index(index)
    if not -length <= row < length:
        raise IndexError(f"row must be in {-length}..{length - 1}; got {row}")
    return torch.tensor([row % length])


@dataclass(frozen=True, eq=False)
class Whole:
    """A batch of which each of several processes has some rows.

    Arguments:
        known: What all its rows have, `(n, M)` bool, in the CPU's memory.
        start: The number in it of the first row that this process has.
        counted: For how many of its rows those stand in a mean: for themselves, or, where all processes have all rows,
            for an equal part.
    """

    known: Tensor
    start: int
    counted: float


@dataclass(frozen=True, eq=False)
class Batch:
    """B rows: a tensor per modality, and which of them each row has.

    What lies under `observed == False` is never read: it may be NaN. A modality that no row has may be
    missing from `values`.

    Arguments:
        values: By modality's name, `(B, *shape)` each; pictures uint8, labels and tokens int64, the rest float.
        observed: `(B, M)` bool; column m is the schema's m-th modality.
        host: `observed` in the CPU's memory, where the rows are on a GPU and it is at hand.
        whole: The batch that these rows are a part of, where other processes have the others.
        schema: That of the table that the rows are from, where it is known: models refuse rows of another.

    Raises:
        ValueError: The values and `observed` do not have the same number of rows.

    Example:
        >>> batch = Batch({"size": torch.rand(4, 2)}, torch.ones(4, 1, dtype=torch.bool))
        >>> len(batch), len(batch[:2])
        (4, 2)
    """

    values: Mapping[str, Tensor]
    observed: Tensor
    host: Tensor | None = field(default=None, repr=False)
    whole: Whole | None = field(default=None, repr=False)
    schema: Mapping[str, Any] | None = field(default=None, repr=False)

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

    @property
    def total(self) -> int:
        """Rows of the whole batch, those of other processes among them."""
        return len(self) if self.whole is None else len(self.whole.known)

    @property
    def counted(self) -> float:
        """For how many of these the batch's own rows stand in a mean."""
        return len(self) if self.whole is None else self.whole.counted

    def __getitem__(self, index: Index) -> Batch:
        chosen = rows(index, len(self))
        values = {name: value[chosen] for name, value in self.values.items()}
        return Batch(values, self.observed[chosen], schema=self.schema)

    @property
    def known(self) -> Tensor:
        """`observed` in the CPU's memory; only where no copy of it is at hand must a GPU be waited for."""
        return self.observed.cpu() if self.host is None else self.host

    def to(self, device: torch.device | str) -> Batch:
        """The same rows on `device`."""
        behind = torch.device(device).type != "cpu"  # what a GPU copies to the CPU must be there before it is read
        values = {name: value.to(device, non_blocking=behind) for name, value in self.values.items()}
        host = self.observed if behind and self.observed.device.type == "cpu" else self.host
        return Batch(values, self.observed.to(device, non_blocking=behind), host, self.whole, self.schema)

    def pinned(self) -> Batch:
        """The same rows in memory from which a GPU copies by itself."""
        values = {name: value.pin_memory() for name, value in self.values.items()}
        return Batch(values, self.observed.pin_memory(), self.host, self.whole, self.schema)

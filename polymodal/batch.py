"""Batches of rows with several modalities, some of which may be missing."""

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
    """Common interface of batches and tables."""

    @property
    def values(self) -> Mapping[str, Tensor]:
        """Values by modality name, `(B, *shape)` each."""
        ...

    @property
    def observed(self) -> Tensor:
        """Observed mask, `(B, M)` bool."""
        ...


Index = int | slice | list[int] | Tensor
"""Selection of rows: a row number, a slice, several row numbers, or a boolean mask."""


def rows(index: Index, length: int) -> slice | Tensor:
    """Converts a selection of rows to a tensor index that keeps the row axis.

    Raises:
        IndexError: A single row number is out of range.
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
    """The global batch that is split over several processes.

    Arguments:
        known: Observed mask of all rows of the global batch, `(n, M)` bool, on the CPU.
        start: Position of this process's first row in the global batch.
        counted: Number of rows for which this process counts in a mean over the global batch. It is the number of its
            rows, or n divided by the number of processes if every process has all rows.
    """

    known: Tensor
    start: int
    counted: float


@dataclass(frozen=True, eq=False)
class Batch:
    """B rows: a tensor of values per modality, and the observed mask.

    Values where `observed` is False are never read and may be NaN. A modality that is missing in all rows may be left
    out of `values`.

    Arguments:
        values: Values by modality name, `(B, *shape)` each. Images are uint8, labels and tokens int64, all others
            float.
        observed: Observed mask, `(B, M)` bool. Column m belongs to the m-th modality of the schema.
        host: Copy of `observed` on the CPU for rows on a GPU, if available.
        whole: Global batch of which these rows are a part, if other processes have the other rows.
        schema: Schema of the table that the rows come from, if known. Models reject rows with another schema.

    Raises:
        ValueError: `observed` is not a two-dimensional bool tensor, or a value has a different number of rows.

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
        """Number of rows in the global batch, including those of other processes."""
        return len(self) if self.whole is None else len(self.whole.known)

    @property
    def counted(self) -> float:
        """Number of rows for which this batch counts in a mean over the global batch."""
        return len(self) if self.whole is None else self.whole.counted

    def __getitem__(self, index: Index) -> Batch:
        chosen = rows(index, len(self))
        values = {name: value[chosen] for name, value in self.values.items()}
        return Batch(values, self.observed[chosen], schema=self.schema)

    @property
    def known(self) -> Tensor:
        """The observed mask on the CPU. It is copied from the GPU, which synchronises, only if `host` is None."""
        return self.observed.cpu() if self.host is None else self.host

    def to(self, device: torch.device | str) -> Batch:
        """Returns the same rows on `device`."""
        behind = torch.device(device).type != "cpu"  # copies to the CPU must finish before they are read
        values = {name: value.to(device, non_blocking=behind) for name, value in self.values.items()}
        host = self.observed if behind and self.observed.device.type == "cpu" else self.host
        return Batch(values, self.observed.to(device, non_blocking=behind), host, self.whole, self.schema)

    def pinned(self) -> Batch:
        """Returns the same rows in pinned memory, from which copies to a GPU can be asynchronous."""
        values = {name: value.pin_memory() for name, value in self.values.items()}
        return Batch(values, self.observed.pin_memory(), self.host, self.whole, self.schema)

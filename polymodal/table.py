"""A data set in memory: tensors, and what each row has of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polymodal.batch import Batch, Index
from polymodal.schema import Schema

__all__ = ["Table", "steps"]


@dataclass(frozen=True, eq=False)
class Table:
    """N rows of a schema's modalities, each row with some of them.

    Arguments:
        values: By name, `(N, *shape)` each; a modality that no row has may be missing.
        observed: `(N, M)` bool; by default every row has all that `values` holds.
        schema: The modalities.
        alternatives: By name, `(N, A, *shape)`: several values of which one is drawn per row and epoch (the
            captions of a picture); without a seed it is the first.
        source: Where the rows come from, for the files of a run: JSON's types.

    Raises:
        ValueError: A value's shape is not its modality's, an observed one is out of range or not finite, or a
            row has nothing.

    Example:
        >>> from polymodal.modalities import Label, Vector
        >>> schema = Schema({"size": Vector(2), "species": Label(3)})
        >>> table = Table({"size": torch.rand(5, 2), "species": torch.tensor([0, 1, 2, 0, 1])}, schema=schema)
        >>> len(table), len(table[1:3]), [len(batch) for batch in table.batches(2, seed=0)]
        (5, 2, [2, 3])
    """

    values: Mapping[str, Tensor]
    observed: Tensor = None  # pyright: ignore[reportAssignmentType]
    schema: Schema = None  # pyright: ignore[reportAssignmentType]
    alternatives: Mapping[str, Tensor] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.schema is None:
            raise ValueError("a table must have a schema; pass schema=Schema({...})")
        values = {name: choices[:, 0] for name, choices in self.alternatives.items()} | dict(self.values)
        object.__setattr__(self, "values", values)
        if self.observed is None:
            object.__setattr__(self, "observed", self.schema.batch(values).observed)
        self._check()

    def __len__(self) -> int:
        return len(self.observed)

    def __getitem__(self, index: Index) -> Batch:
        """Rows as a batch; one row for an int."""
        return Batch(self.values, self.observed)[index]

    def batches(
        self,
        batch_size: int,
        *,
        seed: int | None = None,
        epoch: int = 0,
        start: int = 0,
        device: torch.device | str | None = None,
    ) -> Iterator[Batch]:
        """The rows in batches. Their order is a pure function of (seed, epoch).

        A last batch of one row joins the one before, for a penalty on pairs cannot be had from one row.

        Arguments:
            batch_size: Rows per batch, at least 1.
            seed: Of the order; None keeps the table's.
            epoch: Number of the epoch.
            start: How many batches to leave out at the beginning.
            device: Where the batches are to be.

        Returns:
            An iterator over batches.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1; got {batch_size}")
        order = torch.arange(len(self))
        choices: dict[str, Tensor] = {}
        if seed is not None:
            generator = torch.Generator().manual_seed(_stream(seed, epoch))
            order = torch.randperm(len(self), generator=generator)
            for name, options in self.alternatives.items():
                choices[name] = torch.randint(options.shape[1], (len(self),), generator=generator)
        parts = list(order.split(batch_size))
        if len(parts) > 1 and len(parts[-1]) == 1:
            parts[-2:] = [torch.cat(parts[-2:])]
        for rows in parts[start:]:
            batch = self[rows]
            drawn = {name: self.alternatives[name][rows, choice[rows]] for name, choice in choices.items()}
            batch = Batch({**batch.values, **drawn}, batch.observed)
            yield batch if device is None else batch.to(device)

    def complete(self) -> Table:
        """The rows that have every modality.

        Raises:
            ValueError: None has.
        """
        whole = self.observed.all(1)
        if not whole.any():
            raise ValueError(f"at least one row must have every modality; none of {len(self)} has")
        values = {name: value[whole] for name, value in self.values.items()}
        choices = {name: value[whole] for name, value in self.alternatives.items()}
        return Table(values, self.observed[whole], self.schema, choices, {**self.source, "rows": "complete"})

    def fingerprint(self) -> str:
        """A hash of what the rows have, and of their schema; not of what lies under False."""
        digest = hashlib.blake2b(repr(self.schema).encode(), digest_size=16)
        for name, has in zip(self.schema, self.observed.unbind(1), strict=True):
            for part in (self.values.get(name), self.alternatives.get(name)):
                digest.update(b"" if part is None else part[has].cpu().numpy().tobytes())
        digest.update(self.observed.cpu().numpy().tobytes())
        return digest.hexdigest()

    def _check(self) -> None:
        for name, value in self.values.items():
            if not isinstance(value, Tensor):
                raise TypeError(f"{name!r} must be a tensor; got {type(value).__name__}; use torch.as_tensor")
            self.schema.index(name)  # refuses a name that the schema does not know
            modality = self.schema[name]
            if tuple(value.shape[1:]) != modality.shape or len(value) != len(self):
                raise ValueError(
                    f"{name!r} must be {(len(self), *modality.shape)} like its modality; got {tuple(value.shape)}"
                )
        if self.observed.shape != (len(self), len(self.schema)) or self.observed.dtype != torch.bool:
            raise ValueError(
                f"observed must be bool (N, M) with one column for each of {', '.join(self.schema)}; "
                f"got {self.observed.dtype} {tuple(self.observed.shape)}"
            )
        if len(empty := (~self.observed.any(1)).nonzero()):
            raise ValueError(
                f"every row must have at least one modality; row {int(empty[0])} has none "
                f"({len(empty)} such rows); drop them"
            )
        for column, name in enumerate(self.schema):
            has = self.observed[:, column]
            if name not in self.values:
                if has.any():
                    raise ValueError(f"{name!r} is marked as observed, but values holds none of it")
                continue
            choices = self.alternatives.get(name, self.values[name][:, None])  # (N, A, *shape)
            if len(choices) != len(self) or tuple(choices.shape[2:]) != self.schema[name].shape:
                raise ValueError(
                    f"alternatives of {name!r} must be (N, A, *shape), {len(self)} rows of values of shape "
                    f"{self.schema[name].shape}; got {tuple(choices.shape)}"
                )
            try:
                self.schema[name].check((choices if has.all() else choices[has]).flatten(0, 1))
            except ValueError as error:
                raise ValueError(f"{name!r}: {error}") from error


def steps(rows: int, batch_size: int) -> int:
    """How many batches `Table.batches` makes of so many rows.

    Example:
        >>> steps(9, 4), steps(10, 4), steps(1, 4), steps(3, 1)
        (2, 3, 1, 2)
    """
    last = rows % batch_size or batch_size
    return -(-rows // batch_size) - (last == 1 and rows > batch_size)


def _stream(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0] >> 1)

"""Classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from polymodal.modalities.arguments import note
from polymodal.modalities.base import check_counts
from polymodal.modalities.cell_texts import check_format, format_of
from polymodal.modalities.cells import CellError, Column, class_name, missing
from polymodal.modalities.costed import Costed
from polymodal.modalities.costs import DISCRETE, Choice
from polymodal.modalities.formats import NUMBER
from polymodal.networks import OneHot, mlp
from polymodal.runtime.formatting import brief, value_repr
from polymodal.runtime.validation import check_names

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

__all__ = ["Label", "ordered"]


@dataclass(frozen=True)
class Label(Costed):
    """One of several classes: an int64 index, `()`; -1 is the blank, which the encoder sees as zeros.

    Arguments:
        classes: Their number.
        names: What people call them, in order; by default the indices.
        hidden: Sizes of the hidden layers of both networks.
        cost: "categorical" or "l2" (the paper's, against the one-hot code; the head then ends in a sigmoid).
        formats: How the column of a file writes classes that are numbers or booleans, as `Vector` has it.

    Example:
        >>> species = Label(2, names=("cat", "dog"))
        >>> species.read("dog"), species.write(torch.tensor(0))
        (tensor(1), 'cat')
    """

    classes: int
    names: tuple[str, ...] | None = None
    hidden: tuple[int, ...] = (32,)
    cost: Choice = Choice(DISCRETE, "categorical")
    formats: tuple[str, ...] | None = note()

    def __post_init__(self) -> None:
        super().__post_init__()
        for form in self.formats or ():
            check_format(form)
        check_counts(classes=self.classes)
        if self.names is not None:
            check_names("names", self.names, "['cat', 'dog']")
        if self.names is not None and len(self.names) != self.classes:
            raise ValueError(f"names must name all {self.classes} classes; got {len(self.names)} names")

    @property
    def shape(self) -> tuple[int, ...]:
        """`()`."""
        return ()

    @property
    def metric(self) -> str:
        """Accuracy."""
        return "acc"

    @property
    def dtype(self) -> torch.dtype:
        """int64."""
        return torch.int64

    @property
    def levels(self) -> int:
        """The number of classes."""
        return self.classes

    @property
    def core(self) -> Label:
        """Without names."""
        return replace(self, names=None, formats=None)

    @property
    def representation(self) -> dict[str, Any]:
        """What the classes are called, in order; those without names are called by their numbers."""
        numbered = self.names is None or self.names == tuple(map(str, range(self.classes)))
        return {"classes": range(self.classes) if numbered else self.names}

    @property
    def blank(self) -> Tensor:
        """-1, no class."""
        return torch.tensor(-1)

    def read(self, raw: str | int) -> Tensor:
        """A class's name, or its index.

        Raises:
            ValueError: There is no such class.
        """
        if self.names is not None and str(raw) in self.names:
            return torch.tensor(self.names.index(str(raw)))
        if isinstance(raw, str) or not 0 <= raw < self.classes:
            known = f"0..{self.classes - 1}" if self.names is None else ", ".join(self.names)
            raise ValueError(f"a class must be one of {known}; got {value_repr(raw)}")
        return torch.tensor(int(raw))

    def write(self, value: Tensor) -> str | int:
        """A class's name, or its index if it has none."""
        return int(value) if self.names is None else self.names[int(value)]

    def fitted(self, *cells: pd.Series) -> Label:
        """With the names of the classes that occur, if it names none and there are as many.

        Numbers are ordered by size, all else by the alphabet.

        Raises:
            ValueError: There are others than 0..classes - 1.
            CellError: A cell holds no text or number.
        """
        if self.names is not None:
            return self
        found = {*_classes(cells[0])[1]}
        if found <= {str(number) for number in range(self.classes)}:
            return self
        if len(found) != self.classes:
            listed = brief(", ".join(ordered(found)))
            raise ValueError(f"there must be {self.classes} classes; got {len(found)}: {listed}")
        return replace(self, names=tuple(ordered(found)))

    def learn_cells(self, *cells: pd.Series) -> Label:
        """With the format of its column."""
        return replace(self, formats=self.formats or (format_of(cells[0]),))

    def read_cells(self, *cells: pd.Series, root: Path) -> Column:
        """The classes; those that it does not know are taken as unknown, and counted.

        A number that no class is called is the class of the same number, such as 7 of 007.

        Raises:
            CellError: A cell holds no text or number.
        """
        codes, names = _classes(cells[0])
        known = _known(self._called, names)
        numbers = torch.from_numpy(np.array([*(known.get(name, -1) for name in names), -1])[codes])
        times = np.bincount(codes + 1, minlength=len(names) + 1)[1:]
        odd: Counter[str] = Counter()
        for name, count in zip(names, times.tolist(), strict=True):
            odd.update({} if name in known else {name: count})
        return Column(numbers, numbers >= 0, tuple(odd.items()))

    def write_cells(self, values: Tensor) -> list[Sequence[Any]]:
        """The names of the classes."""
        called = self._called
        return [[called[number] for number in values.tolist()]]

    @property
    def _called(self) -> Sequence[str]:
        return [str(number) for number in range(self.classes)] if self.names is None else self.names

    def encoder(self, features: int) -> nn.Module:
        """Fully connected on the one-hot code, `(N,) -> (N, features)`."""
        return nn.Sequential(OneHot(self.classes), *mlp(self.classes, self.hidden, features))

    def decoder(self, latent_dim: int) -> nn.Module:
        """Fully connected, `(N, latent_dim) -> (N, classes)`: logits, or sigmoids under "l2"."""
        network = mlp(latent_dim, self.hidden, self.classes)
        return network.append(nn.Sigmoid()) if self.cost == "l2" else network


def _classes(column: pd.Series) -> tuple[np.ndarray, list[str]]:
    """For each cell the number of its class among the names of those that occur, -1 where it holds nothing.

    Raises:
        CellError: A cell holds no text or number.
    """
    import pandas as pd

    nothing = missing(column)
    try:
        codes, found = pd.factorize(column.mask(nothing) if nothing.any() else column)
    except TypeError as error:
        row = next(row for row, cell in enumerate(column) if not isinstance(cell, Hashable))
        raise CellError(row, f"a text or a number must stand here; {error}; correct it, or leave it empty") from error
    return codes, [class_name(cell) for cell in found]


def _known(called: Sequence[str], names: Iterable[str]) -> dict[str, int]:
    """The numbers of classes by their names, and by other names that stand for the same number as that of one alone."""
    known = {name: place for place, name in enumerate(called)}
    others = {name: value for name in names if name not in known and (value := _value(name)) is not None}
    if others:
        values = [_value(name) for name in called]
        known |= {name: values.index(value) for name, value in others.items() if values.count(value) == 1}
    return known


def _value(name: str) -> Decimal | None:
    return Decimal(name) if NUMBER.fullmatch(name) else None


def ordered(names: Iterable[str]) -> list[str]:
    """Numbers by size, all else by the alphabet."""
    names = sorted(names)
    try:
        return sorted(names, key=float)
    except ValueError:
        return names

"""Labels."""

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
from polymodal.modalities.cells import CellError, Column, class_name
from polymodal.modalities.column_statistics import class_names, sort_names
from polymodal.modalities.conversions import find_class
from polymodal.modalities.costed import Costed
from polymodal.modalities.costs import DISCRETE
from polymodal.modalities.formats import NUMBER
from polymodal.modalities.profile import Candidate, Profile
from polymodal.networks import OneHot, mlp
from polymodal.runtime.formatting import brief, format_count
from polymodal.runtime.validation import check_names

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

__all__ = ["Label"]


@dataclass(frozen=True)
class Label(Costed):
    """A label: the index of one of several classes, int64, `()`.

    The blank is -1, for which the one-hot input of the encoder is all zeros.

    Arguments:
        classes: Number of classes.
        names: Names of the classes, in order of their indices; by default the indices.
        hidden: Sizes of the hidden layers of both networks.
        cost: Reconstruction cost: "categorical" or "l2" (used in the paper: the squared error to the one-hot vector;
            the decoder then ends in a sigmoid).
        formats: Format of the column in files, for classes that are numbers or booleans; see `Vector`.

    Example:
        >>> species = Label(2, names=("cat", "dog"))
        >>> species.read("dog"), species.write(torch.tensor(0))
        (tensor(1), 'cat')
    """

    classes: int
    names: tuple[str, ...] | None = None
    hidden: tuple[int, ...] = (32,)
    cost: str = "categorical"
    formats: tuple[str, ...] | None = note()

    costs = DISCRETE
    metric = "acc"
    """The accuracy."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for form in self.formats or ():
            check_format(form)
        check_counts(classes=self.classes)
        if self.names is not None:
            check_names("names", self.names, "['cat', 'dog']")
        if self.names is not None and len(self.names) != self.classes:
            raise ValueError(f"names must name all {self.classes} classes; got {len(self.names)} names")

    @classmethod
    def from_profile(cls, profile: Profile) -> Label:
        """Returns a label with the classes of a column.

        Raises:
            ValueError: The cells are neither texts nor numbers.
        """
        names = class_names(profile)
        return cls(len(names), names=names)

    @classmethod
    def suitability(cls, profile: Profile) -> float:
        """Returns how well repeated values suit as classes.

        The result is 1 for booleans and categories. It is 0.9 for at most 2 whole numbers, or at most 10 with 5 rows
        each on average, and for at most 20 texts with 2 rows each, or at most 200 with 5. It is 0.6 for at most 1000
        texts with 2 rows each, and else 0.
        """
        if profile.kind in ("boolean", "category"):
            return 1.0
        if profile.kind not in ("integer", "text", "date"):
            return 0.0
        different, each = len(profile.counts), profile.each
        if profile.kind == "integer":
            return 0.9 if different <= 2 or (different <= 10 and each >= 5) else 0.0
        if (different <= 20 and each >= 2) or (different <= 200 and each >= 5):
            return 0.9
        return 0.6 if different <= 1000 and each >= 2 else 0.0

    @classmethod
    def candidate(cls, profile: Profile) -> Candidate:
        """Returns a label with the classes of a column, and their number as the reason."""
        label, different = cls.from_profile(profile), len(profile.counts)
        if profile.kind == "boolean":
            return Candidate(label, f"true or false in {profile.there}")
        if profile.kind == "category":
            return Candidate(label, f"{different} categories in {profile.there}")
        if profile.kind == "integer":
            return Candidate(label, f"{different} whole numbers {profile.span} in {profile.there}")
        alone = int((profile.counts == 1).sum())
        why = f"{different:,} different {'dates' if profile.dated else 'texts'} in {profile.there}"
        return Candidate(label, why + (f", {alone:,} in a single row" if alone else ""))

    @property
    def description(self) -> str:
        """The type, with the number of classes."""
        return f"label, {format_count(self.classes, 'class', 'classes')}"

    @property
    def shape(self) -> tuple[int, ...]:
        """`()`."""
        return ()

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
        """The modality without names and formats."""
        return replace(self, names=None, formats=None)

    @property
    def representation(self) -> dict[str, Any]:
        """The names of the classes, in order; for classes without names, their numbers."""
        numbered = self.names is None or self.names == tuple(map(str, range(self.classes)))
        return {"classes": range(self.classes) if numbered else self.names}

    @property
    def blank(self) -> Tensor:
        """The index -1, which is no class."""
        return torch.tensor(-1)

    def read(self, raw: str | int) -> Tensor:
        """Converts the name or the index of a class to its index.

        Raises:
            ValueError: The class does not exist.
        """
        return torch.tensor(find_class(raw, self.names, self.classes))

    def write(self, value: Tensor) -> str | int:
        """Converts an index to the name of the class; without names, to an int."""
        return int(value) if self.names is None else self.names[int(value)]

    def fitted(self, *cells: pd.Series) -> Label:
        """Returns the modality with the names of the classes in the cells, if it has none.

        It stays without names if all cells are in 0..classes - 1. Numbers are sorted by value, other names
        alphabetically.

        Raises:
            ValueError: Names are needed, and the number of different classes is not `classes`.
            CellError: A cell is neither a text nor a number.
        """
        if self.names is not None:
            return self
        found = {*_classes(cells[0])[1]}
        if found <= {str(number) for number in range(self.classes)}:
            return self
        if len(found) != self.classes:
            listed = brief(", ".join(sort_names(found)))
            raise ValueError(f"there must be {self.classes} classes; got {len(found)}: {listed}")
        return replace(self, names=tuple(sort_names(found)))

    def learn_cells(self, *cells: pd.Series) -> Label:
        """Returns the modality with the format of its column."""
        return replace(self, formats=self.formats or (format_of(cells[0]),))

    def read_cells(self, *cells: pd.Series, root: Path) -> Column:
        """Reads classes. Unknown classes become missing values and are counted.

        A number that is not the name of a class is read as the class with the same numeric value: 007 as 7.

        Raises:
            CellError: A cell is neither a text nor a number.
        """
        codes, names = _classes(cells[0])
        known = _map_to_classes(self._class_names, names)
        numbers = torch.from_numpy(np.array([*(known.get(name, -1) for name in names), -1])[codes])
        times = np.bincount(codes + 1, minlength=len(names) + 1)[1:]
        odd: Counter[str] = Counter()
        for name, count in zip(names, times.tolist(), strict=True):
            odd.update({} if name in known else {name: count})
        return Column(numbers, numbers >= 0, tuple(odd.items()))

    def write_cells(self, values: Tensor) -> list[Sequence[Any]]:
        """Converts indices to the names of the classes."""
        called = self._class_names
        return [[called[number] for number in values.tolist()]]

    @property
    def _class_names(self) -> Sequence[str]:
        return [str(number) for number in range(self.classes)] if self.names is None else self.names

    def encoder(self, features: int) -> nn.Module:
        """Creates a fully connected encoder of the one-hot vector, `(N,) -> (N, features)`."""
        return nn.Sequential(OneHot(self.classes), *mlp(self.classes, self.hidden, features))

    def decoder(self, latent_dim: int) -> nn.Module:
        """Creates a fully connected decoder, `(N, latent_dim) -> (N, classes)`: logits, or sigmoids for "l2"."""
        network = mlp(latent_dim, self.hidden, self.classes)
        return network.append(nn.Sigmoid()) if self.cost == "l2" else network


def _classes(column: pd.Series) -> tuple[np.ndarray, list[str]]:
    """Returns each cell's index into the names of the classes that occur, -1 if it is missing, and these names.

    Raises:
        CellError: A cell is neither a text nor a number.
    """
    import pandas as pd

    try:
        codes, found = pd.factorize(column)
    except TypeError as error:
        row = next(row for row, cell in enumerate(column) if not isinstance(cell, Hashable))
        raise CellError(row, f"the value must be a text or a number; {error}; correct it, or leave it empty") from error
    blank = np.array([isinstance(cell, str) and not cell.strip() for cell in found], bool)
    if blank.any():
        codes = np.append(np.where(blank, -1, (~blank).cumsum() - 1), -1)[codes]
    return codes, [class_name(cell) for cell, is_blank in zip(found, blank, strict=True) if not is_blank]


def _map_to_classes(called: Sequence[str], names: Iterable[str]) -> dict[str, int]:
    """Maps names to class indices, including names with the same numeric value as exactly one class."""
    known = {name: place for place, name in enumerate(called)}
    others = {name: value for name in names if name not in known and (value := _value(name)) is not None}
    if others:
        values = [_value(name) for name in called]
        known |= {name: values.index(value) for name, value in others.items() if values.count(value) == 1}
    return known


def _value(name: str) -> Decimal | None:
    return Decimal(name) if NUMBER.fullmatch(name) else None

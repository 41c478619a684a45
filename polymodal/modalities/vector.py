"""Numbers and vectors of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import nan
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from polymodal.modalities.arguments import note
from polymodal.modalities.base import Bounds, check_counts
from polymodal.modalities.cell_texts import DATES, check_format, format_of
from polymodal.modalities.cells import CellError, Column, missing, numbers, one_by_one
from polymodal.modalities.column_statistics import is_list, is_list_of_numbers, list_units, number_units
from polymodal.modalities.costed import Costed
from polymodal.modalities.costs import NUMERIC
from polymodal.modalities.line_images import draw_curve
from polymodal.modalities.profile import Candidate, Profile
from polymodal.modalities.value_checks import check_unit
from polymodal.networks import mlp
from polymodal.runtime.formatting import brief
from polymodal.runtime.validation import check_list

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    import PIL.Image

__all__ = ["Vector"]

MOST_PRINTED = 16
"""Maximum size of a vector that is displayed as text rather than as a curve."""


@dataclass(frozen=True)
class Vector(Costed):
    """A number or a vector of numbers, float, `(size,)`.

    Tables contain standardised values, `(raw - center) / scale`, where raw is in users' units; with `log`, they contain
    `(log(1 + raw) - center) / scale`. Costs and scores are in standardised units. `read` and `write` convert between
    the units.

    Arguments:
        size: Number of elements.
        center: `size` numbers to subtract; by default zeros.
        scale: `size` positive numbers to divide by; by default ones.
        hidden: Sizes of the hidden layers of both networks.
        activation: Last layer of the decoder: "linear", or "sigmoid" for values in [0, 1] (used for trajectories in
            the paper).
        cost: Reconstruction cost: "gaussian" or "laplace", with scale 1 or another one as in "laplace(0.75)",
            "bernoulli" (for values in [0, 1]), or "l2" (used in the paper).
        names: Names of the `size` data frame columns that contain the numbers, in order. By default, the column with
            the name of the modality contains all of them, as a list if there are several.
        log: Whether tables contain logarithms. It suits numbers above -1 of which a few are far larger than the others.
        limits: Smallest and largest training value of each number, in users' units. They affect no value and no
            network, and comparisons ignore them. They are used to report numbers far outside of the range, and to clip
            predictions on request.
        formats: Number format of each column, see `polymodal.modalities.formats`; empty if unknown.

    Example:
        >>> size = Vector(2, center=(100.0, 10.0), scale=(50.0, 2.0))
        >>> size.read([150.0, 10.0])
        tensor([1., 0.])
        >>> size.write(torch.tensor([1.0, 0.0])).tolist()
        [150.0, 10.0]
    """

    size: int
    center: tuple[float, ...] | None = None
    scale: tuple[float, ...] | None = None
    hidden: tuple[int, ...] = (512, 512)
    activation: Literal["linear", "sigmoid"] = "linear"
    cost: str = "gaussian"
    names: tuple[str, ...] | None = None
    log: bool = False
    limits: tuple[tuple[float, float], ...] | None = note()
    formats: tuple[str, ...] | None = note()

    costs = NUMERIC
    metric = "rmse"
    """The root mean squared error."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(size=self.size)
        for name in ("center", "scale"):
            if (numbers := getattr(self, name)) is None:
                continue
            check_list(name, numbers, "numbers", "[0.5]")
            try:
                object.__setattr__(self, name, tuple(float(number) for number in numbers))
            except (TypeError, ValueError) as error:
                raise type(error)(f"{name} must be a list of numbers; got {brief(repr(numbers), 60)}") from error
            if len(numbers) != self.size:
                raise ValueError(f"{name} must have {self.size} numbers, one for each; got {len(numbers)}")
        if self.limits is not None and not self._are_limits(self.limits):
            raise ValueError(f"limits must have {self.size} pairs of numbers in ascending order; got {self.limits!r}")
        if self.names is not None and len(self.names) != self.size:
            raise ValueError(f"names must name {self.size} columns, one for each number; got {len(self.names)}")
        if self.activation not in ("linear", "sigmoid"):
            raise ValueError(f"activation must be 'linear' or 'sigmoid'; got {self.activation!r}")
        for form in self.formats or ():
            check_format(form)
        if self.scale is not None and min(self.scale) <= 0:
            raise ValueError(f"scale must be positive; got {min(self.scale)}; use 1 for a number that never varies")

    @classmethod
    def from_profile(cls, profile: Profile, *others: Profile, log: bool = False) -> Vector:
        """Returns a vector with the units of a column of numbers or of lists of numbers, or of several of numbers.

        Arguments:
            profile: The column.
            *others: Further columns of numbers; the names of all become `names`.
            log: Whether to take logarithms.

        Raises:
            ValueError: The cells are not numbers, or not lists of equally many finite numbers.
        """
        profiles = (profile, *others)
        numbers = bool(others) or profile.comparable
        units = [number_units(one, log) for one in profiles] if numbers else list_units(profile)
        center, scale = zip(*units, strict=True)
        names = tuple(one.name for one in profiles) if others else None
        return cls(len(units), center=center, scale=scale, names=names, log=log)

    @classmethod
    def suitability(cls, profile: Profile) -> float:
        """Returns 0.5 for numbers, 0.9 for lists of numbers, and else 0."""
        if profile.kind in ("integer", "number"):
            return 0.5
        lists = profile.kind == "object" and all(map(is_list, profile.values))
        return 0.9 if lists and is_list_of_numbers(profile.values.iloc[0]) else 0.0

    @classmethod
    def candidate(cls, profile: Profile) -> Candidate:
        """Returns a vector with the units of a column, and the range of its numbers as the reason."""
        if profile.kind == "object":
            vector = cls.from_profile(profile)
            return Candidate(vector, f"lists of {vector.size} numbers in {profile.there}")
        whole, different = profile.kind == "integer", len(profile.counts)
        many = f"{different} " if whole and different <= 20 else ""
        why = f"{many}{'whole ' if whole else ''}numbers {profile.span} in {profile.there}"
        return Candidate(cls.from_profile(profile), why)

    @property
    def description(self) -> str:
        """The type, with the size of a vector of several numbers."""
        if self.size > 1:
            return f"vector of {self.size}"
        return "number, logarithm" if self.log else "number"

    @property
    def core(self) -> Vector:
        """The modality without units, names, limits and formats."""
        return replace(self, center=None, scale=None, names=None, log=False, limits=None, formats=None)

    @property
    def representation(self) -> dict[str, Any]:
        """The units: the center (default 0), the scale (default 1), and whether values are logarithms."""
        center, scale = self.center or (0.0,) * self.size, self.scale or (1.0,) * self.size
        return {"center": center, "scale": scale, "log": self.log}

    @property
    def shape(self) -> tuple[int, ...]:
        """`(size,)`."""
        return (self.size,)

    @property
    def is_linear(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether it has several numbers, and its decoder outputs their means."""
        return self.size > 1 and self.activation == "linear" and self.cost != "bernoulli" and self.network is None

    def check(self, x: Tensor) -> None:
        """Checks that numbers are finite and, for "bernoulli", in [0, 1].

        Raises:
            ValueError: A number is not. The message names the first one.
        """
        super().check(x)
        if self.cost == "bernoulli":
            check_unit(x)

    def read(self, raw: Sequence[float] | Tensor) -> Tensor:
        """Converts numbers in users' units, `(size,)`, to a table's units.

        Raises:
            ValueError: There are not `size` numbers, or `log` is True and a number is not above -1.
        """
        value = torch.as_tensor(raw, dtype=torch.float64).reshape(-1)
        if len(value) != self.size:
            raise ValueError(f"a vector must have {self.size} numbers; got {len(value)}")
        return self.standardise(value)

    def write(self, value: Tensor) -> Tensor:
        """Converts numbers to users' units, `(*, size)` float64. Values clipped by `bound` equal the bound exactly."""
        value = value.detach().cpu()
        raw = value.double() * self._scale + self._center
        raw = raw.expm1() if self.log else raw
        for end in self._limits.unbind() if self.limits else ():
            raw = torch.where(value == self.standardise(end), end, raw)
        return raw

    def standardise(self, raw: Tensor) -> Tensor:
        """Converts numbers in users' units, `(*, size)` float64, to a table's units.

        Raises:
            ValueError: `log` is True and a number is not above -1.
        """
        if self.log and (raw <= -1).any():
            raise ValueError(f"numbers with log must be above -1; got {float(raw[raw <= -1][0])}; leave log out")
        return (((raw.log1p() if self.log else raw) - self._center) / self._scale).float()

    def bound(self, values: Tensor, bounds: Bounds = "observed") -> Tensor:
        """Clips predicted numbers; see `Modality.bound`. Numbers without `limits` and dates are not clipped.

        Example:
            >>> count = Vector(1, center=(3.0,), scale=(2.0,), limits=((0.0, 9.0),))
            >>> [float(count.write(count.bound(torch.tensor([-4.0]), how))) for how in ("observed", "none")]
            [0.0, -5.0]
        """
        if self.limits is None or bounds == "none":
            return values
        zero, least, most = self._limits
        free = (least < 0) | torch.tensor([form == DATES for form in self.formats or ()] or False)
        low, high = (least, most) if bounds == "observed" else (zero, torch.full_like(zero, torch.inf))
        low, high = self.standardise(low.clamp(min=0)), self.standardise(high.clamp(min=0))
        low, high = low.masked_fill(free, -torch.inf), high.masked_fill(free, torch.inf)
        return values.clamp(low.to(values), high.to(values))

    def learn_cells(self, *cells: pd.Series) -> Vector:
        """Returns the modality with the formats of its columns."""
        several = self.names is not None or self.size == 1
        return replace(self, formats=self.formats or (tuple(map(format_of, cells)) if several else ("",)))

    def columns(self, name: str) -> tuple[str, ...]:
        """Returns its `names`, or the column called `name` if it has none."""
        return self.names or (name,)

    def fitted(self, *cells: pd.Series) -> Vector:
        """Returns the modality with units and limits learned from the cells, unless they are set.

        In these units, the cells have mean 0 and standard deviation 1. The scale of a constant number is 1.
        """
        units = self.center is not None or self.scale is not None
        if units and self.limits is not None:
            return self
        raw = self._raw(*cells)
        if self.limits is None and (~raw.isnan()).any(0).all():
            low, high = raw.nan_to_num(torch.inf).amin(0), raw.nan_to_num(-torch.inf).amax(0)
            self = replace(self, limits=tuple(zip(low.tolist(), high.tolist(), strict=True)))
        if units:
            return self
        raw = raw.log1p() if self.log else raw
        largest = raw.nan_to_num().abs().amax(0).clamp(min=1e-300)  # prevents overflow of the squares
        raw = raw / largest
        center = raw.nanmean(0).nan_to_num()
        scale = (raw - center).square().nanmean(0).nan_to_num().sqrt()
        varies = raw.nan_to_num(torch.inf).amin(0) < raw.nan_to_num(-torch.inf).amax(0)
        scale = torch.where(varies & (scale * largest > 0), scale * largest, 1.0)
        return replace(self, center=tuple((center * largest).tolist()), scale=tuple(scale.tolist()))

    def read_cells(self, *cells: pd.Series, root: Path) -> Column:
        """Reads numbers. A row is observed only if none of its numbers is missing.

        Raises:
            CellError: A cell is not a finite number or a list of `size` of them, is too large in these units, or has
                no logarithm.
        """
        raw = self._raw(*cells)
        has = ~raw.isnan().any(1)
        try:
            values = self.standardise(torch.where(has[:, None], raw, 0.0))
        except ValueError as error:
            raise CellError(int((raw <= -1).any(1).nonzero()[0]), error) from error
        if len(far := (has & values.isinf().any(1)).nonzero()):
            row = int(far[0])
            raise CellError(row, f"numbers must be below 3e38 units of training; got {raw[row].tolist()}; correct them")
        return Column(values, has)

    def write_cells(self, values: Tensor) -> list[Sequence[Any]]:
        """Converts numbers to users' units, with one list per column."""
        raw = self.write(values).numpy()
        return list(raw.T) if self.names or self.size == 1 else [list(raw)]

    def show(self, value: Tensor) -> str:
        """Formats the first eight numbers, in users' units with three significant digits."""
        numbers = self.write(value).tolist()
        return ", ".join(f"{number:.3g}" for number in numbers[:8]) + (", ..." if len(numbers) > 8 else "")

    def draw(self, value: Tensor) -> PIL.Image.Image | str:
        """Returns an image of the curve through more than 16 numbers; text as in `show` for fewer.

        The vertical axis is [0, 1] with the activation "sigmoid", otherwise [-3, 3]; it is extended if necessary.
        """
        return self.show(value) if self.size <= MOST_PRINTED else draw_curve(value, self.activation == "sigmoid")

    def encoder(self, features: int) -> nn.Module:
        """Creates a fully connected encoder, `(N, size) -> (N, features)`."""
        return mlp(self.size, self.hidden, features)

    def decoder(self, latent_dim: int) -> nn.Module:
        """Creates a fully connected decoder, `(N, latent_dim) -> (N, size)`; for "bernoulli" it returns logits."""
        network = mlp(latent_dim, self.hidden, self.size)
        return network.append(nn.Sigmoid()) if self.activation == "sigmoid" and self.cost != "bernoulli" else network

    def _raw(self, *cells: pd.Series) -> Tensor:
        """Reads numbers in users' units, `(N, size)` float64, NaN where they are missing."""
        if self.names or self.size == 1:
            return torch.stack([torch.from_numpy(numbers(column)) for column in cells], dim=1)
        nothing, blank = missing(cells[0]), torch.zeros(self.size, dtype=torch.float64)
        return one_by_one(cells[0], nothing, blank, self._list).masked_fill(torch.from_numpy(nothing)[:, None], nan)

    def _list(self, raw: Any) -> Tensor:
        value = torch.as_tensor([nan if number is None else float(number) for number in raw], dtype=torch.float64)
        if len(value) != self.size:
            raise ValueError(f"a list must have {self.size} numbers, as those of training have; got {len(value)}")
        if value.isinf().any():
            raise ValueError(f"numbers must be finite; got {value.tolist()}")
        return value

    def _are_limits(self, limits: tuple[tuple[float, float], ...]) -> bool:
        pairs = len(limits) == self.size and all(len(pair) == 2 and pair[0] <= pair[1] for pair in limits)
        return pairs and not (self.log and min(low for low, _ in limits) <= -1)

    @property
    def _limits(self) -> Tensor:
        """Zeros, and the smallest and largest value of each number, in users' units, `(3, size)` float64."""
        limits = torch.tensor(self.limits, dtype=torch.float64).T
        return torch.cat([torch.zeros_like(limits[:1]), limits])

    @property
    def _center(self) -> Tensor:
        return torch.tensor(self.center or [0.0] * self.size, dtype=torch.float64)

    @property
    def _scale(self) -> Tensor:
        return torch.tensor(self.scale or [1.0] * self.size, dtype=torch.float64)

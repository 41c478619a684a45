"""Numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import nan
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from polymodal.modalities.arguments import note
from polymodal.modalities.base import Bounds, check_counts, check_unit
from polymodal.modalities.cell_texts import DATES, check_format, format_of
from polymodal.modalities.cells import CellError, Column, missing, numbers, one_by_one
from polymodal.modalities.costed import Costed
from polymodal.modalities.costs import NUMERIC, Choice
from polymodal.networks import mlp
from polymodal.runtime.formatting import brief
from polymodal.runtime.validation import check_list

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    import PIL.Image

__all__ = ["Vector"]

MOST_PRINTED = 16
"""Numbers that people can read in a row."""

SIDE, EDGE = 96, 4
"""Pixels of a curve's picture, and around the curve before it is made half as large."""


@dataclass(frozen=True)
class Vector(Costed):
    """A few numbers, or a curve: float, `(size,)`.

    Tables hold `(raw - center) / scale`; `read` and `write` translate. Costs and scores are in these units. Of
    numbers with `log`, log(1 + raw) stands in the place of raw.

    Arguments:
        size: How many numbers.
        center: What is subtracted, `size` numbers in users' units; by default nothing.
        scale: What is divided by, `size` positive numbers in users' units; by default nothing.
        hidden: Sizes of the hidden layers of both networks.
        activation: What ends the decoder: "linear", or "sigmoid" for values in [0, 1] (the paper's
            trajectories).
        cost: "gaussian" or "laplace", of scale 1 or as in "laplace(0.75)"; "bernoulli" (values in [0, 1]); or "l2"
            (the paper's).
        names: The columns of a data frame that hold the numbers, `size` of them in order; by default the one that is
            called like the modality holds all of them, as a list if there are several.
        log: Whether tables hold logarithms, for numbers above -1 of which a few are far larger than the others.
        limits: The smallest and the largest of each number in the training rows, in users' units. They change no value
            and no network, and do not count in comparisons: numbers far outside of them are reported, and predictions
            are held to them where it is asked.
        formats: How each column writes its numbers, as `polymodal.modalities.formats` has it; empty if unknown.

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
    cost: Choice = Choice(NUMERIC, "gaussian")
    names: tuple[str, ...] | None = None
    log: bool = False
    limits: tuple[tuple[float, float], ...] | None = note()
    formats: tuple[str, ...] | None = note()

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

    @property
    def core(self) -> Vector:
        """Without units."""
        return replace(self, center=None, scale=None, names=None, log=False, limits=None, formats=None)

    @property
    def representation(self) -> dict[str, Any]:
        """The units, which are 0 and 1 where none are given."""
        center, scale = self.center or (0.0,) * self.size, self.scale or (1.0,) * self.size
        return {"center": center, "scale": scale, "log": self.log}

    @property
    def shape(self) -> tuple[int, ...]:
        """`(size,)`."""
        return (self.size,)

    @property
    def metric(self) -> str:
        """The root of the mean squared error."""
        return "rmse"

    def check(self, x: Tensor) -> None:
        """Refuse numbers that are not finite; under "bernoulli", outside of [0, 1].

        Raises:
            ValueError: Names the first such number.
        """
        super().check(x)
        if self.cost == "bernoulli":
            check_unit(x)

    def read(self, raw: Sequence[float] | Tensor) -> Tensor:
        """Numbers in users' units, `(size,)`, as a table holds them.

        Raises:
            ValueError: There are not `size` of them.
        """
        value = torch.as_tensor(raw, dtype=torch.float64).reshape(-1)
        if len(value) != self.size:
            raise ValueError(f"a vector must have {self.size} numbers; got {len(value)}")
        return self.scaled(value)

    def write(self, value: Tensor) -> Tensor:
        """Numbers in users' units, `(*, size)` float64; what `bound` has put on a bound is exactly that number."""
        value = value.detach().cpu()
        raw = value.double() * self._scale + self._center
        raw = raw.expm1() if self.log else raw
        for end in self._limits.unbind() if self.limits else ():
            raw = torch.where(value == self.scaled(end), end, raw)
        return raw

    def scaled(self, raw: Tensor) -> Tensor:
        """Numbers `(*, size)` float64 in users' units, as a table holds them.

        Raises:
            ValueError: One that is to have a logarithm has none.
        """
        if self.log and (raw <= -1).any():
            raise ValueError(f"numbers with log must be above -1; got {float(raw[raw <= -1][0])}; leave log out")
        return (((raw.log1p() if self.log else raw) - self._center) / self._scale).float()

    def bound(self, values: Tensor, bounds: Bounds = "observed") -> Tensor:
        """As `Modality.bound`; numbers without `limits`, and dates, have no bounds.

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
        low, high = self.scaled(low.clamp(min=0)), self.scaled(high.clamp(min=0))
        low, high = low.masked_fill(free, -torch.inf), high.masked_fill(free, torch.inf)
        return values.clamp(low.to(values), high.to(values))

    def learn_cells(self, *cells: pd.Series) -> Vector:
        """With the formats of its columns."""
        several = self.names is not None or self.size == 1
        return replace(self, formats=self.formats or (tuple(map(format_of, cells)) if several else ("",)))

    def columns(self, name: str) -> tuple[str, ...]:
        """Its names, or the column that is called like it."""
        return self.names or (name,)

    def fitted(self, *cells: pd.Series) -> Vector:
        """In units in which the cells have mean 0 and standard deviation 1, unless it has units; with their range.

        The unit of a number that never varies is 1.
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
        largest = raw.nan_to_num().abs().amax(0).clamp(min=1e-300)  # so that no square overflows
        raw = raw / largest
        center = raw.nanmean(0).nan_to_num()
        scale = (raw - center).square().nanmean(0).nan_to_num().sqrt()
        varies = raw.nan_to_num(torch.inf).amin(0) < raw.nan_to_num(-torch.inf).amax(0)
        scale = torch.where(varies & (scale * largest > 0), scale * largest, 1.0)
        return replace(self, center=tuple((center * largest).tolist()), scale=tuple(scale.tolist()))

    def read_cells(self, *cells: pd.Series, root: Path) -> Column:
        """The numbers of rows that have all of them.

        Raises:
            CellError: A cell is no finite number, no list of `size` of them, or too large in these units.
        """
        raw = self._raw(*cells)
        has = ~raw.isnan().any(1)
        try:
            values = self.scaled(torch.where(has[:, None], raw, 0.0))
        except ValueError as error:
            raise CellError(int((raw <= -1).any(1).nonzero()[0]), error) from error
        if len(far := (has & values.isinf().any(1)).nonzero()):
            row = int(far[0])
            raise CellError(row, f"numbers must be below 3e38 units of training; got {raw[row].tolist()}; correct them")
        return Column(values, has)

    def write_cells(self, values: Tensor) -> list[Sequence[Any]]:
        """The numbers in users' units, a list for each column."""
        raw = self.write(values).numpy()
        return list(raw.T) if self.names or self.size == 1 else [list(raw)]

    def show(self, value: Tensor) -> str:
        """The numbers in users' units, the first eight of them, to three digits."""
        numbers = self.write(value).tolist()
        return ", ".join(f"{number:.3g}" for number in numbers[:8]) + (", ..." if len(numbers) > 8 else "")

    def draw(self, value: Tensor) -> PIL.Image.Image | str:
        """The numbers as a curve where there are more than 16, from 0 to 1 or from -3 to 3, or as far as they go."""
        return self.show(value) if self.size <= MOST_PRINTED else _curve(value, self.activation == "sigmoid")

    def encoder(self, features: int) -> nn.Module:
        """Fully connected, `(N, size) -> (N, features)`."""
        return mlp(self.size, self.hidden, features)

    def decoder(self, latent_dim: int) -> nn.Module:
        """Fully connected, `(N, latent_dim) -> (N, size)`."""
        network = mlp(latent_dim, self.hidden, self.size)
        return network.append(nn.Sigmoid()) if self.activation == "sigmoid" and self.cost != "bernoulli" else network

    def _raw(self, *cells: pd.Series) -> Tensor:
        """Numbers in users' units `(N, size)` float64, NaN where a row has none."""
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
        """0, the smallest and the largest of each number in users' units, `(3, size)` float64."""
        limits = torch.tensor(self.limits, dtype=torch.float64).T
        return torch.cat([torch.zeros_like(limits[:1]), limits])

    @property
    def _center(self) -> Tensor:
        return torch.tensor(self.center or [0.0] * self.size, dtype=torch.float64)

    @property
    def _scale(self) -> Tensor:
        return torch.tensor(self.scale or [1.0] * self.size, dtype=torch.float64)


def _curve(value: Tensor, unit: bool) -> PIL.Image.Image:
    """A line through `(size,)` numbers, dark on white."""
    import PIL.Image
    from PIL.ImageDraw import Draw

    low, high = (0.0, 1.0) if unit else (-3.0, 3.0)
    value = value.detach().cpu().double()
    low, high = min(low, float(value.min())), max(high, float(value.max()))
    across = torch.linspace(EDGE, 2 * SIDE - EDGE, len(value)).tolist()
    down = (EDGE + (high - value) / (high - low) * (2 * SIDE - 2 * EDGE)).tolist()
    picture = PIL.Image.new("RGB", (2 * SIDE, 2 * SIDE), "white")  # twice as large, for smooth lines
    Draw(picture).line(list(zip(across, down, strict=True)), fill="#1f4e79", width=3)
    return picture.resize((SIDE, SIDE))

"""Numbers and vectors of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from polymodal.modalities.arguments import note, option
from polymodal.modalities.base import Bounds, check_counts
from polymodal.modalities.cell_texts import DATES, check_format, format_of
from polymodal.modalities.cells import Column
from polymodal.modalities.column_statistics import (
    count_partial_rows,
    format_partial_rows,
    has_number_lists,
    list_units,
    number_units,
)
from polymodal.modalities.costed import Costed
from polymodal.modalities.costs import NUMERIC
from polymodal.modalities.elements import check_elements, sum_observed
from polymodal.modalities.line_images import draw_curve
from polymodal.modalities.profile import Candidate, Profile
from polymodal.modalities.value_checks import check_unit
from polymodal.modalities.vector_statistics import (
    are_limits,
    find_limits,
    learn_units,
    read_numbers,
    standardise_rows,
    to_numbers,
)
from polymodal.networks import mlp
from polymodal.networks.masked_linear import accept_missing, fill_missing, wrap_encoder

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
        partial: Whether a value may be partly observed, with NaN for missing elements. It then counts as observed if at
            least one element is. The encoder also reads which elements are missing, and costs and scores ignore these
            elements; see `polymodal.modalities.elements`. Otherwise, a value with a missing element is missing.

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
    partial: bool = option(False)

    costs = NUMERIC
    metric = "rmse"
    """The root mean squared error."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(size=self.size)
        for name in ("center", "scale"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, to_numbers(name, getattr(self, name), self.size))
        if self.limits is not None and not are_limits(self.limits, self.size, log=self.log):
            raise ValueError(f"limits must have {self.size} pairs of numbers in ascending order; got {self.limits!r}")
        if self.names is not None and len(self.names) != self.size:
            raise ValueError(f"names must name {self.size} columns, one for each number; got {len(self.names)}")
        if self.activation not in ("linear", "sigmoid"):
            raise ValueError(f"activation must be 'linear' or 'sigmoid'; got {self.activation!r}")
        if self.partial and self.size == 1:
            raise ValueError("partial must be False for a single number, which is either observed or missing; got True")
        for form in self.formats or ():
            check_format(form)
        if self.scale is not None and min(self.scale) <= 0:
            raise ValueError(f"scale must be positive; got {min(self.scale)}; use 1 for a number that never varies")

    @classmethod
    def from_profile(cls, profile: Profile, *others: Profile, log: bool = False) -> Vector:
        """Returns a vector with the units of a column of numbers or of lists of numbers, or of several of numbers.

        It may be partly observed (`partial`) if a row has some of the numbers, but not all.

        Arguments:
            profile: The column.
            *others: Further columns of numbers; the names of all become `names`.
            log: Whether to take logarithms.

        Raises:
            ValueError: The cells are not numbers, or not lists of equally many numbers.
        """
        profiles, numbers = (profile, *others), bool(others) or profile.comparable
        units = [number_units(one, log) for one in profiles] if numbers else list_units(profile)
        center, scale = zip(*units, strict=True)
        names = tuple(one.name for one in profiles) if others else None
        partial = len(units) > 1 and count_partial_rows(*profiles) > 0
        return cls(len(units), center=center, scale=scale, names=names, log=log, partial=partial)

    @classmethod
    def suitability(cls, profile: Profile) -> float:
        """Returns 0.5 for numbers, 0.9 for lists of numbers, and else 0."""
        if profile.kind in ("integer", "number"):
            return 0.5
        return 0.9 if has_number_lists(profile) else 0.0

    @classmethod
    def candidate(cls, profile: Profile) -> Candidate:
        """Returns a vector with the units of a column, and the range of its numbers as the reason."""
        if profile.kind == "object":
            vector = cls.from_profile(profile)
            lack = format_partial_rows(profile)
            return Candidate(vector, f"lists of {vector.size} numbers in {profile.there}{lack}")
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
        """Whether its decoder outputs the means of its numbers."""
        return self.activation == "linear" and self.cost != "bernoulli" and self.network is None

    def check(self, x: Tensor) -> None:
        """Checks that numbers are finite and, for "bernoulli", in [0, 1]; with `partial`, some may be missing (NaN).

        Raises:
            ValueError: A number is not, or all numbers of a value are missing. The message names the first one.
        """
        if self.partial:
            check_elements(x)
            x = fill_missing(x)
        super().check(x)
        if self.cost == "bernoulli":
            check_unit(x)

    def nll(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Returns -log p(x | z) of the observed elements in nats; see `Modality.nll`."""
        return sum_observed(super().nll, parameters, x) if self.partial else super().nll(parameters, x)

    def compute_cost(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Returns the cost of the observed elements; see `Modality.compute_cost`."""
        measure = super().compute_cost
        return sum_observed(measure, parameters, x) if self.partial else measure(parameters, x)

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
        """Converts numbers in users' units, `(*, size)` float64, to a table's units; missing ones stay NaN.

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
        low, high = self._limits[1:] if bounds == "observed" else (self._limits[0], torch.full((self.size,), torch.inf))
        free = (self._limits[1] < 0) | torch.tensor([form == DATES for form in self.formats or ()] or False)
        low, high = self.standardise(low.clamp(min=0)), self.standardise(high.clamp(min=0))
        return values.clamp(low.masked_fill(free, -torch.inf).to(values), high.masked_fill(free, torch.inf).to(values))

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
        if self.limits is None:
            self = replace(self, limits=find_limits(raw))
        if units:
            return self
        center, scale = learn_units(raw.log1p() if self.log else raw)
        return replace(self, center=center, scale=scale)

    def read_cells(self, *cells: pd.Series, root: Path) -> Column:
        """Reads numbers. A row is observed only if none of its numbers is missing or, with `partial`, not all are.

        Raises:
            CellError: A cell is not a finite number or a list of `size` of them, is too large in these units, or has
                no logarithm.
        """
        raw = self._raw(*cells)
        absent = raw.isnan()
        has = ~(absent.all(1) if self.partial else absent.any(1))
        partial = (~absent.all(1) & ~has).sum()
        return Column(standardise_rows(raw, has, self.standardise), has, partial=int(partial))

    def write_cells(self, values: Tensor) -> list[Sequence[Any]]:
        """Converts numbers to users' units, with one list per column."""
        raw = self.write(values).numpy()
        return list(raw.T) if self.names or self.size == 1 else [list(raw)]

    def show(self, value: Tensor) -> str:
        """Formats the first eight numbers, in users' units with three significant digits."""
        texts = ["missing" if number != number else f"{number:.3g}" for number in self.write(value).tolist()]
        return ", ".join(texts[:8]) + (", ..." if len(texts) > 8 else "")

    def draw(self, value: Tensor) -> PIL.Image.Image | str:
        """Returns an image of the curve through more than 16 numbers; text as in `show` for fewer.

        The vertical axis is [0, 1] with the activation "sigmoid", otherwise [-3, 3]; it is extended if necessary.
        """
        return self.show(value) if self.size <= MOST_PRINTED else draw_curve(value, self.activation == "sigmoid")

    def encoder(self, features: int) -> nn.Module:
        """Creates a fully connected encoder, `(N, size) -> (N, features)`; with `partial`, it accepts NaN."""
        network = mlp(self.size, self.hidden, features)
        return accept_missing(network) if self.partial else network

    def build_encoder(self, features: int) -> nn.Module:
        """Creates the encoder that models use; see `Modality.build_encoder`.

        With `partial`, a custom network gets zeros in place of missing elements, which are the means in these units,
        and a linear map of the mask of missing elements is added to its output.
        """
        encoder = super().build_encoder(features)
        return wrap_encoder(encoder, self.size, features) if self.partial else encoder

    def decoder(self, latent_dim: int) -> nn.Module:
        """Creates a fully connected decoder, `(N, latent_dim) -> (N, size)`; for "bernoulli" it returns logits."""
        network = mlp(latent_dim, self.hidden, self.size)
        return network.append(nn.Sigmoid()) if self.activation == "sigmoid" and self.cost != "bernoulli" else network

    def _raw(self, *cells: pd.Series) -> Tensor:
        """Reads numbers in users' units, `(N, size)` float64, NaN where they are missing."""
        return read_numbers(*cells, size=None if self.names or self.size == 1 else self.size)

    @cached_property
    def _limits(self) -> Tensor:
        """Zeros, and the smallest and largest value of each number, in users' units, `(3, size)` float64."""
        limits = torch.tensor(self.limits, dtype=torch.float64).T
        return torch.cat([torch.zeros_like(limits[:1]), limits])

    @cached_property
    def _center(self) -> Tensor:
        return torch.tensor(self.center or [0.0] * self.size, dtype=torch.float64)

    @cached_property
    def _scale(self) -> Tensor:
        return torch.tensor(self.scale or [1.0] * self.size, dtype=torch.float64)

"""The base class of modalities, and checks that they share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from polymodal.modalities.arguments import NOTE, Arguments, is_omitted
from polymodal.modalities.cells import Column, missing, one_by_one, to_observed_mask
from polymodal.modalities.metric_name import choose_metric, restore_default
from polymodal.modalities.network import Network
from polymodal.modalities.profile import Candidate, Profile
from polymodal.modalities.trial import check_decoder, check_encoder
from polymodal.modalities.value_checks import check_levels
from polymodal.runtime.validation import check_whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd
    from torch import nn
    from torch.distributions import Distribution

__all__ = ["BOUNDS", "Bounds", "Modality", "check_bounds", "check_counts"]

Bounds = Literal["observed", "non-negative", "none"]
BOUNDS: tuple[Bounds, ...] = get_args(Bounds)
"""Available bounds for predicted numbers; see `Modality.bound`."""


@dataclass(frozen=True)
class Modality(Arguments, ABC):
    """A type of value: its shape, networks and likelihood, and its conversion from and to users' types.

    A modality is a frozen dataclass whose arguments are its complete state, so that JSON can store it. Arguments that
    are lists become tuples. To add a modality, subclass this class and register it in `polymodal.MODALITIES`.

    Arguments:
        network: Custom encoder, decoder or both, instead of the modality's default networks.
        metric: Name in `METRICS` of the metric that predictions are evaluated with. A class defines its default by an
            attribute or a property of this name; without one it is "acc" for classes and "rmse" for numbers.
    """

    network: Network | None = field(default=None, kw_only=True)
    metric: str = field(default=None, kw_only=True, repr=False, compare=False, metadata=NOTE)  # pyright: ignore
    is_linear: ClassVar[bool] = False
    """Whether its decoder outputs the means of numbers, which a linear prediction can replace."""
    partial = False
    """Whether an observed value may have missing elements, which are NaN; see `Vector`."""

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if callable(cost := vars(cls).get("cost")) and "compute_cost" not in vars(cls):  # the method's earlier name
            cls.compute_cost = cost  # pyright: ignore[reportAttributeAccessIssue]
        choose_metric(cls)
        cls.__repr__ = cls.__repr__  # prevents the dataclass's __repr__, which would begin with network=None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.network is None or isinstance(self.network, Network)):
            raise TypeError(f"network must be a polymodal.Network, such as Residual(depth=4); got {self.network!r}")
        restore_default(self)

    def __repr__(self) -> str:
        shown = [one for one in fields(self) if one.repr and one.name != "network"]
        names = [one.name for one in shown if not is_omitted(one, getattr(self, one.name))]
        names += [name for name in ("network", "metric") if vars(self).get(name) is not None]
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of a single value in a table."""

    @property
    def dtype(self) -> torch.dtype:
        """Type of the values in a table."""
        return torch.float32

    @property
    def levels(self) -> int | None:
        """Number of classes of each element of a value; None for numeric values."""
        return None

    @property
    def core(self) -> Modality:
        """The modality without arguments that networks and costs do not depend on.

        Modalities with equal cores can be computed together.
        """
        return self

    @property
    def representation(self) -> Mapping[str, Any]:
        """The meaning of the numbers in a table, by name of the property: units, classes, words.

        Modalities with equal type, shape and representation represent the same values by the same tensors. By default
        it contains the arguments that `core` leaves out. Override it if reading and writing depend on further
        arguments.

        Example:
            >>> from polymodal.modalities import Label
            >>> Label(2, names=("cat", "dog"), hidden=(8,)).representation
            {'classes': ('cat', 'dog')}
        """
        core, names = self.core, [field.name for field in fields(self) if field.name != "network"]
        return {name: getattr(self, name) for name in names if getattr(core, name, None) != getattr(self, name)}

    @property
    def blank(self) -> Tensor:
        """Placeholder for a missing or masked value, `(*shape)`."""
        return torch.zeros(self.shape, dtype=self.dtype)

    def blank_on(self, device: torch.device, dtype: torch.dtype) -> Tensor:
        """Returns the prepared `blank` on a device, `(*shape)`.

        It is cached, because every copy to a GPU would synchronise.
        """
        kept = vars(self).setdefault("_blanks", {})
        if (device, dtype) not in kept:
            with torch.inference_mode(False):  # inference tensors could not be used in training later
                kept[device, dtype] = self.prepare(self.blank.to(device), dtype)
        return kept[device, dtype].clone()

    def prepare(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """Converts a table's values for networks and costs: floats to `dtype`, indices to the modality's type."""
        return x.to(dtype if self.dtype.is_floating_point else self.dtype)

    def check(self, x: Tensor) -> None:
        """Checks that observed values `(N, *shape)` are valid for this modality.

        Raises:
            ValueError: A value is not finite, or is not a class of this modality.
        """
        if self.levels is not None:
            check_levels(x, self.levels)
        elif x.is_floating_point() and not x.isfinite().all():
            row = int((~x.isfinite()).flatten(1).any(1).nonzero()[0])
            odd = float(x[row][~x[row].isfinite()].flatten()[0])
            raise ValueError(f"values must be finite where observed; observed row {row} holds {odd}")

    @classmethod
    def suitability(cls, profile: Profile) -> float:
        """Returns how well a data frame column suits this type, from 0 (not at all, the default) to 1.

        A column gets the type with the largest result. polymodal's types return 1 for cells of this type only (truth
        values, images), 0.9 for repeated values as classes, 0.7 for sentences, 0.6 for other repeated texts, 0.5 for
        numbers, and 0.3 for any other text. A column that looks like an identifier is left out unless a type returns
        more than 0.8. User-defined types are only asked on request; see `kinds` of `Schema.infer`.

        Arguments:
            profile: The cells of the column that have a value, of which there are at least two different ones.
        """
        return 0.0

    @classmethod
    def candidate(cls, profile: Profile) -> Candidate:
        """Returns an instance for a column, with the reason; by default `cls()`.

        It is only called if `suitability` is above 0.
        """
        return Candidate(cls(), f"values in {profile.there}")

    @property
    def description(self) -> str:
        """The type in a few words, for lists of column types; by default the name of the class."""
        return type(self).__name__.lower()

    @abstractmethod
    def read(self, raw: Any) -> Tensor:
        """Converts a value of a user's type to a table's tensor, `(*shape)`."""

    @abstractmethod
    def write(self, value: Tensor) -> Any:
        """Converts a predicted value `(*shape)` to the user's type."""

    def columns(self, name: str) -> tuple[str, ...]:
        """Returns the data frame columns that contain its values; by default the column called `name`."""
        return (name,)

    def fitted(self, *cells: pd.Series) -> Modality:
        """Returns the modality with unset properties learned from cells of training rows: units, classes, words."""
        return self

    def learn_cells(self, *cells: pd.Series) -> Modality:
        """Returns the modality with formats learned from cells of training rows. They do not change any value."""
        return self

    def bound(self, values: Tensor, bounds: Bounds = "observed") -> Tensor:
        """Clips predicted numbers to the range of the training rows. Values of other types are not changed.

        Arguments:
            values: Predicted values in the units of a table, `(*, *shape)`.
            bounds: Type of the bounds. "observed" clips numbers that are never negative in training rows to their
                smallest and largest training value. "non-negative" only clips them at 0. "none" does not clip.

        Returns:
            The clipped values, `(*, *shape)`.
        """
        return values

    def read_cells(self, *cells: pd.Series, root: Path) -> Column:
        """Reads cells of a data frame as values of a table.

        Arguments:
            *cells: The modality's columns, of N rows each.
            root: Folder to which file names are relative.

        Raises:
            CellError: A cell cannot be read.
        """
        nothing = missing(cells[0])
        return Column(one_by_one(cells[0], nothing, self.blank, self.read), to_observed_mask(nothing))

    def write_cells(self, values: Tensor) -> list[Sequence[Any]]:
        """Converts predicted values `(N, *shape)` to cells: N cells for each of its columns."""
        return [[self.write(value) for value in values]]

    def show(self, value: Tensor) -> Any:
        """Converts a value for display in reports: a PIL image, or a value to print."""
        return self.write(value)

    def draw(self, value: Tensor) -> Any:
        """Does the same as `show`, but prefers an image where it is more informative than text."""
        return self.show(value)

    @abstractmethod
    def encoder(self, features: int) -> nn.Module:
        """Creates the default encoder, `(N, *shape) -> (N, features)`."""

    @abstractmethod
    def decoder(self, latent_dim: int) -> nn.Module:
        """Creates the default decoder from `(N, latent_dim)` to the parameters of p(x | z), `(N, ...)`."""

    def build_encoder(self, features: int) -> nn.Module:
        """Creates the encoder that models use, and tests it on two blanks. A custom network replaces the default.

        Raises:
            ValueError: Its output is not `(N, features)`.
        """
        encoder = self.encoder(features) if self.network is None else self.network.encoder(self, features)
        return check_encoder(self, encoder, features)

    def build_decoder(self, latent_dim: int) -> nn.Module:
        """Creates the decoder that models use, and tests it on two codes. A custom network replaces the default.

        Raises:
            ValueError: Its outputs do not define a distribution of this modality's values with finite costs.
        """
        decoder = self.decoder(latent_dim) if self.network is None else self.network.decoder(self, latent_dim)
        return check_decoder(self, decoder, latent_dim)

    @abstractmethod
    def distribution(self, parameters: Tensor) -> Distribution:
        """Returns p(x | z), with batch shape `(*, N)` and event shape `shape`."""

    def nll(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Returns -log p(x | z) in nats, `(*, N)`, for prepared values `(N, *shape)`; it is finite for blanks."""
        return -self.distribution(parameters).log_prob(x)

    def compute_cost(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Returns the reconstruction cost, `(*, N)`, by default the negative log-likelihood; it is finite for blanks.

        Arguments:
            parameters: Outputs of the decoder, `(*, N, ...)`.
            x: Prepared values, `(N, *shape)`.
        """
        return self.nll(parameters, x)

    @abstractmethod
    def value(self, distribution: Distribution) -> Tensor:
        """Returns the point prediction, `(*, N, *shape)`, such as the mean or the mode of the distribution."""

    def combine(self, samples: Tensor) -> Tensor:
        """Combines several samples of a value into one estimate: the mean of numbers, or the most frequent class.

        For values of several classes, such as the tokens of a text, it is the sample that agrees with the others in
        the most elements. It is thus always one of the samples.

        Arguments:
            samples: S samples, `(S, *, *shape)`.

        Returns:
            The estimate, `(*, *shape)`.

        Example:
            >>> from polymodal.modalities import Label, Vector
            >>> Label(3).combine(torch.tensor([[0], [2], [2]])), Vector(1).combine(torch.tensor([[[1.0]], [[4.0]]]))
            (tensor([2]), tensor([[2.5000]]))
        """
        if self.levels is None:
            return samples.mean(0)
        if not self.shape:
            return F.one_hot(samples.long(), self.levels).sum(0).argmax(-1).to(samples.dtype)
        flat = samples.reshape(*samples.shape[: samples.dim() - len(self.shape)], -1)  # (S, *, L)
        shared = torch.stack([(flat == one).sum((0, -1)) for one in flat])  # (S, *)
        chosen = shared.argmax(0)[None, ..., None].expand(1, *flat.shape[1:])
        return flat.gather(0, chosen)[0].reshape(samples.shape[1:])

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Sums prepared values `(N, *shape)` and their squares over N; for classes, their one-hot vectors."""
        if self.levels is None:
            return x.sum(0), x.square().sum(0)
        offsets = self.levels * torch.arange(max(1, prod(self.shape)), device=x.device)
        counts = (x.reshape(len(x), len(offsets)) + offsets).flatten().bincount(minlength=self.levels * len(offsets))
        counts = counts.view(*self.shape, self.levels).double()
        return counts, counts

    def constant_cost(self, mean: Tensor, square: Tensor, *, likelihood: bool = False) -> Tensor:
        """Computes the mean cost of the best constant prediction, without additive constants of the likelihood.

        The default is the total variance, `sum (square - mean^2)`, which is correct for the squared error.

        Arguments:
            mean: Mean of the values: the first result of `moments`, divided by N.
            square: Mean of their squares: the second result of `moments`, divided by N.
            likelihood: Whether to use `nll` instead of `compute_cost`.
        """
        return (square - mean.square()).sum()


def check_bounds(bounds: str) -> None:
    """Checks that a value is one of `BOUNDS`.

    Raises:
        ValueError: It is not.
    """
    if bounds not in BOUNDS:
        raise ValueError(f"bounds must be one of {', '.join(BOUNDS)}; got {bounds!r}")


def check_counts(most: int | None = None, **counts: int) -> None:
    """Checks that counts are at least 1, and at most `most` if it is given.

    Raises:
        ValueError: A count is out of range. The message names the first one.
    """
    for name, count in counts.items():
        check_whole(name, count)
        if count < 1 or (most is not None and count > most):
            rule = "at least 1" if most is None else f"in 1..{most}"
            raise ValueError(f"{name} must be {rule}; got {count}")

"""What every modality provides."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields
from math import prod
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from polymodal.modalities.arguments import Arguments
from polymodal.modalities.cells import Column, missing, observed, one_by_one
from polymodal.modalities.network import Network
from polymodal.modalities.trial import tried_decoder, tried_encoder
from polymodal.runtime.validation import check_whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd
    from torch import nn
    from torch.distributions import Distribution


__all__ = ["BOUNDS", "Bounds", "Modality", "check_bounds", "check_counts", "check_unit"]

Bounds = Literal["observed", "non-negative", "none"]
BOUNDS: tuple[Bounds, ...] = get_args(Bounds)
"""What predicted numbers may be held to."""


@dataclass(frozen=True)
class Modality(Arguments, ABC):
    """What a value is: its shape, its networks, its likelihood, and how people hold it.

    A modality is a frozen dataclass whose arguments are its whole state, so it goes to JSON and back; lists
    among them become tuples. To add one, subclass it and register it in `polymodal.MODALITIES`.

    Arguments:
        network: What makes the encoder, the decoder or both in place of the modality's own.
    """

    network: Network | None = field(default=None, kw_only=True)

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        cls.__repr__ = cls.__repr__  # a dataclass then writes none, which would begin with network=None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.network is None or isinstance(self.network, Network)):
            raise TypeError(f"network must be a polymodal.Network, such as Residual(depth=4); got {self.network!r}")

    def __repr__(self) -> str:
        names = [field.name for field in fields(self) if field.repr and field.name != "network"]
        names += [] if self.network is None else ["network"]
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of one value in a table."""

    @property
    @abstractmethod
    def metric(self) -> str:
        """The name in METRICS of what it is judged by."""

    @property
    def dtype(self) -> torch.dtype:
        """Of values in a table."""
        return torch.float32

    @property
    def levels(self) -> int | None:
        """How many classes an element of a value can be; None for numbers."""
        return None

    @property
    def core(self) -> Modality:
        """What networks and costs depend on: modalities of equal cores can be computed together."""
        return self

    @property
    def representation(self) -> Mapping[str, Any]:
        """What the numbers in a table stand for beyond their shape, by name: units, classes, words.

        Modalities of equal type, shape and representation hold the same values as the same tensors. By default it is
        what `core` leaves out; override it where reading and writing depend on further arguments.

        Example:
            >>> from polymodal.modalities import Label
            >>> Label(2, names=("cat", "dog"), hidden=(8,)).representation
            {'classes': ('cat', 'dog')}
        """
        core, names = self.core, [field.name for field in fields(self) if field.name != "network"]
        return {name: getattr(self, name) for name in names if getattr(core, name, None) != getattr(self, name)}

    @property
    def blank(self) -> Tensor:
        """What stands in for a hidden value, `(*shape)`."""
        return torch.zeros(self.shape, dtype=self.dtype)

    def blank_on(self, device: torch.device, dtype: torch.dtype) -> Tensor:
        """`blank` prepared on a device, `(*shape)`: copied there once, for a GPU is waited for at every such copy."""
        kept = vars(self).setdefault("_blanks", {})
        if (device, dtype) not in kept:
            with torch.inference_mode(False):  # a tensor of that mode could not be trained with later
                kept[device, dtype] = self.prepare(self.blank.to(device), dtype)
        return kept[device, dtype].clone()

    def prepare(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """A table's values as networks and costs take them: floats in `dtype`, indices as they are."""
        return x.to(dtype if self.dtype.is_floating_point else self.dtype)

    def check(self, x: Tensor) -> None:
        """Refuse observed values `(N, *shape)` that cannot be of this modality.

        Raises:
            ValueError: What is wrong with them.
        """
        if self.levels is not None:
            _check_levels(x, self.levels)
        elif x.is_floating_point() and not x.isfinite().all():
            row = int((~x.isfinite()).flatten(1).any(1).nonzero()[0])
            odd = float(x[row][~x[row].isfinite()].flatten()[0])
            raise ValueError(f"values must be finite where observed; observed row {row} holds {odd}")

    @abstractmethod
    def read(self, raw: Any) -> Tensor:
        """A user's value as a tensor of a table, `(*shape)`."""

    @abstractmethod
    def write(self, value: Tensor) -> Any:
        """A translated value `(*shape)` as users hold it."""

    def columns(self, name: str) -> tuple[str, ...]:
        """The columns of a data frame that hold it: the one of its name, unless the modality names others."""
        return (name,)

    def fitted(self, *cells: pd.Series) -> Modality:
        """With what it leaves open taken from the training rows' cells: units, classes, words."""
        return self

    def learn_cells(self, *cells: pd.Series) -> Modality:
        """With what the training rows' cells say that changes no value: how they are written, and their bounds."""
        return self

    def bound(self, values: Tensor, bounds: Bounds = "observed") -> Tensor:
        """Predicted values `(*, *shape)` within what training has seen; of all but numbers they are as they were.

        Arguments:
            values: As a table holds them.
            bounds: "observed": numbers of which no training row has a negative one stay between the smallest and
                the largest one of training. "non-negative": they only stay non-negative. "none": no bounds.
        """
        return values

    def read_cells(self, *cells: pd.Series, root: Path) -> Column:
        """The cells of its columns as values of a table.

        Arguments:
            *cells: Its columns, of N rows.
            root: The folder that files are named from.

        Raises:
            CellError: A cell cannot be read.
        """
        nothing = missing(cells[0])
        return Column(one_by_one(cells[0], nothing, self.blank, self.read), observed(nothing))

    def write_cells(self, values: Tensor) -> list[Sequence[Any]]:
        """Translated values `(N, *shape)` as cells, N for each of its columns."""
        return [[self.write(value) for value in values]]

    def show(self, value: Tensor) -> Any:
        """What a person looks at in a report: a PIL picture, or something to print."""
        return self.write(value)

    def draw(self, value: Tensor) -> Any:
        """As `show`, but a picture where that says more than what would be printed."""
        return self.show(value)

    @abstractmethod
    def encoder(self, features: int) -> nn.Module:
        """A network, `(N, *shape) -> (N, features)`."""

    @abstractmethod
    def decoder(self, latent_dim: int) -> nn.Module:
        """A network, `(N, latent_dim)` to the parameters of p(x | z), `(N, ...)`."""

    def build_encoder(self, features: int) -> nn.Module:
        """The encoder that models use: the network's if there is one, tried on two blanks.

        Raises:
            ValueError: It does not give `(N, features)`.
        """
        encoder = self.encoder(features) if self.network is None else self.network.encoder(self, features)
        return tried_encoder(self, encoder, features)

    def build_decoder(self, latent_dim: int) -> nn.Module:
        """The decoder that models use: the network's if there is one, tried on two codes.

        Raises:
            ValueError: Its parameters make no distribution of this modality's values, or no finite costs.
        """
        decoder = self.decoder(latent_dim) if self.network is None else self.network.decoder(self, latent_dim)
        return tried_decoder(self, decoder, latent_dim)

    @abstractmethod
    def distribution(self, parameters: Tensor) -> Distribution:
        """p(x | z): batch shape `(*, N)`, event shape `shape`."""

    def nll(self, parameters: Tensor, x: Tensor) -> Tensor:
        """-log p(x | z) in nats, `(*, N)`, of prepared values `(N, *shape)`; finite on blanks."""
        return -self.distribution(parameters).log_prob(x)

    def cost(self, parameters: Tensor, x: Tensor) -> Tensor:
        """How far parameters `(*, N, ...)` are from prepared values `(N, *shape)`, `(*, N)`; finite on blanks."""
        return self.nll(parameters, x)

    @abstractmethod
    def value(self, distribution: Distribution) -> Tensor:
        """The one value to answer with, `(*, N, *shape)`."""

    def combine(self, samples: Tensor) -> Tensor:
        """One estimate from several sampled values of a row: the mean of numbers, the most frequent class.

        Of values made of several classes, such as the tokens of a text, it is the sample that shares most elements
        with the others, so that it stays one that was sampled.

        Arguments:
            samples: `(S, *, *shape)`.

        Returns:
            `(*, *shape)`.

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
        """Sums of prepared values `(N, *shape)` and of their squares over N; of classes, of their one-hot codes."""
        if self.levels is None:
            return x.sum(0), x.square().sum(0)
        offsets = self.levels * torch.arange(max(1, prod(self.shape)), device=x.device)
        counts = (x.reshape(len(x), len(offsets)) + offsets).flatten().bincount(minlength=self.levels * len(offsets))
        counts = counts.view(*self.shape, self.levels).double()
        return counts, counts

    def constant_cost(self, mean: Tensor, square: Tensor, *, likelihood: bool = False) -> Tensor:
        """The mean cost of the best constant prediction, additive constants of a likelihood left out.

        The default, the total variance, is that of the squared error.

        Arguments:
            mean: `moments` over N, of the values.
            square: `moments` over N, of their squares.
            likelihood: That of `nll` in place of `cost`.
        """
        return (square - mean.square()).sum()


def check_bounds(bounds: str) -> None:
    """Refuses what predicted numbers cannot be held to.

    Raises:
        ValueError: It is none of `BOUNDS`.
    """
    if bounds not in BOUNDS:
        raise ValueError(f"bounds must be one of {', '.join(BOUNDS)}; got {bounds!r}")


def check_counts(most: int | None = None, **counts: int) -> None:
    """Refuse counts below 1, or above a most.

    Raises:
        ValueError: Names the first such count.
    """
    for name, count in counts.items():
        check_whole(name, count)
        if count < 1 or (most is not None and count > most):
            rule = "at least 1" if most is None else f"in 1..{most}"
            raise ValueError(f"{name} must be {rule}; got {count}")


def check_unit(x: Tensor) -> None:
    """Refuse numbers outside of [0, 1].

    Raises:
        ValueError: Names the first such number.
    """
    wrong = (x < 0) | (x > 1)
    if wrong.any():
        raise ValueError(f"values must be in [0, 1] where observed; got {float(x[wrong][0]):g}; rescale them")


def _check_levels(x: Tensor, levels: int) -> None:
    if x.is_floating_point() or x.dtype == torch.bool:
        raise ValueError(f"classes must be integers, int64; got {x.dtype}; mark what is missing in observed")
    wrong = (x < 0) | (x >= levels)
    if wrong.any():
        raise ValueError(f"classes must be in 0..{levels - 1} where observed; got {int(x[wrong][0])}")

"""Classes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from polymodal.modalities.base import check_counts
from polymodal.modalities.costed import Costed
from polymodal.modalities.costs import DISCRETE, Choice
from polymodal.networks import OneHot, mlp

__all__ = ["Label"]


@dataclass(frozen=True)
class Label(Costed):
    """One of several classes: an int64 index, `()`; -1 is the blank, which the encoder sees as zeros.

    Arguments:
        classes: Their number.
        names: What people call them, in order; by default the indices.
        hidden: Sizes of the hidden layers of both networks.
        cost: "categorical" or "l2" (the paper's, against the one-hot code; the head then ends in a sigmoid).

    Example:
        >>> species = Label(2, names=("cat", "dog"))
        >>> species.read("dog"), species.write(torch.tensor(0))
        (tensor(1), 'cat')
    """

    classes: int
    names: tuple[str, ...] | None = None
    hidden: tuple[int, ...] = (32,)
    cost: Choice = Choice(DISCRETE, "categorical")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(classes=self.classes)
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
        return replace(self, names=None)

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
            raise ValueError(f"a class must be one of {known}; got {raw!r}")
        return torch.tensor(int(raw))

    def write(self, value: Tensor) -> str | int:
        """A class's name, or its index if it has none."""
        return int(value) if self.names is None else self.names[int(value)]

    def encoder(self, features: int) -> nn.Module:
        """Fully connected on the one-hot code, `(N,) -> (N, features)`."""
        return nn.Sequential(OneHot(self.classes), *mlp(self.classes, self.hidden, features))

    def decoder(self, latent_dim: int) -> nn.Module:
        """Fully connected, `(N, latent_dim) -> (N, classes)`: logits, or sigmoids under "l2"."""
        network = mlp(latent_dim, self.hidden, self.classes)
        return network.append(nn.Sigmoid()) if self.cost == "l2" else network

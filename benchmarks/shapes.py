"""The paper's four data sets as shapes: its networks and settings, and random rows in place of data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from polymodal.batch import Batch
from polymodal.modalities import Audio, Image, Label, Modality, Text, Vector
from polymodal.models import MAC, build
from polymodal.schema import Schema

__all__ = ["KINDS", "SHAPES", "Shape", "find_shape", "make_shape", "model_of", "rows_of"]


@dataclass(frozen=True)
class Shape:
    """Modalities of a data set, and the paper's training settings for it.

    Arguments:
        modalities: Modalities by name.
        batch_size: Rows per step.
        latent_dim: Size of the code.
        p0: Probability that a modality is hidden.
        learning_rate: Adam's.
        draws: Conditioning indices per step, K.

    Source: MAC-WAE, appendix, tables of networks and of settings; for PolyMNIST the code's 64 dimensions.
    """

    modalities: Mapping[str, Modality]
    batch_size: int
    latent_dim: int
    p0: float
    learning_rate: float
    draws: int = 10


TOKENS = 5451
"""Number of distinct tokens in CUB captions: 5448 words, the end, padding and the unknown word."""

VOCABULARY = tuple(f"word{i}" for i in range(TOKENS - 3))

SHAPES: dict[str, Shape] = {
    "polymnist": Shape({f"m{i}": Image(3, 28, 28) for i in range(5)}, 128, 64, 0.4, 5e-4),
    "mhd": Shape(
        {
            "image": Image(1, 28, 28),
            "trajectory": Vector(200, activation="sigmoid"),
            "audio": Audio(32, 128),
            "label": Label(10),
        },
        batch_size=64,
        latent_dim=128,
        p0=0.4,
        learning_rate=1e-3,
    ),
    "cub": Shape(
        {"img": Image(3, 64, 64), "text": Text(18, VOCABULARY), "label": Label(200)},
        batch_size=32,
        latent_dim=128,
        p0=0.25,
        learning_rate=5e-4,
        draws=5,
    ),
    "celeba": Shape(
        {"image": Image(3, 64, 64), **{f"attribute{i}": Label(2) for i in range(40)}},
        batch_size=64,
        latent_dim=128,
        p0=0.4,
        learning_rate=1e-4,
    ),
}
"""Shapes by name. To add one, add an entry here."""


KINDS: dict[str, Modality] = {"labels": Label(2), "pictures": Image(3, 16, 16)}
"""Modalities of which shapes of any number of modalities consist, by name."""


def make_shape(kind: str, count: int) -> Shape:
    """Returns a shape with several modalities of one kind, to measure the cost of each additional one."""
    return Shape({f"m{i}": KINDS[kind] for i in range(count)}, 64, 64, 0.4, 5e-4)


def find_shape(name: str) -> Shape:
    """Returns a shape of SHAPES, or one of `make_shape`.

    Example:
        >>> find_shape("mhd").latent_dim, len(find_shape("16 pictures").modalities)
        (128, 16)
    """
    count, _, kind = name.partition(" ")
    return make_shape(kind, int(count)) if kind else SHAPES[name]


def model_of(shape: Shape, draws: int, **arguments: Any) -> MAC:
    """MAC-WAE with the paper's costs, weights and penalty, in training mode, with K = `draws` and further arguments."""
    model = build(
        "mac-wae",
        Schema(shape.modalities).replace(cost="l2"),
        latent_dim=shape.latent_dim,
        p0=shape.p0,
        draws=draws,
        **{"weights": "sum", "regularizer": "mmd", "beta": 1.0, "relative": False, "skip": False, **arguments},
    )
    assert isinstance(model, MAC)
    return model.train()


def rows_of(schema: Schema, rows: int, seed: int = 0) -> Batch:
    """Complete random rows."""
    generator = torch.Generator().manual_seed(seed)
    return schema.batch({name: _values(modality, rows, generator) for name, modality in schema.items()})


def _values(modality: Modality, rows: int, generator: torch.Generator) -> Tensor:
    size = (rows, *modality.shape)
    if modality.dtype.is_floating_point:
        return torch.rand(size, generator=generator, dtype=modality.dtype)
    return torch.randint(modality.levels or 256, size, generator=generator, dtype=modality.dtype)

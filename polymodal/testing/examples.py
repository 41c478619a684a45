"""Small modalities and random rows of them, for checks."""

from __future__ import annotations

import torch
from torch import Tensor

from polymodal.batch import Batch
from polymodal.modalities import MODALITIES, Audio, Image, Label, Modality, Text, Vector
from polymodal.modalities.costed import Costed
from polymodal.schema import Schema

__all__ = ["EXAMPLES", "find_example", "sample_rows", "sample_values"]

EXAMPLES: dict[str, Modality] = {
    "audio": Audio(9, 5, widths=(4, 6, 8)),
    "image": Image(3, 9, 7, widths=(4, 6)),
    "label": Label(4),
    "text": Text(
        5, ("one", "two", "three", "four"), width=8, layers=1, heads=2, feedforward=8, hidden=(8,), dropout=0.0
    ),
    "vector": Vector(3, hidden=(8,)),
}
"""A small modality of each type, by its name in `MODALITIES`. Types without one are checked without arguments."""


def find_example(name: str) -> Modality | None:
    """Returns a small modality of a registered type, or None if it has no example and needs arguments.

    Example:
        >>> find_example("label")
        Label(classes=4, names=None, hidden=(32,), cost='categorical')
    """
    if name in EXAMPLES:
        return EXAMPLES[name]
    try:
        return MODALITIES[name]()
    except TypeError:
        return None


def sample_values(modality: Modality, rows: int, seed: int = 0) -> Tensor:
    """Samples values of a modality as a table stores them, from the likelihood that a random decoder gives.

    Arguments:
        modality: The modality.
        rows: Number of values N.
        seed: Random seed of the decoder and the values.

    Returns:
        Values, `(N, *shape)`.

    Example:
        >>> sample_values(Label(4), 3).shape
        torch.Size([3])
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        parameters = modality.decoder(3)(torch.randn(rows, 3))
        value = modality.distribution(2 * parameters if isinstance(modality, Costed) else parameters).sample()
    if modality.dtype == torch.uint8:
        return (value.clamp(0, 1) * 255).byte()
    value = value.to(modality.dtype)
    try:
        modality.check(value)
    except ValueError:
        return value.clamp(0, 1)
    return value


def sample_rows(schema: Schema, rows: int, *, complete: bool, seed: int = 0) -> Batch:
    """Samples rows of several modalities.

    Arguments:
        schema: The modalities.
        rows: Number of rows B.
        complete: Whether all values are observed. If not, each row has an observed and a missing value.
        seed: Random seed.

    Returns:
        The rows.

    Example:
        >>> sample_rows(Schema(EXAMPLES), 3, complete=True).observed.shape
        torch.Size([3, 5])
    """
    values = {name: sample_values(modality, rows, seed + i) for i, (name, modality) in enumerate(schema.items())}
    observed = torch.ones(rows, len(schema), dtype=torch.bool)
    if not complete:
        generator = torch.Generator().manual_seed(seed)
        observed = torch.rand(observed.shape, generator=generator) < 0.6
        keep = torch.arange(rows) % len(schema)
        observed[torch.arange(rows), keep] = True
        observed[torch.arange(rows), (keep + 1) % len(schema)] = False
    return Batch(values, observed)

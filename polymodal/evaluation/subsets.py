"""Which modalities are given."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import combinations
from math import comb
from typing import TYPE_CHECKING

from polymodal.evaluation.coherence.labels import classed

if TYPE_CHECKING:
    from torch import Tensor

    from polymodal.schema import Schema

__all__ = ["others", "shown", "sizes", "telling"]

EACH = 10
"""Most subsets of one size that a target is made from."""
ALL_SIZES = 8
"""Up to so many others, subsets of every size are taken; of more, of sizes that double."""
SHOWN = 8
"""Most modalities that there is room to show."""


def sizes(modalities: int) -> list[int]:
    """How many others a target is made from.

    Example:
        >>> sizes(6), sizes(41)
        ([1, 2, 3, 4, 5], [1, 2, 4, 8, 16, 32, 40])
    """
    most = modalities - 1
    if most <= ALL_SIZES:
        return list(range(1, most + 1))
    return [2**power for power in range(most.bit_length()) if 2**power < most] + [most]


def others(modalities: int, size: int, seed: int) -> Iterator[tuple[tuple[int, ...], list[int]]]:
    """Subsets of one size, and the targets that are made from each.

    Every target has all subsets of the others, or 10 of them at random where there are more. Targets share what can
    be shared, so that with many modalities there are few subsets in all.

    Arguments:
        modalities: Their number M.
        size: Of a subset, 1..M-1.
        seed: Of the choice.

    Yields:
        Columns of a subset, in order, and those of targets that are not in it.

    Example:
        >>> [*others(3, 2, seed=0)]
        [((0, 1), [2]), ((0, 2), [1]), ((1, 2), [0])]
    """
    number = min(EACH, comb(modalities - 1, size))
    taken = [0] * modalities
    every = number == comb(modalities - 1, size)
    for subset in combinations(range(modalities), size) if every else _drawn(modalities, size, seed):
        members = {*subset}
        targets = [m for m in range(modalities) if m not in members and taken[m] < number]
        for m in targets:
            taken[m] += 1
        if targets:
            yield subset, targets
        if min(taken) == number:
            return


def _drawn(modalities: int, size: int, seed: int) -> Iterator[tuple[int, ...]]:
    """Different subsets of one size, at random, without end as long as there are more."""
    stream, seen = random.Random(f"{seed}/{size}"), set()
    while True:
        subset = tuple(sorted(stream.sample(range(modalities), size)))
        if subset not in seen:
            seen.add(subset)
            yield subset


def shown(schema: Schema) -> list[str]:
    """The modalities that there is room to show, in the schema's order: those in no group come first."""
    grouped = {name for names in schema.groups.values() for name in names}
    chosen = sorted(schema, key=lambda name: name in grouped)[:SHOWN]
    return [name for name in schema if name in chosen]


def telling(schema: Schema, most: int) -> dict[str, Tensor]:
    """What codes are compared under: all, each modality alone, and all but a class label.

    Arguments:
        schema: The modalities.
        most: How many conditionings there is room for.

    Returns:
        `(M,)` bool by name.

    Example:
        >>> from polymodal import Label, Schema, Vector
        >>> schema = Schema({"size": Vector(2), "weight": Vector(1), "species": Label(3)})
        >>> [*telling(schema, 8)]
        ['all', 'size alone', 'weight alone', 'species alone', 'all but species']

    Source: MAC-WAE, Figure 5.
    """
    everything = schema.mask(list(schema))
    subsets = {"all": everything}
    if len(schema) > 1:
        subsets |= {f"{name} alone": schema.mask([name]) for name in shown(schema)[: most - 2]}
    if len(schema) > 2:
        subsets |= {f"all but {name}": everything & ~schema.mask([name]) for name in classed(schema)}
    return dict(list(subsets.items())[:most])

"""Choice of the subsets of modalities that are given, for predictions and for displays of codes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import combinations
from math import comb
from typing import TYPE_CHECKING

from polymodal.evaluation.coherence.labels import list_label_modalities

if TYPE_CHECKING:
    from torch import Tensor

    from polymodal.schema import Schema

__all__ = ["choose_subsets", "list_conditionings", "list_subset_sizes", "select_shown_modalities"]

EACH = 10
"""Maximum number of subsets of one size per target."""
ALL_SIZES = 8
"""Number of other modalities up to which subsets of every size are used; beyond it, the sizes double."""
SHOWN = 8
"""Maximum number of modalities to display."""


def list_subset_sizes(modalities: int) -> list[int]:
    """Returns the sizes of the subsets of other modalities that a target is predicted from.

    Example:
        >>> list_subset_sizes(6), list_subset_sizes(41)
        ([1, 2, 3, 4, 5], [1, 2, 4, 8, 16, 32, 40])
    """
    most = modalities - 1
    if most <= ALL_SIZES:
        return list(range(1, most + 1))
    return [2**power for power in range(most.bit_length()) if 2**power < most] + [most]


def choose_subsets(modalities: int, size: int, seed: int) -> Iterator[tuple[tuple[int, ...], list[int]]]:
    """Chooses subsets of one size and the targets that are predicted from each.

    Every target has all subsets of the other modalities, or 10 random ones if there are more. Targets share subsets
    where possible, so that the total number of subsets stays small.

    Arguments:
        modalities: Number of modalities M.
        size: Size of the subsets, 1..M-1.
        seed: Random seed for the choice.

    Yields:
        The modality indices of a subset, in ascending order, and those of its targets, which are not in the subset.

    Example:
        >>> [*choose_subsets(3, 2, seed=0)]
        [((0, 1), [2]), ((0, 2), [1]), ((1, 2), [0])]
    """
    number = min(EACH, comb(modalities - 1, size))
    counts = [0] * modalities
    every = number == comb(modalities - 1, size)
    for subset in combinations(range(modalities), size) if every else _sample_subsets(modalities, size, seed):
        members = {*subset}
        targets = [m for m in range(modalities) if m not in members and counts[m] < number]
        for m in targets:
            counts[m] += 1
        if targets:
            yield subset, targets
        if min(counts) == number:
            return


def _sample_subsets(modalities: int, size: int, seed: int) -> Iterator[tuple[int, ...]]:
    """Yields all subsets of one size, each once, in random order."""
    stream, earlier = random.Random(f"{seed}/{size}"), set()
    while len(earlier) < comb(modalities, size):
        subset = tuple(sorted(stream.sample(range(modalities), size)))
        if subset not in earlier:
            earlier.add(subset)
            yield subset


def select_shown_modalities(schema: Schema) -> list[str]:
    """Returns up to 8 modalities to display, in the schema's order; modalities in no group take precedence."""
    grouped = {name for names in schema.groups.values() for name in names}
    chosen = sorted(schema, key=lambda name: name in grouped)[:SHOWN]
    return [name for name in schema if name in chosen]


def list_conditionings(schema: Schema, most: int) -> dict[str, Tensor]:
    """Returns conditionings for comparing codes: all modalities, each modality alone, and all but a class label.

    Arguments:
        schema: Schema of the modalities.
        most: Maximum number of conditionings.

    Returns:
        Conditioning masks `(M,)` bool by name.

    Example:
        >>> from polymodal import Label, Schema, Vector
        >>> schema = Schema({"size": Vector(2), "weight": Vector(1), "species": Label(3)})
        >>> [*list_conditionings(schema, 8)]
        ['all', 'size alone', 'weight alone', 'species alone', 'all but species']

    Source: MAC-WAE, Figure 5.
    """
    everything = schema.mask(list(schema))
    subsets = {"all": everything}
    if len(schema) > 1:
        subsets |= {f"{name} alone": schema.mask([name]) for name in select_shown_modalities(schema)[: most - 2]}
    if len(schema) > 2:
        subsets |= {f"all but {name}": everything & ~schema.mask([name]) for name in list_label_modalities(schema)}
    return dict(list(subsets.items())[:most])

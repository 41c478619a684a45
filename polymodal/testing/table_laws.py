"""Laws of which arguments of a modality matter to a table: representation, and network sizes that do not matter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import numpy as np

from polymodal.modalities import Modality
from polymodal.modalities.costed import Costed
from polymodal.modalities.serialization import from_json, to_json
from polymodal.schema import Schema
from polymodal.testing.examples import sample_values
from polymodal.testing.laws import expect_error

__all__ = ["change_arguments", "check_network_arguments", "check_tables_of", "expand_costs"]

NETWORK_ARGUMENTS: dict[str, Any] = {
    "cost": "l2",
    "hidden": (3,),
    "widths": (3, 5),
    "layers": 2,
    "heads": 1,
    "feedforward": 5,
}
"""Arguments of polymodal's modalities that only networks and costs depend on, with other values."""


def expand_costs(modality: Modality) -> list[Modality]:
    """Returns the modality with each of its costs; a modality without a choice of costs alone."""
    if not isinstance(modality, Costed):
        return [modality]
    return [replace(modality, cost=cost) for cost in modality.costs]


def change_arguments(modality: Modality) -> Iterator[Modality]:
    """Yields valid modalities in which one argument differs."""
    for argument in fields(modality):
        for value in _change_value(getattr(modality, argument.name)):
            try:
                yield from_json(to_json(replace(modality, **{argument.name: value})))
            except (TypeError, ValueError):
                continue  # there is no such modality


def _change_value(value: Any) -> Iterator[Any]:
    """Yields other values of an argument: changed, in another order, longer and shorter."""
    if isinstance(value, tuple) and value:
        for first in _change_value(value[0]):
            yield (first, *value[1:])
            yield (*value, first)
        yield value[::-1]
        yield value[:-1]
        yield None
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, int | float):
        yield value + 1
        yield value * 1.001 if isinstance(value, float) else value + 8000
    elif isinstance(value, str) and value not in ("linear", "sigmoid"):
        yield value + "s"


def check_tables_of(one: Modality, other: Modality) -> None:
    """A table is refused where its modality reads or writes differently, and accepted where only networks differ."""
    mine, theirs = Schema({"it": one}), Schema({"it": other})
    mine.require(Schema({"it": replace(one)}), "the table")
    if _write_equally(one, other) and one.representation == other.representation:
        mine.require(theirs, "the table")
        return
    for here, there in ((mine, theirs), (theirs, mine)):
        what = "a table of a modality that differs in shape, units, classes or words (see Modality.representation)"
        with expect_error(ValueError, "^'it' of the table must .*; got .*; .*model's schema", what):
            here.require(there, "the table")


def _write_equally(one: Modality, other: Modality) -> bool:
    """Returns whether two modalities read the same columns, and write equal values equally."""
    if (one.shape, one.levels, one.columns("it")) != (other.shape, other.levels, other.columns("it")):
        return False
    x = sample_values(one, 20)
    written = [[repr(np.asarray(cells).tolist()) for cells in modality.write_cells(x)] for modality in (one, other)]
    return written[0] == written[1]


def check_network_arguments(modality: Modality) -> None:
    """A table is accepted by a model whose modality has other network sizes and another cost."""
    names = {argument.name for argument in fields(modality)} & NETWORK_ARGUMENTS.keys()
    other = replace(modality, **{name: NETWORK_ARGUMENTS[name] for name in names})
    Schema({"it": modality}).require(Schema({"it": other}, groups={"all": ["it"]}), "the table")

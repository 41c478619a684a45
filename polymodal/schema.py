"""Schemas: the ordered, named modalities of a data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from polymodal import tabular
from polymodal.batch import Batch, Rows
from polymodal.modalities import Modality, serialization
from polymodal.modalities.costed import Costed
from polymodal.modalities.differences import find_difference
from polymodal.modalities.elements import find_observed
from polymodal.modalities.schema_checks import check_count, check_groups, check_name, check_tensor_mapping
from polymodal.runtime.formatting import brief
from polymodal.runtime.registry import unknown
from polymodal.runtime.validation import (
    check_arguments,
    check_callable,
    check_kind,
    check_mapping,
    check_names,
    check_text,
    check_types,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Schema"]

READ = "read the rows with the model's schema, as in Table.from_frame(frame, schema=model.schema)"
"""Default advice in the error message about a table with another schema."""


class Schema(Mapping[str, Modality]):
    """An ordered mapping from names to modalities.

    A schema also builds batches, prepares values for networks and costs, and converts predictions to users' types.

    Arguments:
        modalities: Modalities by name, in the order of the columns of `Batch.observed`. A name has 1 to 200 characters,
            without control and zero-width characters. It may have a "/" or be "..": do not use it as a file name.
        groups: Lists of modality names by group name. A group counts as one modality in scores and balanced weights.

    Raises:
        TypeError: An argument is not a mapping, or does not map names to modalities.
        ValueError: There are no modalities or more than 10,000, a name is empty, too long or cannot be printed, or a
            group has the name of a modality, names an unknown modality or shares a modality.

    Example:
        >>> from polymodal.modalities import Label, Vector
        >>> schema = Schema({"size": Vector(2), "species": Label(3)})
        >>> batch = schema.batch({"size": torch.rand(4, 2), "species": torch.tensor([0, 1, 2, 0])})
        >>> batch.observed.shape
        torch.Size([4, 2])
        >>> schema.replace(cost="l2")["species"]
        Label(classes=3, names=None, hidden=(32,), cost='l2')
    """

    def __init__(self, modalities: Mapping[str, Modality], groups: Mapping[str, list[str]] | None = None) -> None:
        example = "{'size': Vector(2)}"
        check_kind("modalities", modalities, Mapping, "a mapping from names to modalities", f"write Schema({example})")
        check_count(len(modalities))
        for name, modality in modalities.items():
            if not (isinstance(name, str) and isinstance(modality, Modality)):
                raise TypeError(
                    f"a schema must map names to modalities, such as {{'size': Vector(2)}}; got {name!r}: {modality!r}"
                )
        self.modalities = dict(modalities)
        self._columns = {name: column for column, name in enumerate(self.modalities)}
        groups = {} if groups is None else groups
        check_mapping("groups", groups, "{'bill': ['bill_long', 'bill_deep']}")
        for group, names in groups.items():
            check_names(f"groups[{group!r}]", names)
        self.groups = {group: list(names) for group, names in groups.items()}
        for name in [*self, *self.groups]:
            check_name(name)
        for name in (name for names in self.groups.values() for name in names):
            self.index(name)
        check_groups(self.groups, self.modalities)

    def __getitem__(self, name: str) -> Modality:
        return self.modalities[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.modalities)

    def __len__(self) -> int:
        return len(self.modalities)

    def __repr__(self) -> str:
        groups = f", groups={self.groups!r}" if self.groups else ""
        return f"Schema({self.modalities!r}{groups})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schema) and [*self.items(), self.groups] == [*other.items(), other.groups]

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    @classmethod
    def infer(
        cls,
        frame: pd.DataFrame,
        *,
        modalities: Mapping[str, str | Modality] | None = None,
        ignore: Iterable[str] = (),
        groups: Iterable[str] = (),
        root: str | Path | None = None,
        kinds: Iterable[str] | None = None,
        say: Callable[[str], object] | None = print,
    ) -> Schema:
        """Infers the types of a data frame's columns.

        The report lists each column's inferred type, the reason, and ambiguous cases. `modalities` overrides types.

        Arguments:
            frame: Training rows, or a large sample of them.
            modalities: Types of columns, by column name, that replace the inferred ones: a modality, or "label",
                "number", "log" (a number that is log-transformed), "text", "text:24" (number of tokens), "image",
                "image:3x64x64", "vector", "ignore".
            ignore: Names of columns to leave out.
            groups: Prefixes of column names. The numeric columns with the same prefix become a single vector.
            root: Folder to which file names in cells are relative.
            kinds: Names of the types to consider, in `MODALITIES`; by default those of polymodal. A user-defined type
                is inferred if it is named here and defines `Modality.suitability`.
            say: Function that receives the report; None disables it.

        Returns:
            The inferred schema.

        Raises:
            ValueError: The frame has no rows, a name is unknown, or all columns are left out.

        Example:
            >>> import pandas as pd
            >>> frame = pd.DataFrame({"kind": ["owl", "emu"] * 10, "grams": [180.5, 36_000.25] * 10})
            >>> Schema.infer(frame, say=None)["kind"].names
            ('emu', 'owl')
        """
        check_callable("say", say)
        proposals = tabular.propose(frame, modalities=modalities, ignore=ignore, groups=groups, root=root, kinds=kinds)
        if say is not None:
            say(tabular.format_proposals(proposals))
        found = {one.name: one.modality for one in proposals if one.modality is not None}
        if not found:
            raise ValueError("at least one column must be used; all are left out; set types with modalities={...}")
        return cls(found)

    def index(self, name: str) -> int:
        """Returns the column of a modality in `Batch.observed`.

        Raises:
            ValueError: The schema has no modality of this name.
        """
        check_text("name", name, "height")
        if name not in self.modalities:
            raise unknown(name, self, "modality")
        return self._columns[name]

    def mask(self, names: list[str], device: torch.device | str | None = None) -> Tensor:
        """Returns a mask that is True for the named modalities, `(M,)` bool.

        Raises:
            ValueError: The schema has no modality of one of these names.
        """
        check_names("names", names)
        mask = torch.zeros(len(self), dtype=torch.bool)
        mask[[self.index(name) for name in names]] = True
        return mask.to(device)

    def batch(self, values: Mapping[str, Tensor]) -> Batch:
        """Returns a batch in which every row has the modalities in `values` and no others.

        A value of a vector with `partial` whose elements are all missing (NaN) is not observed.

        Arguments:
            values: Values by modality name, `(B, *shape)` each.

        Raises:
            ValueError: `values` is empty, or its tensors do not all have the same number of rows.
        """
        check_tensor_mapping(values)
        for name, value in values.items():
            if not value.dim():
                raise ValueError(f"{name!r} must be (B, ...); got a single number; write torch.stack([...])")
        rows = {len(value) for value in values.values()}
        if len(rows) != 1:
            raise ValueError(f"all values must have the same number of rows; got {sorted(rows) or 'no values'}")
        device = next(iter(values.values())).device
        observed = self.mask(list(values), device).expand(rows.pop(), -1).clone()
        for name in (name for name in values if self[name].partial):
            observed[:, self.index(name)] = find_observed(self[name], values[name])
        return Batch(values, observed)

    def require(self, other: Schema, what: str, way: str | None = None) -> None:
        """Checks that another schema represents values in the same way as this one.

        Names and order of the modalities must be equal, and each must have the same type, shape, data frame columns and
        `representation`: classes and words by name and in order, and units.

        Arguments:
            other: Schema to compare with. Its network sizes, costs and groups may differ.
            what: Name of the data with the other schema in the message, such as "train".
            way: Advice in the message; by default to read the rows with the model's schema.

        Raises:
            ValueError: The schemas differ. The message names the first difference.

        Example:
            >>> from polymodal.modalities import Label
            >>> one, other = (Schema({"kind": Label(2, names=names)}) for names in (("ash", "oak"), ("oak", "ash")))
            >>> one.require(other, "the table", "rename them")
            Traceback (most recent call last):
            ValueError: 'kind' of the table must have the model's classes, ash, oak; got oak, ash; rename them
        """
        check_kind(f"the schema of {what}", other, Schema, "a Schema", "pass that of a table or a model")
        if other is self:
            return
        way = way or READ
        if list(other) != list(self):
            expected, given = (brief(", ".join(schema)) for schema in (self, other))
            raise ValueError(f"{what} must have the model's modalities in their order, {expected}; got {given}; {way}")
        for name, modality in self.items():
            if difference := find_difference(name, modality, other[name]):
                part, expected, given = difference
                raise ValueError(f"{name!r} of {what} must {part}, {expected}; got {given}; {way}")

    def hide(self, batch: Rows, dtype: torch.dtype) -> dict[str, Tensor]:
        """Returns prepared values for networks and costs, with blanks instead of missing values.

        Only this method replaces missing values and casts values. Values that are not observed never reach the result.

        Arguments:
            batch: B rows.
            dtype: Type of the floats in the result.

        Returns:
            Values by modality name, `(B, *shape)` each: images as floats in [0, 1], classes and tokens as int64, others
            as floats.

        Raises:
            ValueError: `observed` does not have one column per modality, or a value has another shape than its modality
                or is marked as observed but absent.
        """
        if batch.observed.shape[1] != len(self):
            raise ValueError(
                f"observed must have one column for each of {', '.join(self)}; got {batch.observed.shape[1]} columns"
            )
        return {name: self._hide(name, batch, dtype, column) for column, name in enumerate(self)}

    def _hide(self, name: str, batch: Rows, dtype: torch.dtype, column: int) -> Tensor:
        modality, observed = self[name], batch.observed[:, column]
        blank = modality.blank_on(observed.device, dtype)
        value = batch.values.get(name)
        if value is None:
            if getattr(batch, "known", batch.observed)[:, column].any():
                raise ValueError(f"{name!r} is marked as observed, but the batch has no values of it")
            return blank.expand(len(batch.observed), *modality.shape)
        if tuple(value.shape[1:]) != modality.shape:
            raise ValueError(f"{name!r} must be (B, {_format_shape(modality.shape)}); got {tuple(value.shape)}")
        shape = (-1, *[1] * len(modality.shape))
        return torch.where(observed.view(shape), modality.prepare(value, dtype), blank)

    def write(self, values: Mapping[str, Tensor]) -> dict[str, list[Any]]:
        """Converts predicted values `(*, B, *shape)` to users' types.

        Returns:
            A list of B values for each modality; leading axes become nested lists.
        """
        check_tensor_mapping(values)
        return {name: _write_values(self[name], column) for name, column in values.items()}

    def replace(self, **arguments: Any) -> Schema:
        """Returns a copy of the schema with arguments changed in all modalities that have them.

        A cost that only some types of modality have, such as "categorical-squashed", is changed in these only.

        Raises:
            ValueError: No modality has such an argument, or a value is not valid for it.
        """
        known = {field.name for modality in self.values() for field in fields(modality)}
        check_arguments(arguments, sorted(known), "modalities")
        cost = arguments.get("cost")
        somewhere = any(_takes(modality, cost) for modality in self.values())

        def change(modality: Modality) -> Modality:
            own = {name: value for name, value in arguments.items() if name in _arguments(modality)}
            if somewhere and not _takes(modality, cost):
                del own["cost"]
            return replace(modality, **own)

        return Schema({name: change(modality) for name, modality in self.items()}, self.groups)

    def to_json(self) -> dict[str, Any]:
        """Converts the schema to JSON types.

        Raises:
            ValueError: The type of a modality or network is not registered, or an argument cannot be written as JSON.
        """
        return {
            "modalities": [{"name": name, **serialization.to_json(modality)} for name, modality in self.items()],
            "groups": self.groups,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Schema:
        """Restores a schema from the result of `to_json`. Only registered modalities and networks can be created.

        Raises:
            ValueError: A type or an argument is unknown, or a value has the wrong type.
        """
        check_mapping("a schema", document, "what Schema.to_json returns")
        check_arguments(document, ["modalities", "groups"], "a schema")
        entries, groups = document.get("modalities"), document.get("groups", {})
        check_types({"groups": groups}, cls, "a schema")
        if not (isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries)):
            raise ValueError(f"modalities of a schema must be a list of objects; got {brief(repr(entries))}")
        check_count(len(entries))
        named = [(entry.get("name"), serialization.from_json(entry)) for entry in entries]
        for name, times in Counter(repr(name) for name, _ in named).items():
            if times > 1:
                raise ValueError(f"names of modalities must be unique; {brief(name)} occurs {times} times")
        return cls(dict(named), groups)


def _write_values(modality: Modality, values: Tensor) -> Any:
    if values.dim() == len(modality.shape):
        return modality.write(values)
    return [_write_values(modality, value) for value in values]


def _takes(modality: Modality, cost: Any) -> bool:
    """Returns False if the modality has a choice of costs and none of them has this name."""
    return not (isinstance(modality, Costed) and isinstance(cost, str)) or cost.partition("(")[0] in modality.costs


def _arguments(modality: Modality) -> dict[str, Any]:
    return {field.name: getattr(modality, field.name) for field in fields(modality)}


def _format_shape(shape: tuple[int, ...]) -> str:
    return ", ".join(map(str, shape))

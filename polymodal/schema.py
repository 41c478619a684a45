"""The modalities of a data set, in order."""

from __future__ import annotations

import inspect
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from polymodal.batch import Batch, Rows
from polymodal.modalities import Modality, serialization
from polymodal.runtime.formatting import brief, shell_quote
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

__all__ = ["Schema", "check_tensors"]

MOST = 10_000
"""Modalities of the largest schema: a short file could describe any number of them."""

UNFIT = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode's categories of what no name has: control characters, those without width or that turn the direction of
writing, halves of pairs, line and paragraph separators."""


READ = "read the rows with the model's schema, as in Table.from_frame(frame, schema=model.schema)"
"""What to do about a table of another schema."""
MOST_SHOWN = 120
"""Characters of what two schemas do not have in common that a message shows."""


class Schema(Mapping[str, Modality]):
    """An ordered mapping from names to modalities; it reads, hides and writes rows.

    Arguments:
        modalities: By name, in the order of the columns of `Batch.observed`. A name has 1 to 200 characters, none
            of them a control character or one without width; it may hold "/" or be "..", so it is no file's name.
        groups: Names of modalities that count as one in tables of scores and in balanced weights.

    Raises:
        ValueError: There are no modalities or more than 10,000, a name is empty or cannot be printed, or a group
            names a modality that is not there.

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
        _check_number(len(modalities))
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
        grouped = [name for names in self.groups.values() for name in names]
        for name in [*self, *self.groups]:
            _check_name(name)
        for name in grouped:
            self.index(name)
        for name in {*self.groups} & {*self} | {name for name, times in Counter(grouped).items() if times > 1}:
            raise ValueError(f"a group must have a name of its own and share no modality; {name!r} stands twice")

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
        say: Callable[[str], object] | None = print,
    ) -> Schema:
        """What a data frame's columns are taken for.

        It says so, and why, and where it could be otherwise: give it `modalities` then.

        Arguments:
            frame: The training rows, or many of them.
            modalities: What columns are, by name: a modality, or "label", "number", "log" (a number, of which the
                logarithm is taken), "text", "text:24" (tokens), "image", "image:3x64x64", "vector", "ignore".
            ignore: Columns to leave out.
            groups: Prefixes; the numbers whose columns begin with one become a single vector.
            root: The folder that files in cells are named from.
            say: Is told; None is for silence.

        Raises:
            ValueError: The frame has no rows, a name is unknown, or all columns are left out.

        Example:
            >>> import pandas as pd
            >>> frame = pd.DataFrame({"kind": ["owl", "emu"] * 10, "grams": [180.5, 36_000.25] * 10})
            >>> Schema.infer(frame, say=None)["kind"].names
            ('emu', 'owl')
        """
        from polymodal import tabular

        check_callable("say", say)
        made = tabular.propose(frame, modalities=modalities, ignore=ignore, groups=groups, root=root)
        if say is not None:
            say(tabular.told(made))
        found = {one.name: one.modality for one in made if one.modality is not None}
        if not found:
            raise ValueError("at least one column must be of use; all are left out; say by modalities what they are")
        return cls(found)

    def index(self, name: str) -> int:
        """The column of a modality in `Batch.observed`.

        Raises:
            ValueError: There is no such modality.
        """
        check_text("name", name, "height")
        if name not in self.modalities:
            raise unknown(name, self, "modality")
        return self._columns[name]

    def mask(self, names: list[str], device: torch.device | str | None = None) -> Tensor:
        """True for the named modalities, `(M,)` bool.

        Raises:
            ValueError: One of them does not exist.
        """
        check_names("names", names)
        mask = torch.zeros(len(self), dtype=torch.bool)
        mask[[self.index(name) for name in names]] = True
        return mask.to(device)

    def batch(self, values: Mapping[str, Tensor]) -> Batch:
        """Rows that have all that `values` holds, and none of the other modalities."""
        check_tensors(values)
        for name, value in values.items():
            if not value.dim():
                raise ValueError(f"{name!r} must be (B, ...); got a single number; write torch.stack([...])")
        rows = {len(value) for value in values.values()}
        if len(rows) != 1:
            raise ValueError(f"values must hold one number of rows, of at least one modality; got {sorted(rows)}")
        device = next(iter(values.values())).device
        return Batch(values, self.mask(list(values), device).expand(rows.pop(), -1).clone())

    def require(self, other: Schema, what: str, way: str | None = None) -> None:
        """Refuses another schema whose values are not those of this one.

        The names of the modalities and their order must be equal, and of each modality the type, the shape, the columns
        that it is read from, and the `representation`: classes and words by name and in order, and units.

        Arguments:
            other: The schema of `what`; widths of networks, costs and groups may differ.
            what: For the message, such as "train".
            way: What to do, for the message; by default to read the rows with the model's schema.

        Raises:
            ValueError: Names the first difference.

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
            if difference := _difference(name, modality, other[name]):
                part, expected, given = difference
                raise ValueError(f"{name!r} of {what} must {part}, {expected}; got {given}; {way}")

    def hide(self, batch: Rows, dtype: torch.dtype) -> dict[str, Tensor]:
        """Every modality's values as networks and costs take them, blanks where a row has none.

        This is the only place that blanks and casts. Nothing under `observed == False` reaches the result.

        Arguments:
            batch: B rows.
            dtype: Of the floats in the result.

        Returns:
            By name, `(B, *shape)`: pictures in [0, 1], classes and tokens int64, the rest float.

        Raises:
            ValueError: A value has another shape than its modality, or is observed but not there.
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
            raise ValueError(f"{name!r} must be (B, {_listed(modality.shape)}); got {tuple(value.shape)}")
        shape = (-1, *[1] * len(modality.shape))
        return torch.where(observed.view(shape), modality.prepare(value, dtype), blank)

    def write(self, values: Mapping[str, Tensor]) -> dict[str, list[Any]]:
        """Translated values `(*, B, *shape)` as users hold them: a list of B per modality, nested for further axes."""
        check_tensors(values)
        return {name: _written(self[name], column) for name, column in values.items()}

    def replace(self, **arguments: Any) -> Schema:
        """The schema with these arguments changed in every modality that has them.

        A cost that some kinds of modality have and others do not, such as "categorical-squashed", is changed where it
        exists.

        Raises:
            ValueError: No modality has one of them, or would take it.
        """
        known = {field.name for modality in self.values() for field in fields(modality)}
        check_arguments(arguments, sorted(known), "modalities")
        cost = arguments.get("cost")
        somewhere = any(_takes(modality, cost) for modality in self.values())

        def changed(modality: Modality) -> Modality:
            own = {name: value for name, value in arguments.items() if name in _arguments(modality)}
            if somewhere and not _takes(modality, cost):
                del own["cost"]
            return replace(modality, **own)

        return Schema({name: changed(modality) for name, modality in self.items()}, self.groups)

    def to_json(self) -> dict[str, Any]:
        """The schema as JSON's types.

        Raises:
            ValueError: A modality's or a network's type is not registered, or has arguments that are not JSON's.
        """
        return {
            "modalities": [{"name": name, **serialization.to_json(modality)} for name, modality in self.items()],
            "groups": self.groups,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Schema:
        """The schema that `to_json` wrote. Only registered modalities and networks are made.

        Raises:
            ValueError: A type or an argument is unknown, or something is of another type than it should be.
        """
        check_mapping("a schema", document, "what Schema.to_json returns")
        check_arguments(document, ["modalities", "groups"], "a schema")
        entries, groups = document.get("modalities"), document.get("groups", {})
        check_types({"groups": groups}, cls, "a schema")
        if not (isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries)):
            raise ValueError(f"modalities of a schema must be a list of objects; got {brief(repr(entries))}")
        _check_number(len(entries))
        named = [(entry.get("name"), serialization.from_json(entry)) for entry in entries]
        for name, times in Counter(repr(name) for name, _ in named).items():
            if times > 1:
                raise ValueError(f"modalities must have names of their own; {brief(name)} stands {times} times")
        return cls(dict(named), groups)


def check_tensors(values: Mapping[str, Tensor]) -> None:
    """Refuses what maps no names to tensors.

    Raises:
        TypeError: Says what does not.
    """
    check_mapping("values", values, "{'size': torch.rand(4, 2)}")
    for name, value in values.items():
        check_kind(f"the values of {name!r}", value, Tensor, "a tensor", "use torch.as_tensor")


def _check_number(modalities: int) -> None:
    if not 1 <= modalities <= MOST:
        raise ValueError(f"a schema must have at least one modality, and at most {MOST}; got {modalities}")


def _check_name(name: str) -> None:
    if not (1 <= len(name) <= 200) or any(unicodedata.category(letter) in UNFIT for letter in name):
        better = " ".join("".join(c if unicodedata.category(c) not in UNFIT else " " for c in name).split())[:200]
        shown, better = brief(repr(name), 60), better or "column"
        raise ValueError(
            "names of modalities and groups must have 1 to 200 characters, none of them a control character or "
            "without width; "
            f"got {shown}; rename the column, as by frame.rename(columns={{{shown}: {better[:60]!r}}}) or in the "
            f"file's first line, or leave it out by ignore=[{shown}] or --modality "
            f"{brief(shell_quote(f'{name}=ignore'), 80)}"
        )


def _difference(name: str, one: Modality, other: Modality) -> tuple[str, str, str] | None:
    """What differs between the values of two modalities of one name, how it is in the first, and in the other."""
    if type(one).__name__ == type(other).__name__:
        ours, theirs = ({**modality.representation, "columns": modality.columns(name)} for modality in (one, other))
        for part in {**ours, **theirs}:
            expected, given = ours.get(part), theirs.get(part)
            if expected != given and not (isinstance(expected, range) and isinstance(given, range)):
                return f"have the model's {part}", *_compared(expected, given)
    ours, theirs = ((type(modality).__name__, modality.shape, modality.levels) for modality in (one, other))
    return None if ours == theirs else ("be the model's", brief(repr(one)), brief(repr(other)))


def _compared(expected: Any, given: Any) -> tuple[str, str]:
    """Two different values as a message shows them; of long lists the first place where they differ as well."""
    if not (isinstance(expected, Sequence) and isinstance(given, Sequence)):
        return brief(expected, MOST_SHOWN), brief(given, MOST_SHOWN)
    listed = [", ".join(map(str, items)) for items in (expected, given)]
    ours, theirs = (brief(text, MOST_SHOWN) if text else "none" for text in listed)
    if max(map(len, listed)) <= MOST_SHOWN:
        return ours, theirs
    place = next(i for i, pair in enumerate(zip_longest(expected, given, fillvalue=object())) if pair[0] != pair[1])
    ours, theirs = f"{len(expected):,} of them, {ours}", f"{len(given):,} of them, {theirs}"
    there, here = (repr(items[place]) if place < len(items) else "none" for items in (expected, given))
    return ours, f"{theirs} (number {place + 1} is {brief(here, 40)}, and must be {brief(there, 40)})"


def _written(modality: Modality, values: Tensor) -> Any:
    if values.dim() == len(modality.shape):
        return modality.write(values)
    return [_written(modality, value) for value in values]


def _takes(modality: Modality, cost: Any) -> bool:
    """False where the modality has costs to choose from, and none of that name."""
    costs = getattr(inspect.getattr_static(type(modality), "cost", None), "costs", None)
    return costs is None or not isinstance(cost, str) or cost.partition("(")[0] in costs


def _arguments(modality: Modality) -> dict[str, Any]:
    return {field.name: getattr(modality, field.name) for field in fields(modality)}


def _listed(shape: tuple[int, ...]) -> str:
    return ", ".join(map(str, shape))

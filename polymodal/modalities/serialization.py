"""Converts modalities and their networks to JSON types and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from inspect import signature
from typing import Any, TypeVar

from polymodal.io import checkpoint
from polymodal.modalities import MODALITIES, NETWORKS, Modality
from polymodal.modalities.arguments import Arguments, is_note, is_omitted, to_tuples
from polymodal.runtime.formatting import brief
from polymodal.runtime.registry import unknown
from polymodal.runtime.validation import check_types

__all__ = ["from_json", "strip_notes", "to_json"]

T = TypeVar("T", bound=Arguments)


def to_json(modality: Modality) -> dict[str, Any]:
    """Converts a modality to its type, its arguments, and its custom network if it has one.

    Raises:
        ValueError: A type is not registered, or an argument cannot be stored in JSON without loss.

    Example:
        >>> from polymodal.modalities import Label
        >>> to_json(Label(3))
        {'type': 'label', 'classes': 3, 'names': None, 'hidden': (32,), 'cost': 'categorical'}
    """
    document = _to_document(modality, MODALITIES, "modality")
    if modality.network is not None:
        document["network"] = _to_document(modality.network, NETWORKS, "network")
    return document


def from_json(document: Mapping[str, Any]) -> Modality:
    """Restores a modality from the result of `to_json`. Only registered types can be created.

    The key "name", which schemas add, is ignored.

    Raises:
        ValueError: A type or an argument is unknown, or an argument has the wrong type.
    """
    network = document.get("network")
    more = {} if network is None else {"network": _from_document(network, NETWORKS, "network")}
    own = {key: value for key, value in document.items() if key not in ("name", "network")}
    return _from_document(own, MODALITIES, "modality", **more)


def strip_notes(document: Mapping[str, Any]) -> dict[str, Any]:
    """Removes arguments that affect no value and no network (see `note`) from the result of `to_json`.

    Example:
        >>> from polymodal.modalities import Vector
        >>> strip_notes(to_json(Vector(1, formats=("0.00",)))) == to_json(Vector(1))
        True
    """
    made = MODALITIES.get(str(document.get("type")))
    notes = () if made is None else {argument.name for argument in fields(made) if is_note(argument)}
    return {name: value for name, value in document.items() if name not in notes}


def _to_document(thing: Arguments, registry: Mapping[str, type], kind: str) -> dict[str, Any]:
    made = type(thing)
    for key, known in registry.items():
        if (known.__module__, known.__qualname__) == (made.__module__, made.__qualname__):
            return {"type": key, **_arguments(thing)}
    raise ValueError(
        f"{made.__name__} is not a registered {kind}, so a file could not name it; "
        f"register it first: {_registration(made.__name__.lower(), kind, made.__name__)}"
    )


def _arguments(thing: Arguments) -> dict[str, Any]:
    """Returns all arguments except the network, which is stored separately, notes that are None, and omitted ones."""
    made = type(thing)
    arguments = {field.name: getattr(thing, field.name) for field in fields(thing) if field.init}
    if arguments.keys() != signature(made).parameters.keys():
        raise ValueError(f"{made.__name__} must be a frozen dataclass; write @dataclass(frozen=True) above it")
    arguments.pop("network", None)
    for argument in fields(thing):
        value = vars(thing).get(argument.name)
        if (is_note(argument) and value is None) or is_omitted(argument, value):
            del arguments[argument.name]
    for name, value in arguments.items():
        if not _is_lossless(value):
            raise ValueError(
                f"{name} of {made.__name__} must be a finite number, a string, a bool, None, or a list of these, "
                f"for it goes to a file; got {brief(repr(value))}"
            )
    return arguments


def _is_lossless(value: Any) -> bool:
    try:
        return bool(to_tuples(json.loads(checkpoint.to_json({"": value}))[""]) == value)
    except (TypeError, ValueError, RuntimeError):
        return False


def _from_document(document: Any, registry: Mapping[str, type[T]], kind: str, **more: Any) -> T:
    if not (isinstance(document, Mapping) and isinstance(key := document.get("type"), str)):
        raise ValueError(f"a {kind} must be an object with its type; got {brief(repr(document))}")
    if key not in registry:
        way = f"if it is your own, register it before loading: {_registration(key, kind, 'YourClass')}"
        raise ValueError(f"{unknown(key, registry, f'{kind} type')}; {way}")
    arguments = {name: to_tuples(value) for name, value in document.items() if name != "type"}
    check_types(arguments, registry[key], key)
    return registry[key](**arguments, **more)


def _registration(key: str, kind: str, made: str) -> str:
    registry = {"modality": "MODALITIES", "network": "NETWORKS"}[kind]
    return f"polymodal.{registry}[{key!r}] = {made}"

"""Settings of a training run; their names, defaults and types come from the functions that receive them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any

from polymodal.datasets import DATASETS, Dataset, load
from polymodal.evaluation.metrics import choose_metrics
from polymodal.modalities import MODALITIES, Modality
from polymodal.modalities.arguments import to_tuples
from polymodal.modalities.costed import Costed
from polymodal.modalities.costs import parse_cost
from polymodal.models import MODELS, Model, build
from polymodal.runtime.registry import lookup
from polymodal.runtime.validation import check_types
from polymodal.training import fit

__all__ = ["Settings", "make", "network", "resolve", "schema_settings"]

TOP = ("dataset", "model", "folder")
SECTIONS = ("fit", "build", "data", "schema")
"""Sections that are searched for a plain name, in this order; `fit` and `build` may share a name."""
NOT_SETTINGS = {"model", "train", "validation", "folder", "resume", "progress", "only", "name", "schema"}
"""Arguments that the command itself passes to `fit`, `build` and the model."""
FROM_PYTHON = "network"
"""An argument of every modality whose value is an object and cannot be written as text."""
NEAREST = 5

Known = Mapping[str, Mapping[str, Any]]
"""Defaults by section and name; `inspect.Parameter.empty` marks a setting without a default."""


@dataclass(frozen=True)
class Settings:
    """All settings of a training run, in the types of YAML.

    Arguments:
        dataset: Name in DATASETS.
        model: Name in MODELS.
        folder: Run folder.
        data: Arguments of the data set.
        schema: Arguments of `Schema.replace`.
        build: Arguments of `build`.
        fit: Arguments of `fit`.
    """

    dataset: str
    model: str
    folder: str
    data: Mapping[str, Any]
    schema: Mapping[str, Any]
    build: Mapping[str, Any]
    fit: Mapping[str, Any]


def resolve(document: Mapping[str, Any], line: Mapping[str, Any] | None = None) -> Settings:
    """Returns the effective settings: defaults, overridden by a file, overridden by the command line.

    A name can include its section, either as "build.seed" or nested, or it can be plain. A plain name applies to `fit`
    and `build`, wherever it exists; otherwise to the data set; otherwise to the schema. Within the file, and within the
    command line, a name with a section takes precedence over a plain name. If the command line names a different model
    or data set than the file, values of the file that equal the defaults of the replaced model or data set are ignored.

    Arguments:
        document: Settings from a file.
        line: Settings from the command line.

    Returns:
        The complete settings, with checked types.

    Raises:
        ValueError: A name is unknown or given twice, a value does not have the type that its function expects, or a
            required value is missing.

    Example:
        >>> settings = resolve({"dataset": "polydigits", "fit": {"epochs": 2}}, {"seed": 1, "build.seed": 2})
        >>> settings.folder, settings.fit["epochs"], settings.fit["seed"], settings.build["seed"]
        ('runs/polydigits-mac-wae', 2, 1, 2)
        >>> resolve({"dataset": "polydigits", "bta": 2})
        Traceback (most recent call last):
        ValueError: unknown setting 'bta'; nearest are beta, data; `polymodal train DATASET --dry-run` shows all
    """
    file, line = _flatten(document), _flatten(line or {})
    dataset, model, folder = _get_top_level({**file, **line})
    before = _get_top_level({"dataset": dataset, "model": model, **file})[:2]
    known = _list_settings(dataset, model)
    given = _sort_into_sections(file, _list_settings(*before))
    for section, place, new in (("data", 0, dataset), ("build", 1, model)):
        if before[place] != new:
            former = _list_settings(*before)[section]
            given[section] = {k: v for k, v in given[section].items() if v != former[k]}
    sections = {}
    for section, names in _sort_into_sections(line, known).items():
        sections[section] = given[section] | names
        _check_names(section, sections[section], known, dataset)
    _check_types(sections, dataset, model)
    return Settings(dataset, model, folder, **_add_defaults(sections, known))


def make(settings: Settings) -> tuple[Dataset, Model]:
    """Loads the data set and builds the model that the settings describe.

    Raises:
        ValueError: An argument is out of range, or a schema setting changes the meaning of the values.
    """
    data = load(settings.dataset, **settings.data)
    return data, network(settings, data)


def network(settings: Settings, data: Dataset) -> Model:
    """Builds the model that the settings describe, for a loaded data set.

    Raises:
        ValueError: An argument is out of range, or a schema setting changes the meaning of the values.
    """
    schema = data.schema.replace(**settings.schema)
    choose_metrics(schema)  # a wrong name is an error before the training, not after it
    try:
        model = build(settings.model, schema, **settings.build)
    except RuntimeError as error:  # PyTorch raises it for an invalid layer size
        raise ValueError(f"the layers of {settings.model} must have valid sizes: {error}") from error
    model.schema.require(data.schema, "train", "leave out what changes values from the settings under schema")
    return model


def schema_settings() -> list[str]:
    """Returns the sorted names of all settings that registered modalities accept."""
    names = {field.name for kind in MODALITIES.values() for field in fields(kind) if field.compare}
    return sorted(names - {FROM_PYTHON})


def _get_top_level(given: Mapping[str, Any]) -> tuple[str, str, str]:
    """Returns the names of the data set and the model, and the folder."""
    named = {"dataset": None, "model": "mac-wae", "folder": None}
    named |= {name: given[name] for name in TOP if given.get(name) is not None}
    if named["dataset"] is None:
        raise ValueError(f"a data set must be named, such as `polymodal train {next(iter(DATASETS))}`; got none")
    named["folder"] = named["folder"] or f"runs/{named['dataset']}-{named['model']}"
    for name, value in named.items():
        if not isinstance(value, str):
            raise ValueError(f"{name} must be a name; got {value!r}")
    return named["dataset"], named["model"], named["folder"]


def _list_settings(dataset: str, model: str) -> Known:
    """Returns all settings that exist for this data set and model, with their defaults."""
    return {
        "fit": _get_defaults(fit, NOT_SETTINGS),
        "build": _get_defaults(build, NOT_SETTINGS) | _get_defaults(lookup(MODELS, model, "model"), {"schema"}),
        "data": _get_defaults(lookup(DATASETS, dataset, "data set"), set()),
        "schema": dict.fromkeys(schema_settings(), inspect.Parameter.empty),
    }


def _get_defaults(make: Any, without: set[str]) -> dict[str, Any]:
    parameters = inspect.signature(make).parameters.values()
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and p.name not in without]
    return {p.name: _plain(p.default) for p in named}


def _flatten(document: Mapping[str, Any]) -> dict[str, Any]:
    """Flattens nested sections to dotted names."""
    flat: dict[str, Any] = {}
    for name, value in document.items():
        if name in SECTIONS and not isinstance(value, Mapping | None):
            raise ValueError(f"{name} must hold settings by name, such as `{name}: {{seed: 0}}`; got {value!r}")
        parts = {f"{name}.{key}": part for key, part in (value or {}).items()} if name in SECTIONS else {name: value}
        for key, part in parts.items():
            if str(key) in flat:
                raise _make_duplicate_error(str(key), str(key))
            flat[str(key)] = _plain(part)
    return flat


def _sort_into_sections(flat: Mapping[str, Any], known: Known) -> dict[str, dict[str, Any]]:
    """Sorts plain and dotted names into sections.

    Dotted names take precedence over plain ones. A plain name that applies to a single section must not also be given
    as a dotted name.
    """
    placed: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for name in sorted(flat, key=lambda name: "." in name):
        if name not in TOP:
            sections = _find_sections(name, known)
            if "." not in name and len(sections) == 1 and (dotted := f"{sections[0][0]}.{name}") in flat:
                raise _make_duplicate_error(name, dotted)
            for section, own in sections:
                placed[section][own] = flat[name]
    return placed


def _make_duplicate_error(name: str, again: str) -> ValueError:
    got = f"{name} twice" if name == again else f"{name} and {again}"
    return ValueError(f"a setting must be given once; got {got}; leave one out")


def _find_sections(name: str, known: Known) -> list[tuple[str, str]]:
    """Returns the sections that a name applies to, each with the name within the section."""
    section, dot, own = name.partition(".")
    if dot and own in known.get(section, {}):
        return [(section, own)]
    sections = [] if dot else [section for section in SECTIONS if name in known[section]]
    if not sections:
        raise _make_unknown_error(name, known)
    return [
        (section, name) for section in sections if {section, sections[0]} <= {"fit", "build"} or section == sections[0]
    ]


def _make_unknown_error(name: str, known: Known) -> ValueError:
    if name.rpartition(".")[2] == FROM_PYTHON:
        return ValueError(f"{name} must be given from Python, by schema.replace({FROM_PYTHON}=...); leave it out here")
    dotted = [f"{section}.{own}" for section in SECTIONS for own in known[section]]
    plain = [*TOP, *SECTIONS, *(own for section in SECTIONS for own in known[section])]
    same = [other for other in dotted if other.partition(".")[2] == name.rpartition(".")[2]]
    near = same + get_close_matches(name, dict.fromkeys(dotted if "." in name else plain), n=NEAREST, cutoff=0.5)
    listed = f"nearest are {', '.join(list(dict.fromkeys(near))[:NEAREST])}; " if near else ""
    return ValueError(f"unknown setting {name!r}; {listed}`polymodal train DATASET --dry-run` shows all")


def _check_names(section: str, given: Mapping[str, Any], known: Known, dataset: str) -> None:
    """Checks that all names exist for this model and data set, and that no required setting is missing."""
    for name in given:
        if name not in known[section]:
            raise _make_unknown_error(f"{section}.{name}", known)
    for name, default in known[section].items():
        if default is inspect.Parameter.empty and section == "data" and name not in given:
            raise ValueError(f"{dataset} needs the setting {name}; write --set data.{name}=VALUE")


def _check_types(sections: Known, dataset: str, model: str) -> None:
    make = {"fit": (fit, "fit"), "data": (DATASETS[dataset], dataset), "build": (MODELS[model], model)}
    for section, (function, of) in make.items():
        own = inspect.signature(function).parameters
        for name, value in sections[section].items():
            _check_type(name, value, *((function, of) if name in own else (build, "build")))
    for name, value in sections["schema"].items():
        _check_argument(name, value)


def _check_type(name: str, value: Any, make: Any, of: str) -> None:
    try:
        check_types({name: value}, make, of)
    except ValueError:
        if not isinstance(value, list):
            raise
        check_types({name: to_tuples(value)}, make, of)  # YAML has no tuples


def _check_argument(name: str, value: Any) -> None:
    """Checks that at least one of the modalities with this argument accepts the value."""
    errors = []
    for key, kind in MODALITIES.items():
        if name in {field.name for field in fields(kind)}:
            try:
                _check_field(kind, key, name, value)
                return
            except ValueError as error:
                errors.append(error)
    raise errors[0]


def _check_field(kind: type[Modality], key: str, name: str, value: Any) -> None:
    if name == "cost" and issubclass(kind, Costed):
        parse_cost(value, kind.costs)
    else:
        _check_type(name, value, kind, key)


def _add_defaults(sections: Known, known: Known) -> dict[str, dict[str, Any]]:
    """Adds the defaults, in the order of the functions' arguments, except defaults that YAML cannot represent."""
    empty = inspect.Parameter.empty
    return {
        section: {
            name: sections[section].get(name, default)
            for name, default in known[section].items()
            if name in sections[section] or (default is not empty and _can_be_yaml(default))
        }
        for section in sections
    }


def _plain(value: Any) -> Any:
    """Converts tuples to lists, as in YAML."""
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, tuple | list) else value


def _can_be_yaml(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_can_be_yaml, [*value, *value.values()]))
    return (
        all(map(_can_be_yaml, value)) if isinstance(value, list) else type(value) in (bool, int, float, str, type(None))
    )

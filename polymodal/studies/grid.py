"""Definition of a study: the grid of its training runs, checked before any run starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from polymodal.datasets import DATASETS
from polymodal.evaluation import TASKS, check_tasks
from polymodal.io import yaml
from polymodal.models import MODELS
from polymodal.runtime.formatting import brief
from polymodal.runtime.registry import lookup, unknown
from polymodal.runtime.validation import check_arguments, check_types
from polymodal.settings import Settings, resolve, schema_settings
from polymodal.studies.identity import ELSEWHERE, LATER, digest
from polymodal.studies.presets import PRESETS

__all__ = ["Cell", "Study", "plan"]

CHOICES = ("loss", "translation")
OWN = ("vary", "model")
"""Keys that a model's entry may have in addition to settings."""


@dataclass(frozen=True)
class Cell:
    """One run of a study.

    Arguments:
        settings: Complete settings of the run.
        varied: The settings that the study varies for this model, with their values.
        seed: Random seed for the initial weights and the training.
        model: Name under which the study shows the run; by default, the name of the model.
    """

    settings: Settings
    varied: Mapping[str, Any]
    seed: int
    model: str

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        return self.settings.dataset

    @property
    def setting(self) -> str:
        """Description of the varied settings, such as "beta=1"; empty if none is varied."""
        return ", ".join(f"{name}={_format_setting(value)}" for name, value in self.varied.items())

    @property
    def name(self) -> str:
        """Name of the run folder: data set, model, and a hash of all settings that determine the result."""
        values = {"format": 1, **asdict(self.settings)}
        del values["folder"]
        for section, names in ELSEWHERE.items():
            values[section] = {name: value for name, value in values[section].items() if name not in names}
        for section, names in LATER.items():
            values[section] = {
                name: value for name, value in values[section].items() if name not in names or value != names[name]
            }
        return f"{self.dataset}-{self.settings.model}-{digest(values)}"

    def __str__(self) -> str:
        varied = f", {self.setting}" if self.varied else ""
        return f"{self.model} on {self.dataset}{varied}, seed {self.seed}"


@dataclass(frozen=True)
class Study:
    """Grid of training runs and how they are scored. A study's YAML file has the same arguments.

    More specific settings take precedence: model on a data set, then model, then data set, then global.

    Arguments:
        name: Name of the study and of its folder.
        datasets: A name, several names, or settings by name. The settings are those of `train` (`rows`,
            `fit.epochs`). In addition, `models` has settings per model on this data set only, and `without` lists
            models to leave out on it.
        models: A name, several names, or settings by name. In addition to settings, `vary` has values to try by
            setting, and `model` is the registered model if the name is custom, such as
            `mac-wae-paper: {model: mac-wae, beta: 1}`.
        settings: Settings of all runs.
        vary: Values to try by setting, in all combinations, for every model that has the setting. The `vary` of a
            model replaces it.
        seeds: Random seeds for weights and training, one run each; or their number n, for the seeds 0 to n - 1.
        tuning_seeds: Number of seeds with which every varied setting is run to choose one on the validation rows. The
            other seeds are run with the chosen setting only, and only the chosen setting is scored and reported.
            With None, every setting is run and scored with every seed.
        tasks: Tasks to score, see `evaluate`.
        choose: Criterion for the reported setting where settings are varied: "loss", the lowest loss on the validation
            rows (as in the paper), or "translation", the best mean rank in their many-to-one translation.
        maps: Models whose codes are shown as a two-dimensional map.
        inception: File of Inception weights, see `polymodal.evaluation.load_inception`. If given, the task
            "generation" also reports the FID of images.

    Example:
        >>> study = Study("two", "polydigits", ["mac-wae", "mopoe"], {"rows": 100, "epochs": 2}, {"beta": [1, 2]}, 2)
        >>> len(list(study.cells()))
        8
        >>> print(next(study.cells()))
        mac-wae on polydigits, beta=1, seed 0
    """

    name: str
    datasets: str | Sequence[str] | Mapping[str, Any]
    models: str | Sequence[str] | Mapping[str, Any]
    settings: Mapping[str, Any] | None = None
    vary: Mapping[str, Sequence[Any]] | None = None
    seeds: int | Sequence[int] = 3
    tuning_seeds: int | None = None
    tasks: Sequence[str] = TASKS
    choose: str = "loss"
    maps: Sequence[str] = ()
    inception: str | None = None

    def cells(self) -> Iterator[Cell]:
        """Yields the runs, seed by seed, so that early results cover all data sets and models.

        Raises:
            ValueError: A setting is unknown or of the wrong type.
        """
        for seed in self.numbers:
            for dataset, own in _parse_named_settings(self.datasets).items():
                for model, particular in _parse_named_settings(self.models).items():
                    if model not in own.get("without", ()):
                        yield from self._make_cells(dataset, own, model, particular, seed)

    @property
    def numbers(self) -> list[int]:
        """Random seeds as a list."""
        return list(range(self.seeds)) if isinstance(self.seeds, int) else list(self.seeds)

    @property
    def tuned_on(self) -> list[int]:
        """Seeds with which every varied setting is run to choose one; empty if there are no separate tuning runs."""
        return self.numbers[: self.tuning_seeds] if self.tuning_seeds is not None else []

    def _make_cells(
        self, dataset: str, own: Mapping[str, Any], model: str, particular: Mapping[str, Any], seed: int
    ) -> Iterator[Cell]:
        kind = particular.get("model", model)
        base = resolve({"dataset": dataset, "model": kind, **(self.settings or {})})
        levels = [_omit(own, "models", "without"), _omit(particular, *OWN), (own.get("models") or {}).get(model)]
        for level in levels:
            base = resolve(asdict(base), level or {})
        vary = particular.get("vary", self.vary) or {}
        names = [name for name in vary if "vary" in particular or _has_setting(base, name)]
        for values in product(*(vary[name] for name in names)):
            varied = dict(zip(names, values, strict=True))
            settings = resolve(asdict(base), {**varied, "fit.seed": seed, "build.seed": seed})
            yield Cell(replace(settings, folder=""), varied, seed, model)


def plan(study: str | Path | Mapping[str, Any] | None = None, **parts: Any) -> Study:
    """Returns a study, checked as far as possible without loading data.

    Arguments:
        study: Name of a preset, path of a YAML file, or its content. A file may also name a `preset` and change it.
        **parts: Arguments of `Study`, which take precedence over those in `study`.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: A name is unknown, a value is invalid, or an argument is missing.

    Example:
        >>> plan(datasets="polydigits", models=["mac-wae", "mopeo"])
        Traceback (most recent call last):
        ValueError: unknown model 'mopeo'; known are mopoe, mvae, mmvae, m-wae, jmvae, mac-vae, mac-wae, ...
    """
    document = {**_read_document(study), **{name: part for name, part in parts.items() if part is not None}}
    if (preset := document.pop("preset", None)) is not None:
        document = {**_get_preset(preset), **document}
    check_arguments(document, Study.__dataclass_fields__, "a study")
    for name in ("datasets", "models"):
        if not document.get(name):
            raise ValueError(f"a study must name its {name}, such as `{name}: [...]`, or a preset; got none")
    check_types(document, Study, "a study")
    made = Study(**{"name": "study", **document})
    _check(made)
    return made


def _read_document(study: str | Path | Mapping[str, Any] | None) -> dict[str, Any]:
    if study is None or isinstance(study, Mapping):
        return dict(study or {})
    if str(study) in PRESETS:
        return _get_preset(str(study))
    path = Path(study)
    if not path.exists() and path.suffix not in (".yaml", ".yml"):
        raise unknown(str(study), PRESETS, "preset")
    return {"name": path.stem, **yaml.read(path)}


def _get_preset(name: str) -> dict[str, Any]:
    return {"name": name, **lookup(PRESETS, name, "preset")}


def _check(study: Study) -> None:
    if not study.name or Path(study.name).name != study.name or study.name.startswith("."):
        raise ValueError(f"name of a study must be the name of a folder; got {brief(repr(study.name))}")
    rows = _parse_named_settings(study.models)
    for dataset, own in _parse_named_settings(study.datasets).items():
        lookup(DATASETS, dataset, "data set")
        for model in [*own.get("without", ()), *(own.get("models") or {})]:
            lookup(dict.fromkeys([*rows, *MODELS]), model, "model")
    for model, own in rows.items():
        lookup(MODELS, own.get("model", model), "model")
    for model in study.maps:
        lookup(dict.fromkeys([*rows, *MODELS]), model, "model")
    if study.tuning_seeds is not None and not 1 <= study.tuning_seeds <= len(study.numbers):
        raise ValueError(
            f"tuning_seeds must be from 1 to the number of seeds, {len(study.numbers)}; got {study.tuning_seeds}"
        )
    check_tasks(study.tasks)
    if study.inception is not None:
        _check_inception(study)
    if study.choose not in CHOICES:
        raise unknown(study.choose, CHOICES, "criterion of choose")
    if len(set(study.numbers)) < max(1, len(study.numbers)):
        raise ValueError(f"seeds must be one or more numbers that differ; got {study.seeds}")
    _check_varied(study)


def _check_inception(study: Study) -> None:
    if "generation" not in study.tasks:
        raise ValueError("inception needs the task generation, which is not among the tasks; add it to tasks")
    if not Path(study.inception or "").is_file():
        raise FileNotFoundError(f"inception must be a file of weights; {study.inception} is not a file")


def _check_varied(study: Study) -> None:
    cells = list(study.cells())
    if not cells:
        raise ValueError("a study must have at least one run; every model is left out on every data set")
    used = {name for cell in cells for name in cell.varied}
    for own in ({"vary": study.vary}, *_parse_named_settings(study.models).values()):
        for name, values in (own.get("vary") or {}).items():
            if isinstance(values, str) or not isinstance(values, Sequence) or not values:
                raise ValueError(
                    f"vary must hold lists of values, such as `{name}: [0.1, 1]`; got {brief(repr(values))}"
                )
            if name not in used:
                settings = cells[0].settings
                raise unknown(name, [*settings.build, *settings.fit, *settings.data], "setting to vary")
    if len({cell.name for cell in cells}) < len(cells):
        raise ValueError("the runs of a study must differ; a list of `vary` has a value twice; remove one")


def _parse_named_settings(parts: str | Sequence[str] | Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Returns settings by name.

    Raises:
        ValueError: The value of a name is not a mapping of settings.
    """
    if not isinstance(parts, Mapping):
        return {name: {} for name in ([parts] if isinstance(parts, str) else parts)}
    for name, own in parts.items():
        if not isinstance(own, Mapping | None):
            raise ValueError(
                f"the entry of {name} must be settings, such as `{name}: {{epochs: 3}}`; got {brief(repr(own))}"
            )
    return {name: own or {} for name, own in parts.items()}


def _omit(settings: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in names}


def _has_setting(settings: Settings, name: str) -> bool:
    """Returns whether a run has a setting with this name."""
    section, dot, own = name.partition(".")
    if dot:
        return own in getattr(settings, section, ())
    return any(name in part for part in (settings.fit, settings.build, settings.data, schema_settings()))


def _format_setting(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)

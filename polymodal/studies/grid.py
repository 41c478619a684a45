"""A study: which runs it is made of, checked before any of them begins."""

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
"""What may stand beside a model's settings."""


@dataclass(frozen=True)
class Cell:
    """One run of a study.

    Arguments:
        settings: All that makes it.
        varied: Those of them that the study varies for this model, by name.
        seed: Of weights and training.
        model: The name under which the study shows it; that of the model unless the study gives another.
    """

    settings: Settings
    varied: Mapping[str, Any]
    seed: int
    model: str

    @property
    def dataset(self) -> str:
        """The data set's name."""
        return self.settings.dataset

    @property
    def setting(self) -> str:
        """What is varied, in words: "beta=1"; nothing where nothing is."""
        return ", ".join(f"{name}={_written(value)}" for name, value in self.varied.items())

    @property
    def name(self) -> str:
        """Of its folder: who it is, and a hash of all that determines what comes out."""
        told = {"format": 1, **asdict(self.settings)}
        del told["folder"]
        for section, names in ELSEWHERE.items():
            told[section] = {name: value for name, value in told[section].items() if name not in names}
        for section, names in LATER.items():
            told[section] = {
                name: value for name, value in told[section].items() if name not in names or value != names[name]
            }
        return f"{self.dataset}-{self.settings.model}-{digest(told)}"

    def __str__(self) -> str:
        varied = f", {self.setting}" if self.varied else ""
        return f"{self.model} on {self.dataset}{varied}, seed {self.seed}"


@dataclass(frozen=True)
class Study:
    """A grid of runs, and what is made of it. Its arguments are what a study's YAML file may hold.

    Arguments:
        name: Of its folder.
        datasets: A name, names, or settings by name: those of `train` (`rows`, `fit.epochs`), and beside them
            `models`, settings by model on this data set alone, and `without`, models that are left out on it.
        models: Likewise; next to the settings may stand `vary`, values by setting, and `model`, the registered model
            where the name is a row's own, such as `mac-wae-paper: {model: mac-wae, beta: 1}`.
        settings: Those of all runs.
        vary: Values to try by setting, in all combinations, of every model that has the setting; a model's own `vary`
            takes the place of this.
        seeds: Of weights and training, a run for each; or how many, from 0.
        tuning_seeds: On how many of the seeds every varied setting is run, to choose one by validation rows. The other
            seeds are run with the chosen setting alone, and the chosen one alone is scored and reported. None runs and
            scores every setting with every seed.
        tasks: What is scored, see `evaluate`.
        choose: By what the setting that is reported is chosen where some are varied: "loss", the lowest on validation
            rows (the paper's way), or "translation", the best mean rank in many-to-one translation of them.
        maps: Models of whose codes a map is made.
        inception: A file of weights, see `polymodal.evaluation.inception_features`: "generation" then has the FID of
            images too.

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
        """The runs, seed by seed, so that there is a whole picture early.

        Raises:
            ValueError: A setting is unknown or of the wrong type.
        """
        for seed in self.numbers:
            for dataset, own in _named(self.datasets).items():
                for model, particular in _named(self.models).items():
                    if model not in own.get("without", ()):
                        yield from self._cells(dataset, own, model, particular, seed)

    @property
    def numbers(self) -> list[int]:
        """The seeds."""
        return list(range(self.seeds)) if isinstance(self.seeds, int) else list(self.seeds)

    @property
    def tuned_on(self) -> list[int]:
        """The seeds with which every varied setting is run to choose one; none where all seeds choose."""
        return self.numbers[: self.tuning_seeds] if self.tuning_seeds is not None else []

    def _cells(
        self, dataset: str, own: Mapping[str, Any], model: str, particular: Mapping[str, Any], seed: int
    ) -> Iterator[Cell]:
        kind = particular.get("model", model)
        base = resolve({"dataset": dataset, "model": kind, **(self.settings or {})})
        levels = [_without(own, "models", "without"), _without(particular, *OWN), (own.get("models") or {}).get(model)]
        for level in levels:
            base = resolve(asdict(base), level or {})
        vary = particular.get("vary", self.vary) or {}
        names = [name for name in vary if "vary" in particular or _has(base, name)]
        for values in product(*(vary[name] for name in names)):
            varied = dict(zip(names, values, strict=True))
            settings = resolve(asdict(base), {**varied, "fit.seed": seed, "build.seed": seed})
            yield Cell(replace(settings, folder=""), varied, seed, model)


def plan(study: str | Path | Mapping[str, Any] | None = None, **parts: Any) -> Study:
    """A study, checked as far as it shows without data.

    Arguments:
        study: A preset's name, a YAML file, or what such a file holds. A file may name a `preset` too, and change it.
        **parts: Arguments of `Study`, which count more.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A name is unknown, a value is of the wrong type, or something is missing.

    Example:
        >>> plan(datasets="polydigits", models=["mac-wae", "mopeo"])
        Traceback (most recent call last):
        ValueError: unknown model 'mopeo'; known are mopoe, mvae, mmvae, m-wae, jmvae, mac-vae, mac-wae, ...
    """
    document = {**_document(study), **{name: part for name, part in parts.items() if part is not None}}
    if (preset := document.pop("preset", None)) is not None:
        document = {**_preset(preset), **document}
    check_arguments(document, Study.__dataclass_fields__, "a study")
    for name in ("datasets", "models"):
        if not document.get(name):
            raise ValueError(f"a study must name its {name}, such as `{name}: [...]`, or a preset; got none")
    check_types(document, Study, "a study")
    made = Study(**{"name": "study", **document})
    _check(made)
    return made


def _document(study: str | Path | Mapping[str, Any] | None) -> dict[str, Any]:
    if study is None or isinstance(study, Mapping):
        return dict(study or {})
    if str(study) in PRESETS:
        return _preset(str(study))
    path = Path(study)
    if not path.exists() and path.suffix not in (".yaml", ".yml"):
        raise unknown(str(study), PRESETS, "preset")
    return {"name": path.stem, **yaml.read(path)}


def _preset(name: str) -> dict[str, Any]:
    return {"name": name, **lookup(PRESETS, name, "preset")}


def _check(study: Study) -> None:
    if not study.name or Path(study.name).name != study.name or study.name.startswith("."):
        raise ValueError(f"name of a study must be the name of a folder; got {brief(repr(study.name))}")
    rows = _named(study.models)
    for dataset, own in _named(study.datasets).items():
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
        raise unknown(study.choose, CHOICES, "way to choose")
    if len(set(study.numbers)) < max(1, len(study.numbers)):
        raise ValueError(f"seeds must be one or more numbers that differ; got {study.seeds}")
    _check_varied(study)


def _check_inception(study: Study) -> None:
    if "generation" not in study.tasks:
        raise ValueError("inception is for the task generation, and it is not among the tasks; add it to tasks")
    if not Path(study.inception or "").is_file():
        raise FileNotFoundError(f"inception must be a file of weights; {study.inception} is none")


def _check_varied(study: Study) -> None:
    cells = list(study.cells())
    if not cells:
        raise ValueError("a study must have at least one run; every model is left out on every data set")
    used = {name for cell in cells for name in cell.varied}
    for own in ({"vary": study.vary}, *_named(study.models).values()):
        for name, values in (own.get("vary") or {}).items():
            if isinstance(values, str) or not isinstance(values, Sequence) or not values:
                raise ValueError(
                    f"vary must hold lists of values, such as `{name}: [0.1, 1]`; got {brief(repr(values))}"
                )
            if name not in used:
                settings = cells[0].settings
                raise unknown(name, [*settings.build, *settings.fit, *settings.data], "setting to vary")
    if len({cell.name for cell in cells}) < len(cells):
        raise ValueError("the runs of a study must differ; a value of `vary` stands there twice; leave one out")


def _named(parts: str | Sequence[str] | Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Settings by name.

    Raises:
        ValueError: What stands beside a name is no settings.
    """
    if not isinstance(parts, Mapping):
        return {name: {} for name in ([parts] if isinstance(parts, str) else parts)}
    for name, own in parts.items():
        if not isinstance(own, Mapping | None):
            raise ValueError(
                f"beside {name} must stand settings, such as `{name}: {{epochs: 3}}`; got {brief(repr(own))}"
            )
    return {name: own or {} for name, own in parts.items()}


def _without(settings: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in names}


def _has(settings: Settings, name: str) -> bool:
    """Whether a run has a setting of that name."""
    section, dot, own = name.partition(".")
    if dot:
        return own in getattr(settings, section, ())
    return any(name in part for part in (settings.fit, settings.build, settings.data, schema_settings()))


def _written(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)

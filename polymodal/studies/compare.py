"""From a study to the page that compares its models."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch

from polymodal.comparison import comparison_page
from polymodal.evaluation import inception as features_of
from polymodal.io import checkpoint, yaml
from polymodal.io.locks import claim_folder
from polymodal.modalities.trial import untried
from polymodal.runtime.registry import lookup
from polymodal.settings import network
from polymodal.studies import study_run
from polymodal.studies.executors import PLACES, Job
from polymodal.studies.grid import Cell, Study, plan
from polymodal.studies.results import choose, collect, mapped, tuning_table
from polymodal.studies.study_progress import Board
from polymodal.training import check_settings

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Comparison", "compare"]


class Comparison(NamedTuple):
    """What came of a study."""

    scores: pd.DataFrame
    """Every score of every finished run: those of `evaluate`, and `dataset`, `model`, `setting`, `seed`."""
    runs: pd.DataFrame
    """A row per finished run: what training took, and on what."""
    chosen: pd.DataFrame
    """The setting that is reported of each model on each data set."""
    failures: dict[str, str]
    """Why runs failed, in a line, by what they are."""
    page: Path | None
    """The page; None where no run is finished."""


def compare(
    study: str | Path | Mapping[str, Any] | None = None,
    *,
    folder: str | Path = "runs/studies",
    on: Literal["here", "ray"] = "here",
    address: str | None = None,
    cpus: int = 1,
    gpus: float = 0,
    retries: int = 3,
    beside: pd.DataFrame | None = None,
    progress: bool = True,
    **parts: Any,
) -> Comparison:
    """Runs a study and writes the page that compares its models.

    All is checked before anything runs. Each run has a folder of its own, `<folder>/runs/<data set>-<model>-<hash>`,
    whose name holds a hash of all that determines it; so a finished run is never run again, by this study or another
    one in the same folder. A killed one goes on from its last state. One that fails is reported, and the others go on.

    Arguments:
        study: A preset's name, a YAML file, or what such a file holds: arguments of `Study`, or a `preset` to change.
        folder: Of all studies; the page and its tables are in `<folder>/<name of the study>`.
        on: "here": one run after the other. "ray": side by side on this machine's processors and GPUs, or a cluster's.
        address: Of a cluster of Ray's; by default one is started on this machine.
        cpus: On Ray, processors for each run.
        gpus: On Ray, GPUs for each run; a fraction lets several share one.
        retries: On Ray, how often a run is taken up again whose worker is gone.
        beside: Scores to show beside, such as the paper's: task, dataset, modality, metric, better, model, value.
        progress: Whether to show how far it has come.
        **parts: Arguments of `Study`, in place of what `study` holds.

    Returns:
        The scores, the page, and what failed.

    Raises:
        ValueError: Something of the study is unknown or wrong, or another process runs it; nothing has run then.
        Stopped: Ctrl-C came; the same call goes on.

    Example:
        >>> import tempfile
        >>> small = {"rows": 40, "held_out_rows": 20, "widths": [4], "latent_dim": 4, "epochs": 1}
        >>> with tempfile.TemporaryDirectory() as root:
        ...     study = {"datasets": "polydigits", "models": ["m-wae", "mvae"], "settings": small, "seeds": 1}
        ...     made = compare(study, folder=root, progress=False)
        ...     made.page.relative_to(root).as_posix(), len(made.runs)
        ('study/comparison.html', 2)

    Source: MAC-WAE, section "Experimental Design".
    """
    made, root = plan(study, **parts), Path(folder)
    on_ray = {"address": address, "cpus": cpus, "gpus": gpus, "retries": retries}
    place = lookup(PLACES, on, "place")(**(on_ray if on == "ray" else {}))
    cells = list(made.cells())
    inception = None if made.inception is None else str(Path(made.inception).resolve())  # workers stand elsewhere
    jobs = [Job(cell, root / "runs" / cell.name, made.tasks, inception) for cell in cells]
    tuning = [replace(job, tasks=(), inception=None) for job in jobs if job.cell.seed in made.tuned_on]
    left = _select_unfinished(tuning) or _select_unfinished(_select_reported(jobs, _collect_tuning(tuning, root), made))
    if left and inception is not None:
        features_of(inception)  # other weights are refused now, and not when a run is trained
    _check([job.cell for job in left])
    checkpoint.check_writable(root / "runs")
    with claim_folder(root / made.name, "runs it"):
        return _ran(made, root, jobs, tuning, place, progress, beside)


def _ran(
    made: Study,
    root: Path,
    jobs: list[Job],
    tuning: list[Job],
    place: Any,
    progress: bool,
    beside: pd.DataFrame | None,
) -> Comparison:
    """Runs what is left of a study, and writes its page."""
    given = {name: part for name, part in asdict(made).items() if part is not None}
    checkpoint.write_text(root / made.name / "study.yaml", yaml.dump(_plain(given), _head(made, root)))
    failed = _run(tuning, place, progress) if tuning else {}
    tuned = _collect_tuning(tuning, root)
    reported = _select_reported(jobs, tuned, made)
    failed |= _run([job for job in reported if job.cell.name not in failed], place, progress)
    failures = {str(job.cell): failed[job.cell.name] for job in jobs if job.cell.name in failed}
    return _written(made, [job.cell for job in reported], root, failures, beside, tuned)


def _select_unfinished(jobs: list[Job]) -> list[Job]:
    return [job for job in jobs if not study_run.finished(job.folder, job.tasks, job.inception)]


def _collect_tuning(tuning: list[Job], root: Path) -> pd.DataFrame | None:
    """The finished runs by which settings are chosen; None where a study has none of its own for that."""
    return collect([job.cell for job in tuning], root / "runs", ()).runs if tuning else None


def _select_reported(jobs: list[Job], tuned: pd.DataFrame | None, study: Study) -> list[Job]:
    """The runs of the settings that are chosen; all, where the runs that are reported choose."""
    if tuned is None:
        return jobs
    best = choose(tuned, study.choose).set_index(["dataset", "model"])["setting"].to_dict()
    return [job for job in jobs if job.cell.setting == best.get((job.cell.dataset, job.cell.model))]


def _run(jobs: list[Job], place: Any, progress: bool) -> dict[str, str]:
    """Does what is left to do of some runs.

    Returns:
        Why runs failed, by name.
    """
    left = _select_unfinished(jobs)
    with Board(len(jobs), len(jobs) - len(left), place.at_once, shown=progress) as board:
        board.waits(job.cell for job in left)
        return place(left, board) if left else {}


def _check(cells: list[Cell]) -> None:
    """Tries what can be tried without training: data sets, models, settings.

    Raises:
        FileNotFoundError: A data set is not there.
        ValueError: Something is out of its range; names the run.
    """
    tried: dict[tuple[str, str, str], Cell] = {}
    for cell in cells:
        tried.setdefault((cell.dataset, cell.model, cell.setting), cell)
    for cell in sorted(tried.values(), key=lambda cell: cell.dataset):  # so that each data set is loaded once
        data = study_run.rows(cell.settings)
        try:
            check_settings(**cell.settings.fit)
            with torch.device("meta"), untried():
                network(cell.settings, data)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{cell}: {error}") from error


def _written(
    study: Study,
    cells: list[Cell],
    root: Path,
    failures: dict[str, str],
    beside: pd.DataFrame | None,
    tuned: pd.DataFrame | None,
) -> Comparison:
    """What the finished runs have brought, and the page that shows it."""
    scores, runs = collect(cells, root / "runs", study.tasks)
    chosen = choose(runs if tuned is None else tuned, study.choose)
    if scores.empty:
        return Comparison(scores, runs, chosen, failures, None)
    reported = scores.merge(chosen[["dataset", "model", "setting"]])
    page = comparison_page.write(
        root / study.name,
        reported,
        title=study.name,
        runs=runs,
        chosen=chosen[chosen["by"] != ""],
        tuned=None if tuned is None else tuning_table(tuned, study.choose),
        sweeps=scores[scores["name"] != ""],
        maps=mapped(study, runs.merge(chosen[["dataset", "model", "setting"]]), root / "runs"),
        beside=beside,
        failures=[*failures.items()],
        notes=_notes(len(cells), len(runs), failures),
    )
    return Comparison(scores, runs, chosen, failures, page)


def _notes(planned: int, finished: int, failures: dict[str, str]) -> list[str]:
    if finished == planned:
        return []
    failed = f", {len(failures)} of them failed" if failures else ""
    return [f"{finished} of {planned} runs are finished{failed}: what follows is of these alone."]


def _head(study: Study, root: Path) -> list[str]:
    path = shlex.quote(str(root / study.name / "study.yaml"))
    return [
        "A study of polymodal. To run it again, or to go on:",
        f"  polymodal compare {path} --folder {shlex.quote(str(root))}",
    ]


def _plain(value: Any) -> Any:
    """In types of YAML."""
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, tuple | list) else value

"""Execution of a study, from its definition to the page that compares its models."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch

from polymodal import evaluation
from polymodal.comparison import comparison_page
from polymodal.io import checkpoint, yaml
from polymodal.io.locks import claim_folder
from polymodal.modalities.trial import skip_network_checks
from polymodal.runtime.registry import lookup
from polymodal.settings import network
from polymodal.studies import study_run
from polymodal.studies.executors import EXECUTORS, Job
from polymodal.studies.finished_runs import FinishedRuns
from polymodal.studies.grid import Cell, Study, plan
from polymodal.studies.results import build_tuning_table, choose, collect, collect_code_maps
from polymodal.studies.study_progress import Board
from polymodal.training import check_settings

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Comparison", "compare"]


class Comparison(NamedTuple):
    """Results of a study."""

    scores: pd.DataFrame
    """Every score of every finished run: the columns of `evaluate`, and `dataset`, `model`, `setting`, `seed`."""
    runs: pd.DataFrame
    """A row per finished run: the cost of its training, its data and its hardware."""
    chosen: pd.DataFrame
    """The setting that is reported for each model on each data set."""
    failures: dict[str, str]
    """One-line reasons of failed runs, by the description of the run."""
    page: Path | None
    """Path of the page; None if no run is finished."""


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

    The study is checked before any run starts. Each run has its own folder, `<folder>/runs/<data set>-<model>-<hash>`.
    The hash covers all settings that determine the result, so a finished run is never repeated, neither by this study
    nor by another study in the same folder. An interrupted run resumes from its last checkpoint. A failed run is
    reported, and the other runs continue.

    All finished runs, with their scores and settings, are also written to `<folder>/<name of the study>/scores.csv`. If
    the folder of a run no longer exists, the run is read from this file and not repeated.

    Arguments:
        study: Name of a preset, path of a YAML file, or its content: arguments of `Study`, or a `preset` to change.
        folder: Folder of all studies. The page and its tables are written to `<folder>/<name of the study>`.
        on: "here" runs sequentially in this process. "ray" runs in parallel on the processors and GPUs of this
            machine or of a cluster.
        address: Address of a Ray cluster; by default, Ray is started on this machine.
        cpus: Number of processors per run on Ray.
        gpus: Number of GPUs per run on Ray; with a fraction, several runs share a GPU.
        retries: Number of times that Ray restarts a run whose worker was lost.
        beside: Reference scores to show next to these, such as the paper's, with the columns task, dataset, modality,
            metric, better, model, value.
        progress: Whether to show progress.
        **parts: Arguments of `Study`, which take precedence over those in `study`.

    Returns:
        The scores, the page and the failures.

    Raises:
        ValueError: Part of the study is unknown or invalid, or another process is running it; no run was started.
        Stopped: Training was interrupted by Ctrl-C; the same call resumes the study.

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
    executor = lookup(EXECUTORS, on, "executor")(**(on_ray if on == "ray" else {}))
    cells = list(made.cells())
    # Workers have another working directory.
    inception = None if made.inception is None else str(Path(made.inception).resolve())
    jobs = [Job(cell, root / "runs" / cell.name, made.tasks, inception) for cell in cells]
    tuning = [replace(job, tasks=(), inception=None) for job in jobs if job.cell.seed in made.tuned_on]
    finished = FinishedRuns(root, made.name)
    tuned = _collect_tuning(tuning, finished)
    left = _select_unfinished(tuning, finished) or _select_unfinished(_select_reported(jobs, tuned, made), finished)
    if left and inception is not None:
        evaluation.load_inception(inception)  # reject unsuitable weights now, not after a run has been trained
    _check_runs([job.cell for job in left])
    if left:
        checkpoint.check_writable(root / "runs")
    with claim_folder(root / made.name, "runs it"):
        return _run_study(made, root, finished, jobs, tuning, executor, progress, beside)


def _run_study(
    made: Study,
    root: Path,
    finished: FinishedRuns,
    jobs: list[Job],
    tuning: list[Job],
    executor: Any,
    progress: bool,
    reference: pd.DataFrame | None,
) -> Comparison:
    """Runs the unfinished runs of a study and writes its page."""
    given = {name: part for name, part in asdict(made).items() if part is not None}
    checkpoint.write_text(
        root / made.name / "study.yaml", yaml.dump(_convert_for_yaml(given), _format_header(made, root))
    )
    failed = _run_jobs(tuning, finished, executor, progress) if tuning else {}
    tuned = _collect_tuning(tuning, finished)
    reported = _select_reported(jobs, tuned, made)
    failed |= _run_jobs([job for job in reported if job.cell.name not in failed], finished, executor, progress)
    failures = {str(job.cell): failed[job.cell.name] for job in jobs if job.cell.name in failed}
    return _write_results(made, [job.cell for job in reported], root, finished, failures, reference, tuned)


def _select_unfinished(jobs: list[Job], finished: FinishedRuns) -> list[Job]:
    return [job for job in jobs if not finished.has(job.cell.name, job.tasks, job.inception)]


def _collect_tuning(tuning: list[Job], finished: FinishedRuns) -> pd.DataFrame | None:
    """Returns the finished tuning runs; None if the study has no separate tuning runs."""
    return collect([job.cell for job in tuning], finished, ()).runs if tuning else None


def _select_reported(jobs: list[Job], tuned: pd.DataFrame | None, study: Study) -> list[Job]:
    """Returns the runs with the chosen settings; all runs if the study has no separate tuning runs."""
    if tuned is None:
        return jobs
    best = choose(tuned, study.choose).set_index(["dataset", "model"])["setting"].to_dict()
    return [job for job in jobs if job.cell.setting == best.get((job.cell.dataset, job.cell.model))]


def _run_jobs(jobs: list[Job], finished: FinishedRuns, executor: Any, progress: bool) -> dict[str, str]:
    """Runs those jobs that are not finished.

    Returns:
        Reasons of failed runs, by the name of the run.
    """
    left = _select_unfinished(jobs, finished)
    with Board(len(jobs), len(jobs) - len(left), executor.at_once, shown=progress) as board:
        board.set_waiting(job.cell for job in left)
        return executor(left, board) if left else {}


def _check_runs(cells: list[Cell]) -> None:
    """Checks everything that can be checked without training: data sets, models, settings.

    Raises:
        FileNotFoundError: A data set is not available.
        ValueError: A setting is invalid; the message names the run.
    """
    tried: dict[tuple[str, str, str], Cell] = {}
    for cell in cells:
        tried.setdefault((cell.dataset, cell.model, cell.setting), cell)
    for cell in sorted(tried.values(), key=lambda cell: cell.dataset):  # loads each data set once
        data = study_run.load_rows(cell.settings)
        try:
            check_settings(**cell.settings.fit)
            with torch.device("meta"), skip_network_checks():
                network(cell.settings, data)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{cell}: {error}") from error


def _write_results(
    study: Study,
    cells: list[Cell],
    root: Path,
    finished: FinishedRuns,
    failures: dict[str, str],
    reference: pd.DataFrame | None,
    tuned: pd.DataFrame | None,
) -> Comparison:
    """Collects the finished runs, writes the file of scores and the page, and returns the results."""
    scores, runs = collect(cells, finished, study.tasks)
    chosen = choose(runs if tuned is None else tuned, study.choose)
    reported_runs = runs.merge(chosen[["dataset", "model", "setting"]])
    finished.write(study.cells(), {*reported_runs["folder"]}, study.tasks)
    if scores.empty:
        return Comparison(scores, runs, chosen, failures, None)
    reported = scores.merge(chosen[["dataset", "model", "setting"]])
    page = comparison_page.write(
        root / study.name,
        reported,
        title=study.name,
        runs=runs,
        chosen=chosen[chosen["by"] != ""],
        tuned=None if tuned is None else build_tuning_table(tuned, study.choose),
        sweeps=scores[scores["name"] != ""],
        maps=collect_code_maps(study, reported_runs, finished),
        reference=reference,
        failures=[*failures.items()],
        notes=_describe_unfinished(len(cells), len(runs), failures),
    )
    return Comparison(scores, runs, chosen, failures, page)


def _describe_unfinished(planned: int, finished: int, failures: dict[str, str]) -> list[str]:
    if finished == planned:
        return []
    failed = f", {len(failures)} of them failed" if failures else ""
    return [f"{finished} of {planned} runs are finished{failed}. The results below are based on these runs only."]


def _format_header(study: Study, root: Path) -> list[str]:
    path = shlex.quote(str(root / study.name / "study.yaml"))
    return [
        "A study of polymodal. To run or continue it:",
        f"  polymodal compare {path} --folder {shlex.quote(str(root))}",
    ]


def _convert_for_yaml(value: Any) -> Any:
    """Converts nested values to types that YAML can represent."""
    if isinstance(value, Mapping):
        return {name: _convert_for_yaml(part) for name, part in value.items()}
    return [_convert_for_yaml(part) for part in value] if isinstance(value, tuple | list) else value

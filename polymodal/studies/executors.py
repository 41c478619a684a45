"""Executors for the runs of a study: in this process, or in parallel on Ray."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from polymodal.studies import study_run

if TYPE_CHECKING:
    from polymodal.studies.grid import Cell
    from polymodal.studies.study_progress import Board

__all__ = ["EXECUTORS", "Job"]


class Outcome(NamedTuple):
    """Result of a run: a one-line reason if it failed, else an empty string, and its duration in seconds."""

    failure: str
    seconds: float


@dataclass(frozen=True)
class Job:
    """A run and how it is scored.

    Arguments:
        cell: The run.
        folder: Run folder.
        tasks: Tasks to score the run on.
        inception: File of Inception weights for the FID of images, see `Study`.
    """

    cell: Cell
    folder: Path
    tasks: Sequence[str]
    inception: str | None = None

    def __call__(self) -> Outcome:
        """Trains and scores the run."""
        start, failure = time.monotonic(), ""
        try:
            study_run.run(self.cell, self.folder, self.tasks, inception=self.inception)
        except Exception as error:  # the other runs continue after any error
            failure = study_run.note_failure(self.folder, error)
        return Outcome(failure, time.monotonic() - start)


class InProcess:
    """Runs the jobs sequentially in this process."""

    at_once = 1

    def __call__(self, jobs: Iterable[Job], board: Board) -> dict[str, str]:
        """Runs the jobs.

        Returns:
            Reasons of failed runs, by the name of the run.
        """
        failures = {}
        for job in jobs:
            board.begin(str(job.cell))
            outcome = job()
            board.end(job.cell, *outcome)
            if outcome.failure:
                failures[job.cell.name] = outcome.failure
        return failures


@dataclass(frozen=True)
class OnRay:
    """Runs jobs in parallel on Ray, as many as the processors and GPUs of this machine or a cluster allow.

    A killed worker is replaced, and its run resumes from the last checkpoint. All machines must have access to the
    study's folder under the same path.

    Arguments:
        address: Address of a cluster, such as "auto" or "ray://head:10001"; None starts Ray on this machine.
        cpus: Number of processors, and of threads, per run.
        gpus: Number of GPUs per run; it may be a fraction: with 0.25, four runs share a GPU.
        retries: Number of times that a run is restarted after its worker or machine was lost.
    """

    address: str | None = None
    cpus: int = 1
    gpus: float = 0
    retries: int = 3

    @property
    def at_once(self) -> int:
        """Approximate number of runs in parallel."""
        import ray

        available = ray.cluster_resources() if ray.is_initialized() else {}
        by_gpu = available.get("GPU", 0) / self.gpus if self.gpus else float("inf")
        return max(1, int(min(available.get("CPU", 1) / self.cpus, by_gpu)))

    def __call__(self, jobs: Iterable[Job], board: Board) -> dict[str, str]:
        """Runs the jobs, see `InProcess`."""
        ray = self._import_ray()
        started = not ray.is_initialized()
        if started:
            ray.init(address=self.address, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        board.at_once = self.at_once
        try:
            return self._run(ray, list(jobs), board)
        finally:
            if started:
                ray.shutdown()

    def _run(self, ray: Any, jobs: Sequence[Job], board: Board) -> dict[str, str]:
        # One call per process, so that the measured memory of a run does not include that of earlier runs.
        resources = {"num_cpus": self.cpus, "num_gpus": self.gpus, "max_retries": self.retries, "max_calls": 1}
        remote = ray.remote(**resources)(_run_in_worker)
        waiting = {remote.remote(job, self.cpus): job for job in jobs}
        failures = {}
        board.begin(f"{board.at_once} in parallel")
        while waiting:
            (ready, *_), _ = ray.wait(list(waiting))
            job = waiting.pop(ready)
            try:
                outcome = Outcome(*ray.get(ready))
            except ray.exceptions.RayError as error:
                outcome = Outcome(study_run.note_failure(job.folder, error), 0.0)
            board.end(job.cell, *outcome)
            if outcome.failure:
                failures[job.cell.name] = outcome.failure
        return failures

    def _import_ray(self) -> Any:
        try:
            import ray
        except ImportError:
            raise ValueError(
                "on='ray' needs Ray, which is not installed; try: pip install 'polymodal[scale]'"
            ) from None
        return ray


def _run_in_worker(job: Job, threads: int) -> Outcome:
    """Runs a job in a worker."""
    torch.set_num_threads(threads)
    return job()


EXECUTORS: dict[str, Callable[..., Any]] = {"here": InProcess, "ray": OnRay}
"""Executors by name."""

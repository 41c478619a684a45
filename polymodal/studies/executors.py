"""Where the runs of a study run: in this process, or on Ray."""

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

__all__ = ["PLACES", "Here", "OnRay"]


class Outcome(NamedTuple):
    """Why a run failed, in a line, nothing where it did not; and how many seconds it took."""

    failure: str
    seconds: float


@dataclass(frozen=True)
class Job:
    """A run, and what it is to be asked.

    Arguments:
        cell: The run.
        folder: Its own.
        tasks: What it is scored on.
        inception: Likewise.
    """

    cell: Cell
    folder: Path
    tasks: Sequence[str]
    inception: str | None = None

    def __call__(self) -> Outcome:
        """Does it."""
        began, failure = time.monotonic(), ""
        try:
            study_run.run(self.cell, self.folder, self.tasks, inception=self.inception)
        except Exception as error:  # whatever it was, the other runs go on
            failure = study_run.note_failure(self.folder, error)
        return Outcome(failure, time.monotonic() - began)


class Here:
    """One run after the other, in this process."""

    at_once = 1

    def __call__(self, jobs: Iterable[Job], board: Board) -> dict[str, str]:
        """Runs them.

        Returns:
            Why runs failed, by name.
        """
        failures = {}
        for job in jobs:
            board.begins(str(job.cell))
            outcome = job()
            board.ends(job.cell, *outcome)
            if outcome.failure:
                failures[job.cell.name] = outcome.failure
        return failures


@dataclass(frozen=True)
class OnRay:
    """As many runs side by side as there are processors or GPUs for, on this machine or a cluster.

    A worker that is killed is replaced, and its run goes on from its last state; every machine must see the study's
    folder under the same path.

    Arguments:
        address: Of a cluster, such as "auto" or "ray://head:10001"; None starts one on this machine.
        cpus: Processors for each run, which has as many threads.
        gpus: GPUs for each run, of which a fraction is enough: with 0.25 four runs share one.
        retries: How often a run is taken up again whose worker or machine is gone.
    """

    address: str | None = None
    cpus: int = 1
    gpus: float = 0
    retries: int = 3

    @property
    def at_once(self) -> int:
        """About how many run side by side."""
        import ray

        have = ray.cluster_resources() if ray.is_initialized() else {}
        by_gpu = have.get("GPU", 0) / self.gpus if self.gpus else float("inf")
        return max(1, int(min(have.get("CPU", 1) / self.cpus, by_gpu)))

    def __call__(self, jobs: Iterable[Job], board: Board) -> dict[str, str]:
        """Runs them, see `Here`."""
        ray = self._ray()
        mine = not ray.is_initialized()
        if mine:
            ray.init(address=self.address, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        board.at_once = self.at_once
        try:
            return self._run(ray, list(jobs), board)
        finally:
            if mine:
                ray.shutdown()

    def _run(self, ray: Any, jobs: Sequence[Job], board: Board) -> dict[str, str]:
        # One call for each process: what a run's memory is must not depend on those before it.
        asked = {"num_cpus": self.cpus, "num_gpus": self.gpus, "max_retries": self.retries, "max_calls": 1}
        remote = ray.remote(**asked)(_worked)
        waiting = {remote.remote(job, self.cpus): job for job in jobs}
        failures = {}
        board.begins(f"{board.at_once} at once")
        while waiting:
            (ready, *_), _ = ray.wait(list(waiting))
            job = waiting.pop(ready)
            try:
                outcome = Outcome(*ray.get(ready))
            except ray.exceptions.RayError as error:
                outcome = Outcome(study_run.note_failure(job.folder, error), 0.0)
            board.ends(job.cell, *outcome)
            if outcome.failure:
                failures[job.cell.name] = outcome.failure
        return failures

    def _ray(self) -> Any:
        try:
            import ray
        except ImportError:
            raise ValueError(
                "on='ray' needs Ray, which is not installed; try: pip install 'polymodal[scale]'"
            ) from None
        return ray


def _worked(job: Job, threads: int) -> Outcome:
    """What a worker does."""
    torch.set_num_threads(threads)
    return job()


PLACES: dict[str, Callable[..., Any]] = {"here": Here, "ray": OnRay}
"""Where runs can run, by name."""

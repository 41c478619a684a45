"""A queue of requests for a model. Those that wait at the same moment are predicted as one batch."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Generic, NamedTuple, TypeVar

from polymodal.serving.limits import RequestError

__all__ = ["Batcher"]

QUICK = 0.05
"""Most seconds of a batch that the event loop may compute."""
LIGHT = 4
"""Largest size of a task that the event loop may compute, alone or with others."""
DISTRUST = 8
"""Number of batches that must be quick, one after another, before the event loop computes one."""
T = TypeVar("T")
U = TypeVar("U")


class _Job(NamedTuple):
    """A task that waits for the model."""

    task: Any
    size: int
    run: Callable[[Any], Any] | None
    """Function that computes the task alone; None for tasks that are batched."""
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]

    @property
    def is_light(self) -> bool:
        """Whether the event loop may compute the task."""
        return self.run is None and self.size <= LIGHT


class Batcher(Generic[T, U]):
    """A queue of tasks that are computed in batches. It never waits for further tasks: a batch is what waits already.

    A thread computes the batches, so that requests are read meanwhile. If the latest batches took less than 50 ms each,
    the event loop computes small tasks itself, because two busy threads of Python would mostly wait for each other.

    Arguments:
        compute: Function that computes several tasks at once.
        most: Largest size of a batch, the sum of its tasks' sizes; a larger task is computed alone.
        waiting: Most tasks that may wait.
        observe: Function that is called with the tasks of each batch.
    """

    def __init__(
        self,
        compute: Callable[[Sequence[T]], Sequence[U]],
        *,
        most: int,
        waiting: int,
        observe: Callable[[Sequence[T]], object] = lambda tasks: None,
    ) -> None:
        self._compute, self._most, self._limit, self._observe = compute, most, waiting, observe
        self._jobs: deque[_Job] = deque()
        self._condition = threading.Condition()
        self._is_closed = self._is_computing = self._is_scheduled = False
        self._distrust = DISTRUST
        """Number of quick batches that the thread must compute before the event loop may."""
        self._thread = threading.Thread(target=self._run, name="polymodal-model", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        """Returns the number of waiting tasks."""
        return len(self._jobs)

    def submit(self, task: T, size: int) -> asyncio.Future[U]:
        """Adds a task to the queue, and returns its future result. A cancelled task is left out.

        Arguments:
            task: The task.
            size: Number of codes that are decoded for it, which bounds the memory of a batch.

        Raises:
            RequestError: Too many tasks are waiting, or the server is shutting down.
        """
        return self._add(task, size, None)

    def submit_alone(self, run: Callable[[], Any]) -> asyncio.Future[Any]:
        """Adds a function to the queue that uses the model by itself; see `submit`."""
        return self._add(None, 0, lambda _: run())

    def close(self) -> None:
        """Finishes all waiting tasks, and stops the thread."""
        with self._condition:
            self._is_closed = True
            self._condition.notify()
        self._thread.join()

    def _add(self, task: Any, size: int, run: Callable[[Any], Any] | None) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        with self._condition:  # which `close` takes too, so that no task is added after the thread has ended
            if self._is_closed:
                raise RequestError(503, "the server is shutting down; try again later", retry=5)
            if len(self._jobs) >= self._limit:
                most = f"at most {self._limit} requests may wait for the model, and as many do"
                raise RequestError(429, f"{most}; try again later", retry=1)
            self._jobs.append(_Job(task, size, run, loop, future))
            self._start_next(loop)
        return future

    def _start_next(self, loop: asyncio.AbstractEventLoop) -> None:
        """Lets the event loop compute the next batch if it may, and otherwise wakes the thread. Needs the condition."""
        if self._is_computing or self._is_scheduled or not self._jobs:
            return
        if self._distrust or not self._jobs[0].is_light or loop.is_closed():
            self._condition.notify()
            return
        self._is_scheduled = True
        loop.call_soon_threadsafe(self._run_in_loop)

    def _run_in_loop(self) -> None:
        """Computes a batch in the event loop, if the thread is idle."""
        with self._condition:
            self._is_scheduled = False
            if self._is_computing or not self._jobs or not self._jobs[0].is_light:
                self._condition.notify()
                return
            jobs = self._pop_batch(light=True)
            self._is_computing = True
        if jobs:
            self._compute_batch(jobs)
        with self._condition:
            self._is_computing = False
            self._start_next(asyncio.get_running_loop())
            self._condition.notify()  # the thread may have to end

    def _run(self) -> None:
        while jobs := self._take():
            if jobs[0].run is not None:
                self._finish(jobs, jobs[0].run, jobs[0].task)
            else:
                self._compute_batch(jobs)
            with self._condition:
                self._is_computing = False
                self._start_next(jobs[0].loop)

    def _take(self) -> list[_Job]:
        """Waits for a task, and returns the tasks of the next batch for the thread; none after the last one."""
        with self._condition:
            while self._is_computing or (self._is_scheduled and not self._is_closed) or not (jobs := self._pop_batch()):
                if self._is_closed and not self._jobs:
                    return []
                self._condition.wait()
            self._is_computing = True
            return jobs

    def _pop_batch(self, *, light: bool = False) -> list[_Job]:
        """Takes the tasks of the next batch from the queue, or only light ones; without those of ended requests."""
        taken: list[_Job] = []
        size = 0
        while self._jobs:
            job = self._jobs[0]
            if not job.future.cancelled():
                if light and not job.is_light:
                    break
                if taken and (job.run is not None or taken[0].run is not None or size + job.size > self._most):
                    break
                taken.append(job)
                size += job.size
            self._jobs.popleft()
        return taken

    def _compute_batch(self, jobs: list[_Job]) -> None:
        """Computes a batch, and notes whether that was quick."""
        self._observe([job.task for job in jobs])
        began = time.perf_counter()
        self._compute_jobs(jobs)
        quick = time.perf_counter() - began < QUICK
        self._distrust = max(0, self._distrust - 1) if quick else DISTRUST

    def _compute_jobs(self, jobs: list[_Job]) -> None:
        """Computes a batch. If that fails, each task is computed alone, so that it fails alone."""
        try:
            results = self._compute([job.task for job in jobs])
        except Exception as error:
            if len(jobs) == 1:
                _settle(jobs[0], error=error)
                return
            for job in jobs:
                self._compute_jobs([job])
            return
        # One call wakes the event loop for all tasks of the batch.
        pairs = list(zip(jobs, results, strict=True))
        with suppress(RuntimeError):  # the event loop is closed
            jobs[0].loop.call_soon_threadsafe(lambda: [_set(job.future, result) for job, result in pairs])

    @staticmethod
    def _finish(jobs: list[_Job], run: Callable[[Any], Any], task: Any) -> None:
        try:
            result = run(task)
        except Exception as error:
            _settle(jobs[0], error=error)
        else:
            with suppress(RuntimeError):
                jobs[0].loop.call_soon_threadsafe(_set, jobs[0].future, result)


def _settle(job: _Job, error: Exception) -> None:
    with suppress(RuntimeError):
        job.loop.call_soon_threadsafe(_set, job.future, None, error)


def _set(future: asyncio.Future[Any], result: Any, error: Exception | None = None) -> None:
    """Sets the result or the error of a future, unless its request has ended."""
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)

"""The queue of requests: batches of what waits, of bounded size; failures stay alone; nothing is lost at the end."""

import asyncio
import base64
import io
import random
import threading

import PIL.Image
import pytest
import torch

import polymodal as pm
from polymodal.modalities import Image, Label

testclient = pytest.importorskip("fastapi.testclient")
from polymodal.serving import create_app, request_queue  # noqa: E402
from polymodal.serving.batch_predictor import SampleOptions, Task  # noqa: E402
from polymodal.serving.limits import RequestError  # noqa: E402
from polymodal.serving.request_queue import Batcher  # noqa: E402

DIGITS = pm.Schema({"digit": Image(1, 8, 8, widths=(4, 6)), "label": Label(3, hidden=(6,))})


class Held:
    """A computation that doubles numbers, fails for negative ones, and waits until it is released."""

    def __init__(self):
        self.batches, self.began, self.release = [], threading.Event(), threading.Event()

    def __call__(self, tasks):
        self.batches.append(list(tasks))
        self.began.set()
        assert self.release.wait(20)
        if min(tasks) < 0:
            raise ValueError(f"{min(tasks)} is negative")
        return [2 * task for task in tasks]


def submit_while_held(tasks, sizes, most, cancelled=(), waiting=100):
    """The batches that are computed, and the results, if all tasks are submitted while a first one is computed."""

    async def run():
        held = Held()
        queue = Batcher(held, most=most, waiting=waiting)
        first = queue.submit(0, 1)
        assert await asyncio.to_thread(held.began.wait, 20)
        futures = [queue.submit(task, size) for task, size in zip(tasks, sizes, strict=True)]
        for place in cancelled:
            futures[place].cancel()
        held.release.set()
        results = await asyncio.gather(*futures, return_exceptions=True)
        assert await first == 0
        await asyncio.to_thread(queue.close)
        return held.batches[1:], results

    return asyncio.run(run())


def test_tasks_that_wait_are_one_batch():
    batches, results = submit_while_held([1, 2, 3], [1, 1, 1], most=8)
    assert batches == [[1, 2, 3]]
    assert results == [2, 4, 6]


def test_no_batch_is_larger_than_allowed_and_the_order_is_kept():
    sizes = [3, 4, 9, 1, 7, 20, 2, 2]
    batches, results = submit_while_held(list(range(len(sizes))), sizes, most=8)
    assert [task for batch in batches for task in batch] == list(range(len(sizes)))
    assert all(len(batch) == 1 or sum(sizes[task] for task in batch) <= 8 for batch in batches)
    assert results == [2 * task for task in range(len(sizes))]


def test_a_task_that_fails_does_not_fail_its_neighbours():
    _, results = submit_while_held([1, -2, 3], [1, 1, 1], most=8)
    assert results[0] == 2
    assert results[2] == 6
    assert isinstance(results[1], ValueError)


def test_cancelled_tasks_are_not_computed():
    batches, _ = submit_while_held([1, 2, 3, 4], [1] * 4, most=8, cancelled=(0, 2))
    assert batches == [[2, 4]]


def test_too_many_waiting_tasks_are_refused():
    with pytest.raises(RequestError, match="at most 2") as refused:
        submit_while_held([1, 2, 3], [1, 1, 1], most=8, waiting=2)
    assert refused.value.status == 429
    assert refused.value.retry == 1


def test_waiting_tasks_are_finished_at_the_end_and_later_ones_are_refused():
    async def run():
        queue = Batcher(lambda tasks: [task + 1 for task in tasks], most=1, waiting=100)
        futures = [queue.submit(task, 1) for task in range(20)]
        await asyncio.to_thread(queue.close)
        assert await asyncio.gather(*futures) == list(range(1, 21))
        with pytest.raises(RequestError) as refused:
            queue.submit(1, 1)
        assert refused.value.status == 503

    asyncio.run(run())


def test_the_size_of_a_task_counts_its_samples():
    """Otherwise 256 requests of 1,000 samples each would be decoded at once."""
    batch = pm.Batch({"label": torch.zeros(3, dtype=torch.long)}, torch.ones(3, 1, dtype=torch.bool))
    given = torch.ones(3, 1, dtype=torch.bool)
    assert Task(batch, given).size == 3
    assert Task(batch, given, sampling=SampleOptions(4)).size == 3 * 5


@pytest.fixture(scope="module")
def client():
    torch.manual_seed(0)
    with testclient.TestClient(create_app(pm.build("mac-wae", DIGITS, latent_dim=3))) as client:
        yield client


def encode(side, mode="1"):
    PIL.Image.new(mode, (side, side)).save(file := io.BytesIO(), "PNG")
    return base64.b64encode(file.getvalue()).decode()


def test_large_images_are_decoded_outside_of_the_event_loop(client, monkeypatch):
    """A file of a few kB may hold millions of pixels, and other requests must not wait for it."""
    threads, read = {}, Image.read

    def note(self, value):
        threads[value.size] = threading.current_thread()
        return read(self, value)

    monkeypatch.setattr(Image, "read", note)
    for side in (20, 3000):
        request = {"rows": [{"digit": encode(side)}], "to": ["label"]}
        assert client.post("/api/translate", json=request).status_code == 200
    assert threads[20, 20] != threads[3000, 3000]


def test_a_value_is_refused_with_the_server_s_limits_not_with_those_of_quick_reading(client):
    response = client.post("/api/translate", json={"rows": [{"digit": encode(8000)}]})
    assert response.status_code == 422
    assert "50,000,000" in response.json()["error"]


def test_the_event_loop_computes_small_tasks_only_after_quick_batches(monkeypatch):
    """Results are complete and in order whoever computes; a slow batch brings the thread back."""
    computed = []
    monkeypatch.setattr(request_queue, "QUICK", 5.0)

    def compute(tasks):
        computed.extend((task, threading.current_thread()) for task in tasks)
        return [2 * task for task in tasks]

    async def run():
        queue = Batcher(compute, most=8, waiting=100)
        for task in range(request_queue.DISTRUST):
            assert await queue.submit(task, 1) == 2 * task
        results = await asyncio.gather(
            *(queue.submit(task, size) for task, size in ((20, 1), (21, 1), (22, 9), (23, 1)))
        )
        assert results == [40, 42, 44, 46]
        assert await queue.submit_alone(threading.current_thread) is queue._thread
        monkeypatch.setattr(request_queue, "QUICK", -1.0)
        assert await asyncio.gather(queue.submit(30, 1), queue.submit(31, 9), queue.submit(32, 1)) == [60, 62, 64]
        await queue.submit(33, 1)
        await asyncio.to_thread(queue.close)
        return queue._thread

    thread = asyncio.run(run())
    here, by = threading.current_thread(), dict(computed)
    assert sorted(by) == [*range(request_queue.DISTRUST), 20, 21, 22, 23, 30, 31, 32, 33]
    assert all(by[task] is thread for task in (*range(request_queue.DISTRUST), 22, 31, 33))
    assert by[20] is by[21] is by[30] is here


def test_tasks_from_many_threads_of_control_are_all_computed_once():
    """Under random sizes, cancellations and functions, each task has its result, and none is computed twice."""
    seen = []

    def compute(tasks):
        seen.extend(tasks)
        return [-task for task in tasks]

    async def run():
        generator = random.Random(0)
        queue = Batcher(compute, most=6, waiting=10_000)

        async def work(start):
            for task in range(start, start + 200):
                await asyncio.sleep(generator.choice([0, 0, 0.0005]))
                future = queue.submit(task, generator.randint(1, 7))
                if task % 17 == 0:
                    future.cancel()
                elif task % 13 == 0:
                    assert await queue.submit_alone(lambda task=task: task) == task
                    assert await future == -task
                else:
                    assert await future == -task

        await asyncio.wait_for(asyncio.gather(*(work(start) for start in range(0, 4000, 200))), 60)
        await asyncio.to_thread(queue.close)

    asyncio.run(run())
    assert len(seen) == len(set(seen))
    assert {task for task in range(4000) if task % 17} <= set(seen)

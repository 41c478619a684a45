"""Compares the server with the same server without batches, and ONNX Runtime with PyTorch.

Clients send rows with random masks to `polymodal serve`, each client one row at a time. The responses are compared with
those of the server that computes one row at a time (`--max-batch 1`), field by field. A plain loop over
`Model.translate` in this process shows what prediction costs without HTTP.
"""

from __future__ import annotations

import base64
import io
import json
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
from rich import table as rich_table

from benchmarks import harness
from benchmarks.harness import Report
from benchmarks.timing import interleave, ratios, spread
from polymodal.cli.run_folder import open_model, open_table

__all__ = ["main", "measure_load", "measure_runtimes"]

ROWS = 64
"""Number of rows that requests are made of."""
REQUESTS = 512
"""Number of different requests."""
EARLY = 10.0
"""Seconds after which the memory of the server is read for the first time."""
FASTER, TAIL, GROWTH = 5.0, 10.0, 1.1
"""Required requests per second relative to no batches, and upper limits of p99 / p50 and of the memory's growth."""
RUNTIME = {1: 1.0, 256: 1.2}
"""Upper limits of the seconds of ONNX Runtime relative to those of PyTorch, by number of rows."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; the exit code: 2 and one line for a user's mistake."""
    parser = harness.Parser(
        "serving",
        "Compare the server with one that makes no batches, and ONNX Runtime with PyTorch.",
        "runs/demo --budget 60 --clients 64",
        budget=60.0,
        per="server under load",
        shapes=False,
    )
    parser.add_argument("run", nargs="?", default=Path("runs/demo"), type=Path, help="run folder, as of `make demo`")
    parser.add_argument("--clients", default=64, type=int, help="connections that each send one row at a time")
    return harness.command(parser, _run, arguments)


def _run(chosen: Namespace) -> None:
    document = harness.begin("serving", chosen)
    cases = [
        harness.Case("server", partial(measure_load, chosen.run, chosen.clients, chosen.budget), 2, describe_load),
        harness.Case("ONNX Runtime", partial(measure_runtimes, chosen.run, chosen.budget / 3), 1, describe_runtimes),
    ]
    document["load"], document["runtimes"] = harness.measure_cases(cases)
    made = [tabulate_load(document["load"]), tabulate_runtimes(document)]
    harness.finish(document, made, chosen.out, width=120)


def measure_load(folder: Path, clients: int, budget: float, report: Report) -> dict[str, Any]:
    """Measures both servers under load, the one without batches first, and the plain loop.

    Arguments:
        folder: Run folder.
        clients: Number of connections.
        budget: Seconds of load on each server.
        report: Called with the share of the work that is done, in [0, 1].

    Returns:
        For JSON: by server, requests per second, latencies in seconds and memory in MiB; `wrong` is the number of
        requests whose response differs between both servers, and `loop` the rows per second of the plain loop.
    """
    loads, responses = {}, {}
    for place, (name, options) in enumerate({"one row at a time": ["--max-batch", "1"], "batches": []}.items()):
        with start_server(folder, options) as (port, process):
            bodies = make_requests(port)
            load = load_server(port, process.pid, bodies, budget, clients)
        responses[name] = load.pop("responses")
        loads[name] = load
        report((place + 1) / 2)
    plain, batched = loads.values()
    pairs = zip(*responses.values(), strict=True)
    return {
        **loads,
        "clients": clients,
        "wrong": sum(not all(are_equal(a, b) for a in one for b in other) for one, other in pairs),
        "ratio": batched["per_second"] / plain["per_second"],
        "loop": time_loop(folder),
    }


@contextmanager
def start_server(folder: Path, options: list[str]) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """Starts `polymodal serve` on a free port, and stops it at the end of the `with` block."""
    command = [sys.executable, "-m", "polymodal", "serve", str(folder), "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if found := re.search(r"http://127\.0\.0\.1:(\d+)", line):
                break
        else:
            raise ValueError(f"the server must start; it printed {' '.join(lines)}")
        threading.Thread(target=process.stdout.read, daemon=True).start()
        try:
            yield int(found[1]), process
        finally:
            process.terminate()
            process.wait(30)


def make_requests(port: int) -> list[str]:
    """Makes bodies of requests from example rows: each has random modalities of a row, and asks for the others."""
    generator = random.Random(0)
    count = min(ROWS, read_answer(port, "schema")["examples"])
    rows = [read_answer(port, f"example?index={index}")["row"] for index in range(count)]
    bodies = []
    for _ in range(REQUESTS):
        row = {name: value for name, value in generator.choice(rows).items() if value is not None}
        names = list(row)
        given = generator.sample(names, generator.randint(1, len(names) - 1))
        asked = [name for name in names if name not in given]
        bodies.append(json.dumps({"rows": [{name: row[name] for name in given}], "to": asked}))
    return bodies


def read_answer(port: int, path: str) -> Any:
    """Returns what the server responses to a GET request."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/{path}", timeout=60) as response:
        return json.load(response)


def load_server(port: int, pid: int, bodies: list[str], seconds: float, clients: int) -> dict[str, Any]:
    """Sends requests for some seconds from another process, and returns what `load_client` records, with memory."""
    memory: dict[str, float] = {}
    early = threading.Timer(min(EARLY, seconds / 2), lambda: memory.update(early=read_memory(pid)))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "requests.json"
        file.write_text(json.dumps(bodies))
        arguments = [str(port), str(file), str(seconds), str(clients)]
        early.start()
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.load_client", *arguments], capture_output=True, text=True, check=True
        )
    memory["end"] = read_memory(pid)
    found = json.loads(done.stdout)
    latencies = found.pop("latencies")
    p50, p99 = np.percentile(latencies, [50, 99]).tolist()
    count = len(latencies)
    return {
        **found,
        "requests": count,
        "per_second": count / found["elapsed"],
        "p50": p50,
        "p99": p99,
        "memory": memory,
    }


def read_memory(pid: int) -> float:
    """Returns the resident memory of a process, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def are_equal(one: Any, other: Any) -> bool:
    """Returns whether two responses are equal: numbers up to rounding, pixels up to one of 255 levels.

    Arguments:
        one: Body of an response, or a part of it.
        other: The same of the other server.
    """
    if isinstance(one, str) and one.startswith("{"):
        one, other = json.loads(one), json.loads(other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(are_equal(one[key], other[key]) for key in one.keys() - {"seconds"})
    if isinstance(one, list):
        return len(one) == len(other) and all(map(are_equal, one, other))
    if isinstance(one, float):
        return bool(np.isclose(one, other, rtol=1e-4, atol=1e-5))
    if isinstance(one, str) and one.startswith("iVBOR"):
        return int(np.abs(read_pixels(one) - read_pixels(other)).max()) <= 1
    return one == other


def read_pixels(text: str) -> np.ndarray:
    """Returns the pixels of a PNG image in base64."""
    return np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(text)))).astype(int)


def time_loop(folder: Path, seconds: float = 5.0) -> float:
    """Returns how many rows per second a loop over `Model.translate` predicts, one row at a time, in this process."""
    model, rows = open_model(folder, "cpu"), open_table(folder)[:ROWS]
    generator, count, began = torch.Generator().manual_seed(0), 0, time.perf_counter()
    while time.perf_counter() < began + seconds:
        place = count % len(rows)
        given = torch.rand(1, len(model.schema), generator=generator) < 0.5
        given[0, place % len(model.schema)] = True
        names = [name for name, is_given in zip(model.schema, given[0].tolist(), strict=True) if not is_given]
        model.schema.write(model.translate(rows[place : place + 1], given, names or None))
        count += 1
    return count / (time.perf_counter() - began)


def measure_runtimes(folder: Path, budget: float, report: Report) -> dict[str, Any]:
    """Times `translate` of PyTorch and of ONNX Runtime in turn, with the same rows and masks.

    Returns:
        For JSON, by number of rows: seconds of each, and the ratio of ONNX Runtime's to PyTorch's, round by round.
    """
    from polymodal.onnx import Predictor, export

    model, table = open_model(folder, "cpu"), open_table(folder)
    with tempfile.TemporaryDirectory() as made:
        export(model, Path(made) / "onnx")
        predictor = Predictor(Path(made) / "onnx", threads=torch.get_num_threads())
    found: dict[str, Any] = {}
    for place, rows in enumerate(RUNTIME):
        batch = table[[row % len(table) for row in range(rows)]]
        mask = torch.rand(rows, len(model.schema), generator=torch.Generator().manual_seed(0)) < 0.5
        mask[:, 0] |= ~mask.any(1)
        values = {name: value.numpy() for name, value in batch.values.items()}
        observed = (batch.observed & mask).numpy()
        rounds = interleave(
            lambda _, batch=batch, mask=mask: model.translate(batch, mask),
            lambda _, values=values, observed=observed: predictor.translate_arrays(values, observed),
            budget=budget / len(RUNTIME),
            report=lambda share, place=place: report((place + share) / len(RUNTIME)),
        )
        ours, onnx = map(list, zip(*rounds, strict=True))
        found[str(rows)] = {"torch": spread(ours), "onnx": spread(onnx), "ratio": ratios(onnx, ours)}
    return found


def describe_load(case: dict[str, Any]) -> str:
    """Describes the comparison of both servers in a line."""
    batched = case["batches"]
    return (
        f"{batched['per_second']:.0f} requests/s, {case['ratio']:.1f} times as many as one row at a time; "
        f"{sum(batched['failed'].values())} dropped, {case['wrong']} wrong"
    )


def describe_runtimes(case: dict[str, Any]) -> str:
    """Describes the comparison of ONNX Runtime with PyTorch in a line."""
    return ", ".join(f"{rows} rows: {times['ratio']['median']:.2f} times PyTorch's" for rows, times in case.items())


def tabulate_load(case: dict[str, Any]) -> rich_table.Table:
    """Makes the table of both servers, with the requirements below."""
    batched = case["batches"]
    tail, growth = batched["p99"] / batched["p50"], batched["memory"]["end"] / batched["memory"]["early"]
    made = rich_table.Table(
        title=f"{case['clients']} clients, one row with a random mask each",
        caption=f"{case['ratio']:.2f} times the requests/s (required {FASTER:g}), p99 / p50 {tail:.1f} (at most "
        f"{TAIL:g}), memory x {growth:.3f} (at most {GROWTH:g}), {case['wrong']} wrong; a plain loop without HTTP "
        f"predicts {case['loop']:.0f} rows/s",
        box=None,
        header_style="bold",
    )
    for heading in ("server", "requests/s", "requests", "dropped", "p50, ms", "p99, ms", "MiB early", "MiB at the end"):
        made.add_column(heading, justify="left" if heading == "server" else "right", no_wrap=True)
    for name in ("one row at a time", "batches"):
        one = case[name]
        numbers = (one["per_second"], one["requests"], sum(one["failed"].values()), 1e3 * one["p50"], 1e3 * one["p99"])
        made.add_row(name, *(f"{number:,.0f}" for number in (*numbers, one["memory"]["early"], one["memory"]["end"])))
    return made


def tabulate_runtimes(document: dict[str, Any]) -> rich_table.Table:
    """Makes the table of ONNX Runtime and PyTorch, with a line per number of rows."""
    headings = ("PyTorch, ms", "ONNX Runtime, ms", "ONNX / PyTorch", "at most")
    made = harness.table(document, ["rows"], headings, title="translate: median (quartiles)")
    for rows, times in document["runtimes"].items():
        seconds = [
            {**times[name], **{key: 1e3 * times[name][key] for key in ("median", "lower", "upper")}}
            for name in ("torch", "onnx")
        ]
        shown = [harness.format_quartiles(one, ".2f") for one in (*seconds, times["ratio"])]
        made.add_row(rows, *shown, f"{RUNTIME[int(rows)]:g}")
    return made


if __name__ == "__main__":
    sys.exit(main())

"""Measures the speed of a GPU or a CPU, and compares it with what a training step requires."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from polymodal.training.accelerator import set_precision
from polymodal.training.step import sample_plan

if TYPE_CHECKING:
    from benchmarks.harness import Report
    from polymodal.batch import Batch
    from polymodal.models import MAC

__all__ = ["name_device", "rates", "time_steps", "work"]

UNCOUNTED, AT_ONCE, FEWEST = 60, 50, 5
"""Steps that warm up on a GPU, those that it is given at once, and those that are taken whatever the budget."""


def work(model: MAC, batch: Batch) -> tuple[float, float]:
    """Operations of a step's products and convolutions, and numbers that its layers put out."""
    sizes: list[int] = []
    hooks = [
        layer.register_forward_hook(lambda _, inputs, output: sizes.append(output.numel()))
        for layer in model.modules()
        if not [*layer.children()] and not isinstance(layer, nn.Flatten | nn.Unflatten)
    ]
    torch.manual_seed(0)
    with FlopCounterMode(display=False) as counter:
        model(batch, plan=sample_plan(model, batch)).total.backward()
    for hook in hooks:
        hook.remove()
    model.zero_grad()
    return float(counter.get_total_flops()), float(sum(sizes))


def rates(device: torch.device, side: int = 4096, numbers: int = 2**26) -> dict[str, float]:
    """Operations per second in a product of square matrices by precision, and bytes per second in a copy."""
    if device.type == "cpu":
        side, numbers = side // 4, numbers // 4
    found: dict[str, float] = {}
    for precision, dtype in {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}.items():
        a, b = torch.rand(2, side, side, device=device).to(dtype)
        with set_precision(precision, device):
            found[precision] = 2 * side**3 / min(_time_calls(partial(torch.matmul, a, b), device, 5))
    source, target = torch.rand(numbers, device=device), torch.zeros(numbers, device=device)
    found["copy"] = 2 * source.nbytes / min(_time_calls(partial(target.copy_, source), device, 5))
    return found


def name_device(device: torch.device) -> str:
    """Returns the name of the device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "the CPU"


def time_steps(step: Callable[[], object], device: torch.device, budget: float, report: Report) -> list[float]:
    """Seconds of each step, so many as the budget has."""
    torch.manual_seed(0)
    _time_calls(step, device, UNCOUNTED if device.type == "cuda" else 1)
    seconds: list[float] = []
    while len(seconds) < FEWEST or sum(seconds) < budget:
        seconds += _time_calls(step, device, AT_ONCE if device.type == "cuda" else 1)
        report(min(1.0, sum(seconds) / budget))
    return seconds


def _time_calls(step: Callable[[], object], device: torch.device, times: int) -> list[float]:
    """Seconds of each of so many calls, none of which waits for the one before on a GPU."""
    if device.type == "cpu":
        marks = [time.perf_counter()]
        for _ in range(times):
            step()
            marks.append(time.perf_counter())
        return [after - before for before, after in pairwise(marks)]
    events = [torch.cuda.Event(enable_timing=True) for _ in range(times + 1)]
    events[0].record()
    for event in events[1:]:
        step()
        event.record()
    torch.cuda.synchronize(device)
    return [before.elapsed_time(after) / 1e3 for before, after in pairwise(events)]

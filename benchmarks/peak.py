"""One process that takes a few training steps and says how much memory they needed at most: `benchmarks.memory`'s.

`python -m benchmarks.peak SHAPE K VARIANT THREADS` prints JSON: `peak`, bytes beyond what the process held once all was
imported and a small step was taken, weights, optimiser and rows among them; and `held`, bytes that it held then.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks import reference
from benchmarks.harness import fused, train
from benchmarks.shapes import Shape, find_shape, model_of, rows_of
from polymodal.runtime.hardware import measure_peak_memory, reset_peak_memory

__all__ = ["VARIANTS", "Variant", "main"]

STEPS = 2
"""Steps to run. In the second step the optimiser's state and the graph are in memory at the same time."""


@dataclass(frozen=True)
class Variant:
    """A way to take a step.

    Arguments:
        loss: Function of the model and a batch that returns the loss.
        arguments: Function of the shape that returns arguments of the model, in addition to the shape's.
        layers: Function that changes the model's layers before training.
    """

    loss: Callable[[Any, Any], Tensor] = lambda model, batch: model.loss(batch).total
    arguments: Callable[[Shape], dict[str, Any]] = lambda shape: {}
    layers: Callable[[Any], Any] = lambda model: model


VARIANTS = {
    "ours": Variant(),
    "in pieces": Variant(arguments=lambda shape: {"at_once": shape.batch_size}),
    "reference": Variant(reference.loss, layers=reference.stock),
}
"""Variants by name. To add one, add an entry here."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line."""
    shape, draws, variant, threads = sys.argv[1:] if arguments is None else arguments
    torch.set_num_threads(int(threads))
    take(find_shape("2 pictures"), 1, VARIANTS[variant])
    held = reset_peak_memory()
    take(find_shape(shape), int(draws), VARIANTS[variant])
    print(json.dumps({"peak": measure_peak_memory() - held, "held": held}))
    return 0


def take(shape: Shape, draws: int, variant: Variant) -> None:
    """Makes a model and rows, and takes the steps."""
    model = variant.layers(model_of(shape, draws, **variant.arguments(shape)))
    batch = rows_of(model.schema, shape.batch_size)
    adam = fused(model, shape.learning_rate)
    for step in range(STEPS):
        torch.manual_seed(step)
        train(variant.loss(model, batch), adam)


if __name__ == "__main__":
    sys.exit(main())

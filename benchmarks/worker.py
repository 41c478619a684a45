"""A process that takes training steps of one commit on request, one line of JSON each way.

`benchmarks.compare` starts this file under the code of a commit, whose `polymodal` and `benchmarks` make the model, the
rows and the optimiser; so it uses nothing but `model_of`, `rows_of` and `SHAPES` of `benchmarks.shapes` and `fused` of
`benchmarks.harness`, which every commit that can be compared has.

A request is `{"shape": ..., "draws": ...}`, to make a model, or `{"seed": ...}`, to take a step. It answers with the
places of its code, with the number of weights, or with a step's seconds and loss; or with an `error`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

Step = Callable[[int], dict[str, Any]]


def main() -> None:
    """Answers until there is nothing more to read."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print is no answer
    torch.set_num_threads(int(sys.argv[1]))
    step: Step | None = None
    for answer in _load_code():
        print(json.dumps(answer), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if "seed" in request:
                assert step is not None
                answer = step(request["seed"])
            else:
                step, answer = prepare(**request)
        except Exception as error:  # of a commit that this one does not know
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


def _load_code() -> list[dict[str, Any]]:
    try:
        import benchmarks.harness
        import benchmarks.shapes
        import polymodal
    except Exception as error:
        return [{"error": f"{type(error).__name__}: {error}"}]
    return [{"places": [polymodal.__file__, benchmarks.harness.__file__, benchmarks.shapes.__file__]}]


def prepare(shape: str, draws: int) -> tuple[Step, dict[str, Any]]:
    """Returns a function that runs a step, and the number of weights."""
    from benchmarks.harness import fused
    from benchmarks.shapes import SHAPES, model_of, rows_of

    facts = SHAPES[shape]
    model = model_of(facts, draws)
    batch = rows_of(model.schema, facts.batch_size)
    optimizer = fused(model, facts.learning_rate)

    def step(seed: int) -> dict[str, Any]:
        torch.manual_seed(seed)
        began = time.perf_counter()
        loss = model.loss(batch).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return {"seconds": time.perf_counter() - began, "loss": float(loss.detach())}

    return step, {"weights": sum(p.numel() for p in model.parameters())}


if __name__ == "__main__":
    main()

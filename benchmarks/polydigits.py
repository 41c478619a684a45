"""Every model on PolyDigits for the same time, or for the same epochs, next to the mean predictor.

Many-to-one translation of held-out handwriting: each image, and the label, from all the others. An image's score
is the root of the mean squared error of its pixels in [0, 1], the label's the percentage that is right. The mean
predictor returns the mean image and the most frequent class of the training rows.

All models have the same small networks, batches, learning rate and balanced weights, and else their own defaults, but
for MMVAE's and MMVAE+'s draws: K = 10 draws from each of six experts through six decoders is out of proportion here.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks import machine
from polymodal.datasets import Dataset, load
from polymodal.io import checkpoint
from polymodal.models import MODELS, Model, build
from polymodal.runtime.registry import lookup
from polymodal.training import balance

WIDTHS, BATCH, RATE, LATENT = (16, 32), 128, 1e-3, 32
ARGUMENTS: dict[str, dict[str, Any]] = {
    "mac-wae": {"draws": 3},
    "m-wae": {"draws": 3},
    "mac-vae": {"draws": 3},
    "mmvae": {"draws": 1, "family": "normal"},
    "mmvae-plus": {"beta": 1.0, "family": "normal"},
}
"""Arguments of a model, in addition to the code's size."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.polydigits",
        description=__doc__.split("\n\n")[0],
        epilog="Example: python -m benchmarks.polydigits --seconds 60 --epochs 4 --out runs/polydigits.json",
    )
    parser.add_argument("--models", default=",".join(sorted(MODELS)), help="names, separated by commas")
    parser.add_argument("--seconds", type=float, default=60.0, help="of training for the first table; 0 leaves it out")
    parser.add_argument("--epochs", type=int, default=4, help="of training for the second table; 0 leaves it out")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/polydigits.json"))
    chosen = parser.parse_args(arguments)
    try:
        names = [name for name in chosen.models.split(",") if lookup(MODELS, name, "model")]
    except ValueError as error:
        print(f"polydigits: {error}", file=sys.stderr)
        return 2
    torch.set_num_threads(chosen.threads)
    data = load("polydigits")
    tables = {"mean predictor": constant(data)}
    document: dict[str, Any] = {"machine": machine.describe(), "versions": machine.versions(), "runs": []}
    for seconds, epochs in ((chosen.seconds, None), (None, chosen.epochs)):
        if seconds or epochs:
            print(f"\nTrained {f'for {seconds:g} s' if seconds else f'for {epochs} epochs'}:\n", flush=True)
            print(line("model", [*data.schema, "epochs", "seconds"]), line("---", ["---"] * 8), sep="\n")
            print(row("mean predictor", tables["mean predictor"], data), flush=True)
        for name in names if seconds or epochs else []:
            scores = train_and_score(name, data, seconds, epochs)
            document["runs"].append({"model": name, "limit": {"seconds": seconds, "epochs": epochs}, **scores})
            print(row(name, scores, data), flush=True)
    checkpoint.write_text(chosen.out, checkpoint.to_json({**document, **tables}))
    return 0


def train_and_score(name: str, data: Dataset, seconds: float | None, epochs: int | None) -> dict[str, float]:
    """Returns a model's scores after the given seconds or epochs of training, and the numbers of both."""
    schema = data.schema.replace(widths=WIDTHS)
    model = build(name, schema, latent_dim=LATENT, **ARGUMENTS.get(name, {})).train()
    balance(model, data.train)
    adam = torch.optim.Adam(model.parameters(), lr=RATE, weight_decay=1e-5, fused=True)
    torch.manual_seed(0)
    began, steps, epoch = time.perf_counter(), 0, 0
    while epochs is None or epoch < epochs:
        epoch += 1
        for batch in data.train.batches(BATCH, seed=0, epoch=epoch):
            adam.zero_grad()
            model.loss(batch).total.backward()
            adam.step()
            steps += 1
            if seconds is not None and time.perf_counter() - began > seconds:
                break
        else:
            continue
        break
    spent = time.perf_counter() - began
    return {**score_translation(model.eval(), data), "epochs": steps * BATCH / len(data.train), "seconds": spent}


def score_translation(model: Model, data: Dataset) -> dict[str, float]:
    """Many-to-one scores on the test split, by modality."""
    errors = dict.fromkeys(data.schema, 0.0)
    for batch in data.test.batches(500):
        truth = data.schema.hide(batch, torch.float32)
        for name in data.schema:
            others = [other for other in data.schema if other != name]
            made = model.translate(batch, others, [name])[name]
            errors[name] += float(error(name, made, truth[name]))
    return scores_of(errors, data)


def constant(data: Dataset) -> dict[str, float]:
    """Returns the scores of the mean image and the most frequent class."""
    train, test = (data.schema.hide(rows, torch.float32) for rows in (data.train, data.test))
    errors = {}
    for name in data.schema:
        best = train[name].bincount().argmax() if name == "label" else train[name].mean(0)
        errors[name] = float(error(name, best.expand_as(test[name]), test[name]))
    return scores_of(errors, data)


def error(name: str, made: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Wrong labels, or squared errors per pixel, summed over the rows."""
    return (made != truth).sum() if name == "label" else (made - truth).square().flatten(1).mean(1).sum()


def scores_of(errors: dict[str, float], data: Dataset) -> dict[str, float]:
    """Converts sums over the rows to the values that are shown."""
    means = {name: value / len(data.test) for name, value in errors.items()}
    return {name: 100 * (1 - mean) if name == "label" else mean**0.5 for name, mean in means.items()}


def row(name: str, scores: dict[str, float], data: Dataset) -> str:
    """Formats a line of a Markdown table."""
    shown = [f"{scores[key]:.1f}" if key == "label" else f"{scores[key]:.3f}" for key in data.schema]
    return line(name, [*shown, *(f"{scores[key]:.1f}" if key in scores else "" for key in ("epochs", "seconds"))])


def line(name: str, cells: list[str]) -> str:
    """Formats a line of a Markdown table."""
    return f"| {name} | {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())

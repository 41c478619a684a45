"""What several processes do together; `torchrun together.py FOLDER` leaves what each came to, by its number."""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

import polymodal as pm
from polymodal.evaluation import TASKS
from polymodal.runtime import distributed
from polymodal.table.table import Table

ROWS, BATCH = 47, 10
MAC = {"draws": 3, "hidden": (16,), "beta": 5.0}
FITS = {
    "plain": {},
    "exhaustive": {"indices": "exhaustive", "regularizer": "imq"},
    "unconditioned": {"name": "m-wae", "batch_size": 47},
    "small": {"batch_size": 4},
    "update": {"accumulate": 2, "clip": 0.5, "ema": 0.8, "schedule": "plateau", "warmup": 2},
    "flow": {"prior": "flow", "prior_epochs": 20},
    "per-sample": {"indices": "per-sample", "weights": "sum", "regularizer": "sliced(16, samples)", "p0": None},
}
"""Fits by name: settings of the model and of `fit`. Those that name no penalty have the MMD, but for m-wae, which has
its default, the sliced Wasserstein distance, and masks of every size. With 4 rows a batch each of 3 processes takes
all of them."""


def table(rows=ROWS, seed=0, dropout=0.0):
    """Incomplete rows of a text with alternatives, a label and numbers; the last batch is uneven."""
    text = pm.Text(4, ("a", "b"), width=8, layers=1, heads=2, feedforward=8, dropout=dropout)
    schema = pm.Schema({"text": text, "kind": pm.Label(3), "size": pm.Vector(2, hidden=(8,))})
    generator = torch.Generator().manual_seed(seed)
    captions = torch.randint(1, 5, (rows, 3, 4), generator=generator)
    values = {"kind": torch.randint(3, (rows,), generator=generator), "size": torch.rand(rows, 2, generator=generator)}
    observed = torch.rand(rows, 3, generator=generator) < 0.7
    observed[torch.arange(rows), torch.arange(rows) % 3] = True
    return Table(values, observed, schema, alternatives={"text": captions})


def fitted(name="mac-wae", *, folder=None, dropout=0.0, scale=1.0, **settings):
    """A model that was fitted so, in float64, and the history; in one process the numbers can be of another scale."""
    train = table(dropout=dropout)
    train.values["size"].mul_(scale)
    own = {"mac-wae": {**MAC, "p0": 0.6, "regularizer": "mmd"}, "m-wae": MAC}.get(name, {})
    build = ("indices", "p0", "regularizer", "relative", "rows", "weights", "prior")
    own = own | {key: settings.pop(key) for key in build if key in settings}
    model = pm.build(name, train.schema, latent_dim=4, **own).double()
    settings = {"epochs": 2, "batch_size": BATCH, "learning_rate": 1e-2, "seed": 3} | settings
    return model, pm.fit(model, train, table(23, seed=9), folder=folder, progress=False, device="cpu", **settings)


def state(model, done):
    """Weights and history."""
    return {
        **{f"weight/{key}": value for key, value in model.state_dict().items()},
        "history": torch.tensor(done.history.drop(columns="seconds").to_numpy()).contiguous(),
        "best": torch.tensor(done.best_epoch),
        "prior": torch.tensor(done.prior_history.drop(columns="seconds", errors="ignore").to_numpy()).contiguous(),
    }


def outcome(name, **more):
    """Weights, history and scores of a fit."""
    model, done = fitted(**FITS[name], **more)
    tasks = [*TASKS, "translation", "coherence", "probe"]
    scores = pm.evaluate(model, table(21, seed=4), tasks=tasks, train=table(), batch_size=4)
    return {**state(model, done), "scores": torch.tensor(scores[["value", "rows"]].to_numpy()).contiguous()}


def noisy(folder):
    """A fit with dropout, and what dropout first did in it to ones."""
    masks, drop = [], torch.nn.functional.dropout

    def noted(x, p=0.5, training=True, inplace=False):
        if training and not masks:
            masks.append(drop(torch.ones(64), p))
        return drop(x, p, training, inplace)

    torch.nn.functional.dropout = noted
    try:
        return {**state(*fitted(dropout=0.3, folder=folder)), "mask": masks[0]}
    finally:
        torch.nn.functional.dropout = drop


def every_model():
    """The weights of each model after an epoch, by its name."""
    held = {}
    for name in pm.MODELS:
        model, done = fitted(name, **({"rows": "complete"} if name == "jmvae" else {}), epochs=1)
        held |= {f"{name}/{key}": value for key, value in state(model, done).items()}
    return held


def refusals(folder):
    """What each process says to what is wrong in one of them alone."""
    alone, said = distributed.rank() == 1, {}
    attempts = {
        "settings": {"learning_rate": 1e-2 if alone else 1e-3},
        "loss": {"scale": float("inf") if alone else 1.0, "weights": "sum", "relative": False},
        "measured": {"scale": float("inf") if alone else 1.0},
        "folder": {"folder": folder / "settled" if alone else Path("/dev/null/run")},
    }
    for name, wrong in attempts.items():
        try:
            fitted(**wrong)
        except (ValueError, OSError, FloatingPointError) as error:
            said[name] = f"{type(error).__name__}: {error}"
    return said


def main(folder):
    cases = {name: lambda name=name: outcome(name, folder=folder / name) for name in FITS}
    cases |= {"noise": lambda: noisy(folder / "noise"), "models": every_model}
    for name, case in cases.items():
        save_file(case(), folder / f"{name}-{distributed.rank()}.safetensors")
    (folder / f"refusals-{distributed.rank()}.json").write_text(json.dumps(refusals(folder)))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))

"""What several processes do together; `torchrun together.py FOLDER` leaves what each came to, by its number."""

import sys
from pathlib import Path

import torch

import polymodal as pm
from polymodal import parallel
from polymodal.table import Table

ROWS, BATCH = 47, 10
FITS = {
    "plain": {},
    "exact": {"indices": "exhaustive"},
    "wae": {"name": "m-wae"},
    "update": {"accumulate": 2, "clip": 0.5, "ema": 0.8, "schedule": "plateau", "warmup": 2},
    "sample": {"indices": "per-sample", "weights": "sum"},
    "bits": {"double": True},
    "noise": {"dropout": 0.3},
    "vae": {"name": "mac-vae"},
}
"""Fits by name: settings of the model and of `fit`."""


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


def fitted(name, folder=None, **more):
    """A model that was fitted so, and the history."""
    settings = {**FITS[name], **more}
    train = table(dropout=settings.pop("dropout", 0.0))
    kind, double = settings.pop("name", "mac-wae"), settings.pop("double", False)
    built = {key: settings.pop(key) for key in ("indices", "weights") if key in settings}
    if kind == "mac-wae":
        built["p0"] = 0.6
    model = pm.build(kind, train.schema, latent_dim=4, draws=3, hidden=(16,), beta=5.0, **built)
    if double:
        model.double()
    settings = {"epochs": 3, "batch_size": BATCH, "learning_rate": 1e-2, "seed": 3} | settings
    done = pm.fit(model, train, table(23, seed=9), folder=folder, progress=False, device="cpu", **settings)
    return model, done


def outcome(name, **more):
    """Weights, history and scores of a fit."""
    model, done = fitted(name, **more)
    scores = pm.evaluate(model, table(21, seed=4), batch_size=4)
    history = torch.tensor(done.history.drop(columns="seconds").to_numpy())
    return {
        **{f"weight/{key}": value for key, value in model.state_dict().items()},
        "history": history,
        "best": torch.tensor(done.best_epoch),
        "scores": torch.tensor(scores[["value", "rows"]].to_numpy()),
    }


def main(folder):
    for name in FITS:
        held = outcome(name, folder=folder / name)
        torch.save(held, folder / f"{name}-{parallel.rank()}.pt")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))

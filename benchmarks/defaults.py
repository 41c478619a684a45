"""Settings of MAC-WAE compared on validation rows: what its defaults were chosen by.

Trains MAC-WAE with small budgets on PolyMNIST, pendigits-mhd, emoji and adult, one run per setting, each with one thread,
and scores it on the validation rows alone. Test rows are never read.

    python -m benchmarks.defaults out.jsonl --data polymnist,emoji --settings '{"beta": 0.1}' '{"regularizer": "imq"}'

Settings whose line is in the file already are not run again; `--table` prints the file as a table.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from polymodal.datasets import Dataset, load
from polymodal.evaluation import Verifiers, evaluate, train_verifiers
from polymodal.settings import network, resolve
from polymodal.studies.presets import PRESETS
from polymodal.training import fit

__all__ = ["main", "score", "table"]

EPOCHS = {"polymnist": 8, "pendigits-mhd": 6, "emoji": 8, "adult": 6}
ROWS = {"polymnist": 8000}
ADULT = "../shared/data/tabular/adult_train.csv"
TASKS = ["reconstruction", "many-to-one", "one-to-one"]


def document(data: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of a run, as `polymodal.settings.resolve` takes them."""
    if data == "adult":
        base = {"dataset": "table", "data.path": ADULT, "data.missing": ["?"]}
        own: dict[str, Any] = {"batch_size": 64, "learning_rate": 1e-3, "latent_dim": 32, "draws": 5}
    else:
        preset = PRESETS[f"{data}-small"]
        base = {"dataset": data, **preset["datasets"][data], **preset["settings"]}
        own = {"draws": 5}
    if data in ROWS:
        base["data.rows"] = ROWS[data]
    return {**base, **own, "fit.epochs": EPOCHS[data], **settings}


def score(data: str, rows: Dataset, settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Trains one run and scores it on the validation rows."""
    document_ = document(data, settings)
    document_.pop("epochs", None)
    made = resolve(document_)
    model = network(made, rows)
    began = time.perf_counter()
    history = fit(model, rows.train, rows.validation, progress=False, **made.fit).history
    seconds = time.perf_counter() - began
    last = history.iloc[-1]
    found: dict[str, Any] = {"seconds": seconds, "norm": last.get("validation/codes/norm"), "prior": last["prior_norm"]}
    if data == "adult":
        held_out = rows.validation[:2000] if len(rows.validation) > 2000 else rows.validation
        scores = evaluate(model, rows.validation, tasks=TASKS)
    else:
        judges = _judges(rows, folder / data)
        scores = evaluate(
            model, rows.validation, tasks=[*TASKS, "coherence", "generation"], train=rows.train, verifiers=judges
        )
    found["scores"] = _means(scores)
    return found


def _judges(rows: Dataset, folder: Path) -> Verifiers:
    if not (folder / "verifiers.json").exists():
        train_verifiers(rows.train).save(folder)
    return Verifiers.load(folder)


def _means(scores: pd.DataFrame) -> dict[str, float]:
    keys = scores["task"] + "/" + scores["metric"]
    by_size = scores["task"].isin(["coherence", "calibration"])
    keys = keys.where(~by_size, keys + "/" + scores["given"].astype(str))
    return scores.groupby(keys)["value"].mean().to_dict()


def rows_of(data: str) -> Dataset:
    """The data set; of adult 4,000 training rows, and at most 1,500 to validate on."""
    made = resolve({name: value for name, value in document(data, {}).items() if name != "epochs"})
    return load(made.dataset, **made.data)


def table(path: Path) -> str:
    """The runs of a file, a line each, in columns of scores."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    frame = pd.DataFrame(
        [
            {
                "data": one["data"],
                "settings": json.dumps(one["settings"]),
                **one["scores"],
                "norm": one["norm"],
                "seconds": one["seconds"],
            }
            for one in lines
        ]
    )
    parts = []
    for data, own in frame.groupby("data", sort=False):
        own = own.dropna(axis=1, how="all").drop(columns="data").set_index("settings")
        parts.append(f"{data}\n{own.round(3).to_string()}")
    return "\n\n".join(parts)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--data", default="polymnist,pendigits-mhd,emoji,adult")
    parser.add_argument("--settings", nargs="*", default=["{}"], help="JSON, one run each")
    parser.add_argument(
        "--judges", type=Path, default=Path("runs/defaults"), help="folder of the classifiers that judge"
    )
    parser.add_argument("--table", action="store_true")
    told = parser.parse_args()
    if told.table:
        print(table(told.file))
        return
    torch.set_num_threads(1)
    done = told.file.read_text(encoding="utf-8").splitlines() if told.file.exists() else []
    known = {(one["data"], json.dumps(one["settings"])) for one in map(json.loads, done)}
    for data in told.data.split(","):
        rows = rows_of(data)
        for text in told.settings:
            settings = json.loads(text)
            if (data, json.dumps(settings)) in known:
                continue
            found = {"data": data, "settings": settings, **score(data, rows, settings, told.judges)}
            with told.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(found) + "\n")
            print(data, text, {name: round(value, 3) for name, value in found["scores"].items()}, flush=True)


if __name__ == "__main__":
    main()

"""Settings of MAC-WAE compared on validation rows: the measurements that its defaults were chosen by.

MAC-WAE is trained with small budgets on PolyMNIST, pendigits-mhd, emoji and adult, one run per setting, each with one
thread, and scored on the validation rows alone. Test rows are never read.

    python -m benchmarks.defaults out.jsonl --data polymnist,emoji --settings '{"beta": 0.1}' '{"p0": 0.4}'

Settings whose line is in the file already are not run again; `--csv` writes the file as a table.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from benchmarks.imputation_tables import load as load_table
from polymodal.datasets import Dataset, load
from polymodal.evaluation import Classifiers, evaluate, train_classifiers
from polymodal.settings import network, resolve
from polymodal.studies.presets import PRESETS
from polymodal.training import fit

__all__ = ["main", "score", "table"]

EPOCHS = {"polymnist": 8, "pendigits-mhd": 6, "emoji": 8, "adult": 30}
ROWS = {"polymnist": 8000}
TASKS = ["reconstruction", "many-to-one", "one-to-one"]


def document(data: str, settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Returns the settings of a run in the form that `polymodal.settings.resolve` expects."""
    if data == "adult":
        base = {"dataset": "table", "data.path": str(folder / "adult.csv")}
        own: dict[str, Any] = {"batch_size": 64, "learning_rate": 1e-3, "latent_dim": 32, "draws": 5}
    else:
        preset = PRESETS[f"{data}-small"]
        base = {"dataset": data, **preset["datasets"][data], **preset["settings"]}
        own = {"draws": 5}
    if data in ROWS:
        base["data.rows"] = ROWS[data]
    base.pop("epochs", None)
    return {**base, **own, "fit.epochs": EPOCHS[data], **settings}


def score(data: str, rows: Dataset, settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Trains one run and scores it on the validation rows."""
    made = resolve(document(data, settings, folder))
    model = network(made, rows)
    began = time.perf_counter()
    history = fit(model, rows.train, rows.validation, progress=False, **made.fit).history
    seconds = time.perf_counter() - began
    last = history.iloc[-1]
    found: dict[str, Any] = {"seconds": seconds, "norm": last.get("validation/codes/norm"), "prior": last["prior_norm"]}
    if data == "adult":
        scores = evaluate(model, rows.validation, tasks=TASKS)
    else:
        classifiers = _load_classifiers(rows, folder / data)
        scores = evaluate(
            model, rows.validation, tasks=[*TASKS, "coherence", "generation"], train=rows.train, classifiers=classifiers
        )
    found["scores"] = _means(scores)
    return found


def _load_classifiers(rows: Dataset, folder: Path) -> Classifiers:
    if not (folder / "verifiers.json").exists():
        train_classifiers(rows.train).save(folder)
    return Classifiers.load(folder)


def _means(scores: pd.DataFrame) -> dict[str, float]:
    keys = scores["task"] + "/" + scores["metric"]
    by_size = scores["task"].isin(["coherence", "calibration"])
    keys = keys.where(~by_size, keys + "/" + scores["given"].astype(str))
    return scores.groupby(keys)["value"].mean().to_dict()


def rows_of(data: str, folder: Path) -> Dataset:
    """Returns the data set; for adult, 3,000 random rows, a tenth of which are for validation."""
    if data == "adult":
        folder.mkdir(parents=True, exist_ok=True)
        load_table("adult")[0].to_csv(folder / "adult.csv", index=False)
    made = resolve(document(data, {}, folder))
    return load(made.dataset, **made.data)


def table(path: Path) -> pd.DataFrame:
    """Returns the runs of a file, one per row: data, settings, seconds, the norm of the codes, and the scores."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    rows = [{**one, "settings": json.dumps(one["settings"]), **one["scores"]} for one in lines]
    return pd.DataFrame(rows).drop(columns="scores")


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--data", default="polymnist,pendigits-mhd,emoji,adult")
    parser.add_argument("--settings", nargs="*", default=["{}"], help="JSON, one run each")
    parser.add_argument("--folder", type=Path, default=Path("runs/defaults"), help="of the classifiers of samples")
    parser.add_argument("--csv", type=Path, help="write the runs of the file as this table, and stop")
    arguments = parser.parse_args()
    if arguments.csv:
        table(arguments.file).to_csv(arguments.csv, index=False, float_format="%.6g")
        return
    torch.set_num_threads(1)
    done = arguments.file.read_text(encoding="utf-8").splitlines() if arguments.file.exists() else []
    known = {(one["data"], json.dumps(one["settings"])) for one in map(json.loads, done)}
    for data in arguments.data.split(","):
        rows = rows_of(data, arguments.folder)
        for text in arguments.settings:
            settings = json.loads(text)
            if (data, json.dumps(settings)) in known:
                continue
            found = {"data": data, "settings": settings, **score(data, rows, settings, arguments.folder)}
            with arguments.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(found) + "\n")
            print(data, text, {name: round(value, 3) for name, value in found["scores"].items()}, flush=True)


if __name__ == "__main__":
    main()

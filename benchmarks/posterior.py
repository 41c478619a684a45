"""Scores of the posterior samples of MAC-WAE in the small studies: `docs/results/sampling.csv`.

A study's folder keeps scores and no weights, so this is to be run where the study was trained. It takes the runs of
MAC-WAE at the value of beta that was chosen, and scores the task "sampling" on their test rows with the study's own
classifiers, at the temperatures 1 and 0.8.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd
import torch

from polymodal import models
from polymodal.evaluation.coherence.labels import find_label, get_classes
from polymodal.evaluation.sampling import score_samples
from polymodal.io import checkpoint
from polymodal.studies import plan, study_run

__all__ = ["main", "score_study"]

TEMPERATURES = (1.0, 0.8)
STUDIES = ("polymnist-small", "pendigits-mhd-small", "emoji-small")


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.posterior",
        description=__doc__.split("\n\n")[0],
        epilog="Example: python -m benchmarks.posterior docs/results",
    )
    parser.add_argument("folder", type=Path, help="folder of the studies and their runs, with the runs' models")
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    try:
        scores = pd.concat([score_study(name, chosen.folder) for name in STUDIES])
    except FileNotFoundError as error:
        print(f"posterior: {error}; train the studies there first: polymodal compare NAME", file=sys.stderr)
        return 2
    checkpoint.write_text(chosen.folder / "sampling.csv", scores.to_csv(index=False))
    means = (
        scores[scores["given"] == "1 modality"]
        .groupby(["dataset", "temperature", "metric"], sort=False)["value"]
        .mean()
    )
    print(means.unstack().round(3).to_string())
    return 0


def score_study(name: str, folder: Path) -> pd.DataFrame:
    """Scores a study's runs of MAC-WAE.

    Arguments:
        name: Name of the study.
        folder: Folder of the studies and their runs.

    Returns:
        Lines as `evaluate` returns them, with the columns `dataset`, `seed` and `temperature` before.

    Raises:
        FileNotFoundError: The study was not run there, or its models are not kept there.
    """
    runs = pd.read_csv(folder / name / "runs.csv").query("model == 'mac-wae'")
    reported = {*zip(runs["setting"], runs["seed"], strict=True)}
    made = []
    for cell in plan(name).cells():
        if cell.model == "mac-wae" and (cell.setting, cell.seed) in reported:
            data, model = study_run.load_rows(cell.settings), models.load(folder / "runs" / cell.name / "model")
            classifiers = study_run.load_classifiers(folder / "runs", cell.settings, data)
            classes = get_classes(data.test, find_label(data.test, classifiers.label))
            for temperature in TEMPERATURES:
                lines = score_samples(model, data.test, classifiers, classes, temperature=temperature)
                run = {"dataset": cell.settings.dataset, "seed": cell.seed, "temperature": temperature}
                made.append(pd.DataFrame([run | line for line in lines]))
    return pd.concat(made)


if __name__ == "__main__":
    sys.exit(main())

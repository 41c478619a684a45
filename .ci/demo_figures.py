"""Holds the demo to what the README says of it: python .ci/demo_figures.py runs/demo."""

import sys
from pathlib import Path

import pandas as pd
import torch

import polymodal as pm

LEAST = {"many-to-one": 99.0, "one-to-one": 91.0}
AGREEMENT = 88.0

torch.set_num_threads(2)
run = Path(sys.argv[1])
assert (run / "report.html").stat().st_size > 100_000, "the report has no pictures"
scores = pd.read_csv(run / "scores.csv", keep_default_na=False)
label = scores[(scores["modality"] == "label") & (scores["metric"] == "acc")].groupby("task")["value"].mean()
for task, least in LEAST.items():
    assert label[task] >= least, f"the label is right in {label[task]:.1f} % in {task}, and must be in {least} %"
    print(f"label, {task}: {label[task]:.1f} % (at least {least} %)")

data = pm.datasets.load("polydigits")
scores = pm.evaluate(pm.load(run / "model"), data.test, tasks=["coherence", "generation"], train=data.train)
scores = scores[(scores["modality"] == "all") | (scores["metric"] == "frechet")]
scores = scores.groupby(["given", "metric"])["value"].mean()
for given in ("nothing", "nothing, normal prior"):
    agreement, distance = scores[given, "coherence"], scores[given, "frechet"]
    print(f"given {given}: all six agree in {agreement:.1f} %, Fréchet distance {distance:.0f}")
agreement = scores["nothing", "coherence"]
assert agreement >= AGREEMENT, f"all six agree in {agreement:.1f} % of the samples, and must in {AGREEMENT} %"

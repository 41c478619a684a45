"""Holds the demo to what the README says of it: python .ci/demo_figures.py runs/demo."""

import sys
from pathlib import Path

import pandas as pd

LEAST = {"many-to-one": 99.0, "one-to-one": 91.0}

run = Path(sys.argv[1])
assert (run / "report.html").stat().st_size > 100_000, "the report has no pictures"
scores = pd.read_csv(run / "scores.csv", keep_default_na=False)
label = scores[(scores["modality"] == "label") & (scores["metric"] == "acc")].groupby("task")["value"].mean()
for task, least in LEAST.items():
    assert label[task] >= least, f"the label is right in {label[task]:.1f} % in {task}, and must be in {least} %"
    print(f"label, {task}: {label[task]:.1f} % (at least {least} %)")

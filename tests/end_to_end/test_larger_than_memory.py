"""Training reads a table that is ten times larger than the memory that the process may call its own."""

import json
import shutil
import subprocess
import sys

import pytest

from polymodal.datasets import shards
from polymodal.modalities import Label, Vector
from polymodal.schema import Schema

LIMIT = 440 * 2**20
"""Bytes of anonymous resident memory. What PyTorch, pandas and Accelerate take is among them, over 300 MiB."""
NUMBERS = 16_384
SCHEMA = Schema({"x": Vector(NUMBERS, hidden=(8,)), "label": Label(10)})
PROGRAM = """
import json, sys, threading, time
import polymodal as pm
from polymodal.datasets import shards
from torch import set_num_threads

def own():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon"))

def watch():
    while True:
        peak[0] = max(peak[0], own())
        time.sleep(0.01)

set_num_threads(1)
peak = [0]
threading.Thread(target=watch, daemon=True).start()
table = shards.load(sys.argv[1])
held = sum(value.numel() * value.element_size() for value in table.values.values())
model = pm.build("mac-wae", table.schema, latent_dim=4, draws=1, weights="sum")
few = pm.Table({name: value[:64] for name, value in table.values.items()}, schema=table.schema)
fit = pm.fit(model, table, few, epochs=1, batch_size=64, folder=sys.argv[2], device="cpu", progress=False)
print(json.dumps({"held": held, "peak": peak[0], "rows": len(table), "loss": fit.history["train/total"][0]}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
def test_memory_of_ones_own_stays_small(tmp_path):
    rows = -(-10 * LIMIT // (4 * NUMBERS))
    if shutil.disk_usage(tmp_path).free < 2 * 10 * LIMIT:
        pytest.skip(f"needs {2 * 10 * LIMIT / 2**30:.0f} GiB of disk")
    path = tmp_path / "large.safetensors"
    with shards.fill(path, SCHEMA, rows, digest="large") as filling:  # the vectors stay the zeros that they are
        filling.observed[:] = True
        filling.values["label"][:, ...] = filling.values["label"].new_tensor(range(rows)) % 10
    try:
        command = [sys.executable, "-c", PROGRAM, str(path), str(tmp_path / "run")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    finally:
        path.unlink()
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    print(told)
    assert told["rows"] == rows
    assert told["held"] >= 10 * LIMIT
    assert told["peak"] < LIMIT

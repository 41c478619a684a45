"""Seconds of imputing a CSV file, next to the same rows as Parquet, by the number of rows.

Both grow with the number of rows: a CSV file costs its reading and writing once, however many batches there are.
"""

from __future__ import annotations

import json
import tempfile
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from polymodal import Table, build
from polymodal.cli import impute_file

__all__ = ["Times", "main", "measure"]

BATCH = 512


class Times(NamedTuple):
    """Processor seconds of imputing so many rows."""

    rows: int
    csv: float
    parquet: float

    @property
    def ratio(self) -> float:
        """Seconds of CSV per second of Parquet."""
        return self.csv / self.parquet


def make_rows(rows: int, seed: int = 0) -> pd.DataFrame:
    """Six numbers and four classes that follow from each other, a tenth of the cells missing."""
    generator = np.random.default_rng(seed)
    kind = generator.integers(0, 4, rows)
    columns = {f"x{place}": (place * kind + generator.normal(size=rows)).round(3) for place in range(6)}
    names = np.array(["oak", "elm", "ash", "yew"])
    columns |= {f"c{place}": names[(kind + (generator.random(rows) < 0.3)) % 4] for place in range(4)}
    frame = pd.DataFrame(columns)
    return frame.mask(generator.random(frame.shape) < 0.1)


def measure(rows: int, folder: Path, rounds: int = 3) -> Times:
    """Returns the shortest times of several rounds in which an untrained model imputes both files in turn."""
    frame = make_rows(rows)
    schema = Table.from_frame(frame[:1000], say=None).schema
    build("mac-wae", schema, latent_dim=32).save(folder / "model")
    (folder / "experiment.json").write_text(json.dumps({"data": {}}), encoding="utf-8")
    frame.to_csv(folder / "rows.csv", index=False)
    frame.to_parquet(folder / "rows.parquet", index=False)
    seconds: dict[str, list[float]] = {"csv": [], "parquet": []}
    for turn in range(rounds):
        for kind, taken in seconds.items():
            began = time.process_time()
            out = folder / f"out{turn}.{kind}"
            impute_file.impute_table_file(folder, folder / f"rows.{kind}", out, batch_size=BATCH, device="cpu")
            taken.append(time.process_time() - began)
    return Times(rows, min(seconds["csv"]), min(seconds["parquet"]))


def main(arguments: list[str] | None = None) -> None:
    """Prints a line for each number of rows."""
    parser = ArgumentParser(prog="python -m benchmarks.csv_files", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[6000, 12_000, 24_000])
    for rows in parser.parse_args(arguments).rows:
        with tempfile.TemporaryDirectory() as folder:
            made = measure(rows, Path(folder))
        print(f"{made.rows:>9,} rows: CSV {made.csv:.2f} s, Parquet {made.parquet:.2f} s, ratio {made.ratio:.2f}")


if __name__ == "__main__":
    main()

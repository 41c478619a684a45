"""Data frame of scores: its columns and the order of its rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from polymodal.schema import Schema

__all__ = ["line", "make_score_frame"]

COLUMNS = ["task", "modality", "given", "metric", "better", "value", "rows", "note"]
ORDER = [
    "reconstruction",
    "many-to-one",
    "one-to-one",
    "translation",
    "coherence",
    "calibration",
    "sampling",
    "generation",
    "likelihood",
    "probe",
]
"""Order of the tasks in the data frame."""


def line(
    task: str,
    modality: str,
    given: str,
    metric: str,
    better: str,
    value: float,
    rows: int | Tensor,
    note: str = "",
) -> dict[str, Any]:
    """Returns one score as a row of the data frame, a value by column."""
    numbers = (task, modality, given, metric, better, value, int(rows), note)
    return dict(zip(COLUMNS, numbers, strict=True))


def make_score_frame(lines: list[dict[str, Any]], schema: Schema) -> pd.DataFrame:
    """Builds the data frame of scores, sorted by task.

    Scores with the same task, modality, given and metric are averaged into one row; its `rows` is their maximum.
    The modalities of a group count as one modality with the group's name, except in the scores of probes.
    """
    import pandas as pd

    frame = pd.DataFrame(lines, columns=COLUMNS)
    group = {name: group for group, names in schema.groups.items() for name in names}
    keys = COLUMNS[:5]
    if group:
        counts = frame["task"] != "probe"
        for column in ("modality", "given"):
            frame[column] = frame[column].where(~counts, frame[column].replace(group))
    if frame.duplicated(keys).any():
        columns = {"value": "mean", "rows": "max", "note": "first"}
        frame = frame.groupby(keys, sort=False, as_index=False).agg(columns)[COLUMNS]
    return frame.sort_values("task", key=lambda tasks: tasks.map(ORDER.index), kind="stable", ignore_index=True)

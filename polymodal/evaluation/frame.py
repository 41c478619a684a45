"""The data frame of scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from polymodal.schema import Schema

__all__ = ["framed", "line"]

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
"""Tasks as they follow each other."""


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
    """A score as a line of the frame."""
    numbers = (task, modality, given, metric, better, value, int(rows), note)
    return dict(zip(COLUMNS, numbers, strict=True))


def framed(lines: list[dict[str, Any]], schema: Schema) -> pd.DataFrame:
    """The lines, task by task: those of one target and the same words for what is given are one, with their mean.

    The modalities of a group are one modality of the group's name, but where a probe says one of them. A line's `rows`
    are the most of any of its scores.
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

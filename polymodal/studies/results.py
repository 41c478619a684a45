"""Results of the runs of a study as data frames, and the choice among varied settings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from polymodal.studies import study_run

if TYPE_CHECKING:
    import pandas as pd

    from polymodal.studies.finished_runs import FinishedRuns
    from polymodal.studies.grid import Cell, Study

__all__ = ["build_tuning_table", "choose", "collect", "collect_code_maps"]

FACTS = ("seconds", "memory", "epochs", "best_epoch", "validation_loss", "weights", "hardware")
GIVEN = ["dataset", "model", "setting", "seed"]


class Collected(NamedTuple):
    """Results of the finished runs."""

    scores: pd.DataFrame
    """Columns of `evaluate`, `dataset`, `model`, `setting`, `seed`, and `name` and `number` of the varied setting."""
    runs: pd.DataFrame
    """A row per run: `dataset`, `model`, `setting`, `seed`, `folder`, and facts on its training, such as `seconds`."""


def collect(cells: Iterable[Cell], finished: FinishedRuns, tasks: Sequence[str]) -> Collected:
    """Reads the results of those runs that are finished.

    Arguments:
        cells: The runs.
        finished: The finished runs of the study.
        tasks: Tasks that a finished run must have been scored on.
    """
    import pandas as pd

    scores, runs = [pd.DataFrame(columns=[*GIVEN, "task", "name", "number"])], []
    for cell in cells:
        run = finished.find(cell.name, tasks)
        if run is None:
            continue
        who = {"dataset": cell.dataset, "model": cell.model, "setting": cell.setting, "seed": cell.seed}
        if tasks:
            scores.append(run.select_scores(tasks).assign(**who, **_find_varied_setting(cell)))
        facts = {name: run.training.get(name) for name in (*FACTS, "validation")}
        runs.append({**who, "folder": cell.name, "rows": run.record["data"]["rows"], **facts})
    every = pd.concat(scores, ignore_index=True) if len(scores) > 1 else scores[0]
    return Collected(every, pd.DataFrame(runs, columns=[*GIVEN, "folder", "rows", *FACTS, "validation"]))


def _find_varied_setting(cell: Cell) -> dict[str, Any]:
    """Returns name and number of the varied setting for curves; "" and NaN unless one numeric setting is varied."""
    values = [*cell.varied.items()]
    numeric = len(values) == 1 and isinstance(values[0][1], int | float) and not isinstance(values[0][1], bool)
    name, number = values[0] if numeric else ("", float("nan"))
    return {"name": name.rpartition(".")[2], "number": float(number)}


def choose(runs: pd.DataFrame, by: str) -> pd.DataFrame:
    """Chooses the setting to report for each model on each data set.

    Arguments:
        runs: Finished runs, see `Collected`.
        by: "loss": the lowest mean validation loss over the seeds. "translation": the best mean rank among the
            settings in many-to-one translation of the validation rows, where each modality gives one rank.

    Returns:
        A row per model and data set: `dataset`, `model`, `setting`, `by`. `by` is empty if there is one setting only.

    Example:
        >>> import pandas as pd
        >>> runs = pd.DataFrame({"dataset": "d", "model": "m", "setting": ["beta=1", "beta=2"], "seed": 0})
        >>> choose(runs.assign(validation_loss=[3.0, 2.0]), "loss")["setting"].tolist()
        ['beta=2']
    """
    import pandas as pd

    rows = []
    for (dataset, model), own in runs.groupby(["dataset", "model"], sort=False):
        score = _compute_criterion(own, by)
        several = own["setting"].nunique() > 1
        why = {"loss": "validation loss", "translation": "many-to-one translation of validation rows"}[by]
        best = own["setting"].iloc[0] if score.isna().all() else score.idxmin()
        rows.append({"dataset": dataset, "model": model, "setting": best, "by": why if several else ""})
    return pd.DataFrame(rows, columns=["dataset", "model", "setting", "by"])


def build_tuning_table(runs: pd.DataFrame, by: str) -> pd.DataFrame:
    """Returns every varied setting of each model on each data set with the value of the selection criterion.

    Arguments:
        runs: Finished runs, see `Collected`.
        by: Selection criterion, see `choose`.

    Returns:
        A row per setting: `dataset`, `model`, `setting`, `judged` (the criterion, lower is better) and `chosen`, "yes"
        or empty.
    """
    import pandas as pd

    rows = []
    for (dataset, model), own in runs.groupby(["dataset", "model"], sort=False):
        criterion = _compute_criterion(own, by)
        if len(criterion) < 2:
            continue
        for setting, value in criterion.items():
            chosen = "yes" if setting == criterion.idxmin() else ""
            rows.append({"dataset": dataset, "model": model, "setting": setting, "judged": value, "chosen": chosen})
    return pd.DataFrame(rows, columns=["dataset", "model", "setting", "judged", "chosen"])


def collect_code_maps(study: Study, runs: pd.DataFrame, finished: FinishedRuns) -> pd.DataFrame | None:
    """Returns the codes of test rows in two dimensions for the models in `study.maps`, with the first seed.

    A map is computed once from the model of the run and stored in the run folder as `map.csv`. If the run folder does
    not exist, the map is read from the `maps.csv` that the study has written before.

    Arguments:
        study: The study.
        runs: Reported runs, see `Collected`.
        finished: The finished runs of the study.

    Returns:
        A row per code: `given`, `label`, `x`, `y`, `method`, `dataset`, `model`; None if there are no maps.
    """
    import pandas as pd

    made, earlier, mapped = [], finished.path.with_name("maps.csv"), finished.list_mapped_runs()
    maps = _read_code_map(earlier) if mapped and earlier.exists() else None
    cells = {cell.name: cell for cell in study.cells() if cell.model in study.maps and cell.seed == study.numbers[0]}
    for name in runs["folder"]:
        if name not in cells:
            continue
        cell, frame = cells[name], None
        if (path := study_run.write_code_map(cell, finished.folder / name)) is not None:
            frame = _read_code_map(path)
        elif maps is not None and name in mapped:
            frame = maps[(maps["dataset"] == cell.dataset) & (maps["model"] == cell.model)]
        if frame is not None and len(frame):
            made.append(frame.assign(dataset=cell.dataset, model=cell.model))
    order = {model: place for place, model in enumerate(study.maps)}
    made.sort(key=lambda frame: order[frame["model"].iloc[0]])
    return pd.concat(made, ignore_index=True) if made else None


def _read_code_map(path: Path) -> pd.DataFrame:
    import pandas as pd

    return pd.read_csv(path, dtype={"given": str, "label": str}, keep_default_na=False)


def _compute_criterion(runs: pd.DataFrame, by: str) -> pd.Series[Any]:
    """Returns the selection criterion per setting of one model on one data set; lower is better."""
    return _average_losses(runs) if by == "loss" else _average_ranks(runs)


def _average_losses(runs: pd.DataFrame) -> pd.Series[Any]:
    return runs.groupby("setting", sort=False)["validation_loss"].mean()


def _average_ranks(runs: pd.DataFrame) -> pd.Series[Any]:
    """Returns the mean rank of each setting; rank 1 is the best."""
    import pandas as pd

    values = pd.DataFrame(
        [
            {
                "setting": row["setting"],
                "name": name,
                "value": -one["value"] if one["better"] == "higher" else one["value"],
            }
            for row in runs.to_dict("records")
            for name, one in (row["validation"] or {}).items()
        ],
        columns=["setting", "name", "value"],
    )
    table = values.pivot_table("value", "setting", "name", "mean", sort=False)
    return table.rank(axis=0).mean(axis=1)

"""What the runs of a study have brought, in data frames."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from polymodal.studies import study_run

if TYPE_CHECKING:
    import pandas as pd

    from polymodal.studies.grid import Cell, Study

__all__ = ["Collected", "choose", "collect", "mapped", "tuning_table"]

FACTS = ("seconds", "memory", "epochs", "best_epoch", "validation_loss", "weights", "hardware")
GIVEN = ["dataset", "model", "setting", "seed"]


class Collected(NamedTuple):
    """The finished runs."""

    scores: pd.DataFrame
    """Those of `evaluate`, and `dataset`, `model`, `setting`, `seed`, and what is varied: `name` and `number`."""
    runs: pd.DataFrame
    """A row per run: `dataset`, `model`, `setting`, `seed`, its `folder`, and what training took, on what."""


def collect(cells: Iterable[Cell], root: Path, tasks: Sequence[str]) -> Collected:
    """Reads the finished ones of some runs.

    Arguments:
        cells: The runs.
        root: The folder of their folders.
        tasks: What they must have been scored on.
    """
    import pandas as pd

    scores, runs = [pd.DataFrame(columns=[*GIVEN, "task", "name", "number"])], []
    for cell in cells:
        folder = root / cell.name
        if not study_run.finished(folder, tasks):
            continue
        who = {"dataset": cell.dataset, "model": cell.model, "setting": cell.setting, "seed": cell.seed}
        if tasks:
            scores.append(study_run.scores(folder, tasks).assign(**who, **_varied(cell)))
        record = study_run.record(folder)
        facts = {name: record["run"].get(name) for name in (*FACTS, "validation")}
        runs.append({**who, "folder": cell.name, "rows": record["data"]["rows"], **facts})
    every = pd.concat(scores, ignore_index=True) if len(scores) > 1 else scores[0]
    return Collected(every, pd.DataFrame(runs, columns=[*GIVEN, "folder", "rows", *FACTS, "validation"]))


def _varied(cell: Cell) -> dict[str, Any]:
    """What a curve over a varied setting is drawn by: its name and its number, where it is one number."""
    values = [*cell.varied.items()]
    numeric = len(values) == 1 and isinstance(values[0][1], int | float) and not isinstance(values[0][1], bool)
    name, number = values[0] if numeric else ("", float("nan"))
    return {"name": name.rpartition(".")[2], "number": float(number)}


def choose(runs: pd.DataFrame, by: str) -> pd.DataFrame:
    """Which setting of each model on each data set is reported.

    Arguments:
        runs: See `Collected`.
        by: "loss": the lowest mean validation loss over the seeds. "translation": the best mean rank, among the
            settings, of the many-to-one translation of validation rows, modality by modality.

    Returns:
        A row for each: `dataset`, `model`, `setting`, `by`.

    Example:
        >>> import pandas as pd
        >>> runs = pd.DataFrame({"dataset": "d", "model": "m", "setting": ["beta=1", "beta=2"], "seed": 0})
        >>> choose(runs.assign(validation_loss=[3.0, 2.0]), "loss")["setting"].tolist()
        ['beta=2']
    """
    import pandas as pd

    rows = []
    for (dataset, model), own in runs.groupby(["dataset", "model"], sort=False):
        score = _criterion(own, by)
        several = own["setting"].nunique() > 1
        why = {"loss": "validation loss", "translation": "many-to-one translation of validation rows"}[by]
        best = own["setting"].iloc[0] if score.isna().all() else score.idxmin()
        rows.append({"dataset": dataset, "model": model, "setting": best, "by": why if several else ""})
    return pd.DataFrame(rows, columns=["dataset", "model", "setting", "by"])


def tuning_table(runs: pd.DataFrame, by: str) -> pd.DataFrame:
    """Every varied setting of each model on each data set, and the value by which one is chosen.

    Arguments:
        runs: See `Collected`.
        by: See `choose`.

    Returns:
        A row each, lower is better: `dataset`, `model`, `setting`, `judged`, and `chosen`, "yes" or nothing.
    """
    import pandas as pd

    rows = []
    for (dataset, model), own in runs.groupby(["dataset", "model"], sort=False):
        criterion = _criterion(own, by)
        if len(criterion) < 2:
            continue
        for setting, value in criterion.items():
            chosen = "yes" if setting == criterion.idxmin() else ""
            rows.append({"dataset": dataset, "model": model, "setting": setting, "judged": value, "chosen": chosen})
    return pd.DataFrame(rows, columns=["dataset", "model", "setting", "judged", "chosen"])


def mapped(study: Study, runs: pd.DataFrame, root: Path) -> pd.DataFrame | None:
    """The codes of test rows in two dimensions, of the models that a study maps, at its first seed.

    They are worked out once, from a run's model, and kept in its folder as `map.csv`.

    Arguments:
        study: The study.
        runs: Those that are reported, see `Collected`.
        root: The folder of their folders.

    Returns:
        A row per code: `dataset`, `model`, `given`, `label`, `x`, `y`; None where there is none.
    """
    import pandas as pd

    made = []
    cells = {cell.name: cell for cell in study.cells() if cell.model in study.maps and cell.seed == study.numbers[0]}
    for name in runs["folder"]:
        if name in cells and (path := study_run.code_map(cells[name], root / name)) is not None:
            frame = pd.read_csv(path, dtype={"given": str, "label": str}, keep_default_na=False)
            made.append(frame.assign(dataset=cells[name].dataset, model=cells[name].model))
    order = {model: place for place, model in enumerate(study.maps)}
    made.sort(key=lambda frame: order[frame["model"].iloc[0]])
    return pd.concat(made, ignore_index=True) if made else None


def _criterion(runs: pd.DataFrame, by: str) -> pd.Series[Any]:
    """What the settings of one model on one data set are judged by, lower is better; by setting."""
    return _losses(runs) if by == "loss" else _ranks(runs)


def _losses(runs: pd.DataFrame) -> pd.Series[Any]:
    return runs.groupby("setting", sort=False)["validation_loss"].mean()


def _ranks(runs: pd.DataFrame) -> pd.Series[Any]:
    """The mean rank of each setting, 1 the best."""
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

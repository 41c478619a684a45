"""Tables of scores of several models: read, checked, and one value for each thing that is compared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import fsum, isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from polymodal.evaluation.evaluate import TASKS
from polymodal.evaluation.frame import ORDER
from polymodal.evaluation.metrics import COMPANIONS
from polymodal.runtime.formatting import brief
from polymodal.runtime.registry import unknown

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "COLUMNS",
    "OUTCOME",
    "companions",
    "compared",
    "further",
    "outcomes",
    "place",
    "read",
    "seeded",
    "summary",
    "without",
]

COLUMNS = ("task", "dataset", "modality", "metric", "better", "model", "value")
"""What every table of scores has."""
OUTCOME = ["task", "dataset", "modality"]
"""What models are compared on, once for each."""
BETTER = ("higher", "lower")


def read(path: str | Path) -> pd.DataFrame:
    r"""A table of scores from a CSV file.

    Arguments:
        path: The file. It has the columns task, dataset, modality, metric, better ("higher" or "lower"), model and
            value, and may have others; where there is no value, its cell is empty.

    Returns:
        The scores, a row each, with names as they stand in the file, values as floats, `seed` as whole numbers.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It has no rows, lacks a column, says twice what one score is, or a cell is none of what its
            column holds.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "scores.csv"
        ...     _ = path.write_text(",".join(COLUMNS) + "\nmany-to-one,MHD,label,ACC,higher,Nexus,97.5\n")
        ...     read(path)[["model", "value"]].to_dict("records")
        [{'model': 'Nexus', 'value': 97.5}]
    """
    import pandas as pd

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} must be a CSV file of scores, and is no file")
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", index_col=False).fillna("")
    except pd.errors.EmptyDataError:
        frame = pd.DataFrame()
    except ValueError as error:
        raise ValueError(f"{path} must be a CSV file of scores; {brief(error)}") from None
    _check_columns(frame, str(path))
    if frame.empty:
        raise ValueError(f"{path} must have at least one score; it has none")
    frame["value"] = _numbers(frame, "value", str(path))
    if "seed" in frame:
        frame["seed"] = _seeds(frame, str(path))
    _check(frame, str(path))
    return frame


def without(scores: pd.DataFrame, models: Iterable[str]) -> pd.DataFrame:
    """The scores of all but some models, whose names may be written in capitals or not.

    Raises:
        ValueError: A name is unknown.
    """
    known = {str(model).lower(): str(model) for model in scores["model"].unique()}
    for model in models:
        if model.lower() not in known:
            raise unknown(model, known.values(), "model")
    left_out = {known[model.lower()] for model in models}
    return scores[~scores["model"].isin(left_out)].reset_index(drop=True)


def place(task: str) -> int:
    """Where a task stands among others: as in `evaluate`, those unknown last.

    Example:
        >>> place("many_to_one"), place("probe") < place("walking")
        (1, True)
    """
    task = task.lower().replace("_", "-")
    return ORDER.index(task) if task in ORDER else len(ORDER)


def further(scores: pd.DataFrame) -> pd.Series[bool]:
    """Which rows are of tasks that `evaluate` knows beyond the paper's three: these are shown, and never ranked."""
    return scores["task"].map(lambda task: len(TASKS) <= place(str(task)) < len(ORDER)).astype(bool)


def companions(scores: pd.DataFrame) -> pd.Series[bool]:
    """Which rows have a metric that stands beside another and never counts: where that other is there too."""
    import pandas as pd

    of = {name: metric for metric, names in COMPANIONS.items() for name in names}
    metrics = scores["metric"].str.lower()
    there = set(zip(scores["dataset"], scores["modality"], metrics, strict=True))
    keys = zip(scores["dataset"], scores["modality"], metrics.map(of), strict=True)
    return pd.Series([key in there for key in keys], scores.index, bool)


def outcomes(scores: pd.DataFrame) -> pd.DataFrame:
    """One value per task, data set, modality and model: the mean over what was given, then over seeds.

    Arguments:
        scores: With the columns of COLUMNS; `seed`, `given` and `setting` may be there.

    Returns:
        Columns `task`, `dataset`, `modality`, `metric`, `better`, `model`, `value`. What has no value has no row.

    Raises:
        ValueError: The scores cannot be compared: several metrics of a modality, several settings of a model,
            a score that is there twice, a column that is missing.

    Example:
        >>> import pandas as pd
        >>> scores = pd.DataFrame({"task": "many-to-one", "dataset": "MHD", "modality": "label", "metric": "acc",
        ...     "better": "higher", "model": ["nexus", "nexus", "mopoe"], "seed": [0, 1, 0], "value": [97, 98, 95]})
        >>> outcomes(scores)[["model", "value"]].values.tolist()
        [['nexus', 97.5], ['mopoe', 95.0]]
    """
    values = seeded(scores)
    by = [*OUTCOME, "metric", "better", "model"]
    return values.groupby(by, sort=False)["value"].agg(_mean).reset_index()


def compared(scores: pd.DataFrame) -> pd.DataFrame:
    """The outcomes in which at least two models have a value, as `outcomes` gives them: one alone is not compared."""
    values = outcomes(scores)
    return values[values.groupby(OUTCOME, sort=False)["model"].transform("size") > 1].reset_index(drop=True)


def seeded(scores: pd.DataFrame) -> pd.DataFrame:
    """As `outcomes`, a row for each seed: column `seed`, 0 where the scores have none.

    Raises:
        ValueError: As in `outcomes`.
    """
    _check_columns(scores, "the scores")
    _check(scores, "the scores")
    rows = scores[~companions(scores)]
    _check_alike(rows)
    return _per_seed(rows, [*OUTCOME, "metric", "better", "model"])


def summary(scores: pd.DataFrame, by: Sequence[str] = ()) -> pd.DataFrame:
    """Every score of each model over its seeds, of every metric.

    Arguments:
        scores: With the columns of COLUMNS.
        by: Further columns that tell scores apart, such as `given`; else their mean is taken, seed by seed.

    Returns:
        Columns `task`, `dataset`, `modality`, those of `by`, `metric`, `better`, `model`, `mean`,
        `standard_deviation` (over seeds, with n - 1; NaN for one) and `seeds`.

    Example:
        >>> import pandas as pd
        >>> scores = pd.DataFrame({"task": "many-to-one", "dataset": "MHD", "modality": "label", "metric": "acc",
        ...     "better": "higher", "model": "nexus", "seed": [0, 1], "value": [97, 98]})
        >>> summary(scores)[["model", "mean", "seeds"]].values.tolist()
        [['nexus', 97.5, 2]]
    """
    key = [*OUTCOME, *by, "metric", "better", "model"]
    values = _per_seed(scores, key).groupby(key, sort=False, dropna=False)["value"]
    return values.agg(mean=_mean, standard_deviation="std", seeds="size").reset_index()


def _per_seed(rows: pd.DataFrame, key: list[str]) -> pd.DataFrame:
    rows = rows.assign(seed=rows.get("seed", 0), value=rows["value"].astype(float)).dropna(subset="value")
    return rows.groupby([*key, "seed"], sort=False, dropna=False)["value"].agg(_mean).reset_index()


def _mean(values: Iterable[float]) -> float:
    """Rounded once, so that the order of the values changes nothing, and equal values tie."""
    values = list(values)
    return (fsum(values) if all(map(isfinite, values)) else sum(values)) / len(values)


def _numbers(frame: pd.DataFrame, column: str, where: str) -> pd.Series[float]:
    import pandas as pd

    text = frame[column].str.strip()
    numbers = pd.to_numeric(text, errors="coerce").astype(float)
    odd = numbers.isna() & ~text.str.lower().isin(["", "nan"])
    if odd.any():
        raise ValueError(
            f"{column} in {where} must be a number, or empty where there is none; got {text[odd].iloc[0]!r} for "
            f"{_named(frame[odd])}"
        )
    return numbers


def _seeds(frame: pd.DataFrame, where: str) -> pd.Series[int]:
    numbers = _numbers(frame, "seed", where)
    odd = numbers.isna() | (numbers % 1 != 0)
    if odd.any():
        raise ValueError(
            f"seed in {where} must be a whole number; got {frame['seed'][odd].iloc[0]!r} for {_named(frame[odd])}"
        )
    return numbers.astype(int)


def _check_columns(frame: pd.DataFrame, where: str) -> None:
    if missing := [name for name in COLUMNS if name not in frame]:
        there = f"it has {brief(', '.join(map(str, frame)))}" if len(frame.columns) else "it is empty"
        raise ValueError(f"{where} must have the columns {', '.join(COLUMNS)}; {', '.join(missing)} missing, {there}")


def _check(frame: pd.DataFrame, where: str) -> None:
    for name in COLUMNS[:-1]:
        if (odd := frame[name].isna() | (frame[name] == "")).any():
            raise ValueError(f"{name} in {where} must be filled in every row; it is empty in row {odd.argmax() + 1}")
    if (odd := ~frame["better"].isin(BETTER)).any():
        raise ValueError(
            f'better in {where} must be "higher" or "lower"; got {frame["better"][odd].iloc[0]!r} for '
            f"{_named(frame[odd])}"
        )
    key = [name for name in (*OUTCOME, "metric", "model", "seed", "given", "setting") if name in frame]
    if (odd := frame.duplicated(key)).any():
        raise ValueError(f"{where} must have each score once; {_named(frame[odd])} is there twice")


def _check_alike(rows: pd.DataFrame) -> None:
    """Refuses what cannot be compared: several metrics, or directions, of a modality; several settings of a model."""
    kinds = rows[[*OUTCOME, "metric", "better"]].drop_duplicates()
    if (odd := kinds.duplicated(OUTCOME, keep=False)).any():
        first = kinds[odd].iloc[0]
        same = kinds[(kinds[OUTCOME] == first[OUTCOME]).all(axis=1)]
        told = " and ".join(f"{metric} ({better})" for metric, better in same[["metric", "better"]].to_numpy())
        raise ValueError(f"all models must have one metric of {', '.join(first[OUTCOME])}; got {told}")
    if "setting" in rows:
        settings = rows[["dataset", "model", "setting"]].drop_duplicates()
        if (odd := settings.duplicated(["dataset", "model"], keep=False)).any():
            first = settings[odd].iloc[0]
            same = settings[(settings["dataset"] == first["dataset"]) & (settings["model"] == first["model"])]
            raise ValueError(
                f"a model must have one setting per data set; {first['model']} on {first['dataset']} has "
                f"{', '.join(map(str, same['setting']))}: choose one"
            )


def _named(rows: pd.DataFrame) -> str:
    """What the first of the rows is a score of."""
    return ", ".join(map(str, rows[[*OUTCOME, "metric", "model"]].iloc[0]))

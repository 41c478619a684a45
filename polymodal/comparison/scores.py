"""Tables of scores of several models: reading, checking, and aggregation to one value per outcome.

An outcome is one modality of one data set in one task. Its value for a model is the mean over conditioning sets
(`given`), and then over seeds.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
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
    "OUTCOME",
    "collect_seed_outcomes",
    "compute_outcomes",
    "drop_models",
    "find_task_position",
    "is_companion",
    "is_further_task",
    "read_score_table",
    "select_shared_outcomes",
    "summarise",
]

COLUMNS = ("task", "dataset", "modality", "metric", "better", "model", "value")
"""Required columns of a table of scores."""
OUTCOME = ["task", "dataset", "modality"]
"""Columns that identify an outcome."""
BETTER = ("higher", "lower")


def read_score_table(path: str | Path) -> pd.DataFrame:
    r"""Reads a table of scores from a CSV file.

    Arguments:
        path: Path of the file, with the columns task, dataset, modality, metric, better ("higher" or "lower"), model
            and value, and optionally others. Cells of missing values are empty. If there is a column `reported`, as in
            the `scores.csv` of a study, only the rows with "yes" in it are read.

    Returns:
        One row per score, with names as in the file, values as floats, and `seed` as integers.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file has no rows, a column is missing, a score occurs twice, or a cell is invalid.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "scores.csv"
        ...     _ = path.write_text(",".join(COLUMNS) + "\nmany-to-one,MHD,label,ACC,higher,Nexus,97.5\n")
        ...     read_score_table(path)[["model", "value"]].to_dict("records")
        [{'model': 'Nexus', 'value': 97.5}]
    """
    import pandas as pd

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} must be a CSV file of scores; it is not a file")
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", index_col=False).fillna("")
    except pd.errors.EmptyDataError:
        frame = pd.DataFrame()
    except ValueError as error:
        raise ValueError(f"{path} must be a CSV file of scores; {brief(error)}") from None
    _check_columns(frame, str(path))
    if "reported" in frame:
        frame = frame[frame["reported"].str.strip() == "yes"].reset_index(drop=True)
    if frame.empty:
        marked = ' with "yes" in the column reported' if "reported" in frame else ""
        raise ValueError(f"{path} must have at least one score{marked}; it has none")
    frame["value"] = _numbers(frame, "value", str(path))
    if "seed" in frame:
        frame["seed"] = _seeds(frame, str(path))
    _check(frame, str(path))
    return frame


def drop_models(scores: pd.DataFrame, models: Iterable[str]) -> pd.DataFrame:
    """Returns the scores without those of some models; names are not case-sensitive.

    Raises:
        ValueError: A name is unknown.
    """
    known = {str(model).lower(): str(model) for model in scores["model"].unique()}
    for model in models:
        if model.lower() not in known:
            raise unknown(model, known.values(), "model")
    left_out = {known[model.lower()] for model in models}
    return scores[~scores["model"].isin(left_out)].reset_index(drop=True)


def find_task_position(task: str) -> int:
    """Returns the position of a task in the order of `evaluate`; unknown tasks come last.

    Example:
        >>> find_task_position("many_to_one"), find_task_position("probe") < find_task_position("walking")
        (1, True)
    """
    task = task.lower().replace("_", "-")
    return ORDER.index(task) if task in ORDER else len(ORDER)


def is_further_task(scores: pd.DataFrame) -> pd.Series[bool]:
    """Returns which rows have a further task of `evaluate`, beyond the paper's three; these are never ranked."""
    return scores["task"].map(lambda task: len(TASKS) <= find_task_position(str(task)) < len(ORDER)).astype(bool)


def is_companion(scores: pd.DataFrame) -> pd.Series[bool]:
    """Returns which rows have a secondary metric, such as `ssim-paper`, whose main metric is available too.

    If a modality has further metrics in one of the paper's tasks, such as those of `evaluate(metrics=...)`, the main
    metric is the first that all of its models have. Secondary metrics are shown, and not used for comparisons.

    Example:
        >>> import pandas as pd
        >>> scores = pd.DataFrame({"task": "many-to-one", "dataset": "MHD", "modality": "image", "better": "lower",
        ...     "metric": ["rmse", "mae", "mae"], "model": ["nexus", "nexus", "mopoe"], "value": [0.2, 0.1, 0.3]})
        >>> is_companion(scores).tolist()
        [True, False, False]
    """
    import pandas as pd

    of = {name: metric for metric, names in COMPANIONS.items() for name in names}
    metrics = scores["metric"].str.lower()
    available = set(zip(scores["dataset"], scores["modality"], metrics, strict=True))
    keys = zip(scores["dataset"], scores["modality"], metrics.map(of), strict=True)
    companion = pd.Series([key in available for key in keys], scores.index, bool)
    main = _find_main_metrics(scores[~companion & ~is_further_task(scores)])
    outcomes = scores[OUTCOME].itertuples(index=False, name=None)
    other = [main.get(key, metric) != metric for key, metric in zip(outcomes, scores["metric"], strict=True)]
    return companion | pd.Series(other, scores.index, bool)


def _find_main_metrics(scores: pd.DataFrame) -> dict[tuple[Hashable, ...], str]:
    """Returns the first metric that all models of an outcome have, for each outcome with such a metric."""
    main: dict[tuple[Hashable, ...], str] = {}
    for key, own in scores.groupby(OUTCOME, sort=False):
        models = own.groupby("metric", sort=False)["model"].nunique()
        shared = models.index[models == own["model"].nunique()]
        if len(shared):
            main[tuple(key)] = shared[0]
    return main


def compute_outcomes(scores: pd.DataFrame) -> pd.DataFrame:
    """Returns one value per task, data set, modality and model: the mean over conditioning sets, then over seeds.

    Arguments:
        scores: Scores with the columns in COLUMNS, and optionally `seed`, `given` and `setting`.

    Returns:
        Columns `task`, `dataset`, `modality`, `metric`, `better`, `model`, `value`. Missing values have no row.

    Raises:
        ValueError: The scores cannot be compared: a modality has several metrics, a model has several settings, a
            score occurs twice, or a column is missing.

    Example:
        >>> import pandas as pd
        >>> scores = pd.DataFrame({"task": "many-to-one", "dataset": "MHD", "modality": "label", "metric": "acc",
        ...     "better": "higher", "model": ["nexus", "nexus", "mopoe"], "seed": [0, 1, 0], "value": [97, 98, 95]})
        >>> compute_outcomes(scores)[["model", "value"]].values.tolist()
        [['nexus', 97.5], ['mopoe', 95.0]]
    """
    values = collect_seed_outcomes(scores)
    by = [*OUTCOME, "metric", "better", "model"]
    return values.groupby(by, sort=False)["value"].agg(_mean).reset_index()


def select_shared_outcomes(scores: pd.DataFrame) -> pd.DataFrame:
    """Returns those `compute_outcomes` for which at least two models have a value."""
    values = compute_outcomes(scores)
    return values[values.groupby(OUTCOME, sort=False)["model"].transform("size") > 1].reset_index(drop=True)


def collect_seed_outcomes(scores: pd.DataFrame) -> pd.DataFrame:
    """Returns `compute_outcomes` with one row per seed, and a column `seed`, which is 0 if the scores have none.

    Raises:
        ValueError: As in `compute_outcomes`.
    """
    _check_columns(scores, "the scores")
    _check(scores, "the scores")
    rows = scores[~is_companion(scores)]
    _check_alike(rows)
    return _per_seed(rows, [*OUTCOME, "metric", "better", "model"])


def summarise(scores: pd.DataFrame, by: Sequence[str] = ()) -> pd.DataFrame:
    """Returns mean and standard deviation over seeds of every score of each model, for all metrics.

    Arguments:
        scores: Scores with the columns in COLUMNS.
        by: Additional columns to group by, such as `given`; otherwise scores are averaged over them for each seed.

    Returns:
        Columns `task`, `dataset`, `modality`, those in `by`, `metric`, `better`, `model`, `mean`,
        `standard_deviation` (over seeds, with n - 1; NaN for a single seed) and `seeds`.

    Example:
        >>> import pandas as pd
        >>> scores = pd.DataFrame({"task": "many-to-one", "dataset": "MHD", "modality": "label", "metric": "acc",
        ...     "better": "higher", "model": "nexus", "seed": [0, 1], "value": [97, 98]})
        >>> summarise(scores)[["model", "mean", "seeds"]].values.tolist()
        [['nexus', 97.5, 2]]
    """
    key = [*OUTCOME, *by, "metric", "better", "model"]
    values = _per_seed(scores, key).groupby(key, sort=False, dropna=False)["value"]
    return values.agg(mean=_mean, standard_deviation="std", seeds="size").reset_index()


def _per_seed(rows: pd.DataFrame, key: list[str]) -> pd.DataFrame:
    rows = rows.assign(seed=rows.get("seed", 0), value=rows["value"].astype(float)).dropna(subset="value")
    return rows.groupby([*key, "seed"], sort=False, dropna=False)["value"].agg(_mean).reset_index()


def _mean(values: Iterable[float]) -> float:
    """Returns the mean, from a correctly rounded sum: it does not depend on the order of values, so ties are exact."""
    values = list(values)
    return (fsum(values) if all(map(isfinite, values)) else sum(values)) / len(values)


def _numbers(frame: pd.DataFrame, column: str, where: str) -> pd.Series[float]:
    import pandas as pd

    text = frame[column].str.strip()
    numbers = pd.to_numeric(text, errors="coerce").astype(float)
    odd = numbers.isna() & ~text.str.lower().isin(["", "nan"])
    if odd.any():
        raise ValueError(
            f"{column} in {where} must be a number, or empty for a missing value; got {text[odd].iloc[0]!r} for "
            f"{_describe_first_row(frame[odd])}"
        )
    return numbers


def _seeds(frame: pd.DataFrame, where: str) -> pd.Series[int]:
    numbers = _numbers(frame, "seed", where)
    odd = numbers.isna() | (numbers % 1 != 0)
    if odd.any():
        raise ValueError(
            f"seed in {where} must be an integer; got {frame['seed'][odd].iloc[0]!r} for "
            f"{_describe_first_row(frame[odd])}"
        )
    return numbers.astype(int)


def _check_columns(frame: pd.DataFrame, where: str) -> None:
    if missing := [name for name in COLUMNS if name not in frame]:
        found = f"it has {brief(', '.join(map(str, frame)))}" if len(frame.columns) else "it is empty"
        raise ValueError(f"{where} must have the columns {', '.join(COLUMNS)}; {', '.join(missing)} missing, {found}")


def _check(frame: pd.DataFrame, where: str) -> None:
    for name in COLUMNS[:-1]:
        if (odd := frame[name].isna() | (frame[name] == "")).any():
            raise ValueError(f"{name} in {where} must be filled in every row; it is empty in row {odd.argmax() + 1}")
    if (odd := ~frame["better"].isin(BETTER)).any():
        raise ValueError(
            f'better in {where} must be "higher" or "lower"; got {frame["better"][odd].iloc[0]!r} for '
            f"{_describe_first_row(frame[odd])}"
        )
    key = [name for name in (*OUTCOME, "metric", "model", "seed", "given", "setting") if name in frame]
    if (odd := frame.duplicated(key)).any():
        raise ValueError(f"{where} must contain each score once; {_describe_first_row(frame[odd])} occurs twice")


def _check_alike(rows: pd.DataFrame) -> None:
    """Checks that a modality has one metric and direction, and a model one setting per data set."""
    kinds = rows[[*OUTCOME, "metric", "better"]].drop_duplicates()
    if (odd := kinds.duplicated(OUTCOME, keep=False)).any():
        first = kinds[odd].iloc[0]
        same = kinds[(kinds[OUTCOME] == first[OUTCOME]).all(axis=1)]
        found = " and ".join(f"{metric} ({better})" for metric, better in same[["metric", "better"]].to_numpy())
        raise ValueError(f"all models must have one metric of {', '.join(first[OUTCOME])}; got {found}")
    if "setting" in rows:
        settings = rows[["dataset", "model", "setting"]].drop_duplicates()
        if (odd := settings.duplicated(["dataset", "model"], keep=False)).any():
            first = settings[odd].iloc[0]
            same = settings[(settings["dataset"] == first["dataset"]) & (settings["model"] == first["model"])]
            raise ValueError(
                f"a model must have one setting per data set; {first['model']} on {first['dataset']} has "
                f"{', '.join(map(str, same['setting']))}: choose one"
            )


def _describe_first_row(rows: pd.DataFrame) -> str:
    """Returns a description of the first row."""
    return ", ".join(map(str, rows[[*OUTCOME, "metric", "model"]].iloc[0]))

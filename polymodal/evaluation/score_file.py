"""File of a run's scores, in CSV. New scores replace those of the same tasks; other tasks are kept."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from polymodal.datasets.lock import alone
from polymodal.evaluation.frame import ORDER
from polymodal.io import checkpoint
from polymodal.io.json_files import refuse_endless
from polymodal.runtime.formatting import brief

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SCORED", "read_scores", "write_scores"]

SCORED = ("task", "modality", "given", "metric", "better", "value")
"""Required columns of a file of scores."""
WITH = {"coherence": ("calibration",)}
"""Further tasks whose scores are computed along with those of a task."""
APART = ("fid",)
"""Metrics that need additional network weights. Scoring a task again without these keeps their earlier scores."""


def read_scores(path: str | Path) -> pd.DataFrame:
    """Reads a file of scores into a data frame of strings.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is not a CSV file, or a column is missing.
    """
    import pandas as pd

    try:
        refuse_endless(Path(path))
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, index_col=False)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} does not exist; evaluate the run, or restore the file") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} must be a CSV file of scores: {brief(error)}; restore or remove it") from error
    if missing := [name for name in SCORED if name not in frame]:
        raise ValueError(f"{path} must have the columns {', '.join(SCORED)}; missing: {', '.join(missing)}; restore it")
    return frame.fillna("")


def write_scores(path: str | Path, scores: pd.DataFrame, tasks: Iterable[str] = ()) -> Path:
    """Writes scores to a file, replacing those of the same tasks; the scores of other tasks are kept.

    The file is replaced atomically. Its rows are in the order of the tasks in `polymodal.evaluate`, unknown tasks last.

    Arguments:
        path: Path of the file, which may not exist yet.
        scores: Data frame returned by `polymodal.evaluate`.
        tasks: Names of the tasks that were scored. Their earlier scores are dropped, even if `scores` has none of them.

    Returns:
        Path of the file.

    Raises:
        OSError: The file cannot be written; the earlier file is unchanged.
        ValueError: The earlier file is not a file of scores.

    Example:
        >>> import tempfile, pandas as pd
        >>> one = pd.DataFrame([["many-to-one", "kind", "others", "acc", "higher", 97.5]], columns=SCORED)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for task, value in {"many-to-one": 97.5, "reconstruction": 99.0, "many-to-one ": 98.0}.items():
        ...         path = write_scores(f"{folder}/scores.csv", one.assign(task=task.strip(), value=value))
        ...     print(path.read_text(), end="")
        task,modality,given,metric,better,value
        reconstruction,kind,others,acc,higher,99.0
        many-to-one,kind,others,acc,higher,98.0
    """
    path = Path(path)
    model = path.parent / "model"
    with alone(model, "writes scores of") if model.is_dir() else nullcontext():
        merged = _merge_scores(read_scores(path), scores, tasks) if path.exists() else scores
        return checkpoint.write_text(path, merged.to_csv(index=False))


def _merge_scores(earlier: pd.DataFrame, scores: pd.DataFrame, tasks: Iterable[str]) -> pd.DataFrame:
    import pandas as pd

    fresh = pd.read_csv(StringIO(scores.to_csv(index=False)), dtype=str, keep_default_na=False)
    done = {*tasks, *fresh["task"]}
    done |= {other for task in done for other in WITH.get(task, ())}
    kept = earlier["metric"].isin({*APART} - {*fresh["metric"]})
    merged = pd.concat([fresh, earlier[~earlier["task"].isin(done) | kept]]).fillna("")
    return merged.sort_values("task", key=lambda column: column.map(_find_task_position), kind="stable")


def _find_task_position(task: str) -> int:
    return ORDER.index(task) if task in ORDER else len(ORDER)

"""The file of a run's scores: what is scored later is added, and no other task's lines are lost."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from polymodal.datasets.lock import alone
from polymodal.evaluation.frame import ORDER
from polymodal.io import checkpoint
from polymodal.io.untrusted import refuse_endless
from polymodal.runtime.formatting import brief

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SCORED", "read_scores", "write_scores"]

SCORED = ("task", "modality", "given", "metric", "better", "value")
"""Columns that every file of scores has."""
WITH = {"coherence": ("calibration",)}
"""Tasks whose lines come with those of another."""
APART = ("fid",)
"""Metrics that need further weights, so that scoring a task again without these does not replace them."""


def read_scores(path: str | Path) -> pd.DataFrame:
    """The lines of a file of scores, all cells as the texts that they are.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no CSV file, or lacks a column.
    """
    import pandas as pd

    try:
        refuse_endless(Path(path))
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, index_col=False)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} must exist, and does not; evaluate the run, or restore it") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} must be CSV as polymodal writes it: {brief(error)}; restore or remove it") from error
    if lacks := [name for name in SCORED if name not in frame]:
        raise ValueError(f"{path} must have the columns {', '.join(SCORED)}; it lacks {', '.join(lacks)}; restore it")
    return frame.fillna("")


def write_scores(path: str | Path, scores: pd.DataFrame, tasks: Iterable[str] = ()) -> Path:
    """Adds scores to a file, in place of those of the same tasks; the lines of other tasks stay as they are.

    The file is replaced in one step. Lines are in the order of the tasks in `polymodal.evaluate`, unknown ones last.

    Arguments:
        path: The file, which may not exist yet.
        scores: What `polymodal.evaluate` returned.
        tasks: What was scored, of which there may be no line; earlier lines of it are dropped.

    Returns:
        The file.

    Raises:
        OSError: It cannot be written; the earlier file is untouched.
        ValueError: The earlier file is no file of scores.

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
        merged = _merged(read_scores(path), scores, tasks) if path.exists() else scores
        return checkpoint.write_text(path, merged.to_csv(index=False))


def _merged(earlier: pd.DataFrame, scores: pd.DataFrame, tasks: Iterable[str]) -> pd.DataFrame:
    import pandas as pd

    fresh = pd.read_csv(StringIO(scores.to_csv(index=False)), dtype=str, keep_default_na=False)
    done = {*tasks, *fresh["task"]}
    done |= {other for task in done for other in WITH.get(task, ())}
    apart = earlier["metric"].isin({*APART} - {*fresh["metric"]})
    whole = pd.concat([fresh, earlier[~earlier["task"].isin(done) | apart]]).fillna("")
    return whole.sort_values("task", key=lambda column: column.map(_place), kind="stable")


def _place(task: str) -> int:
    return ORDER.index(task) if task in ORDER else len(ORDER)

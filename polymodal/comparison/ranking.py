"""Comparison of models over many outcomes: average performance rank, win-loss matrix, and bootstrap intervals.

An outcome is one modality of one data set in one task.

Average performance rank. In an outcome that n models have a value for, the model of rank r (1 is best, ties share the
mean of their ranks) has the score (n - r) / (n - 1). The average performance rank of a model in a task is the mean of
its scores over the outcomes, so 1 means always best and 0 always worst. It should not be confused with the mean of the
ranks r.

Win-loss matrix. Of the o outcomes for which models a and b both have a value, a is better in w. The share is w / o.
The p-value of the one-tailed binomial test is p = P(X >= w) with X ~ Binomial(o, 1/2). Holm's correction of m p-values
p_1 <= ... <= p_m is holm_k = max over j <= k of min(1, (m - j + 1) p_j).

Bootstrap intervals. Seeds are resampled with replacement per model and data set; the interval is from the 2.5 % to the
97.5 % quantile of the resampled statistic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from polymodal.comparison.scores import (
    OUTCOME,
    collect_seed_outcomes,
    find_task_position,
    select_shared_outcomes,
)

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

__all__ = ["bootstrap", "compute_ranks", "compute_win_loss", "count_best"]

LEVEL = 0.95
"""Confidence level of the intervals over seeds."""


def compute_ranks(scores: pd.DataFrame) -> pd.DataFrame:
    """Returns the average performance rank of each model per task: 1 is best in every outcome, 0 worst in every one.

    In an outcome, the model of rank r among the n that have a value scores (n - r) / (n - 1); ties share the mean
    of their ranks. Outcomes with a value of one model only are left out.

    Arguments:
        scores: Scores as in `compute_outcomes`.

    Returns:
        Columns `task`, `model`, `mean` and `standard_error` (over the outcomes of the model; NaN for a single
        outcome). Tasks are in the paper's order, and models in each task from best to worst.

    Example:
        >>> import pandas as pd
        >>> scores = pd.DataFrame({"task": "many-to-one", "dataset": "MHD", "modality": "label", "metric": "acc",
        ...     "better": "higher", "model": ["nexus", "mac-wae", "mopoe"], "value": [90, 97.5, 90]})
        >>> compute_ranks(scores)[["model", "mean"]].values.tolist()
        [['mac-wae', 1.0], ['nexus', 0.25], ['mopoe', 0.25]]

    Source: MAC-WAE, section "Experimental Design", average performance rank.
    """
    values = select_shared_outcomes(scores)
    grouped = values.assign(value=_orient_values(values)).groupby(OUTCOME, sort=False)["value"]
    rank, n = grouped.rank(ascending=False), grouped.transform("size")
    scored = values.assign(score=(n - rank) / (n - 1)).groupby(["task", "model"], sort=False)["score"]
    table = scored.agg(mean="mean", standard_error="sem").reset_index()
    first = {task: turn for turn, task in enumerate(table["task"].unique())}
    order = table.assign(
        place=table["task"].map(find_task_position), turn=table["task"].map(first), down=-table["mean"].round(12)
    ).sort_values(["place", "turn", "down"], kind="stable")
    return order[["task", "model", "mean", "standard_error"]].reset_index(drop=True)


def compute_win_loss(scores: pd.DataFrame) -> pd.DataFrame:
    """Returns the pairwise wins and losses of all models with significance tests.

    Arguments:
        scores: Scores as in `compute_outcomes`.

    Returns:
        A row per ordered pair: `row` and `column`; `share`, the share of common outcomes that model `row` wins; `wins`
        and `outcomes`, the numbers of won and of common outcomes; `p`, the p-value of a one-tailed binomial test that
        `row` wins more than half; and, beyond the paper, `holm`, the p-value after Holm's correction over all pairs.
        A tie is a win for neither model, but counts in `outcomes`. `share`, `p` and `holm` are NaN for pairs without
        common outcomes.

    Example:
        >>> import pandas as pd
        >>> scores = pd.DataFrame({"task": "many-to-one", "dataset": "MHD", "modality": ["image", "image", "label",
        ...     "label"], "metric": "m", "better": "lower", "model": ["a", "b", "a", "b"], "value": [1, 2, 3, 3]})
        >>> compute_win_loss(scores)[["row", "column", "share", "p"]].values.tolist()
        [['a', 'b', 0.5, 0.75], ['b', 'a', 0.0, 1.0]]

    Source: MAC-WAE, section "Experimental Design", win-loss matrix; Holm, "A simple sequentially rejective multiple
    test procedure".
    """
    import numpy as np
    import pandas as pd
    from scipy.stats import binomtest

    models, values = _matrix(scores)
    wins, both = _wins(values)
    table = pd.DataFrame(
        [
            {"row": a, "column": b, "wins": int(wins[i, j]), "outcomes": int(both[i, j])}
            for i, a in enumerate(models)
            for j, b in enumerate(models)
            if i != j
        ],
        columns=["row", "column", "wins", "outcomes"],
    )
    pairs = zip(table["wins"], table["outcomes"], strict=True)
    table["share"] = table["wins"] / table["outcomes"].replace(0, np.nan)
    table["p"] = [float(binomtest(w, n, alternative="greater").pvalue) if n else np.nan for w, n in pairs]
    table["holm"] = _holm(table["p"].to_numpy(float))
    return table[["row", "column", "share", "wins", "outcomes", "p", "holm"]]


def count_best(scores: pd.DataFrame) -> pd.DataFrame:
    """Returns the number of outcomes in which each model is best; a tie counts for every tied model.

    Arguments:
        scores: Scores as in `compute_outcomes`. Outcomes with a value of one model only are left out.

    Returns:
        Columns `model` and `outcomes`, in descending order of `compute_outcomes`.

    Example:
        >>> import pandas as pd
        >>> scores = pd.DataFrame({"task": "many-to-one", "dataset": "MHD", "modality": "label", "metric": "acc",
        ...     "better": "higher", "model": ["nexus", "mac-wae", "mopoe"], "value": [90, 97.5, 97.5]})
        >>> count_best(scores).values.tolist()
        [['mac-wae', 1], ['mopoe', 1], ['nexus', 0]]
    """
    import numpy as np
    import pandas as pd

    models, values = _matrix(scores)
    top = np.fmax.reduce(values, 1, keepdims=True, initial=-np.inf)
    table = pd.DataFrame({"model": models, "outcomes": (values == top).sum(0)})
    return table.sort_values("outcomes", ascending=False, kind="stable", ignore_index=True)


def bootstrap(scores: pd.DataFrame, draws: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Computes 95 % percentile bootstrap intervals of ranks and win shares over the seeds of the runs.

    Seeds are sampled with replacement, independently for each model and data set; all scores of a run stay together.
    Three seeds have only ten different resamples per model, so the intervals are rough and rather too narrow. They do
    not generalise to other data sets.

    Arguments:
        scores: Scores as in `compute_outcomes`, with a column `seed`.
        draws: Number of bootstrap resamples.
        seed: Random seed for the resampling.

    Returns:
        Columns `what` ("rank": the average performance rank of `model` in `task`; "share": the share of outcomes that
        `model` wins against `against`), `task`, `model`, `against`, `value` (over all seeds), `low` and `high`.

    Raises:
        ValueError: No model has several seeds on a data set.

    Example:
        >>> import pandas as pd
        >>> scores = pd.DataFrame({"task": "many-to-one", "dataset": "MHD", "modality": "label", "metric": "acc",
        ...     "better": "higher", "model": ["a", "a", "b", "b"], "seed": [0, 1, 0, 1], "value": [97, 95, 94, 96]})
        >>> bootstrap(scores).query("what == 'share'")[["model", "against", "value", "low", "high"]].values.tolist()
        [['a', 'b', 1.0, 0.0, 1.0], ['b', 'a', 0.0, 0.0, 1.0]]
    """
    import numpy as np
    import pandas as pd

    values = collect_seed_outcomes(select_shared_outcomes(scores)[OUTCOME].drop_duplicates().merge(scores, how="left"))
    if values.groupby(["dataset", "model"])["seed"].nunique().max() < 2:
        raise ValueError("the scores must have several seeds of a model; got one of each")
    keys, models, resampled = _bootstrap_values(values, draws, np.random.default_rng(seed))
    score, share = _compute_rank_scores(resampled), _compute_win_shares(resampled)
    tasks = keys["task"].to_numpy()
    edges = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    lines = []
    for task, model, value in compute_ranks(scores)[["task", "model", "mean"]].itertuples(index=False):
        means = _nanmean(score[:, tasks == task, models.index(model)])
        lines.append(("rank", task, model, "", value, *np.nanquantile(means, edges)))
    for model, against, value in compute_win_loss(scores)[["row", "column", "share"]].itertuples(index=False):
        shares = share[:, models.index(model), models.index(against)]
        ends = np.nanquantile(shares, edges) if np.isfinite(value) else (np.nan, np.nan)
        lines.append(("share", "", model, against, value, *ends))
    return pd.DataFrame(lines, columns=["what", "task", "model", "against", "value", "low", "high"])


def _orient_values(values: pd.DataFrame) -> pd.Series[float]:
    """Returns the values with a sign such that larger is better."""
    return values["value"].where(values["better"] == "higher", -values["value"])


def _matrix(scores: pd.DataFrame) -> tuple[list[str], np.ndarray]:
    """Returns the A models and the values of O outcomes `(O, A)`; larger is better, and missing values are NaN."""
    values = select_shared_outcomes(scores)
    models = list(values["model"].unique())
    wide = values.assign(value=_orient_values(values)).pivot(index=OUTCOME, columns="model", values="value")
    return models, wide[models].to_numpy(float)


def _wins(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts wins of the first model over the second and their common outcomes, both `(..., A, A)`."""
    import numpy as np

    observed = ~np.isnan(values)
    wins = (values[..., :, None] > values[..., None, :]).sum(-3)
    return wins, (observed[..., :, None] & observed[..., None, :]).sum(-3)


def _holm(p: np.ndarray) -> np.ndarray:
    """Applies Holm's correction to p-values; NaN values stay NaN and do not count in m."""
    import numpy as np

    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    adjusted = np.full(len(p), np.nan)
    adjusted[order] = np.maximum.accumulate(p[order] * (len(order) - np.arange(len(order)))).clip(max=1)
    return adjusted


def _bootstrap_values(
    values: pd.DataFrame, draws: int, generator: np.random.Generator
) -> tuple[pd.DataFrame, list[str], np.ndarray]:
    """Returns outcomes, models, and bootstrap values `(draws, O, A)` over resampled seeds; larger is better."""
    import numpy as np

    wide = values.assign(value=_orient_values(values)).pivot(index=OUTCOME, columns=["model", "seed"], values="value")
    wide = wide.sort_index().sort_index(axis=1)  # makes resamples independent of the order of rows
    keys, models = wide.index.to_frame(index=False), list(wide.columns.unique("model"))
    resampled = np.full((draws, len(keys), len(models)), np.nan)
    for dataset in keys["dataset"].unique():
        rows = np.flatnonzero(keys["dataset"] == dataset)
        for a, model in enumerate(models):
            block = wide[model].to_numpy(float)[rows]  # (outcomes, seeds)
            block = block[:, ~np.isnan(block).all(0)]
            if block.size:
                resampled[:, rows, a] = _resample_seeds(block, draws, generator)
    return keys, models, resampled


def _resample_seeds(block: np.ndarray, draws: int, generator: np.random.Generator) -> np.ndarray:
    """Returns means over S seeds sampled with replacement: from `(O, S)` to `(draws, O)`."""
    import numpy as np

    seeds = block.shape[1]
    counts = generator.multinomial(seeds, [1 / seeds] * seeds, size=draws)  # (draws, S)
    observed = ~np.isnan(block)
    finite = np.nan_to_num(block, nan=0.0, posinf=1e300, neginf=-1e300)  # 0 times infinity is NaN
    with np.errstate(invalid="ignore"):
        # Rounding keeps ties: sums of the same values in another order may differ in the last digit.
        return np.round(counts @ finite.T / (counts @ observed.T), 12)


def _compute_rank_scores(resampled: np.ndarray) -> np.ndarray:
    """Returns rank scores (n - r) / (n - 1) of values `(draws, O, A)`; NaN for missing values and where n < 2."""
    import numpy as np

    scores = np.full(resampled.shape, np.nan)
    for o in range(resampled.shape[1]):  # one outcome at a time, to save memory
        x = resampled[:, o]
        above = (x[:, None, :] > x[:, :, None]).sum(-1)
        same = (x[:, None, :] == x[:, :, None]).sum(-1)
        n = (~np.isnan(x)).sum(-1, keepdims=True)
        rank = above + (same + 1) / 2
        scores[:, o] = np.where(np.isnan(x) | (n < 2), np.nan, (n - rank) / np.maximum(n - 1, 1))
    return scores


def _compute_win_shares(resampled: np.ndarray) -> np.ndarray:
    """Returns win shares `(draws, A, A)`; NaN for pairs without common outcomes."""
    import numpy as np

    wins = np.zeros((len(resampled), resampled.shape[2], resampled.shape[2]))
    both = np.zeros_like(wins)
    for o in range(resampled.shape[1]):
        won, shared = _wins(resampled[:, o : o + 1])
        wins, both = wins + won, both + shared
    return np.divide(wins, both, out=np.full_like(wins, np.nan), where=both > 0)


def _nanmean(values: np.ndarray) -> np.ndarray:
    """Returns means `(draws,)` over the outcomes `(draws, O)`, ignoring NaN; NaN if all values are NaN."""
    import numpy as np

    known = ~np.isnan(values)
    count = known.sum(1)
    return np.divide(np.where(known, values, 0).sum(1), count, out=np.full(len(values), np.nan), where=count > 0)

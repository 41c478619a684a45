"""How models compare over many outcomes: average ranks, wins and losses, and how far these depend on the seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polymodal.comparison.scores import OUTCOME, compared, outcomes, place, read, seeded, without

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

__all__ = ["best", "bootstrap", "compared", "outcomes", "ranks", "read", "win_loss", "without"]

LEVEL = 0.95
"""Of the intervals over seeds."""


def ranks(scores: pd.DataFrame) -> pd.DataFrame:
    """Average performance rank of each model per task: 1 where it is best in every outcome, 0 where it is worst.

    In an outcome, the model of rank r among the n that have a value scores (n - r) / (n - 1); ties share the mean
    of their ranks. An outcome that one model alone has is left out.

    Arguments:
        scores: As in `outcomes`.

    Returns:
        Columns `task`, `model`, `mean` and `standard_error` (over the outcomes that the model has; NaN where that
        is one): tasks in the paper's order, in each the best model first.

    Example:
        >>> import pandas as pd
        >>> scores = pd.DataFrame({"task": "many-to-one", "dataset": "MHD", "modality": "label", "metric": "acc",
        ...     "better": "higher", "model": ["nexus", "mac-wae", "mopoe"], "value": [90, 97.5, 90]})
        >>> ranks(scores)[["model", "mean"]].values.tolist()
        [['mac-wae', 1.0], ['nexus', 0.25], ['mopoe', 0.25]]

    Source: MAC-WAE, section "Experimental Design", average performance rank.
    """
    values = compared(scores)
    grouped = values.assign(value=_signed(values)).groupby(OUTCOME, sort=False)["value"]
    rank, n = grouped.rank(ascending=False), grouped.transform("size")
    scored = values.assign(score=(n - rank) / (n - 1)).groupby(["task", "model"], sort=False)["score"]
    table = scored.agg(mean="mean", standard_error="sem").reset_index()
    first = {task: turn for turn, task in enumerate(table["task"].unique())}
    order = table.assign(
        place=table["task"].map(place), turn=table["task"].map(first), down=-table["mean"].round(12)
    ).sort_values(["place", "turn", "down"], kind="stable")
    return order[["task", "model", "mean", "standard_error"]].reset_index(drop=True)


def win_loss(scores: pd.DataFrame) -> pd.DataFrame:
    """How often each model is better than each other one.

    Arguments:
        scores: As in `outcomes`.

    Returns:
        A line per ordered pair: `row` and `column`, `share` of the outcomes in which both have a value that `row`
        wins, `wins` and `outcomes`, `p` of a one-tailed binomial test that it wins more than half, and `holm`,
        beyond the paper: p after Holm's correction for all pairs. A tie is a win for neither, and is counted in
        `outcomes`. A pair that shares no outcome has no share and no p.

    Example:
        >>> import pandas as pd
        >>> scores = pd.DataFrame({"task": "many-to-one", "dataset": "MHD", "modality": ["image", "image", "label",
        ...     "label"], "metric": "m", "better": "lower", "model": ["a", "b", "a", "b"], "value": [1, 2, 3, 3]})
        >>> win_loss(scores)[["row", "column", "share", "p"]].values.tolist()
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


def best(scores: pd.DataFrame) -> pd.DataFrame:
    """In how many outcomes each model is best, alone or with others: a tie at the top counts for each that has it.

    Arguments:
        scores: As in `outcomes`. An outcome that one model alone has is left out.

    Returns:
        Columns `model` and `outcomes`, the largest number first.

    Example:
        >>> import pandas as pd
        >>> scores = pd.DataFrame({"task": "many-to-one", "dataset": "MHD", "modality": "label", "metric": "acc",
        ...     "better": "higher", "model": ["nexus", "mac-wae", "mopoe"], "value": [90, 97.5, 97.5]})
        >>> best(scores).values.tolist()
        [['mac-wae', 1], ['mopoe', 1], ['nexus', 0]]
    """
    import numpy as np
    import pandas as pd

    models, values = _matrix(scores)
    top = np.fmax.reduce(values, 1, keepdims=True, initial=-np.inf)
    table = pd.DataFrame({"model": models, "outcomes": (values == top).sum(0)})
    return table.sort_values("outcomes", ascending=False, kind="stable", ignore_index=True)


def bootstrap(scores: pd.DataFrame, draws: int = 1000, seed: int = 0) -> pd.DataFrame:
    """How far ranks and wins depend on the seeds of the runs: 95 % intervals of the percentile bootstrap.

    Seeds are drawn with replacement, for each model and data set by themselves, and all scores of a run go together.
    With three seeds there are ten different draws of a model, so these intervals are rough, and rather too narrow.
    They say nothing of other data sets than these.

    Arguments:
        scores: As in `outcomes`, with a column `seed`.
        draws: Of seeds.
        seed: Of the draws.

    Returns:
        Columns `what` ("rank", the mean rank of `model` in `task`; "share", that of the outcomes that `model` wins
        against `against`), `task`, `model`, `against`, `value` (over all seeds), `low` and `high`.

    Raises:
        ValueError: No model has several seeds.

    Example:
        >>> import pandas as pd
        >>> scores = pd.DataFrame({"task": "many-to-one", "dataset": "MHD", "modality": "label", "metric": "acc",
        ...     "better": "higher", "model": ["a", "a", "b", "b"], "seed": [0, 1, 0, 1], "value": [97, 95, 94, 96]})
        >>> bootstrap(scores).query("what == 'share'")[["model", "against", "value", "low", "high"]].values.tolist()
        [['a', 'b', 1.0, 0.0, 1.0], ['b', 'a', 0.0, 0.0, 1.0]]
    """
    import numpy as np
    import pandas as pd

    values = seeded(compared(scores)[OUTCOME].drop_duplicates().merge(scores, how="left"))
    if values.groupby(["dataset", "model"])["seed"].nunique().max() < 2:
        raise ValueError("the scores must have several seeds of a model; got one of each")
    keys, models, drawn = _drawn(values, draws, np.random.default_rng(seed))
    score, share = _scored(drawn), _shared(drawn)
    tasks = keys["task"].to_numpy()
    edges = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    lines = []
    for task, model, value in ranks(scores)[["task", "model", "mean"]].itertuples(index=False):
        means = _nanmean(score[:, tasks == task, models.index(model)])
        lines.append(("rank", task, model, "", value, *np.nanquantile(means, edges)))
    for model, against, value in win_loss(scores)[["row", "column", "share"]].itertuples(index=False):
        shares = share[:, models.index(model), models.index(against)]
        ends = np.nanquantile(shares, edges) if np.isfinite(value) else (np.nan, np.nan)
        lines.append(("share", "", model, against, value, *ends))
    return pd.DataFrame(lines, columns=["what", "task", "model", "against", "value", "low", "high"])


def _signed(values: pd.DataFrame) -> pd.Series[float]:
    """Values of which the larger is the better."""
    return values["value"].where(values["better"] == "higher", -values["value"])


def _matrix(scores: pd.DataFrame) -> tuple[list[str], np.ndarray]:
    """The models, and what is compared, `(O, A)`, larger being better; NaN where there is no value."""
    values = compared(scores)
    models = list(values["model"].unique())
    wide = values.assign(value=_signed(values)).pivot(index=OUTCOME, columns="model", values="value")
    return models, wide[models].to_numpy(float)


def _wins(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How often the first model is better than the second, and how often both have a value, `(..., A, A)`."""
    import numpy as np

    there = ~np.isnan(values)
    wins = (values[..., :, None] > values[..., None, :]).sum(-3)
    return wins, (there[..., :, None] & there[..., None, :]).sum(-3)


def _holm(p: np.ndarray) -> np.ndarray:
    """Holm's correction: the k-th smallest of m is multiplied by m - k + 1, and none is below one before it."""
    import numpy as np

    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    adjusted = np.full(len(p), np.nan)
    adjusted[order] = np.maximum.accumulate(p[order] * (len(order) - np.arange(len(order)))).clip(max=1)
    return adjusted


def _drawn(
    values: pd.DataFrame, draws: int, generator: np.random.Generator
) -> tuple[pd.DataFrame, list[str], np.ndarray]:
    """Outcomes, models, and values `(draws, O, A)` over seeds drawn with replacement, larger being better."""
    import numpy as np

    wide = values.assign(value=_signed(values)).pivot(index=OUTCOME, columns=["model", "seed"], values="value")
    wide = wide.sort_index().sort_index(axis=1)  # so that the order of the rows changes no draw
    keys, models = wide.index.to_frame(index=False), list(wide.columns.unique("model"))
    drawn = np.full((draws, len(keys), len(models)), np.nan)
    for dataset in keys["dataset"].unique():
        rows = np.flatnonzero(keys["dataset"] == dataset)
        for a, model in enumerate(models):
            block = wide[model].to_numpy(float)[rows]  # (outcomes, seeds)
            block = block[:, ~np.isnan(block).all(0)]
            if block.size:
                drawn[:, rows, a] = _resampled(block, draws, generator)
    return keys, models, drawn


def _resampled(block: np.ndarray, draws: int, generator: np.random.Generator) -> np.ndarray:
    """Means over as many seeds as there are, drawn with replacement: from `(O, S)` to `(draws, O)`."""
    import numpy as np

    seeds = block.shape[1]
    counts = generator.multinomial(seeds, [1 / seeds] * seeds, size=draws)  # (draws, S)
    there = ~np.isnan(block)
    finite = np.nan_to_num(block, nan=0.0, posinf=1e300, neginf=-1e300)  # 0 times infinity is no number
    with np.errstate(invalid="ignore"):
        # rounded, for the same values in another order would differ in their last digit, and be no tie
        return np.round(counts @ finite.T / (counts @ there.T), 12)


def _scored(drawn: np.ndarray) -> np.ndarray:
    """Rank scores of values `(draws, O, A)`, larger being better; NaN where there is no value, or one alone."""
    import numpy as np

    scores = np.full(drawn.shape, np.nan)
    for o in range(drawn.shape[1]):  # one at a time, for all pairs of all would be large
        x = drawn[:, o]
        above = (x[:, None, :] > x[:, :, None]).sum(-1)
        same = (x[:, None, :] == x[:, :, None]).sum(-1)
        n = (~np.isnan(x)).sum(-1, keepdims=True)
        rank = above + (same + 1) / 2
        scores[:, o] = np.where(np.isnan(x) | (n < 2), np.nan, (n - rank) / np.maximum(n - 1, 1))
    return scores


def _shared(drawn: np.ndarray) -> np.ndarray:
    """Shares of wins `(draws, A, A)`; NaN where two models share no outcome."""
    import numpy as np

    wins = np.zeros((len(drawn), drawn.shape[2], drawn.shape[2]))
    both = np.zeros_like(wins)
    for o in range(drawn.shape[1]):
        won, shared = _wins(drawn[:, o : o + 1])
        wins, both = wins + won, both + shared
    return np.divide(wins, both, out=np.full_like(wins, np.nan), where=both > 0)


def _nanmean(values: np.ndarray) -> np.ndarray:
    """Means `(draws,)` over the outcomes `(draws, O)` that have a value."""
    import numpy as np

    known = ~np.isnan(values)
    count = known.sum(1)
    return np.divide(np.where(known, values, 0).sum(1), count, out=np.full(len(values), np.nan), where=count > 0)

"""Ranks, wins and their tests are those of scipy, of the paper, and of cases worked by hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest, bootstrap, rankdata

from polymodal.comparison import ranking
from polymodal.comparison.scores import compute_outcomes, drop_models, read_score_table, select_shared_outcomes

PAPER = Path(__file__).parents[3] / "shared" / "spec" / "paper_table4.csv"
KEY = ["task", "dataset", "modality"]


def table(rows, **columns):
    """Scores from `(modality, model, value)`; of one task and data set, where nothing else is said."""
    frame = pd.DataFrame(rows, columns=["modality", "model", "value"])
    return frame.assign(**{"task": "many-to-one", "dataset": "d", "metric": "acc", "better": "higher", **columns})


def random_scores(seed=0, models=5, outcomes=30, empty=0.15, seeds=1):
    """Scores with ties, holes and both directions."""
    rng = np.random.default_rng(seed)
    rows = [
        {
            "task": ("reconstruction", "many-to-one", "one-to-one")[o % 3],
            "dataset": f"d{o // 3 % 3}",
            "modality": f"m{o}",
            "metric": "acc",
            "better": "lower" if o % 2 else "higher",
            "model": f"model{a}",
            "seed": run,
            "value": np.nan if rng.random() < empty else float(rng.integers(6) + a // 2),
        }
        for o in range(outcomes)
        for a in range(models)
        for run in range(seeds)
    ]
    return pd.DataFrame(rows)


def signed(own):
    return own["value"].to_numpy() * (1 if own["better"].iloc[0] == "higher" else -1)


def test_ranks_are_scipy_s():
    scores = random_scores()
    found = {}
    for (task, *_), own in scores.dropna(subset="value").groupby(KEY):
        rank, n = rankdata(-signed(own), method="average"), len(own)
        for model, r in zip(own["model"], rank, strict=True):
            if n > 1:
                found.setdefault((task, model), []).append((n - r) / (n - 1))
    made = ranking.compute_ranks(scores).set_index(["task", "model"])
    assert set(made.index) == set(found)
    for key, values in found.items():
        assert made.loc[key, "mean"] == pytest.approx(np.mean(values), abs=1e-12)
        assert made.loc[key, "standard_error"] == pytest.approx(
            np.std(values, ddof=1) / np.sqrt(len(values)), abs=1e-12
        )


def test_ranks_by_hand():
    rows = [("x", "a", 3), ("x", "b", 2), ("x", "c", 2), ("x", "d", None), ("y", "a", 1), ("y", "d", 1), ("z", "c", 9)]
    made = ranking.compute_ranks(table(rows)).set_index("model")
    # x: 1, .25, .25; y: a tie of two; z: one alone, which is compared with nothing
    assert made["mean"].to_dict() == {"a": 0.75, "d": 0.5, "b": 0.25, "c": 0.25}
    assert list(made.index) == ["a", "d", "b", "c"]
    assert made["standard_error"]["a"] == pytest.approx(0.25)
    assert made["standard_error"].drop("a").isna().all()


def test_tasks_stand_in_the_paper_s_order_and_others_after_them():
    tasks = ["walking", "one_to_one", "many-to-one", "reconstruction"]
    scores = pd.concat([table([("x", "a", 1), ("x", "b", 2)], task=task) for task in tasks])
    made = ranking.compute_ranks(scores)
    assert list(made["task"].unique()) == ["reconstruction", "many-to-one", "one_to_one", "walking"]
    assert list(made["model"][:2]) == ["b", "a"]


def test_wins_are_counted_and_tested_as_scipy_does():
    scores = random_scores(1)
    wide = scores.assign(value=scores["value"].where(scores["better"] == "higher", -scores["value"])).pivot(
        index=KEY, columns="model", values="value"
    )
    made = ranking.compute_win_loss(scores)
    assert len(made) == 5 * 4
    for row in made.itertuples():
        pair = wide[[row.row, row.column]].dropna()
        wins = int((pair[row.row] > pair[row.column]).sum())
        assert (row.wins, row.outcomes) == (wins, len(pair))
        assert row.share == wins / len(pair)
        assert row.p == pytest.approx(binomtest(wins, len(pair), 0.5, alternative="greater").pvalue, abs=1e-14)


def test_a_tie_is_a_win_for_neither_and_an_empty_value_is_none():
    rows = [("x", "a", 1), ("x", "b", 1), ("y", "a", 2), ("y", "b", 1), ("z", "a", 5), ("z", "b", None), ("z", "c", 5)]
    made = ranking.compute_win_loss(table(rows)).set_index(["row", "column"])
    assert made.loc[("a", "b"), ["wins", "outcomes", "share"]].tolist() == [1, 2, 0.5]
    assert made.loc[("b", "a"), ["wins", "outcomes", "share"]].tolist() == [0, 2, 0]
    assert made.loc[("a", "c"), ["wins", "outcomes"]].tolist() == [0, 1]
    assert made.loc[("b", "c"), "outcomes"] == 0
    assert made.loc[[("b", "c"), ("c", "b")], ["share", "p", "holm"]].isna().all(axis=None)
    assert made.loc[("a", "b"), "p"] == 0.75  # one win or two of two


@pytest.mark.parametrize("seed", range(3))
def test_holm_rejects_what_the_procedure_rejects(seed):
    made = ranking.compute_win_loss(random_scores(seed, models=6, outcomes=40, empty=0))
    p = made["p"].to_numpy()
    assert (made["holm"] >= p).all()
    assert (made["holm"] <= 1).all()
    for level in (0.001, 0.01, 0.05, 0.2, 0.5, 0.9):
        rejected = set()
        for step, i in enumerate(np.argsort(p, kind="stable")):
            if p[i] * (len(p) - step) > level:
                break
            rejected.add(i)
        assert set(np.flatnonzero(made["holm"] <= level)) == rejected


def test_best_counts_a_tie_for_each():
    rows = [("x", "a", 3), ("x", "b", 3), ("x", "c", 1), ("y", "a", 1), ("y", "b", 2), ("z", "c", 9), ("z", "a", None)]
    made = ranking.count_best(table(rows))
    assert made.to_numpy().tolist() == [["b", 2], ["a", 1], ["c", 0]]  # z has one model alone


@pytest.mark.parametrize("function", [ranking.compute_ranks, ranking.compute_win_loss, ranking.count_best])
def test_the_order_of_rows_and_any_growing_change_of_values_change_nothing(function):
    scores = random_scores(2, seeds=3)
    columns = [name for name in function(scores) if name in ("task", "model", "row", "column")]

    def made(frame):
        return function(frame).sort_values(columns).reset_index(drop=True)

    pd.testing.assert_frame_equal(made(scores), made(scores.sample(frac=1, random_state=0)), rtol=1e-12)
    values = scores.assign(value=scores.groupby([*KEY, "model"])["value"].transform("mean")).query("seed == 0")
    pd.testing.assert_frame_equal(made(values), made(values.assign(value=np.exp(values["value"] / 2))))
    turned = values["better"].map({"higher": "lower", "lower": "higher"})
    pd.testing.assert_frame_equal(made(values), made(values.assign(value=-values["value"], better=turned)))


def test_an_outcome_is_the_mean_over_what_was_given_and_then_over_seeds():
    rows = [("x", "a", value) for value in (1, 2, 6, 10)] + [("x", "b", 4)]
    scores = table(rows, seed=[0, 0, 0, 1, 0], given=["p", "q", "r", "p", "p"])
    assert compute_outcomes(scores)["value"].tolist() == [(3 + 10) / 2, 4]
    holes = scores.assign(value=[1, None, 6, None, 4])
    assert compute_outcomes(holes)["value"].tolist() == [3.5, 4]


def test_equal_values_tie_in_whatever_order_they_are_added():
    values = [0.1, 0.2, 0.3]
    assert sum(values) != sum(values[::-1])
    rows = [("x", "a", value) for value in values] + [("x", "b", value) for value in values[::-1]]
    scores = table(rows, seed=[0, 1, 2] * 2)
    assert ranking.compute_ranks(scores)["mean"].tolist() == [0.5, 0.5]
    assert ranking.count_best(scores)["outcomes"].tolist() == [1, 1]


def test_companions_never_count_unless_they_stand_alone():
    own = table([("x", "a", 1), ("x", "b", 2)], metric="ssim")
    beside = table([("x", "a", 2), ("x", "b", 1)], metric="ssim-paper")
    both = pd.concat([beside, own], ignore_index=True)
    pd.testing.assert_frame_equal(compute_outcomes(both), compute_outcomes(own))
    assert ranking.count_best(both).to_numpy().tolist() == [["a", 0], ["b", 1]][::-1]
    assert ranking.count_best(beside).to_numpy().tolist() == [["a", 1], ["b", 0]]


def test_of_several_metrics_the_first_that_all_models_have_counts():
    """As with `evaluate(metrics={"x": ["bias", "acc", "rmse"]})` for one of the models."""
    own = table([("x", "a", 1), ("x", "b", 2)], metric="acc")
    alone = table([("x", "a", 5)], metric="bias")
    later = table([("x", "a", 2), ("x", "b", 1)], metric="rmse", better="lower")
    several = pd.concat([alone, own, later], ignore_index=True)
    pd.testing.assert_frame_equal(compute_outcomes(several), compute_outcomes(own))
    pd.testing.assert_frame_equal(ranking.compute_ranks(several), ranking.compute_ranks(own))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"metric": ["acc", "rmse"]}, r"one metric of many-to-one, d, x; got acc \(higher\) and rmse \(higher\)"),
        ({"better": ["higher", "lower"]}, r"got acc \(higher\) and acc \(lower\)"),
        ({"model": "a", "setting": ["beta=1", "beta=2"]}, "a on d has beta=1, beta=2: choose one"),
        ({"model": "a"}, "many-to-one, d, x, acc, a .*twice"),
    ],
)
def test_what_cannot_be_compared_is_refused(change, said):
    with pytest.raises(ValueError, match=said):
        ranking.compute_ranks(table([("x", "a", 1), ("x", "b", 2)]).assign(**change))


def test_models_are_left_out_by_name():
    scores = table([("x", "M-WAE", 1), ("x", "b", 2), ("x", "c", 3)])
    assert drop_models(scores, ["m-wae", "C"])["model"].tolist() == ["b"]
    with pytest.raises(ValueError, match="unknown model 'w-mae'; known are M-WAE"):
        drop_models(scores, ["w-mae"])


# The bootstrap


def threshold_scores(values, thresholds):
    """Scores of a model that is the same in all outcomes, and of one that stands at a threshold in each.

    The share that the first one wins is that of the thresholds below its mean.
    """
    rows = [(f"m{o}", "a", value) for o in range(len(thresholds)) for value in values]
    rows += [(f"m{o}", "b", threshold) for o, threshold in enumerate(thresholds) for _ in values]
    return table(rows, seed=[*range(len(values))] * (2 * len(thresholds)))


def test_intervals_are_those_of_scipy_s_bootstrap():
    values = np.array([0.1, 0.15, 0.3, 0.35, 0.7, 0.9])
    thresholds = (np.arange(200) + 0.5) / 200
    made = ranking.bootstrap(threshold_scores(values, thresholds), draws=4000).query("model == 'a'")
    reference = bootstrap((values,), np.mean, method="percentile", n_resamples=4000, random_state=0).confidence_interval
    for what in ("rank", "share"):  # of two models, both are one number
        row = made[made["what"] == what].iloc[0]
        assert row["value"] == pytest.approx(values.mean(), abs=0.005)
        assert row["low"] == pytest.approx(reference.low, abs=0.02)
        assert row["high"] == pytest.approx(reference.high, abs=0.02)


def test_without_spread_over_seeds_the_intervals_are_the_values():
    scores = random_scores(3, empty=0)
    again = pd.concat([scores.assign(seed=run) for run in range(3)])
    made = ranking.bootstrap(again, draws=50)
    np.testing.assert_allclose(made["low"], made["value"], atol=1e-12)
    np.testing.assert_allclose(made["high"], made["value"], atol=1e-12)
    ranks = ranking.compute_ranks(scores)
    pd.testing.assert_frame_equal(
        made[made["what"] == "rank"][["task", "model", "value"]].reset_index(drop=True),
        ranks[["task", "model", "mean"]].rename(columns={"mean": "value"}),
    )
    shares = ranking.compute_win_loss(scores)["share"].to_numpy()
    np.testing.assert_allclose(made[made["what"] == "share"]["value"], shares, atol=1e-12)


def test_scores_of_one_run_go_together():
    # run 0 of a wins everywhere and run 1 nowhere: drawn as wholes, the share is often 0 or 1; drawn outcome by
    # outcome, it would be near a half
    made = ranking.bootstrap(threshold_scores([9, -9], np.full(40, 0.5)), draws=300).query("what == 'share'").iloc[0]
    assert (made["low"], made["high"]) == (0, 1)


def test_intervals_depend_on_the_seed_alone_and_hold_what_varies():
    scores = random_scores(4, seeds=4, empty=0.1)
    made = ranking.bootstrap(scores, draws=300, seed=5)
    shuffled = ranking.bootstrap(scores.sample(frac=1, random_state=0), draws=300, seed=5)
    keys = ["what", "task", "model", "against"]
    pd.testing.assert_frame_equal(
        made.sort_values(keys, ignore_index=True), shuffled.sort_values(keys, ignore_index=True)
    )
    assert (made["low"] <= made["high"]).all()
    assert (made["low"] < made["high"]).any()
    assert made[["low", "high"]].stack().between(0, 1).all()


def test_a_score_that_failed_for_one_seed_is_left_out_of_the_draws():
    rows = [("x", model, value) for model, own in {"a": [2, None, 2], "b": [1, 1, 1]}.items() for value in own]
    made = ranking.bootstrap(table(rows, seed=[0, 1, 2] * 2), draws=200)
    assert made.query("what == 'share' and model == 'a'")[["value", "low", "high"]].to_numpy().tolist() == [[1, 1, 1]]


def test_one_seed_has_no_bootstrap():
    with pytest.raises(ValueError, match="several seeds"):
        ranking.bootstrap(table([("x", "a", 1), ("x", "b", 2)]))


# Files


def written(folder, text):
    path = folder / "scores.csv"
    path.write_text(text, encoding="utf-8")
    return path


HEAD = "task,dataset,modality,metric,better,model,value"
LINE = "many-to-one,MHD,label,ACC,higher"


def test_a_file_is_read_as_it_stands(tmp_path):
    frame = read_score_table(
        written(tmp_path, f"{HEAD},seed,note\n{LINE},NA,1.5,0,a b\n{LINE},None,,1,\n{LINE},mac-wae,nan,2,x\n")
    )
    assert frame["model"].tolist() == ["NA", "None", "mac-wae"]
    assert frame["value"].isna().tolist() == [False, True, True]
    assert frame["seed"].tolist() == [0, 1, 2]
    assert frame["note"].tolist() == ["a b", "", "x"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it is empty"),
        (HEAD, "must have at least one score"),
        ("task;model;value\na;b;1", "task, dataset, modality, metric, better, model, value missing, it has task;model"),
        ("task,dataset,modality,metric,better,value\na,b,c,d,higher,1", "; model missing, it has task, dataset"),
        (f"{HEAD}\n{LINE.replace('higher', 'up')},a,1", 'better in .* must be "higher" or "lower"; got \'up\''),
        (f"{HEAD}\n{LINE},a,1\n{LINE},b,1,5", "got '1,5'|Expected 7 fields"),
        (f"{HEAD}\n{LINE},a,good", "value in .* must be a number, .* got 'good' for many-to-one, MHD, label, ACC, a"),
        (f"{HEAD}\n{LINE},a,1\n{LINE},a,2", "many-to-one, MHD, label, ACC, a .*twice"),
        (f"{HEAD},seed\n{LINE},a,1,x", "seed in .* must be a number"),
        (f"{HEAD},seed\n{LINE},a,1,0.5", "seed in .* .*0.5"),
        (f"{HEAD}\n{LINE},,1", "model in .* must be filled in every row; it is empty in row 1"),
    ],
)
def test_a_file_that_is_none_is_refused_in_one_line(tmp_path, text, said):
    with pytest.raises(ValueError, match=said) as caught:
        read_score_table(written(tmp_path, text))
    assert "scores.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_seeds_and_conditions_tell_rows_apart(tmp_path):
    text = f"{HEAD},seed,given\n{LINE},a,1,0,p\n{LINE},a,1,0,q\n{LINE},a,1,1,p\n"
    assert len(read_score_table(written(tmp_path, text))) == 3


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"must be a CSV file of scores"):
        read_score_table(tmp_path / "none.csv")
    with pytest.raises(FileNotFoundError, match=r"must be a CSV file of scores"):
        read_score_table(tmp_path)


# The paper


@pytest.fixture(scope="module")
def paper():
    if not PAPER.is_file():
        pytest.skip(f"needs the paper's numbers in {PAPER}")
    return read_score_table(PAPER)


def test_mac_wae_is_best_where_the_paper_says(paper):
    assert ranking.count_best(paper).iloc[0].tolist() == ["MAC-WAE", 26]
    assert ranking.count_best(drop_models(paper, ["M-WAE"])).iloc[0].tolist() == ["MAC-WAE", 29]
    assert len(select_shared_outcomes(paper)[KEY].drop_duplicates()) == 42


@pytest.mark.parametrize(
    ("against", "wins", "outcomes", "share"),
    [("MVTCAE", 36, 42, 0.86), ("MoPoE", 24, 36, 0.67), ("M-WAE", 30, 42, 0.71)],
)
def test_mac_wae_wins_as_often_as_the_paper_says(paper, against, wins, outcomes, share):
    made = ranking.compute_win_loss(paper).set_index(["row", "column"]).loc[("MAC-WAE", against)]
    assert (made["wins"], made["outcomes"], round(made["share"], 2)) == (wins, outcomes, share)


def test_the_tie_with_m_wae_is_in_the_denominator(paper):
    made = ranking.compute_win_loss(paper).set_index(["row", "column"])
    assert made.loc[("MAC-WAE", "M-WAE"), "wins"] + made.loc[("M-WAE", "MAC-WAE"), "wins"] == 41


def test_rank_scores_of_mac_wae_without_m_wae(paper):
    made = ranking.compute_ranks(drop_models(paper, ["M-WAE"])).query("model == 'MAC-WAE'")
    assert made["mean"].round(3).tolist() == [0.843, 0.886, 0.843]
    assert made["task"].tolist() == ["reconstruction", "many_to_one", "one_to_one"]


def test_which_pairs_of_the_paper_are_significant(paper):
    made = ranking.compute_win_loss(paper)
    marked = {(row.row, row.column): "**" if row.p < 0.01 else "*" for row in made.itertuples() if row.p < 0.05}
    weaker = {"MVTCAE": "**", "JMVAE": "**", "Nexus": "**"}
    ours = {"M-WAE": "**", "MoPoE": "*", "MAC-VAE": "**", **weaker}
    expected = {("MAC-WAE", model): mark for model, mark in ours.items()}
    expected |= {("M-WAE", model): mark for model, mark in {"MAC-VAE": "*", **weaker}.items()}
    expected |= {(row, model): mark for row in ("MoPoE", "MAC-VAE") for model, mark in weaker.items()}
    assert marked == expected

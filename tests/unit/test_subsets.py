"""Translation from subsets of every size: which subsets, and that a score is the mean over them."""

from itertools import combinations
from math import comb

import numpy as np
import pandas as pd
import pytest
from conftest import EXAMPLES, rows_of
from kinds import by_hand, of, value

from polymodal.evaluation import FURTHER, TASKS, evaluate
from polymodal.evaluation.subsets import _sample_subsets, choose_subsets, list_subset_sizes
from polymodal.modalities import Label
from polymodal.models import build
from polymodal.schema import Schema
from polymodal.table.table import Table

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("modalities", [2, 3, 6, 9, 12, 41, 120])
def test_subsets_are_of_others_different_and_as_many_as_there_are_or_ten(modalities):
    for size in list_subset_sizes(modalities):
        taken = {m: [] for m in range(modalities)}
        found = list(choose_subsets(modalities, size, seed=0))
        for subset, targets in found:
            assert len({*subset}) == size
            assert list(subset) == sorted(subset)
            assert targets
            for m in targets:
                assert m not in subset
                taken[m].append(subset)
        for own in taken.values():
            assert len({*own}) == len(own) == min(10, comb(modalities - 1, size))
        assert found == list(choose_subsets(modalities, size, seed=0))
        if comb(modalities - 1, size) > 10:
            assert found != list(choose_subsets(modalities, size, seed=1))
    assert (
        sum(len(list(choose_subsets(modalities, size, 0))) for size in list_subset_sizes(modalities)) < 20 * modalities
    )


def test_random_subsets_end_when_each_was_given_once():
    found = list(_sample_subsets(5, 2, seed=0))
    assert sorted(found) == list(combinations(range(5), 2))


def test_subsets_favour_no_modality():
    """Over many choices each of the others is given equally often."""
    times = np.zeros(15)
    for seed in range(300):
        for subset, targets in choose_subsets(15, 4, seed):
            times[list(subset)] += 0 in targets
    assert times[0] == 0
    np.testing.assert_allclose(times[1:], 300 * 10 * 4 / 14, rtol=0.12)


@pytest.mark.parametrize("name", ["mac-wae", "mvae"])
def test_translation_is_the_mean_over_all_subsets_of_a_size(name, schema, complete):
    batch = rows_of(schema, 12, complete=complete)
    table = Table(batch.values, batch.observed, schema)
    model = build(name, schema, latent_dim=6)
    frame = evaluate(model, table, tasks="translation", batch_size=5)
    assert len(frame) == (5 + 1) * 4  # ssim has a companion
    for _, row in frame.iterrows():
        rest = [name for name in schema if name != row["modality"]]
        size = int(row["given"].split()[0])
        found = [by_hand(model, table, row["metric"], row["modality"], list(v)) for v in combinations(rest, size)]
        numbers, rows = np.array(found).T
        assert row["rows"] == rows.max()
        np.testing.assert_allclose(row["value"], np.nanmean(numbers), rtol=1e-4, atol=1e-5)


def test_from_one_other_and_from_all_others_it_is_the_papers_tasks(schema, complete):
    batch = rows_of(schema, 23, complete=complete)
    table = Table(batch.values, batch.observed, schema)
    frame = evaluate(build("mac-wae", schema, latent_dim=6), table, tasks=[*TASKS, "translation"], batch_size=7)
    for target in schema:
        for metric in of(frame, modality=target)["metric"].unique():
            asked = {"modality": target, "metric": metric}
            single = of(frame, task="one-to-one", **asked)["value"].mean()
            assert value(frame, task="translation", given="1 other", **asked) == pytest.approx(single, rel=1e-12)
            whole = value(frame, task="many-to-one", **asked)
            assert value(frame, task="translation", given="4 others", **asked) == whole


def test_other_tasks_beside_them_change_no_score(schema):
    batch = rows_of(schema, 50, complete=False)
    table = Table(batch.values, batch.observed, schema)
    model = build("mac-wae", schema, latent_dim=6)
    every = evaluate(model, table, tasks=[*TASKS, *FURTHER], train=table, batch_size=4)
    assert list(every["task"].unique()) == [*TASKS, "translation", "coherence", "calibration", "generation", "probe"]
    for task in (TASKS, "translation", "coherence", "generation", "probe"):
        alone = evaluate(model, table, tasks=task, train=table, batch_size=4)
        same = every[every["task"].isin(alone["task"].unique())].reset_index(drop=True)
        pd.testing.assert_frame_equal(alone, same)


def test_a_group_counts_as_one_modality():
    schema = Schema({"a": Label(2), "b": Label(2), "vector": EXAMPLES["vector"]}, groups={"both": ["a", "b"]})
    batch = rows_of(schema, 22, complete=True)
    model = build("mac-wae", schema, latent_dim=6)
    table = Table(batch.values, batch.observed, schema)
    tasks = ["translation", "coherence", "probe"]
    grouped = evaluate(model, table, tasks=tasks, train=table)
    plain = Schema(schema.modalities)
    single = evaluate(
        build("mac-wae", plain, latent_dim=6), Table(batch.values, batch.observed, plain), tasks=tasks, train=table
    )
    assert set(grouped["modality"]) == {"both", "vector", "all", "a"}
    assert set(of(grouped, task="probe")["modality"]) == {"a"}
    for given in ("1 other", "2 others"):
        mean = of(single, task="translation", given=given, metric="acc")["value"].mean()
        assert value(grouped, task="translation", given=given, modality="both") == pytest.approx(mean)

"""Scores are those of translations made one at a time."""

import numpy as np
import pytest
import torch
from conftest import EXAMPLES, rows_of
from kinds import by_hand

from polymodal.evaluation import METRICS, evaluate
from polymodal.modalities import Label
from polymodal.models import build
from polymodal.schema import Schema
from polymodal.table.table import Table

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("name", "rows"), [("mac-wae", 15), ("mac-vae", 16)])  # 15: the last batch would be one row
def test_every_score(name, rows, schema, complete):
    batch = rows_of(schema, rows, complete=complete)
    table = Table(batch.values, batch.observed, schema)
    model = build(name, schema, latent_dim=6)
    frame = evaluate(model, table, batch_size=7)
    assert len(frame) == (5 + 1) * (1 + 1 + 4)  # ssim has a companion
    assert set(frame[frame["modality"] == "image"]["metric"]) == {"ssim", "ssim-paper"}
    for _, row in frame.iterrows():
        others = [other for other in schema if other != row["modality"]]
        given = {"all": list(schema), "others": others}.get(row["given"], [row["given"]])
        value, rows = by_hand(model, table, row["metric"], row["modality"], given)
        assert row["rows"] == rows
        np.testing.assert_allclose(row["value"], value, rtol=1e-4, atol=1e-5, equal_nan=True)
        assert row["better"] == METRICS[row["metric"]].better


def test_each_modality_is_encoded_once_for_all_tasks(schema):
    batch = rows_of(schema, 20, complete=True)
    model = build("mac-wae", schema, latent_dim=6)
    sizes = []
    model.encoders[0].register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    evaluate(model, Table(batch.values, batch.observed, schema), batch_size=8)
    assert sorted(sizes) == [1, 1, 1, 4, 8, 8]


def test_a_group_counts_as_one_modality(complete):
    schema = Schema({"a": Label(2), "b": Label(2), "vector": EXAMPLES["vector"]}, groups={"both": ["a", "b"]})
    batch = rows_of(schema, 22, complete=complete)
    table = Table(batch.values, batch.observed, schema)
    model = build("mac-wae", schema, latent_dim=6)
    grouped = evaluate(model, table, batch_size=7)
    single = evaluate(build("mac-wae", Schema(schema.modalities), latent_dim=6), table, batch_size=7)
    assert set(grouped["modality"]) == {"both", "vector"}
    assert set(grouped["given"]) == {"all", "others", "both", "vector"}
    for task in ("reconstruction", "many-to-one"):
        mean = single[(single["task"] == task) & single["modality"].isin(["a", "b"])]["value"].mean()
        value = grouped[(grouped["task"] == task) & (grouped["modality"] == "both")]["value"]
        assert value.item() == pytest.approx(mean)


def test_tasks_can_be_chosen(schema):
    batch = rows_of(schema, 6, complete=True)
    table = Table(batch.values, batch.observed, schema)
    model = build("mac-wae", schema, latent_dim=6)
    assert set(evaluate(model, table, tasks=["many-to-one"])["task"]) == {"many-to-one"}
    with pytest.raises(ValueError, match="unknown task 'many-to-two'; known are many-to-one"):
        evaluate(model, table, tasks=["many-to-two"])


def test_scoring_changes_neither_model_nor_random_stream(schema):
    batch = rows_of(schema, 6, complete=True)
    model = build("mac-wae", schema, latent_dim=6).train()
    state = torch.get_rng_state()
    evaluate(model, Table(batch.values, batch.observed, schema))
    assert model.training
    assert torch.equal(state, torch.get_rng_state())

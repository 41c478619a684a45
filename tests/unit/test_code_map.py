"""Codes under several conditionings on two axes: which, of which rows, and that they come out the same again."""

import sys

import numpy as np
import pytest
import torch
from kinds import SCHEMA, UNNAMED, table_of
from sklearn.decomposition import PCA

from polymodal.evaluation import code_map
from polymodal.inference.streaming import embed
from polymodal.modalities import Label
from polymodal.models import build
from polymodal.schema import Schema
from polymodal.table.table import Table

pytestmark = pytest.mark.slow

GIVEN = ["all", "picture alone", "vector alone", "noise alone", "kind alone", "all but kind"]


@pytest.fixture
def without_umap(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)


def test_without_umap_the_axes_are_the_principal_ones_of_all_codes(without_umap):
    model, table = build("mac-wae", SCHEMA, latent_dim=4), table_of(rows=60)
    points = code_map(model, table)
    assert points.columns.tolist() == ["given", "label", "x", "y", "method"]
    assert points["given"].unique().tolist() == GIVEN
    assert set(points["method"]) == {"pca"}
    rows = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    names = {"all": list(SCHEMA), "all but kind": ["picture", "vector", "noise"]}
    codes = [
        torch.cat([z for _, z in embed(model, table, names.get(given, [given.split()[0]]), rows=rows)])
        for given in GIVEN
    ]
    whole = torch.cat(codes).numpy()
    pca = PCA(2).fit(whole)
    np.testing.assert_allclose(points[["x", "y"]], pca.transform(whole), atol=1e-4)
    assert points["label"].tolist() == table.values["kind"][rows].tolist() * len(GIVEN)


def test_umap_gives_the_same_again_and_leaves_random_streams_and_threads_alone():
    pytest.importorskip("umap", reason="umap-learn is not installed")
    model, table = build("mac-wae", SCHEMA, latent_dim=4), table_of(rows=60)
    np.random.seed(3)  # noqa: NPY002
    kept, state, threads = np.random.get_state()[1].copy(), torch.get_rng_state(), torch.get_num_threads()  # noqa: NPY002
    first, again = code_map(model, table, rows=40, seed=1), code_map(model, table, rows=40, seed=1)
    assert (kept == np.random.get_state()[1]).all()  # noqa: NPY002
    assert torch.equal(state, torch.get_rng_state())
    assert torch.get_num_threads() == threads
    assert set(first["method"]) == {"umap"}
    assert len(first) == 40 * len(GIVEN)
    assert first.equals(again)
    assert not first[["x", "y"]].equals(code_map(model, table, rows=40, seed=2)[["x", "y"]])


def test_rows_that_lack_what_is_given_are_left_out(without_umap):
    values = table_of(rows=30).values
    observed = torch.ones(30, 4, dtype=torch.bool)
    observed[:10, 1] = observed[5:, 3] = False
    points = code_map(build("mvae", SCHEMA, latent_dim=4), Table(values, observed, SCHEMA))
    assert points.groupby("given", sort=False).size().tolist() == [30, 30, 20, 30, 5, 30]
    assert (points[points["given"] == "kind alone"]["label"] >= 0).all()
    assert sorted(points[points["given"] == "all"]["label"]).count(-1) == 25


def test_labels_of_the_table_do_and_without_any_there_are_none(without_umap):
    table = table_of(UNNAMED, 20)
    points = code_map(build("mac-wae", UNNAMED, latent_dim=1), table, rows=12)  # of one number, the second axis is 0
    assert len(points) == 12 * 4
    assert set(points["label"]) <= {0, 1, 2}
    assert (points["y"] == 0).all()
    nameless = code_map(build("mac-wae", UNNAMED, latent_dim=4), Table(table.values, schema=UNNAMED))
    assert set(nameless["label"]) == {-1}
    with pytest.raises(ValueError, match="unknown label modality"):
        code_map(build("mac-wae", UNNAMED, latent_dim=4), table, label="vector")


def test_there_are_at_most_eight_panels_and_a_label_can_be_chosen(without_umap):
    schema = Schema({f"a{i}": Label(2, hidden=(2,)) for i in range(12)})
    table = Table(
        {name: torch.arange(6) % 2 if name == "a0" else torch.zeros(6).long() for name in schema}, schema=schema
    )
    model = build("mac-wae", schema, latent_dim=2)
    points = code_map(model, table)
    assert points["given"].unique().tolist() == ["all", *(f"a{i} alone" for i in range(6)), "all but a0"]
    assert set(points["label"]) == {0, 1}
    assert set(code_map(model, table, label="a1")["label"]) == {0}

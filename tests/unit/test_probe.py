"""A linear probe of codes is scikit-learn's, on what it is given and on rows that can be judged."""

import numpy as np
import pytest
import torch
from kinds import CLASSES, SCHEMA, UNNAMED, Mirror, table_of, values_of
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from polymodal.evaluation import evaluate
from polymodal.inference.streaming import embed
from polymodal.modalities import Label, Vector
from polymodal.models import build
from polymodal.schema import Schema
from polymodal.table.table import Table


def probes(model, table, train):
    frame = evaluate(model, table, tasks="probe", train=train)
    assert list(frame["given"]) == ["others", "1 other"]
    assert set(frame["metric"]) == {"acc"}
    return frame.set_index("given")


def by_hand(model, train, table, given, classes):
    """Accuracy of a probe on codes that are standardised as the training rows' are."""
    codes = {}
    for key, rows in {"train": train, "table": table}.items():
        numbers, z = zip(*embed(model, rows, given), strict=True)
        codes[key] = torch.cat(z).numpy(), classes(rows)[torch.cat(numbers)].numpy()
    (x, y), (other, truth) = ((z[c >= 0], c[c >= 0]) for z, c in codes.values())
    scaler = StandardScaler().fit(x)
    probe = LogisticRegression(max_iter=1000).fit(scaler.transform(x), y)
    return 100 * float((probe.predict(scaler.transform(other)) == truth).mean())


@pytest.mark.parametrize("name", ["mac-wae", "mvae", "mmvae-plus"])
def test_it_is_scikit_learns_on_what_is_given(name):
    train, table = table_of(rows=150), table_of(rows=80, seed=1)
    model = build(name, SCHEMA, latent_dim=4)
    found = probes(model, table, train)

    def kinds(rows):
        return rows.values["kind"]

    rest = ["picture", "vector", "noise"]
    assert found["value"]["others"] == pytest.approx(by_hand(model, train, table, rest, kinds), abs=1.5)
    single = [by_hand(model, train, table, [given], kinds) for given in rest]
    assert found["value"]["1 other"] == pytest.approx(np.mean(single), abs=1.5)
    assert set(found["modality"]) == {"kind"}
    assert set(found["rows"]) == {80}


def test_the_label_is_never_given_and_what_tells_it_is_enough():
    """Codes that hold all values tell the class; those of a model that sees the label alone tell nothing."""
    train, table = table_of(UNNAMED), table_of(UNNAMED, seed=1)
    found = probes(Mirror(UNNAMED), table, train)
    assert set(found["modality"]) == {"class"}
    assert (found["value"] > 99).all()
    generator = torch.Generator().manual_seed(0)
    noise = {"noise": torch.randn(600, 2, generator=generator), "kind": torch.arange(600) % 3}
    schema = Schema({"noise": Vector(2, hidden=(8,)), "kind": Label(3)})
    rows = Table(noise, schema=schema)
    assert (probes(build("mac-wae", schema, latent_dim=4), rows, rows)["value"] < 45).all()


def test_rows_without_a_class_or_without_what_is_given_are_left_out():
    values = values_of(120)
    values["kind"][::3] = -1
    observed = torch.ones(120, 3, dtype=torch.bool)
    observed[1::4, 1] = False
    rows = Table({name: values[name] for name in UNNAMED}, observed, UNNAMED, labels=values["kind"])
    model = build("mvae", UNNAMED, latent_dim=4)
    found = probes(model, rows, rows)
    assert found["rows"].tolist() == [80, 80]
    alone = [by_hand(model, rows, rows, [name], lambda rows: rows.labels) for name in UNNAMED]
    assert found["value"]["1 other"] == pytest.approx(np.mean(alone), abs=1.5)


def test_where_there_is_one_class_there_is_no_probe():
    one = table_of(values={**values_of(30), "kind": torch.zeros(30, dtype=torch.int64)})
    found = probes(build("mac-wae", SCHEMA, latent_dim=4), one, one)
    assert found["value"].isna().all()
    assert set(found["rows"]) == {0}
    assert CLASSES > 1

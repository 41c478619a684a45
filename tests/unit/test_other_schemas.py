"""Tables of another schema than the model's are refused wherever a model is asked about them."""

import numpy as np
import pandas as pd
import pytest
import torch

import polymodal as pm
from polymodal.evaluation import code_map, train_classifiers
from polymodal.evaluation.likelihood import estimate_log_likelihood
from polymodal.inference import streaming
from polymodal.models import MODELS

FRAME = pd.DataFrame(
    {
        "kind": ["oak", "elm", "ash"] * 20,
        "height": np.arange(60) / 7,
        "rings": np.arange(60) % 37,
        "note": ["a tall old tree", "a small tree", "an ash by the lake"] * 20,
    }
)
OTHERS = {
    "renamed class": FRAME.replace({"kind": {"oak": "abies"}}),
    "another order of classes": FRAME.replace({"kind": {"oak": "ash", "ash": "oak", "elm": "elms"}}),
    "another class": FRAME.assign(kind=FRAME["kind"].where(FRAME.index > 3, "fir")),
    "another unit": FRAME.assign(height=FRAME["height"] * 100),
    "another mean": FRAME.assign(rings=FRAME["rings"] + 1),
    "other words": FRAME.replace({"note": {"a small tree": "a little tree"}}),
}


def read(frame, schema=None):
    if schema is None:
        schema = pm.Schema.infer(frame, say=None, modalities={"note": "text:6", "rings": "number"})
    return pm.Table.from_frame(frame, schema, say=None)


def small(schema):
    return schema.replace(hidden=(8,), layers=1, heads=1, width=8, feedforward=8)


@pytest.fixture(scope="module")
def table():
    return read(FRAME)


@pytest.fixture(scope="module")
def model(table):
    return pm.build("mac-vae", small(table.schema), latent_dim=4, hidden=(8,))


ASKED = {
    "evaluate": lambda model, own, other: pm.evaluate(model, other),
    "evaluate sampling": lambda model, own, other: pm.evaluate(model, other, tasks=["sampling"]),
    "evaluate train": lambda model, own, other: pm.evaluate(model, own, tasks=["probe"], train=other),
    "evaluate classifiers": lambda model, own, other: pm.evaluate(
        model, own, tasks=["coherence"], classifiers=train_classifiers(other, epochs=1)
    ),
    "likelihood": lambda model, own, other: estimate_log_likelihood(model, other),
    "code_map": lambda model, own, other: code_map(model, other),
    "fit train": lambda model, own, other: pm.fit(model, other, own, epochs=1, progress=False),
    "fit validation": lambda model, own, other: pm.fit(model, own, other, epochs=1, progress=False),
    "translate": lambda model, own, other: model.translate(other),
    "translate rows": lambda model, own, other: model.translate(other[:4], given=["kind"], to=["note"]),
    "translate a batch": lambda model, own, other: model.translate(next(other.batches(8, seed=0))),
    "predict": lambda model, own, other: model.predict(other[[2, 5]]),
    "embed": lambda model, own, other: model.embed(other[3]),
    "reconstruct": lambda model, own, other: model.reconstruct(other[:2]),
    "stream": lambda model, own, other: [*streaming.translate(model, other)],
    "stream of samples": lambda model, own, other: [*streaming.translate_samples(model, other, samples=2)],
    "stream of codes": lambda model, own, other: [*streaming.embed(model, other)],
    "report": lambda model, own, other: pm.report.write("report.html", model, other, history=pd.DataFrame()),
}


@pytest.mark.parametrize("change", OTHERS)
@pytest.mark.parametrize("asked", ASKED)
def test_a_table_of_another_schema_is_refused(model, table, asked, change, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ValueError,
        match=r"must have the model's .*; got .*; (read the rows with the model's|build the model with the) schema",
    ):
        ASKED[asked](model, table, read(OTHERS[change]))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("change", OTHERS)
def test_read_with_the_models_schema_classes_keep_their_numbers_and_numbers_their_units(model, table, change):
    there = read(OTHERS[change], model.schema)
    assert len(pm.evaluate(model, there)) == 20
    kinds = [model.schema["kind"].write(value) for value in there.values["kind"]]
    known = there.observed[:, 0].tolist()
    assert [kind for kind, seen in zip(kinds, known, strict=True) if seen] == [
        kind for kind, seen in zip(OTHERS[change]["kind"], known, strict=True) if seen
    ]
    heights = torch.stack([model.schema["height"].write(value) for value in there.values["height"]])[:, 0]
    np.testing.assert_allclose(heights, OTHERS[change]["height"], rtol=1e-5, atol=1e-5)
    model.schema.require(there[:4].schema, "the rows")
    model.translate(there[:4])


def test_other_networks_costs_and_groups_do_not_matter(table):
    schema = pm.Schema({**small(table.schema.replace(cost="l2"))}, groups={"numbers": ["height", "rings"]})
    model = pm.build("mac-wae", schema, latent_dim=4, hidden=(8,))
    assert model.translate(table[:3])["kind"].shape == (3,)
    assert len(pm.evaluate(model, table, tasks=["reconstruction"])) > 0


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("rows", ["no rows of a table", "an empty batch"])
def test_no_rows_have_no_values(name, table, rows):
    schema = small(table.schema)
    model = pm.build(name, schema, latent_dim=4)
    none = table[:0] if rows == "no rows of a table" else pm.Batch({}, torch.zeros(0, 4, dtype=torch.bool))
    for options in ({}, {"given": ["kind"]}, {"to": ["note", "kind"]}):
        made = model.translate(none, **options)
        assert {key: (value.shape, value.dtype) for key, value in made.items()} == {
            key: ((0, *schema[key].shape), value.dtype) for key, value in model.translate(table[:2], **options).items()
        }
    assert model.embed(none).shape == (0, model.code_dim)
    if not model.deterministic:
        assert model.translate(none, samples=3)["kind"].shape == (3, 0)
        assert model.translate(none, samples=3, combine="mean")["note"].shape == (0, 6)

"""Classifiers learn what can be learned, from rows that have it, the same way every time, and come back from files."""

import json

import pytest
import torch
import torch.nn.functional as F
from conftest import EXAMPLES, rows_of
from kinds import CLASSES, SCHEMA, table_of, values_of
from safetensors.torch import load_file, save_file

from polymodal.evaluation import Classifiers, train_classifiers
from polymodal.evaluation.coherence import classifier_training
from polymodal.modalities import Label, Vector
from polymodal.schema import Schema
from polymodal.table.table import Table


def weights(classifiers):
    return classifiers.state_dict()


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def right(classifiers, rows, name):
    return float((classifiers.predict_classes(name, rows.values[name]) == rows.values["kind"]).float().mean())


@pytest.fixture(scope="module")
def classifiers():
    return train_classifiers(table_of())


def test_a_class_that_shows_is_learned_and_one_that_does_not_is_guessed(classifiers):
    fresh = table_of(rows=600, seed=1)
    assert classifiers.label == "kind"
    assert classifiers.class_modalities == ["picture", "vector", "noise", "kind"]
    for name in ("picture", "vector"):
        assert classifiers.accuracy[name] >= 95
        assert right(classifiers, fresh, name) >= 0.95
    assert right(classifiers, fresh, "noise") == pytest.approx(1 / CLASSES, abs=0.1)
    assert right(classifiers, fresh, "kind") == 1


def test_bytes_and_what_a_decoder_makes_of_them_are_of_one_class(classifiers):
    picture = table_of(rows=300, seed=2).values["picture"]  # more than are looked at in one pass
    parts = torch.cat([classifiers.predict_classes("picture", part) for part in (picture / 255).split(7)])
    assert torch.equal(classifiers.predict_classes("picture", picture), parts)
    features = classifiers.features("picture", picture)
    assert torch.equal(classifiers.classify_features("picture", features), parts)
    torch.testing.assert_close(
        classifiers.get("picture").head(features), classifiers.get("picture")(picture.float() / 255)
    )


def test_the_same_seed_makes_the_same_weights_and_leaves_the_random_stream_alone():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one = train_classifiers(table_of(rows=60), epochs=2)
    assert torch.equal(state, torch.get_rng_state())
    torch.rand(3)
    assert equal(weights(one), weights(train_classifiers(table_of(rows=60), epochs=2)))
    assert one.accuracy == train_classifiers(table_of(rows=60), epochs=2).accuracy
    assert not equal(weights(one), weights(train_classifiers(table_of(rows=60), epochs=2, seed=1)))


@pytest.mark.parametrize(("told", "best"), [([50, 90, 70], 1), ([50, 90, 90], 2), ([50, 40, 30], 0)])
def test_the_weights_of_the_best_epoch_are_kept_of_equal_ones_the_last(told, best, monkeypatch):
    seen = []

    def accuracy(classifier, rows, name, held, classes):
        seen.append({key: value.clone() for key, value in classifier.state_dict().items()})
        assert len(held) == 10
        return float(told[len(seen) - 1])

    monkeypatch.setattr(classifier_training, "_accuracy", accuracy)
    values = values_of(100)
    rows = Table(
        {name: values[name] for name in ("vector", "kind")}, schema=Schema({n: SCHEMA[n] for n in ("vector", "kind")})
    )
    made = train_classifiers(rows, epochs=3)
    assert made.accuracy == {"vector": told[best]}
    assert equal(made.get("vector").state_dict(), seen[best])
    assert not equal(seen[0], seen[1])


def test_of_many_rows_there_are_fewer_epochs_or_rows(monkeypatch):
    """However many there are, about as many are looked at."""
    monkeypatch.setattr(classifier_training, "PROCESSED", 300)
    for rows, epochs, seen in ((100, 3, 270), (200, 2, 360), (1000, 1, 300)):
        values = values_of(rows)
        schema = Schema({name: SCHEMA[name] for name in ("vector", "kind")})
        counted = []
        monkeypatch.setattr(classifier_training, "_accuracy", lambda *asked, counted=counted: counted.append(1) or 50.0)
        monkeypatch.setattr(
            classifier_training.F,
            "cross_entropy",
            lambda x, y, of=F.cross_entropy, counted=counted: counted.append(len(y)) or of(x, y),
        )
        train_classifiers(Table({name: values[name] for name in schema}, schema=schema), batch_size=40)
        monkeypatch.undo()
        monkeypatch.setattr(classifier_training, "PROCESSED", 300)
        assert sum(number for number in counted if number > 1) == seen
        assert counted.count(1) == epochs


@pytest.mark.parametrize("kind", [True, False])  # whether the class is a modality
def test_rows_that_lack_the_modality_or_the_class_take_no_part(kind):
    values = values_of(80)
    schema = SCHEMA if kind else Schema({name: SCHEMA[name] for name in ("picture", "vector", "noise")})
    lacking = torch.arange(80) % 4 == 1  # of the vector
    unknown = torch.arange(80) % 5 == 0  # of the class
    seen, made = [], {}
    for junk in (0, 1):
        held = {name: value.clone() for name, value in values.items()}
        held["vector"][lacking] = torch.nan if junk else 0.0
        held["kind"][unknown] = 10**6 if junk and kind else -1
        observed = torch.ones(80, len(schema), dtype=torch.bool)
        observed[:, 1] = ~lacking
        if kind:
            observed[:, 3] = ~unknown
        labels = None if kind else held["kind"]
        rows = Table({name: held[name] for name in schema}, observed, schema, labels=labels)
        made[junk] = train_classifiers(rows, epochs=2)
        seen.append(weights(made[junk]))
        assert made[junk].label == ("kind" if kind else None)
    assert equal(*seen)
    known = ~lacking & ~unknown
    few = {name: value[known] for name, value in values.items()}
    own = Table({name: few[name] for name in schema}, None, schema, labels=None if kind else few["kind"])
    assert equal(train_classifiers(own, epochs=2).get("vector").state_dict(), made[0].get("vector").state_dict())


def test_a_rare_modality_has_no_verifier():
    observed = torch.ones(60, 4, dtype=torch.bool)
    observed[9:, 1] = False
    made = train_classifiers(Table(values_of(60), observed, SCHEMA), epochs=1)
    assert [*made.accuracy] == ["picture", "noise"]
    assert made.class_modalities == ["picture", "noise", "kind"]


def test_the_label_can_be_chosen_and_must_be_one_class():
    schema = Schema({"a": Label(2), "b": Label(3), "vector": Vector(3, hidden=(4,))})
    values = {"a": torch.arange(30) % 2, "b": torch.arange(30) % 3, "vector": torch.randn(30, 3)}
    rows = Table(values, schema=schema, labels=torch.arange(30) % 5)
    assert train_classifiers(rows, epochs=1).label == "a"
    chosen = train_classifiers(rows, label="b", epochs=1)
    assert (chosen.label, chosen.classes, [*chosen.accuracy]) == ("b", 3, ["a", "vector"])
    with pytest.raises(ValueError, match="unknown label modality 'vector'; known are a, b"):
        train_classifiers(rows, label="vector")
    with pytest.raises(ValueError, match="epochs must be at least 1; got 0"):
        train_classifiers(rows, epochs=0)
    with pytest.raises(ValueError, match="unknown modality 'c'"):
        train_classifiers(rows, label="c")
    with pytest.raises(ValueError, match="rows must have classes"):
        train_classifiers(Table({"vector": values["vector"]}, schema=Schema({"vector": schema["vector"]})))


def test_every_modality_s_own_encoder_can_learn(schema, complete):
    batch = rows_of(schema, 60, complete=complete)
    made = train_classifiers(Table(batch.values, batch.observed, schema), epochs=2)
    assert [*made.accuracy] == [name for name in EXAMPLES if name != "label"]
    for name in made.accuracy:
        assert made.predict_classes(name, batch.values[name][batch.observed[:, schema.index(name)]]).max() < 4


def test_verifiers_come_back_from_their_folder(classifiers, tmp_path):
    folder = classifiers.save(tmp_path / "verifiers")
    assert {path.name for path in folder.iterdir()} == {"verifiers.json", "weights.safetensors"}
    state = torch.get_rng_state()
    loaded = Classifiers.load(folder)
    assert torch.equal(state, torch.get_rng_state())
    fresh = table_of(rows=50, seed=3)
    for name in classifiers.accuracy:
        assert torch.equal(loaded.features(name, fresh.values[name]), classifiers.features(name, fresh.values[name]))
    for fact in ("schema", "label", "classes", "accuracy", "size", "seed"):
        assert getattr(loaded, fact) == getattr(classifiers, fact)
    classifiers.save(folder)  # over themselves


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2}, "format must be 1; got 2; update polymodal"),
        ({"classes": "3"}, "classes must be int; got '3'"),
        ({"label": "sort"}, "unknown modality 'sort'"),
        ({"accuracy": {"sound": 1.0}}, "unknown modality 'sound'"),
        ({"classes": 2**40}, "does not fit the model"),
        ({"accuracy": {"vector": 99.0}}, "does not fit the model"),
        ({"more": 1}, "unknown argument of verifiers.json 'more'"),
        ({"schema": {"modalities": [{"name": "a", "type": "os"}], "groups": {}}}, "unknown modality type 'os'"),
    ],
)
def test_a_damaged_document_is_one_clear_error(classifiers, tmp_path, change, said):
    folder = classifiers.save(tmp_path / "verifiers")
    document = json.loads((folder / "verifiers.json").read_text())
    (folder / "verifiers.json").write_text(json.dumps({**document, **change}))
    with pytest.raises(ValueError, match=r"verifiers\.json does not describe") as caught:
        Classifiers.load(folder)
    assert said in str(caught.value)


def test_weights_of_another_shape_are_refused(classifiers, tmp_path):
    folder = classifiers.save(tmp_path / "verifiers")
    held = load_file(folder / "weights.safetensors")
    save_file({name: value for name, value in held.items() if "head.bias" not in name}, folder / "weights.safetensors")
    with pytest.raises(ValueError, match=r"has no networks\.0\.head\.bias"):
        Classifiers.load(folder)
    (folder / "weights.safetensors").unlink()
    with pytest.raises(FileNotFoundError):
        Classifiers.load(folder)
    with pytest.raises(FileNotFoundError):
        Classifiers.load(tmp_path)

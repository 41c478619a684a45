"""Batches, schemas and tables."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from conftest import EXAMPLES, rows_of

from polymodal.batch import Batch
from polymodal.modalities import Image, Label, Modality, Text, Vector
from polymodal.schema import Schema
from polymodal.table.table import Table


def table(schema, rows=10, *, complete=True):
    batch = rows_of(schema, rows, complete=complete)
    return Table(batch.values, batch.observed, schema)


class TestSchema:
    def test_hide_blanks_and_casts(self, schema):
        batch = rows_of(schema, 6, complete=False)
        for dtype in (torch.float32, torch.float64):
            hidden = schema.hide(batch, dtype)
            assert list(hidden) == list(schema)
            for column, (name, modality) in enumerate(schema.items()):
                blank = modality.prepare(modality.blank, dtype)
                value = modality.prepare(batch.values[name], dtype)
                for row in range(6):
                    assert torch.equal(hidden[name][row], value[row] if batch.observed[row, column] else blank)
        assert schema.hide(batch, torch.float64)["image"].dtype == torch.float64
        assert schema.hide(batch, torch.float64)["image"].max() <= 1

    def test_hide_names_what_does_not_fit(self, schema):
        batch = rows_of(schema, 6, complete=True)
        wrong = Batch({**batch.values, "image": torch.zeros(6, 1, 9, 7)}, batch.observed)
        with pytest.raises(ValueError, match=r"'image' must be \(B, 3, 9, 7\); got \(6, 1, 9, 7\)"):
            schema.hide(wrong, torch.float32)
        with pytest.raises(ValueError, match="one column for each of audio, image"):
            schema.hide(Batch(batch.values, batch.observed[:, :2]), torch.float32)

    def test_replace_changes_it_wherever_it_exists(self, schema):
        assert {modality.cost for modality in schema.replace(cost="l2").values()} == {"l2"}
        wide = schema.replace(widths=(2, 3))
        assert (wide["image"].widths, wide["audio"].widths) == ((2, 3), (2, 3))
        assert wide["label"] == schema["label"]
        with pytest.raises(ValueError, match="unknown argument of modalities 'csot'; known are cost"):
            schema.replace(csot="l2")

    def test_replace_changes_a_cost_where_there_is_one_of_that_name(self, schema):
        costs = {name: modality.cost for name, modality in schema.replace(cost="categorical-squashed").items()}
        discrete = [name for name, modality in schema.items() if modality.levels]
        assert {name for name, cost in costs.items() if cost == "categorical-squashed"} == {*discrete}
        assert all(costs[name] == schema[name].cost for name in schema if name not in discrete)
        with pytest.raises(ValueError, match="cost must be one of"):
            schema.replace(cost="categorical-squahsed")
        with pytest.raises(ValueError, match="a cost's scale must be a positive number"):
            schema.replace(cost="laplace(-1)")

    def test_json_keeps_order_and_groups(self):
        schema = Schema({"b": Label(2), "a": Label(2), "c": Vector(1)}, groups={"both": ["a", "b"]})
        again = Schema.from_json(json.loads(json.dumps(schema.to_json())))
        assert again == schema
        assert list(again) == ["b", "a", "c"]
        assert again.groups == {"both": ["a", "b"]}
        assert Schema({"a": Label(2), "b": Label(2)}) != Schema({"b": Label(2), "a": Label(2)})

    @pytest.mark.parametrize(
        ("entry", "message"),
        [
            ({"type": "imgae", "name": "x"}, "unknown modality type 'imgae'; known are image"),
            ({"type": "label", "name": "x", "clases": 2}, "unknown argument of label 'clases'; known are classes"),
        ],
    )
    def test_json_of_unknown_things(self, entry, message):
        with pytest.raises(ValueError, match=message):
            Schema.from_json({"modalities": [entry]})

    def test_an_unregistered_modality_says_how_to_register_it(self):
        class Video(Vector):
            pass

        with pytest.raises(ValueError, match=r"polymodal.MODALITIES\['video'\] = Video"):
            Schema({"film": Video(3)}).to_json()

    def test_groups_and_emptiness_are_checked(self):
        with pytest.raises(ValueError, match="at least one modality"):
            Schema({})
        with pytest.raises(ValueError, match="unknown modality 'z'"):
            Schema({"a": Label(2)}, groups={"g": ["z"]})

    def test_groups_neither_overlap_nor_take_a_modalitys_name(self):
        for groups in ({"g": ["a"], "h": ["a"]}, {"g": ["a", "a"]}, {"a": ["b"]}):
            with pytest.raises(ValueError, match="'a' occurs twice"):
                Schema({"a": Label(2), "b": Label(2)}, groups=groups)

    def test_kinds_are_checked(self):
        for modalities in ({"a": Label}, {0: Label(2)}):
            with pytest.raises(TypeError, match="must map names to modalities"):
                Schema(modalities)

    def test_float_pictures_are_not_scaled_again(self):
        schema = Schema({"photo": Image(1, 2, 2)})
        for dtype, value in ((torch.uint8, 51), (torch.float32, 0.2)):
            x = torch.full((1, 1, 2, 2), value, dtype=dtype)
            assert schema.hide(schema.batch({"photo": x}), torch.float32)["photo"].max() == pytest.approx(0.2)

    def test_write_takes_draws_too(self, schema):
        values = {
            name: value.expand(3, *value.shape) for name, value in rows_of(schema, 2, complete=True).values.items()
        }
        written = schema.write(values)
        assert all(len(written[name]) == 3 and len(written[name][0]) == 2 for name in schema)

    def test_require_names_the_first_difference(self):
        one = Schema({"a": Label(3), "b": Vector(2)})
        one.require(Schema({"a": Label(3, hidden=(4,)), "b": Vector(2)}), "train")
        with pytest.raises(ValueError, match=r"train must have the model's modalities in their order, a, b; got b, a"):
            one.require(Schema({"b": Vector(2), "a": Label(3)}), "train")
        with pytest.raises(ValueError, match=r"'a' of train must be the model's, Label\(classes=3"):
            one.require(Schema({"a": Label(5), "b": Vector(2)}), "train")

    @pytest.mark.parametrize(
        ("one", "other", "said"),
        [
            ({"names": ("ash", "oak")}, {"names": ("oak", "ash")}, "classes, ash, oak; got oak, ash"),
            ({"names": ("ash", "oak")}, {"names": None}, "classes, ash, oak; got 0, 1"),
            ({"names": None}, {"names": ("ash", "oak")}, "classes, 0, 1; got ash, oak"),
            ({"names": ("0", "1")}, {"names": ("1", "0")}, "classes, 0, 1; got 1, 0"),
        ],
    )
    def test_require_compares_classes_by_name_and_order(self, one, other, said):
        mine, theirs = (Schema({"a": Label(2, **names)}) for names in (one, other))
        with pytest.raises(ValueError, match=rf"'a' of train must have the model's {said}; read the rows with"):
            mine.require(theirs, "train")
        Schema({"a": Label(2)}).require(Schema({"a": Label(2, names=("0", "1"))}), "train")

    @pytest.mark.parametrize(
        ("other", "part"),
        [
            ({"center": (5.0, 0.0)}, "center, 5.5, 0.0; got 5.0, 0.0"),
            ({"center": None}, "center, 5.5, 0.0; got 0.0, 0.0"),
            ({"scale": (2.0, 3.0)}, "scale, 2.0, 1.0; got 2.0, 3.0"),
            ({"log": True}, "log, False; got True"),
            ({"names": ("height", "width")}, "columns, width, height; got height, width"),
            ({"names": None}, "columns, width, height; got a"),
        ],
    )
    def test_require_compares_units_and_columns(self, other, part):
        mine = Vector(2, center=(5.5, 0.0), scale=(2.0, 1.0), names=("width", "height"))
        Schema({"a": mine}).require(Schema({"a": replace(mine, hidden=(4,), cost="laplace")}), "train")
        with pytest.raises(ValueError, match=f"'a' of train must have the model's {part}; read"):
            Schema({"a": mine}).require(Schema({"a": replace(mine, **other)}), "train")

    def test_require_shows_where_long_lists_differ(self):
        words = tuple(f"word{number}" for number in range(30_000))
        mine, theirs = (Schema({"a": Text(3, some)}) for some in (words, (*words[:20_000], "oak", *words[20_001:])))
        said = r"vocabulary, 30,000 of them, word0, .*number 20001 is 'oak', and must be"
        with pytest.raises(ValueError, match=said) as error:
            mine.require(theirs, "train")
        assert len(str(error.value)) < 600
        with pytest.raises(ValueError, match="number 29991 is none, and must be 'word29990'"):
            mine.require(Schema({"a": Text(3, words[:29_990])}), "train")

    def test_require_of_a_modality_of_ones_own_compares_what_its_core_leaves_out(self):
        @dataclass(frozen=True)
        class Weight(Vector):
            unit: str = "kg"

            @property
            def core(self):
                return replace(super().core, unit="kg")

            @property
            def representation(self):
                return Modality.representation.fget(self)

        mine = Schema({"a": Weight(1)})
        mine.require(Schema({"a": Weight(1, hidden=(3,))}), "train")
        for other in ({"unit": "lb"}, {"scale": (2.0,)}):
            with pytest.raises(ValueError, match=r"'a' of train must have the model's (unit|scale)"):
                mine.require(Schema({"a": Weight(1, **other)}), "train")

    def test_rows_remember_their_schema(self, schema):
        rows = table(schema, 7)
        for batch in (rows[:3], rows[2], rows[[4, 1]][:1], rows[:3].to("cpu"), next(rows.batches(2, seed=1))):
            assert batch.schema is schema

    def test_write_gives_what_users_hold(self):
        schema = Schema({"photo": Image(1, 2, 2), "kind": Label(2, names=("cat", "dog"))})
        written = schema.write({"photo": torch.full((1, 1, 2, 2), 0.5), "kind": torch.tensor([1])})
        assert written["kind"] == ["dog"]
        assert written["photo"][0].getpixel((0, 0)) == 128


class TestTable:
    def test_its_size_counts_every_tensor(self):
        values, choices = {"a": torch.zeros(5, 2)}, {"a": torch.zeros(5, 3, 2)}
        schema, labels = Schema({"a": Vector(2)}), torch.zeros(5, dtype=torch.int64)
        assert Table(values, schema=schema).nbytes == 5 * 2 * 4 + 5
        assert (
            Table(values, schema=schema, alternatives=choices, labels=labels).nbytes == 5 * 2 * 4 + 5 + 5 * 6 * 4 + 40
        )

    def test_order_is_a_pure_function_of_seed_and_epoch(self, schema):
        rows = table(schema, 23)

        def order(**arguments):
            return torch.cat([batch.values["vector"][:, 0] for batch in rows.batches(4, **arguments)])

        torch.manual_seed(0)
        first = order(seed=1, epoch=2)
        torch.manual_seed(1)
        assert torch.equal(first, order(seed=1, epoch=2))
        assert not torch.equal(first, order(seed=1, epoch=3))
        assert not torch.equal(first, order(seed=2, epoch=2))
        assert torch.equal(first.sort()[0], order().sort()[0])
        assert torch.equal(order(), rows.values["vector"][:, 0])
        assert torch.equal(order(seed=1, epoch=2, start=3), first[12:])

    def test_orders_of_neighbouring_seeds_and_epochs_differ(self, schema):
        rows = table(schema, 50)
        orders = {
            tuple(next(rows.batches(50, seed=s, epoch=e)).values["vector"][:, 0].tolist())
            for s in range(5)
            for e in range(5)
        }
        assert len(orders) == 25

    @pytest.mark.parametrize(
        ("rows", "size", "expected"), [(9, 4, [4, 5]), (10, 4, [4, 4, 2]), (1, 4, [1]), (3, 1, [1, 2])]
    )
    def test_a_last_batch_of_one_joins_the_one_before(self, schema, rows, size, expected):
        for seed in (None, 0):
            assert [len(batch) for batch in table(schema, rows).batches(size, seed=seed)] == expected

    @pytest.mark.parametrize(
        ("index", "chosen"),
        [
            (3, [3]),
            (-1, [9]),
            (np.int64(2), [2]),
            (torch.tensor(2), [2]),
            (slice(2, 5), [2, 3, 4]),
            (slice(None, None, -4), [9, 5, 1]),
            ([0, 4], [0, 4]),
            ([], []),
            (torch.tensor([1, 1]), [1, 1]),
            (torch.arange(10) > 7, [8, 9]),
        ],
    )
    def test_indexing(self, schema, index, chosen):
        rows = table(schema, 10, complete=False)
        batch = rows[index]
        expected = rows.values["vector"][chosen]
        assert torch.equal(batch.values["vector"], expected)
        assert len(batch) == len(expected)

    def test_alternatives_are_drawn_per_epoch(self):
        schema = Schema({"text": EXAMPLES["text"]})
        options = torch.arange(3, 7).view(1, 4, 1).expand(50, 4, 5)
        rows = Table({}, schema=schema, alternatives={"text": options})
        drawn = [torch.cat([b.values["text"][:, 0] for b in rows.batches(7, seed=0, epoch=e)]) for e in (1, 2, 1)]
        assert drawn[0].unique().tolist() == [3, 4, 5, 6]
        assert not torch.equal(drawn[0], drawn[1])
        assert torch.equal(drawn[0], drawn[2])
        assert all((b.values["text"] == 3).all() for b in rows.batches(7))

    def test_every_alternative_is_checked(self):
        schema = Schema({"text": EXAMPLES["text"]})
        options = torch.full((4, 3, 5), 3)
        options[2, 1, 0] = 99
        with pytest.raises(ValueError, match=r"'text': classes must be in 0..6 where observed; got 99"):
            Table({}, schema=schema, alternatives={"text": options})
        with pytest.raises(ValueError, match=r"alternatives of 'text' must be \(N, A, \*shape\)"):
            Table({"text": options[:, 0, :] * 0 + 3}, schema=schema, alternatives={"text": options[:, :, :4]})

    def test_a_row_that_does_not_exist(self, schema):
        for index in (10, -11):
            with pytest.raises(IndexError, match=f"row must be in -10..9; got {index}"):
                table(schema)[index]

    def test_arrays_of_numpy_say_how(self, schema):
        values = {name: value.numpy() for name, value in rows_of(schema, 3, complete=True).values.items()}
        with pytest.raises(TypeError, match=r"must be a tensor; got ndarray; use torch\.as_tensor"):
            Table(values, torch.ones(3, 5, dtype=torch.bool), schema)

    def test_what_lies_under_the_mask_may_be_anything(self, schema):
        batch = rows_of(schema, 6, complete=False)
        spoilt = {name: value.clone() for name, value in batch.values.items()}
        for column, name in enumerate(schema):
            spoilt[name][~batch.observed[:, column]] = 99
        spoilt["vector"][~batch.observed[:, 4]] = float("nan")
        assert len(Table(spoilt, batch.observed, schema)) == 6

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"label": torch.full((6,), 4)}, r"'label': classes must be in 0..3 where observed; got 4"),
            ({"label": torch.full((6,), -1)}, r"'label': classes must be in 0..3 where observed; got -1"),
            ({"text": torch.full((6, 5), 7)}, r"'text': classes must be in 0..6"),
            ({"label": torch.tensor([0.0, 1.0, float("nan"), 0, 0, 0])}, r"'label': classes must be integers, int64"),
            ({"image": torch.full((6, 3, 9, 7), 200)}, r"'image': images must be uint8, or floats in \[0, 1\]"),
            (
                {"image": torch.full((6, 3, 9, 7), 200.0)},
                r"'image': values must be in \[0, 1\] where observed; got 200",
            ),
            (
                {"audio": torch.full((6, 1, 9, 5), -40.0)},
                r"'audio': values must be in \[0, 1\] where observed; got -40",
            ),
            ({"vector": torch.full((6, 3), float("nan"))}, r"'vector': values must be finite where observed"),
            ({"vector": torch.zeros(6, 4)}, r"'vector' must be \(6, 3\).*got \(6, 4\)"),
            ({"image": torch.zeros(5, 3, 9, 7)}, r"'image' must be \(6, 3, 9, 7\)"),
            ({"vectro": torch.zeros(6, 3)}, r"unknown modality 'vectro'; known are vector"),
        ],
    )
    def test_wrong_values_are_refused(self, schema, change, message):
        batch = rows_of(schema, 6, complete=True)
        with pytest.raises(ValueError, match=message):
            Table({**batch.values, **change}, batch.observed, schema)

    def test_a_row_with_nothing_is_refused(self, schema):
        batch = rows_of(schema, 6, complete=True)
        batch.observed[4] = False
        with pytest.raises(ValueError, match="row 4 has none"):
            Table(batch.values, batch.observed, schema)

    def test_observed_is_what_there_is_by_default(self, schema):
        batch = rows_of(schema, 6, complete=True)
        less = {name: batch.values[name] for name in ("vector", "label")}
        assert Table(less, schema=schema).observed.sum(0).tolist() == [0, 0, 6, 0, 6]

    def test_the_fingerprint_is_that_of_the_contents(self, schema):
        rows, same, other = table(schema), table(schema), table(schema)
        assert rows.fingerprint() == same.fingerprint()
        holes = rows_of(schema, 10, complete=False)
        spoilt = {**holes.values, "vector": holes.values["vector"].clone()}
        spoilt["vector"][~holes.observed[:, 4]] = float("nan")
        fingerprints = {Table(values, holes.observed, schema).fingerprint() for values in (holes.values, spoilt)}
        assert len(fingerprints) == 1
        other.values["vector"][3, 1] += 1e-3
        assert rows.fingerprint() != other.fingerprint()


def test_batch_rows_must_agree():
    with pytest.raises(ValueError, match=r"as many rows as observed \(4\); 'x' has 3"):
        Batch({"x": torch.zeros(3)}, torch.ones(4, 1, dtype=torch.bool))
    with pytest.raises(ValueError, match="must be a bool tensor"):
        Batch({"x": torch.zeros(3)}, torch.ones(3, 1))

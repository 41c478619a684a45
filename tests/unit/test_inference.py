"""Streams of answers are those of the model asked row by row, in no more work than their content needs."""

from collections import Counter

import pytest
import torch
from conftest import rows_of

from polymodal.batch import Batch
from polymodal.inference import passes
from polymodal.inference.deduplication import number_inputs
from polymodal.inference.passes import decode_in_chunks, encode_distinct
from polymodal.inference.streaming import embed, translate
from polymodal.modalities import Label, Vector
from polymodal.models import build
from polymodal.schema import Schema
from polymodal.table.table import Table

MODELS = {"mac-wae": {"hidden": (8,)}, "mvae": {}, "mmvae-plus": {"private_dim": 2}, "nexus": {"hidden": (8,)}}


def table_of(schema, rows, *, complete):
    batch = rows_of(schema, rows, complete=complete)
    return Table(batch.values, batch.observed, schema)


def gathered(stream):
    rows, values = zip(*stream, strict=True)
    axis = values[0]["label"].dim() - 1  # the axis of rows
    return torch.cat(rows), {name: torch.cat([part[name] for part in values], dim=axis) for name in values[0]}


@pytest.mark.parametrize("name", MODELS)
def test_a_stream_gives_what_the_model_does(name, schema, complete):
    table = table_of(schema, 22, complete=complete)  # the last batch is one row
    model = build(name, schema, latent_dim=4, **MODELS[name])
    given = ["label", "text"]
    has = (table.observed & schema.mask(given)).any(1)
    rows, values = gathered(translate(model, table, given, batch_size=7))
    assert rows.tolist() == has.nonzero().squeeze(1).tolist()
    expected = model.translate(table[has], given)
    assert list(values) == list(expected)
    for key, value in values.items():
        torch.testing.assert_close(value, expected[key], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_several_conditionings_are_answered_as_one_by_one(name, schema, complete):
    table = table_of(schema, 13, complete=complete)
    model = build(name, schema, latent_dim=4, **MODELS[name])
    given = torch.tensor([[1, 0, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 1, 1, 0], [1, 1, 1, 1, 1]]).bool()
    rows, values = gathered(translate(model, table, given, ["label", "vector"], batch_size=5))
    codes = torch.cat([z for _, z in embed(model, table, given, batch_size=5)], dim=1)
    assert rows.tolist() == list(range(13))
    assert list(values) == ["label", "vector"]
    for s, mask in enumerate(given):
        has = (table.observed & mask).any(1)
        expected = model.translate(table[has], mask.expand(int(has.sum()), -1), ["label", "vector"])
        assert torch.equal(values["label"][s, has], expected["label"])
        torch.testing.assert_close(values["vector"][s, has], expected["vector"], rtol=1e-4, atol=1e-5)
        assert (values["label"][s, ~has] == -1).all()
        assert values["vector"][s, ~has].isnan().all()
        z = model.embed(table[has], mask.expand(int(has.sum()), -1))
        torch.testing.assert_close(codes[s, has], z, rtol=1e-4, atol=1e-5)
        assert codes[s, ~has].isnan().all()


def test_rows_are_answered_in_the_order_asked(schema):
    table = table_of(schema, 9, complete=True)
    model = build("mac-wae", schema, latent_dim=4, hidden=(8,))
    rows, values = gathered(translate(model, table, ["text"], ["label"], 2, rows=[8, 0, 3]))
    assert rows.tolist() == [8, 0, 3]
    assert torch.equal(values["label"], model.translate(table[[8, 0, 3]], ["text"], ["label"])["label"])
    assert [rows.tolist() for rows, _ in embed(model, table, ["text"], 2, rows=[8, 0, 3])] == [[8, 0], [3]]
    assert not list(translate(model, table, ["text"], ["label"], rows=[]))


def test_networks_run_once_on_what_differs_and_no_others_do(schema):
    table = table_of(schema, 12, complete=True)
    model = build("mac-wae", schema, latent_dim=4, hidden=(8,))
    seen = Counter()
    for kind in ("encoders", "decoders"):
        for name, network in zip(schema, getattr(model, kind), strict=True):
            network.register_forward_hook(
                lambda module, inputs, output, key=(kind, name): seen.update({key: len(inputs[0])})
            )
    given = torch.stack([schema.mask(["label"]), schema.mask(["text"]), schema.mask(["label", "text"])])
    list(translate(model, table, given, ["vector"], batch_size=12))
    classes = len(table.values["label"].unique())
    assert seen["decoders", "vector"] == classes + 12 + 12
    assert {name for kind, name in seen if kind == "decoders"} == {"vector"}
    assert {name: seen["encoders", name] for name in schema} == {
        name: 12 + 1 if name in ("label", "text") else 1
        for name in schema  # and each once on a blank
    }


@pytest.mark.parametrize("classes", [2, 7])  # 7: with the blank 3 bits each, more than an int64 has
def test_content_is_the_same_where_all_that_is_seen_is(classes):
    schema = Schema({f"a{m}": Label(classes) for m in range(30)} | {"b": Vector(2)})
    generator = torch.Generator().manual_seed(0)
    values = {name: torch.randint(classes, (40,), generator=generator) for name in list(schema)[:-1]}
    values["b"] = torch.rand(40, 2)
    observed = torch.rand((40, 31), generator=generator) < 0.5
    values["a3"][~observed[:, 3]] = 2**62  # what is not observed is not looked at
    few = torch.rand((6, 1, 31), generator=generator) < 0.12
    few[0], few[1, :, -1], few[2, :, -1] = True, False, True
    seen = few & observed
    numbers = number_inputs(schema, Batch(values, observed), seen)
    names, keys = list(schema), {}
    for s in range(6):
        for row in range(40):
            key = tuple(
                None if not seen[s, row, m] else row if name == "b" else int(values[name][row])
                for m, name in enumerate(names)
            )
            keys.setdefault(key, set()).add(int(numbers[s, row]))
    assert all(len(found) == 1 for found in keys.values())
    assert len(keys) == len(numbers.unique()) == int(numbers.max()) + 1
    assert 10 < len(keys) < 240


def test_pieces_bound_what_stands_at_once_and_change_nothing(schema, monkeypatch):
    table = table_of(schema, 20, complete=False)
    model = build("mac-wae", schema, latent_dim=4, hidden=(8,))
    given = torch.eye(5).bool()
    whole = gathered(translate(model, table, given))[1]
    place, sizes = schema.index("image"), {"encoders": [], "decoders": []}
    for kind, seen in sizes.items():
        getattr(model, kind)[place].register_forward_hook(lambda m, inputs, output, seen=seen: seen.append(len(output)))
    bytes_of_a_picture, bytes_of_a_row = 3 * 9 * 7 * 4, 5 * 5 * 4 * 4
    monkeypatch.setattr(passes, "MOST", 7 * bytes_of_a_picture)
    monkeypatch.setattr(passes, "CACHED", 3 * bytes_of_a_picture)
    monkeypatch.setattr(passes, "FEWEST", 1)
    parts = gathered(translate(model, table, given))[1]
    assert max(sizes["decoders"]) == 3
    assert sizes["encoders"] == [1, 7 * bytes_of_a_picture // bytes_of_a_row, 1, 7]  # each pass one blank
    for name, value in parts.items():
        torch.testing.assert_close(value, whole[name], rtol=1e-4, atol=1e-5, equal_nan=True)


def test_what_nobody_asks_for_is_not_decoded(schema):
    model = build("mac-wae", schema, latent_dim=4, hidden=(8,)).eval()
    table = table_of(schema, 4, complete=True)
    z, which = encode_distinct(model, table[:], torch.eye(5).bool())
    model.decoders[0].register_forward_hook(lambda *_: pytest.fail("it ran"))
    assert not list(decode_in_chunks(model, "audio", z, torch.full_like(which, -1)))


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"given": torch.eye(4).bool()}, ValueError, r"names, or bool \(S, 5\), a column for each of audio"),
        ({"given": torch.eye(5)}, ValueError, r"got torch.float32 \(5, 5\)"),
        ({"given": ["lable"]}, ValueError, "unknown modality 'lable'; known are label"),
        ({"to": ["lable"]}, ValueError, "unknown modality 'lable'; known are label"),
        ({"to": "label"}, TypeError, r"write it as \['label'\]"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1; got 0"),
    ],
)  # fmt: skip
def test_mistakes_are_named(schema, arguments, error, said):
    model = build("mac-wae", schema, latent_dim=4, hidden=(8,))
    with pytest.raises(error, match=said):
        next(translate(model, table_of(schema, 3, complete=True), **arguments))

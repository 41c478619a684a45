"""Members, columns and masks that are computed at once give what they give one after another."""

import numpy as np
import pandas as pd
import pytest
import torch

import polymodal as pm
from polymodal.inference.passes import decode_each, emit_each
from polymodal.models import ensemble
from polymodal.networks import Factors
from polymodal.networks.factors import find_distinct_masks

SCHEMA = pm.Schema(
    {
        "a": pm.Vector(1, hidden=(8,)),
        "kind": pm.Label(3, hidden=(8,)),
        "pair": pm.Vector(2, hidden=(8,)),
        "colour": pm.Label(5, hidden=(8,)),
        "b": pm.Vector(1, hidden=(8,)),
    }
)
MODELS = {
    "linear path": {"name": "mac-wae", "factors": 16},
    "no linear path": {"name": "mac-wae"},
    "stochastic": {"name": "mac-vae"},
    "no mask": {"name": "m-wae", "factors": 3},
}


def make_table(rows: int = 30, seed: int = 0) -> pm.Table:
    generator = torch.Generator().manual_seed(seed)
    values = {
        "a": torch.randn(rows, 1, generator=generator),
        "kind": torch.randint(3, (rows,), generator=generator),
        "pair": torch.randn(rows, 2, generator=generator),
        "colour": torch.randint(5, (rows,), generator=generator),
        "b": torch.randn(rows, 1, generator=generator),
    }
    observed = torch.rand(rows, 5, generator=generator) < 0.7
    observed[:, 0] |= ~observed.any(1)
    return pm.Table(values, observed, schema=SCHEMA)


def fill(factors: Factors) -> None:
    """Sets the factor model to random values, the same for all members, and the shares to different ones."""
    generator = torch.Generator().manual_seed(0)
    for part, make in (
        (factors.mean, lambda x: x.normal_(generator=generator)),
        (factors.loadings, lambda x: x.normal_(generator=generator)),
        (factors.noise, lambda x: x.uniform_(0.1, 2.0, generator=generator)),
    ):
        part.copy_(make(torch.empty_like(part[0] if factors.share.dim() > 1 else part)))
    factors.share.uniform_(0.1, 0.9, generator=generator)


def make_model(kind: str, members: int = 3) -> pm.Model:
    options = {"latent_dim": 4, "hidden": (16,), "members": members, **MODELS[kind]}
    model = pm.build(options.pop("name"), SCHEMA, **options).double().eval()
    if getattr(model, "linear", None) is not None:
        fill(model.linear)
    return model


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("masks", ["own", "several", "equal rows", "names"])
def test_members_at_once_encode_as_one_after_another(kind: str, masks: str):
    model, rows = make_model(kind), make_table()[:]
    assert model.structure.computes_members
    observed = rows.observed
    if masks == "equal rows":
        rows = pm.Batch(rows.values, torch.ones_like(observed))
    kept = torch.rand(20, 2, 30, 5, generator=torch.Generator().manual_seed(1)) < 0.8
    given = {
        "own": None,
        "several": kept | ~(kept & observed).any(-1, keepdim=True),
        "equal rows": torch.tensor([[True, False, True, False, False], [True] * 5])[:, None],
        "names": ["a", "kind", "pair", "colour", "b"],
    }[masks]
    got = model.encode(rows, given)
    each = [member.encode(rows, given) for member in model.open_members()]
    assert got.batch_shape == each[0].batch_shape
    torch.testing.assert_close(got.mean, torch.cat([one.mean for one in each], dim=-1), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(got.variance, torch.cat([one.variance for one in each], dim=-1), rtol=1e-6, atol=1e-6)


def test_many_rows_are_encoded_member_by_member_to_the_same_codes(monkeypatch: pytest.MonkeyPatch):
    model, rows = make_model("linear path"), make_table()[:]
    expected = model.embed(rows)
    monkeypatch.setattr(ensemble, "MOST_AT_ONCE", 0)
    torch.testing.assert_close(model.embed(rows), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", MODELS)
def test_members_at_once_decode_as_one_after_another(kind: str):
    model = make_model(kind)
    z = model.embed(make_table())
    z = torch.stack([z, z.flip(0)])
    each = [member.emit(own) for member, own in zip(model.open_members(), z.chunk(3, dim=-1), strict=True)]
    for name, output in model.emit(z).items():
        torch.testing.assert_close(output, torch.stack([one[name] for one in each], dim=2), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("members", [1, 3])
def test_columns_at_once_decode_as_one_by_one(kind: str, members: int):
    model = make_model(kind, members)
    z = model.embed(make_table())
    codes = {name: z[start : start + 7 + start] for start, name in enumerate(SCHEMA)} | {"b": z[:0]}
    outputs = emit_each(model, codes)
    assert [*outputs] == ["a", "kind", "pair", "colour"]
    decoded = {name: (chunk, distribution) for name, chunk, distribution in decode_each(model, codes)}
    for name, output in outputs.items():
        alone = model.emit(codes[name], [name])[name]
        torch.testing.assert_close(output, alone, rtol=1e-6, atol=1e-6)
        chunk, distribution = decoded[name]
        assert chunk == slice(len(codes[name]))
        expected = model.make_distribution(name, alone)
        value = SCHEMA[name].value
        torch.testing.assert_close(value(distribution), value(expected), rtol=1e-6, atol=1e-6)


def test_a_model_with_its_own_emit_is_decoded_by_it():
    class Own(pm.models.MAC):
        def emit(self, z, only=None):
            return {name: torch.full((len(z), 1), 7.0) for name in only or ["a"]}

    model = Own(SCHEMA, 4)
    outputs = emit_each(model, {"a": torch.zeros(3, 4), "b": torch.zeros(2, 4)})
    assert {name: output.flatten().tolist() for name, output in outputs.items()} == {"a": [7.0] * 3, "b": [7.0] * 2}


def test_a_sample_of_one_member_is_decoded_by_this_member():
    model = make_model("linear path")
    z = model.embed(make_table())
    own = z.clone()
    own[:, : 2 * z.shape[1] // 3] = torch.nan  # only the last member has a code
    for name, output in model.emit(own).items():
        alone = model.open_members()[2].emit(z.chunk(3, dim=-1)[2])[name]
        torch.testing.assert_close(output, alone[:, None].expand_as(output), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("masks", [1, 3, 200])
def test_predictions_without_the_own_vector_are_those_under_the_mask_of_the_others(masks: int):
    factors = Factors([1, 3, 2, 1], 6).double()
    fill(factors)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(200, 7, generator=generator, dtype=torch.float64).split([1, 3, 2, 1], dim=1)
    observed = (torch.rand(masks, 4, generator=generator) < 0.7)[torch.arange(200) % masks]
    predicted = factors.predict_left_out(x, observed).split([1, 3, 2, 1], dim=1)
    for place, got in enumerate(predicted):
        others = observed.clone()
        others[:, place] = False
        torch.testing.assert_close(got, factors.predict(factors(x, others), place), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("distinct", [1, 5, 64, 300])
@pytest.mark.parametrize("vectors", [4, 70])
def test_factors_do_not_depend_on_how_often_masks_repeat(distinct: int, vectors: int):
    factors = Factors([1] * vectors, 4).double()
    fill(factors)
    generator = torch.Generator().manual_seed(2)
    b = (torch.rand(distinct, vectors, generator=generator) < 0.5)[torch.arange(300) % distinct]
    x = torch.randn(300, vectors, generator=generator, dtype=torch.float64).split(1, dim=1)
    each = torch.cat([factors([part[i : i + 1] for part in x], b[i : i + 1]) for i in range(300)])
    torch.testing.assert_close(factors(x, b), each)
    found, which = find_distinct_masks(b)
    assert torch.equal(found[which], b)
    assert len(found) == len({tuple(row) for row in b.tolist()})


def test_members_with_different_factor_models_keep_their_own():
    model = make_model("linear path")
    model.linear.loadings[1] *= 2
    z = model.embed(make_table())
    each = [member.embed(make_table()) for member in model.open_members()]
    torch.testing.assert_close(z, torch.cat(each, dim=-1), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", [object, "str", "category", "string[python]"])
def test_blank_texts_are_missing_in_short_and_long_columns(kind):
    label = pm.Label(2, names=("emu", "owl"))
    cells = ["owl", " ", None, "emu", "", "kiwi"]
    for times in (1, 300):
        column = pd.Series(cells * times, dtype=kind)
        read = label.read_cells(column, root=None)
        assert read.values.tolist() == [1, -1, -1, 0, -1, -1] * times
        assert read.odd == (("kiwi", times),)
        assert pm.modalities.cells.missing(column).tolist() == [False, True, True, False, True, False] * times


def test_imputing_ignores_and_keeps_attributes_of_the_frame():
    frame = pd.DataFrame({"a": [1.5, None, 2.5] * 9, "kind": ["owl", "emu", None] * 9})
    table = pm.Table.from_frame(frame, say=None)
    model = pm.build("mac-wae", table.schema, latent_dim=2)
    plain = pm.impute(model, frame, say=None)
    frame.attrs["formats"] = {"a": "0.00"}
    frame.attrs["source"] = "birds"
    noted = pm.impute(model, frame, say=None)
    assert noted.attrs == frame.attrs
    assert frame.attrs["source"] == "birds"
    pd.testing.assert_frame_equal(plain, noted)
    assert np.isfinite(noted["a"]).all()

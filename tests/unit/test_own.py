"""Modalities and networks of a user's own."""

import json
import math
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal

import polymodal as pm
from polymodal.modalities.costs import DISCRETE, compute_categorical
from polymodal.models import MAC

SCRIPT = """
import json, sys, torch, polymodal as pm
sys.path.insert(0, sys.argv[2])
if sys.argv[3] == "registered":
    from test_own import Linear, Video
    pm.MODALITIES["video"], pm.NETWORKS["linear"] = Video, Linear
try:
    model = pm.load(sys.argv[1])
except ValueError as error:
    print(error)
else:
    batch = model.schema.batch({"film": torch.linspace(0, 1, 24).view(2, 3, 2, 2)})
    print(json.dumps(model.embed(batch).tolist()))
"""


@dataclass(frozen=True)
class Video(pm.Modality):
    frames: int
    size: tuple[int, int]
    spread: float = 1.0

    @property
    def shape(self):
        return (self.frames, *self.size)

    @property
    def metric(self):
        return "rmse"

    def read(self, raw):
        return torch.as_tensor(raw, dtype=torch.float32)

    def write(self, value):
        return value.numpy()

    def encoder(self, features):
        return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(self.shape), features))

    def decoder(self, latent_dim):
        return nn.Sequential(nn.Linear(latent_dim, math.prod(self.shape)), nn.Unflatten(1, self.shape))

    def distribution(self, parameters):
        return Independent(Normal(parameters, self.spread), 3)

    def value(self, distribution):
        return distribution.mean


@dataclass(frozen=True)
class Linear(pm.Network):
    """Replaces what its arguments say; `broken` is what comes in place of what should."""

    parts: tuple[str, ...] = ("encoder", "decoder")
    broken: str | None = None

    def encoder(self, modality, features):
        if "encoder" not in self.parts:
            return super().encoder(modality, features)
        if self.broken == "lambda":
            return lambda x: x
        network = Mine(math.prod(modality.shape), features + (self.broken == "width"))
        return nn.Sequential(nn.Unflatten(0, (-1, 1)), Numbers(), nn.Flatten(), network)

    def decoder(self, modality, latent_dim):
        if "decoder" not in self.parts:
            return super().decoder(modality, latent_dim)
        if self.broken == "tuple":
            return nn.LSTM(latent_dim, 2)
        if self.broken == "flat":
            return Mine(latent_dim, math.prod(modality.shape))
        if self.broken == "nan":
            return nn.Sequential(modality.decoder(latent_dim), Nan())
        size = modality.levels or math.prod(modality.shape)
        shape = (size,) if modality.levels else modality.shape
        return nn.Sequential(Mine(latent_dim, size + (self.broken == "width")), nn.Unflatten(1, shape))


class Mine(nn.Linear):
    pass


class Numbers(nn.Module):
    def forward(self, x):
        return x.float()


class Nan(nn.Module):
    def forward(self, x):
        return x * float("nan")


@pytest.fixture(autouse=True)
def registered(registries):
    pm.MODALITIES["video"], pm.NETWORKS["linear"] = Video, Linear


def films(**arguments: Any) -> pm.Schema:
    return pm.Schema({"film": Video(3, (2, 2), **arguments), "kind": pm.Label(3)})


def table(schema: pm.Schema, rows: int = 30) -> pm.Table:
    generator = torch.Generator().manual_seed(0)
    values = {
        "film": torch.rand(rows, 3, 2, 2, generator=generator),
        "kind": torch.randint(3, (rows,), generator=generator),
    }
    observed = torch.ones(rows, 2, dtype=torch.bool)
    observed[:5, 0] = observed[5:10, 1] = False
    return pm.Table(values, observed, schema)


class TestOwnModality:
    def test_trains_scores_reports_saves_and_loads(self, tmp_path):
        rows = table(films(spread=0.5))
        model = pm.build("mac-wae", rows.schema, latent_dim=4)
        fitted = pm.fit(model, rows, rows, epochs=2, progress=False, folder=tmp_path / "run")
        assert fitted.history["train/cost/film"].is_monotonic_decreasing
        assert set(pm.evaluate(model, rows)["modality"]) == {"film", "kind"}
        pm.report.write(tmp_path / "report.html", model, rows)
        again = pm.load(tmp_path / "run" / "model")
        assert again.schema == rows.schema
        assert again.schema["film"].size == (2, 2)
        assert torch.equal(again.translate(rows[:4])["film"], model.translate(rows[:4])["film"])

    def test_repr_rebuilds_and_shows_a_network_last(self):
        video = Video(3, [2, 2])
        assert repr(video) == "Video(frames=3, size=(2, 2), spread=1.0)"
        assert repr(replace(video, network=Linear(["encoder"]))) == (
            "Video(frames=3, size=(2, 2), spread=1.0, network=Linear(parts=('encoder',), broken=None))"
        )
        assert eval(repr(video)) == video
        assert repr(pm.Label(3)) == "Label(classes=3, names=None, hidden=(32,), cost='categorical')"

    def test_registered_again_as_in_a_notebook(self):
        """A cell that defines and registers the class runs twice, and a model was made in between."""
        made = films()
        pm.MODALITIES["video"] = type("Video", (pm.Vector,), {"__module__": __name__})
        assert made.to_json()["modalities"][0]["type"] == "video"

    @pytest.mark.parametrize("value", [{1}, torch.zeros(2), nn.Linear(2, 2), {1: 2}, float("nan"), object(), b"x"])
    def test_arguments_that_are_no_json(self, value, tmp_path):
        with pytest.raises(ValueError, match=r"spread of Video must be a finite number, a string, .*; got"):
            films(spread=value).to_json()

    def test_names_that_files_need(self):
        @dataclass(frozen=True)
        class Named(Linear):
            name: str = "x"

        with pytest.raises(ValueError, match="an argument of Named must not be called 'name'"):
            Named()

    def test_a_class_that_is_no_dataclass(self):
        class Undecorated(Video):
            def __init__(self, seconds):
                super().__init__(25 * seconds, (2, 2))

        pm.MODALITIES["video"] = Undecorated
        with pytest.raises(ValueError, match=r"must be a frozen dataclass; write @dataclass\(frozen=True\)"):
            pm.Schema({"film": Undecorated(1)}).to_json()

    @pytest.mark.parametrize("method", ["compute_cost", "cost"])  # its name today and before
    def test_its_cost_is_what_training_minimises(self, method):
        own = type("Scaled", (Video,), {method: lambda self, parameters, x: 3 * self.nll(parameters, x)})
        schema = pm.Schema({"film": own(3, (2, 2))})
        model, batch = pm.build("mac-wae", schema, latent_dim=2), schema.batch({"film": torch.rand(4, 3, 2, 2)})
        z, x = torch.randn(4, 2), schema.hide(batch, torch.float32)
        nll = schema["film"].nll(model.decoders[0](z), x["film"])
        assert torch.equal(model.costs(x, z, batch.observed)[0], 3 * nll)

    def test_a_kind_with_a_further_cost(self):
        further = replace(DISCRETE["categorical"], compute=lambda parameters, x: 2 * compute_categorical(parameters, x))

        class Twice(pm.Label):
            costs: ClassVar = {**pm.Label.costs, "twice": further}

        label, x = Twice(3, cost="twice"), torch.tensor([0, 2])
        parameters = torch.randn(2, 3)
        assert torch.equal(label.compute_cost(parameters, x), 2 * pm.Label(3).compute_cost(parameters, x))
        schema = pm.Schema({"a": label, "b": pm.Label(3)})
        assert [modality.cost for modality in schema.replace(cost="twice").values()] == ["twice", "categorical"]
        with pytest.raises(ValueError, match=r"'twice'.*got 'thrice'"):
            replace(label, cost="thrice")

    def test_an_unknown_metric(self):
        @dataclass(frozen=True)
        class Judged(Video):
            @property
            def metric(self):
                return "rsme"

        schema = pm.Schema({"film": Judged(3, (2, 2)), "kind": pm.Label(3)})
        with pytest.raises(ValueError, match="unknown metric of 'film' 'rsme'; known are rmse"):
            pm.evaluate(pm.build("mac-wae", schema, latent_dim=4), table(schema))

    def test_several_classes_in_one_value_are_scored_and_reported(self, tmp_path):
        @dataclass(frozen=True)
        class Tags(pm.Text):
            @property
            def metric(self):
                return "acc"

        words = Tags(2, ("a", "b"), width=4, layers=1, heads=1, feedforward=4)
        schema = pm.Schema({"tags": words, "size": pm.Vector(2)})
        rows = pm.Table({"tags": torch.randint(5, (20, 2)), "size": torch.rand(20, 2)}, schema=schema)
        model = pm.build("mac-wae", rows.schema, latent_dim=4)
        pm.evaluate(model, rows)
        pm.report.write(tmp_path / "report.html", model, rows)


class TestNetwork:
    @pytest.mark.parametrize("parts", [["encoder"], ["decoder"], ["encoder", "decoder"], []])
    def test_replaces_what_it_overrides(self, parts, tmp_path):
        schema = films().replace(network=Linear(parts))
        model = pm.build("mac-wae", schema, latent_dim=4)
        made = {name.split(".")[0] for name, part in model.named_modules() if isinstance(part, Mine)}
        assert made == {f"{part}s" for part in parts}
        pm.fit(model, table(schema), table(schema), epochs=1, progress=False)
        again = pm.load(model.save(tmp_path / "model"))
        assert again.schema == schema
        assert torch.equal(again.embed(table(schema)), model.embed(table(schema)))

    def test_stands_in_the_file_only_where_there_is_one(self):
        one, other = films(network=Linear(("encoder",))).to_json()["modalities"]
        assert one["network"] == {"type": "linear", "parts": ("encoder",), "broken": None}
        assert "network" not in other

    def test_must_be_one(self):
        with pytest.raises(TypeError, match=r"network must be a polymodal\.Network, such as"):
            pm.Label(3, network=Linear)

    @pytest.mark.parametrize(
        ("parts", "broken", "message"),
        [
            ("encoder", "width", r"\(N, 3, 2, 2\) to \(N, 4\); two blanks gave \(2, 5\)"),
            ("encoder", "lambda", "got function, no torch.nn.Module"),
            ("decoder", "width", "unflatten"),
            ("decoder", "tuple", "two codes gave tuple, no tensor"),
            ("decoder", "flat", r"\(N, 3, 2, 2\), .*; with parameters \(2, 12\) for two codes"),
            ("decoder", "nan", r"for two codes; .*invalid values: tensor"),
        ],
    )
    def test_what_does_not_fit_is_one_error(self, parts, broken, message):
        schema = films(network=Linear((parts,), broken))
        with pytest.raises(ValueError, match=message) as caught:
            pm.build("mac-wae", schema, latent_dim=4)
        assert "\n" not in str(caught.value)
        assert str(caught.value).startswith(f"the {parts} of Video that Linear(parts=('{parts}',), broken='{broken}')")

    @pytest.mark.parametrize("kind", [pm.Label(3), pm.Text(3, ("a", "b"), width=4, layers=1, heads=1)])
    def test_scores_must_be_as_many_as_classes(self, kind):
        @dataclass(frozen=True)
        class Wide(pm.Network):
            def decoder(self, modality, latent_dim):
                size = (*modality.shape, modality.levels + 1)
                return nn.Sequential(nn.Linear(latent_dim, math.prod(size)), nn.Unflatten(1, size))

        with pytest.raises(
            ValueError, match=f"must have {kind.levels} scores last, one a class; got {kind.levels + 1}"
        ):
            replace(kind, network=Wide()).build_decoder(4)

    def test_trying_draws_nothing_and_leaves_every_mode(self):
        @dataclass(frozen=True)
        class Noisy(pm.Network):
            def encoder(self, modality, features):
                return nn.Sequential(nn.Linear(2, features), nn.Dropout(0.5), Noise(), nn.BatchNorm1d(features).eval())

        class Noise(nn.Module):
            def forward(self, x):
                return x + torch.randn_like(x)

        torch.manual_seed(0)
        expected = Noisy().encoder(None, 4)
        state = torch.get_rng_state()
        torch.manual_seed(0)
        encoder = pm.Vector(2, network=Noisy()).build_encoder(4)
        assert torch.equal(torch.get_rng_state(), state)
        assert [part.training for part in encoder.modules()] == [part.training for part in expected.modules()]
        for key, value in expected.state_dict().items():
            assert torch.equal(value, encoder.state_dict()[key])


@dataclass(frozen=True)
class Odd(pm.Network):
    """An encoder that is made in a way that people have."""

    way: str

    def encoder(self, modality, features):
        network = nn.Linear(2, features)
        if self.way == "numbers":
            network.weight.data.copy_(torch.from_numpy(network.weight.detach().numpy()) * 2)
        if self.way == "lazy":
            return nn.LazyLinear(features)
        if self.way == "pretrained":
            network.load_state_dict({"weight": torch.ones(features, 2), "bias": torch.ones(features)})
        if self.way == "mask":
            network.register_buffer("mask", torch.full((2, 2), -math.inf).triu(1))
        if self.way == "table":
            network.register_buffer("table", torch.arange(3.0), persistent=False)
        return KEPT.setdefault(features, network) if self.way == "kept" else network


KEPT: dict[int, nn.Module] = {}


class TestLoadOfOwn:
    """A model is planned without numbers before it is made, which networks of a user's own need not support."""

    @pytest.fixture
    def model(self, request):
        pm.NETWORKS["odd"] = Odd
        KEPT.clear()
        size = pm.Vector(2, network=Odd(request.param))
        return pm.build("mac-wae", pm.Schema({"size": size, "kind": pm.Label(3)}), latent_dim=4).eval()

    @pytest.mark.parametrize("model", ["numbers", "lazy", "pretrained", "mask", "table"], indirect=True)
    @pytest.mark.filterwarnings("error")
    def test_equals_save(self, model, tmp_path):
        state = torch.get_rng_state()
        again = pm.load(model.save(tmp_path / "model"))
        assert torch.equal(torch.get_rng_state(), state)
        batch = model.schema.batch({"size": torch.ones(2, 2)})
        assert torch.equal(again.embed(batch), model.embed(batch))
        assert all(torch.equal(a, b) for a, b in zip(model.buffers(), again.buffers(), strict=True))

    @pytest.mark.parametrize("model", ["numbers", "lazy"], indirect=True)
    def test_what_does_not_fit_is_found_though_it_cannot_be_planned(self, model, tmp_path):
        path = model.save(tmp_path / "model") / "model.json"
        path.write_text(path.read_text().replace('"latent_dim": 4', '"latent_dim": 5'))
        with pytest.raises(
            ValueError, match=r"does not fit the model: encoders\.0\.weight must be float32 \(5, 2\), is"
        ):
            pm.load(tmp_path / "model")

    @pytest.mark.parametrize("model", ["kept"], indirect=True)
    def test_what_was_kept_since_the_plan_is_an_error(self, model, tmp_path):
        model.save(tmp_path / "model")
        KEPT.clear()
        with pytest.raises(ValueError, match=r"networks must make encoders\.0\.weight anew at every call"):
            pm.load(tmp_path / "model")


def test_a_model_of_ones_own_need_not_be_planned_either(tmp_path, monkeypatch):
    class Numbered(MAC):
        name = "numbered"

        def __init__(self, schema, latent_dim: int = 4):
            super().__init__(schema, latent_dim)
            self.register_buffer("first", torch.tensor(self.joint.first.weight.flatten()[0].item()))

    monkeypatch.setitem(pm.MODELS, "numbered", Numbered)
    model = pm.build("numbered", films(), latent_dim=3)
    assert pm.load(model.save(tmp_path / "model")).first == model.first


class TestElsewhere:
    """A fresh process, which has to register what it needs."""

    def run(self, folder: Path, mode: str) -> str:
        command = [sys.executable, "-W", "ignore", "-c", SCRIPT, str(folder), str(Path(__file__).parent), mode]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def test_registered_gives_equal_answers_and_unregistered_an_error(self, tmp_path):
        model = pm.build("mac-wae", films(network=Linear()), latent_dim=4).eval()
        model.save(tmp_path / "model")
        batch = model.schema.batch({"film": torch.linspace(0, 1, 24).view(2, 3, 2, 2)})
        told = json.loads(self.run(tmp_path / "model", "registered"))
        torch.testing.assert_close(torch.tensor(told), model.embed(batch), rtol=1e-6, atol=0)
        assert self.run(tmp_path / "model", "unregistered").endswith(
            "unknown network type 'linear'; there are none; if it is your own, register it before loading: "
            "polymodal.NETWORKS['linear'] = YourClass\n"
        )

    def test_loading_names_each_missing_key(self, tmp_path):
        pm.build("mac-wae", films(network=Linear()), latent_dim=4).save(tmp_path / "model")
        del pm.MODALITIES["video"]
        with pytest.raises(
            ValueError,
            match=r"unknown modality type 'video'; known are .*image.*; if it is your own, register it before "
            r"loading: polymodal\.MODALITIES\['video'\] = YourClass",
        ):
            pm.load(tmp_path / "model")

    @pytest.mark.parametrize(
        ("registry", "way"),
        [(pm.MODALITIES, r"MODALITIES\['video'\] = Video"), (pm.NETWORKS, r"NETWORKS\['linear'\] = Linear")],
    )
    def test_saving_what_is_not_registered_writes_nothing(self, registry, way, tmp_path):
        model = pm.build("mac-wae", films(network=Linear()), latent_dim=4)
        registry.pop("video", registry.pop("linear", None))
        with pytest.raises(ValueError, match=rf"register it first: polymodal\.{way}"):
            model.save(tmp_path / "model")
        assert not any(tmp_path.iterdir())

"""The training loop: what it does to weights, to random streams and to files."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import EXAMPLES, rows_of
from torch.utils.data import DataLoader, TensorDataset

from polymodal.modalities import Label, Vector
from polymodal.models import build, load, network_groups
from polymodal.networks.cpu import stacked
from polymodal.schema import Schema
from polymodal.table.table import Table
from polymodal.training import balance, fit
from polymodal.training.accelerator import set_precision
from polymodal.training.balance import compute_constant_costs, compute_loss_weights
from polymodal.training.means import Means, Terms

pytestmark = pytest.mark.slow


def table(schema, rows=24, *, complete=False, seed=0):
    batch = rows_of(schema, rows, complete=complete, seed=seed)
    return Table(batch.values, batch.observed, schema)


def quick(schema, folder=None, *, model=None, seed=0, epochs=3, **arguments):
    model = model or build("mac-wae", schema, latent_dim=6, draws=2)
    arguments = {"batch_size": 8, "learning_rate": 1e-2, "progress": False} | arguments
    return model, fit(model, table(schema), table(schema, seed=9), epochs=epochs, seed=seed, folder=folder, **arguments)


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_losses_fall(schema):
    _, fitted = quick(schema, epochs=15)
    losses = fitted.history["train/total"]
    assert losses.iloc[-1] < 0.8 * losses.iloc[0]
    assert len(losses) == 15


def test_seeds_reproduce_and_the_global_stream_is_left_alone(schema):
    torch.manual_seed(4)
    state = torch.get_rng_state()
    (first, a), (same, b), (other, _) = (quick(schema, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(weights(first), weights(same))
    pd.testing.assert_frame_equal(a.history.drop(columns="seconds"), b.history.drop(columns="seconds"))
    assert not torch.equal(weights(first), weights(other))


def test_it_is_a_plain_loop_with_adam():
    """Against the same steps written out with stock PyTorch."""
    schema = Schema({"vector": EXAMPLES["vector"], "label": EXAMPLES["label"]})
    train = table(schema, complete=True)
    model, _ = quick(schema, model=build("mac-wae", schema, latent_dim=6, draws=2, weights="sum"), epochs=1)
    plain = build("mac-wae", schema, latent_dim=6, draws=2, weights="sum").train()
    balance(plain, table(schema))
    optimizer = torch.optim.Adam(plain.parameters(), lr=1e-2, weight_decay=1e-5)
    torch.manual_seed(0)
    for batch in table(schema).batches(8, seed=0, epoch=1):
        optimizer.zero_grad()
        plain.loss(batch).total.backward()
        optimizer.step()
    torch.testing.assert_close(weights(model), weights(plain), rtol=1e-5, atol=1e-6)
    assert len(train) == 24


def test_the_best_epochs_weights_are_left_and_its_loss_is_that_of_a_pass_by_hand(schema, tmp_path):
    model, fitted = quick(schema, tmp_path / "run", epochs=6, learning_rate=0.1)
    losses = fitted.history["validation/total"]
    assert fitted.best_epoch == losses.idxmin() + 1
    assert not model.training
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        parts = [(float(model.loss(b).total), len(b)) for b in table(schema, seed=9).batches(8)]
    assert sum(loss * n for loss, n in parts) / 24 == pytest.approx(losses.min(), rel=1e-6)
    assert torch.equal(weights(load(tmp_path / "run" / "model")), weights(model))


def test_validation_is_the_same_every_time_and_takes_the_full_penalty(schema):
    """With a learning rate that moves nothing, epochs differ in training draws only."""
    _, fitted = quick(schema, learning_rate=1e-30, warmup=3)
    validation = fitted.history.filter(like="validation/")
    assert (validation.nunique() == 1).all()
    assert fitted.history["train/total"].nunique() == 3
    row = fitted.history.iloc[0]
    costs = {name: row[f"validation/cost/{name}"] for name in schema}
    weight = compute_loss_weights(schema, compute_constant_costs(schema, table(schema))).tolist()
    total = sum(w * costs[name] for w, name in zip(weight, schema, strict=True)) + (
        0.1 * row["reference_cost"] * row["validation/penalty/sliced"]
    )
    assert row["validation/total"] == pytest.approx(total, rel=1e-5)


def test_warmup_scales_the_penalty_and_no_earlier_epoch_counts(schema):
    model = build("mac-wae", schema, latent_dim=6, draws=2, weights="sum", beta=50.0, relative=False)
    _, fitted = quick(schema, model=model, epochs=4, warmup=4, learning_rate=1e-30)
    history = fitted.history
    costs = history.filter(like="train/cost/").sum(axis=1)
    anneal = (history["train/total"] - costs) / (50 * history["train/penalty/sliced"])
    assert anneal.tolist() == pytest.approx([0.25, 0.5, 0.75, 1.0], rel=1e-3)
    assert fitted.best_epoch == 4
    with pytest.raises(ValueError, match=r"epochs must be at least warmup \(5\)"):
        quick(schema, epochs=4, warmup=5)


def test_early_stopping_stops(schema):
    _, fitted = quick(schema, epochs=20, patience=2, learning_rate=1e-30)
    assert len(fitted.history) == 3
    assert fitted.best_epoch == 1


class TestNotFinite:
    def spoilt(self, schema):
        """A model whose label decoder gives NaN from the fifth step on: in the second epoch of three steps each."""
        model = build("mac-wae", schema, latent_dim=6, draws=2)
        count = iter(range(1000))
        head = model.decoders[schema.index("label")]
        head.register_forward_hook(
            lambda module, inputs, output: output * math.nan if module.training and next(count) >= 4 else output
        )
        return model

    def test_it_names_the_modality_and_the_step_and_keeps_the_last_good_weights(self, schema, tmp_path):
        model = self.spoilt(schema)
        with pytest.raises(FloatingPointError, match="in epoch 2, step 2, cost/label is nan"):
            quick(schema, tmp_path / "run", model=model)
        kept, _ = quick(schema, epochs=1)
        assert weights(model).isfinite().all()
        assert torch.equal(weights(model), weights(kept))
        assert torch.equal(weights(load(tmp_path / "run" / "model")), weights(kept))
        assert len(pd.read_csv(tmp_path / "run" / "history.csv")) == 1


class TestFolder:
    def test_it_holds_what_the_design_says(self, schema, tmp_path):
        model, fitted = quick(schema, tmp_path / "run")
        assert sorted(path.name for path in fitted.folder.iterdir()) == [
            "experiment.json",
            "history.csv",
            "model",
            "state",
        ]
        assert sorted(path.name for path in (fitted.folder / "model").iterdir()) == [
            "model.json",
            "weights.safetensors",
        ]
        experiment = json.loads((fitted.folder / "experiment.json").read_text())
        assert experiment["model"] == {
            "name": "mac-wae",
            "seed": 0,
            "arguments": json.loads(json.dumps(model.arguments)),
        }
        assert experiment["fit"]["learning_rate"] == 1e-2
        assert experiment["data"]["fingerprint"] == table(schema).fingerprint()
        assert experiment["versions"]["torch"] == torch.__version__
        pd.testing.assert_frame_equal(pd.read_csv(fitted.folder / "history.csv"), fitted.history)

    def test_a_folder_with_a_run_is_refused_and_left_alone(self, schema, tmp_path):
        quick(schema, tmp_path / "run", epochs=1)
        before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
        with pytest.raises(ValueError, match="must not contain a run"):
            quick(schema, tmp_path / "run", epochs=1)
        assert before == {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}


class TestArguments:
    def test_a_data_loader_gets_the_way_in(self, schema):
        loader = DataLoader(TensorDataset(torch.zeros(4, 3)))
        with pytest.raises(TypeError, match=r"train must be a Table.*got DataLoader.*polymodal.Table\("):
            fit(build("mac-wae", schema), loader, table(schema))

    def test_rows_may_be_anything_with_batches(self, schema, tmp_path):
        class Rows:
            def __len__(self):
                return 24

            def batches(self, batch_size, **arguments):
                return table(schema).batches(batch_size, **arguments)

        model = build("mac-wae", schema, latent_dim=6, draws=2)
        fit(model, Rows(), Rows(), epochs=1, batch_size=8, progress=False, folder=tmp_path / "run")
        same = build("mac-wae", schema, latent_dim=6, draws=2)
        fit(same, table(schema), table(schema), epochs=1, batch_size=8, progress=False)
        assert torch.equal(weights(model), weights(same))

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"epochs": 0}, "epochs must be positive"),
            ({"epochs": 2.5}, "epochs of fit must be int; got 2.5"),
            ({"patience": 0}, "patience must be positive"),
            ({"clip": -1.0}, "clip must be positive"),
            ({"learning_rate": -1.0}, "learning_rate must be positive"),
            ({"device": "gpu"}, "device must be an available one: auto, cpu"),
            ({"precision": "fp8"}, "precision of fit must be 'bf16', 'fp16', 'tf32' or None; got 'fp8'"),
        ],
    )
    def test_out_of_range(self, schema, arguments, message):
        with pytest.raises(ValueError, match=message):
            quick(schema, **arguments)

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, which can do it")
    @pytest.mark.parametrize("precision", ["fp16", "tf32"])
    def test_some_precisions_need_a_gpu(self, schema, precision):
        with pytest.raises(ValueError, match=f"precision '{precision}' needs a CUDA GPU"):
            quick(schema, precision=precision)

    def test_compile_is_refused_where_nothing_can_be_compiled(self, schema, monkeypatch):
        def broken(function):
            raise RuntimeError("no compiler here")

        monkeypatch.setattr(torch, "compile", broken)
        with pytest.raises(ValueError, match=r"compile needs a working torch.compile: .*; got no compiler here;"):
            quick(schema, compile=True)


def test_compile_compiles_the_networks_for_the_run_alone(schema, monkeypatch):
    compiled = []

    def compile(function, **_):
        def call(*inputs):
            compiled.append(getattr(function, "__self__", None))
            return function(*inputs)

        return call

    monkeypatch.setattr(torch, "compile", compile)
    model, _ = quick(schema, compile=True)
    assert {*model.encoders, *model.decoders} <= {*compiled}
    assert not any("forward" in vars(module) for module in model.modules())
    monkeypatch.setattr(stacked, "apply_fused", lambda network, x: network(x))  # for the same order of work
    monkeypatch.setattr(network_groups, "architecture", lambda *_, **__: None)
    assert torch.equal(weights(model), weights(quick(schema)[0]))


def test_tf32_is_on_within_a_run_on_a_gpu_only_if_it_is_asked_for():
    def now():
        return torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()

    before = now()
    for precision, within in {None: (False, "highest"), "bf16": (False, "highest"), "tf32": (True, "high")}.items():
        with set_precision(precision, torch.device("cuda")):
            assert now() == within
        assert now() == before
    with set_precision(None, torch.device("cpu")):
        assert now() == before


class TestMeans:
    def add(self, means, *totals):
        for total in totals:
            means.add(Terms(("cost/a", "total"), torch.tensor([1.0, total])), 2)

    def test_they_are_means_over_rows(self):
        means = Means("train", 1, every=50)
        means.add(Terms(("cost/a", "total"), torch.tensor([1.0, 3.0])), 2)
        means.add(Terms(("cost/a", "total"), torch.tensor([4.0, 6.0])), 1)
        assert means.compute() == {"train/cost/a": 2.0, "train/total": 4.0}

    def test_what_is_not_finite_is_found_at_once_or_every_so_many_steps(self):
        means = Means("train", 4)
        self.add(means, 1.0, math.nan)
        assert "in epoch 4, step 2, total is nan;" in means.trouble
        means = Means("train", 4, every=3)
        self.add(means, 1.0, 1.0, 1.0, 1.0, math.inf)
        assert not means.trouble
        self.add(means, 1.0)
        with pytest.raises(FloatingPointError, match="in epoch 4, steps 4 to 6, total is inf;"):
            means.check()

    def test_nothing_that_is_not_finite_is_kept_or_told(self):
        for ask in (Means.check, Means.compute):
            means = Means("train", 4, every=50)
            self.add(means, 1.0, math.nan, 1.0)
            with pytest.raises(FloatingPointError, match="steps 1 to 3, total is nan"):
                ask(means)

    def test_they_go_on_from_their_sums(self):
        means, again = Means("train", 1), Means("train", 1, rows=4, steps=2)
        self.add(means, 1.0, 2.0)
        again.sums = means.sums
        for each in (means, again):
            self.add(each, 6.0)
        assert means.compute() == again.compute() == {"train/cost/a": 1.0, "train/total": 3.0}


@pytest.mark.parametrize("cost", ["natural", "l2"])
def test_bf16_trains_and_leaves_32_bits(schema, cost):
    schema = schema if cost == "natural" else schema.replace(cost=cost)
    model, fitted = quick(schema, precision="bf16", device="cpu", epochs=10)
    exact, _ = quick(schema, device="cpu", epochs=10)
    assert weights(model).dtype == torch.float32
    assert not torch.equal(weights(model), weights(exact))
    assert fitted.history["train/total"].iloc[-1] < fitted.history["train/total"].iloc[0]
    assert "forward" not in vars(model)
    assert all(output.dtype == torch.float32 for output in model.emit(model.embed(table(schema))).values())


def test_rows_of_another_schema_and_no_rows_are_refused_before_anything_is_written(schema, tmp_path):
    turned = Schema(dict(reversed(list(schema.items()))))
    model = build("mac-wae", schema, latent_dim=6, draws=2)
    none = Table({name: value[:0] for name, value in table(schema).values.items()}, schema=schema)
    for rows, message in ((table(turned), "train must have the model's modalities in their order"), (none, "got none")):
        with pytest.raises(ValueError, match=message):
            fit(model, rows, table(schema), epochs=1, folder=tmp_path / "run")
    assert not list(tmp_path.iterdir())


class TestBalance:
    def test_they_are_of_what_is_minimised(self):
        schema = Schema({"size": Vector(5), "kind": Label(4)}).replace(cost="l2")
        rows = table(schema, 200, complete=True)
        for name, likelihood in (("mac-wae", False), ("mac-vae", True)):
            model = build(name, schema, latent_dim=4, draws=1)
            fit(model, rows, rows, epochs=1, progress=False)
            variance = rows.values["size"].double().var(0, correction=0).sum()
            p = torch.nn.functional.one_hot(rows.values["kind"], 4).double().mean(0)
            costs = (variance / 2, -(p * p.log()).sum()) if likelihood else (variance, (p - p**2).sum())
            assert float(model.weight[1] / model.weight[0]) == pytest.approx(float(costs[0] / costs[1]), rel=1e-5)

    def test_a_group_shares_one_modalitys_worth(self):
        schema = Schema({"a": Label(2), "b": Label(2), "c": Label(2)}, groups={"g": ["b", "c"]})
        assert compute_loss_weights(schema, torch.tensor([4.0, 1.0, 2.0])).tolist() == [1, 2, 1]

    def test_costs_are_those_of_the_best_constant(self):
        schema = Schema({"size": Vector(2), "kind": Label(2)})
        size = torch.tensor([[0.0, 0.0], [2.0, 4.0], [9.0, 9.0]])
        kind = torch.tensor([0, 1, 1])
        observed = torch.tensor([[True, True], [True, True], [False, True]])
        costs = compute_constant_costs(schema, Table({"size": size, "kind": kind}, observed, schema))
        entropy = -(1 / 3 * math.log(1 / 3) + 2 / 3 * math.log(2 / 3))
        assert costs.tolist() == pytest.approx([(1 + 4) / 2, entropy])

    def test_fit_measures_once_and_saves_it(self, schema, tmp_path):
        model = build("mac-wae", schema, latent_dim=6, draws=2)
        assert model.weight.tolist() == [1] * 5
        quick(schema, model=model, epochs=1)
        expected = compute_loss_weights(schema, compute_constant_costs(schema, table(schema))).float()
        assert torch.equal(model.weight, expected)
        model.save(tmp_path / "model")
        again = load(tmp_path / "model")
        fit(again, table(schema, seed=5), table(schema), epochs=1, progress=False)
        assert torch.equal(again.weight, expected)

    @pytest.mark.parametrize("weights", ["balanced", "sum", {"size": 3.0}])
    def test_the_reference_cost_is_that_of_a_pass_by_hand(self, weights, tmp_path):
        """R = sum_m w_m c*_m, over rows that have m times their share: 2 of 3 rows have a size."""
        schema = Schema({"size": Vector(2), "kind": Label(2)})
        size = torch.tensor([[0.0, 0.0], [2.0, 4.0], [9.0, 9.0]])
        observed = torch.tensor([[True, True], [True, True], [False, True]])
        rows = Table({"size": size, "kind": torch.tensor([0, 1, 1])}, observed, schema)
        model = build("mac-wae", schema, latent_dim=3, draws=2, hidden=(4,), weights=weights)
        fitted = fit(model, rows, rows, epochs=1, progress=False)
        entropy = -(1 / 3 * math.log(1 / 3) + 2 / 3 * math.log(2 / 3))
        a, b = 2.5, entropy  # a: half the variances of 1 and 4
        expected = {"balanced": a * 2 / 3 + a, "sum": a * 2 / 3 + b}.get(str(weights), 3 * a * 2 / 3 + b)
        assert float(model.reference_cost) == pytest.approx(expected, rel=1e-6)
        assert fitted.history["reference_cost"].tolist() == pytest.approx([expected], rel=1e-6)
        again = load(model.save(tmp_path / "model"))
        fit(again, rows, rows, epochs=1, progress=False)
        assert torch.equal(again.reference_cost, model.reference_cost)

    @pytest.mark.parametrize(("given", "expected"), [("sum", [1, 1, 1, 1, 1]), ({"label": 7.0}, [1, 1, 7, 1, 1])])
    def test_other_weights_are_left_alone(self, schema, given, expected):
        model = build("mac-wae", schema, latent_dim=6, draws=2, weights=given)
        quick(schema, model=model, epochs=1)
        assert model.weight.tolist() == expected

    @pytest.mark.parametrize("rows", [50, 300, 5000])
    def test_a_column_with_odd_rows_weighs_what_they_can_teach(self, rows):
        """The support grows with their number to 1, from where the weights are those of the costs alone."""
        schema = Schema({"kind": Label(2), "odd": Label(2), "size": Vector(1)})
        size = torch.randn(rows, 1, generator=torch.Generator().manual_seed(0))
        kind, supports, weights = torch.arange(rows) % 2, [], []
        for odd in range(1, rows // 2 + 1, max(1, rows // 100)):
            table = Table({"kind": kind, "odd": (torch.arange(rows) < odd).long(), "size": size}, schema=schema)
            model = build("mac-wae", schema, latent_dim=2, hidden=(4,))
            balance(model, table)
            plain = compute_loss_weights(schema, compute_constant_costs(schema, table))
            torch.testing.assert_close(model.weight[[0, 2]], plain[[0, 2]].float(), rtol=0, atol=0)
            supports.append(float(model.weight[1] / plain[1]))
            weights.append(float(model.weight[1]))
        p = 1 / rows
        mean = -p * math.log(p) - (1 - p) * math.log1p(-p)
        share = mean**2 / (p * math.log(p) ** 2 + (1 - p) * math.log1p(-p) ** 2)
        assert supports[0] == pytest.approx(min(1, share / min(max(10 / rows, 1 / 1024), 1 / 30)), rel=1e-5)
        assert np.diff(supports).min() >= -1e-6
        assert supports[-1] == pytest.approx(1, rel=1e-6)
        assert max(weights) < 0.4 * math.log(2) * max(30, min(rows / 10, 1024))

    def test_the_support_of_a_number_is_that_of_its_kurtosis(self):
        schema = Schema({"odd": Vector(1), "kind": Label(2)})
        for offset in (0.0, 10.0):
            odd = torch.zeros(600, 1)
            odd[7] = 1
            table = Table({"odd": odd + offset, "kind": torch.arange(600) % 2}, schema=schema)
            model = build("mac-wae", schema, latent_dim=2, hidden=(4,))
            balance(model, table)
            plain = compute_loss_weights(schema, compute_constant_costs(schema, table))
            q = 1 / 600 * (1 - 1 / 600)
            assert float(model.weight[0] / plain[0]) == pytest.approx(q / (1 - 3 * q) * 60, rel=1e-3)
            assert float(model.weight[1]) == pytest.approx(float(plain[1]))

    def test_what_never_varies_or_never_comes_weighs_one(self):
        schema = Schema({"size": Vector(1), "same": Vector(1), "never": Label(2)})
        values = {"size": torch.randn(9, 1), "same": torch.full((9, 1), 0.1)}
        weights = compute_loss_weights(schema, compute_constant_costs(schema, Table(values, schema=schema)))
        assert weights.tolist() == [1, 1, 1]


def test_progress_is_lines_where_there_is_no_terminal(schema, capfd):
    quick(schema, progress=True, epochs=2)
    lines = capfd.readouterr().err.strip().splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("epoch 2/2 · loss ")


class TestCompleteRows:
    """JMVAE's joint encoder needs every modality of a row."""

    def test_they_are_refused_or_left_out_and_counted(self, schema, capsys, tmp_path):
        rows = table(schema, rows=40)
        observed = rows.observed.clone()
        observed[:12] = True
        rows = Table(rows.values, observed, schema)
        complete = int(observed.all(1).sum())
        with pytest.raises(ValueError, match=r"jmvae must be trained on complete rows.*rows='complete'"):
            fit(build("jmvae", schema, latent_dim=4), rows, rows, epochs=1, folder=tmp_path / "run")
        assert not (tmp_path / "run").exists()
        model = build("jmvae", schema, latent_dim=4, rows="complete")
        fit(model, rows, rows, epochs=1, batch_size=8, folder=tmp_path / "run")
        assert f"training on the {complete} complete rows of 40" in capsys.readouterr().err
        assert json.loads((tmp_path / "run" / "experiment.json").read_text())["data"]["rows"] == complete
        same = build("jmvae", schema, latent_dim=4)
        fit(same, rows.complete(), rows.complete(), epochs=1, batch_size=8, progress=False)
        assert torch.equal(weights(model), weights(same))

    def test_none_at_all_is_an_error(self, schema):
        rows = table(schema, rows=10)
        rows = Table(rows.values, rows.observed & ~schema.mask(["text"]) | schema.mask(["label"]), schema)
        with pytest.raises(ValueError, match=r"at least one row must be complete.*none of 10"):
            fit(build("jmvae", schema, latent_dim=4, rows="complete"), rows, rows, epochs=1)


class TestCodes:
    """History has the norm of the codes next to the prior's; a warning says where the codes are far from the prior."""

    def test_norms_are_those_of_the_codes(self, schema):
        model = build("mac-wae", schema, latent_dim=6, draws=1, p0=0.0)
        rows = table(schema, complete=True)
        fitted = fit(model, rows, rows, epochs=1, batch_size=24, progress=False)
        row = fitted.history.iloc[0]
        assert row["validation/codes/norm"] == pytest.approx(float(model.embed(rows).norm(dim=-1).mean()), rel=1e-5)
        torch.manual_seed(0)
        assert row["prior_norm"] == pytest.approx(float(model.prior.sample((100_000,)).norm(dim=-1).mean()), rel=0.005)

    @pytest.mark.filterwarnings("default:::polymodal")
    def test_a_warning_where_they_have_left_the_prior(self, schema):
        model = build("mac-wae", schema, latent_dim=6, draws=2, beta=0.0, skip=False)
        with torch.no_grad():
            model.joint.rest[-1].weight.mul_(100)
        with pytest.warns(
            RuntimeWarning, match=r"after epoch 2 their mean norm is \d.*; raise beta \(it is 0\)"
        ) as said:
            quick(schema, model=model, epochs=4, warmup=2)
        assert len([one for one in said if "far from the prior" in str(one.message)]) == 1

    def test_none_where_they_have_not(self, schema, recwarn):
        quick(schema, epochs=4)
        assert not [one for one in recwarn if "far from the prior" in str(one.message)]

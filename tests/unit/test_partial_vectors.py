"""Vectors of which some elements are missing: reading, training, imputing, scoring, saving."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import polymodal as pm
from polymodal.evaluation.evaluate import FURTHER, TASKS
from polymodal.evaluation.metrics import METRICS, RowMetric
from polymodal.modalities import Label, Network, Vector
from polymodal.modalities.costs import NUMERIC
from polymodal.testing import check_modality
from polymodal.training.balance import compute_constant_costs

NAN = float("nan")


def make_frame(rows=80, holes=0.2, seed=0):
    """Three numbers of a group, all close to one hidden number, which the number `other` is too; some are missing."""
    generator = np.random.default_rng(seed)
    core = generator.normal(size=rows)
    frame = pd.DataFrame({f"bill_{i}": 10 * i + core + 0.1 * generator.normal(size=rows) for i in range(3)})
    frame["other"] = core + 0.1 * generator.normal(size=rows)
    frame["kind"] = np.where(core > 0, "owl", "emu")
    return frame.mask(np.pad(generator.random((rows, 3)) < holes, ((0, 0), (0, 2))))


def fit_table(frame, epochs=1, name="mac-wae", **options):
    table = pm.Table.from_frame(frame, pm.Schema.infer(frame, groups=["bill_"], say=None), say=None)
    model = pm.build(name, table.schema.replace(hidden=(16,)), latent_dim=4, **options)
    pm.fit(model, table, table, epochs=epochs, batch_size=20, learning_rate=3e-3, progress=False)
    return model, table


class TestElements:
    """The encoder and the costs of one vector."""

    @pytest.mark.parametrize("cost", [*NUMERIC, "gaussian(0.5)", "laplace(2)"])
    @pytest.mark.parametrize("likelihood", [False, True])
    def test_costs_are_those_of_a_vector_of_the_observed_elements(self, cost, likelihood):
        x = torch.rand(5, 4, dtype=torch.float64)
        seen = torch.rand(5, 4) < 0.5
        parameters = torch.randn(3, 5, 4, dtype=torch.float64, requires_grad=True)
        vector = Vector(4, cost=cost, partial=True)
        measure = vector.nll if likelihood else vector.compute_cost
        costs = measure(parameters, x.masked_fill(~seen, NAN))
        (gradient,) = torch.autograd.grad(costs.sum(), parameters)
        assert (gradient[:, ~seen] == 0).all()
        for row in range(5):
            some = int(seen[row].sum())
            if some:
                alone = Vector(some, cost=cost)
                expected = (alone.nll if likelihood else alone.compute_cost)(
                    parameters[:, row : row + 1, seen[row]], x[row : row + 1, seen[row]]
                )[:, 0]
                torch.testing.assert_close(costs[:, row], expected)
                (other,) = torch.autograd.grad(expected.sum(), parameters)
                torch.testing.assert_close(gradient[:, row], other[:, row])
            else:
                assert (costs[:, row] == 0).all()

    @pytest.mark.parametrize("cost", NUMERIC)
    def test_a_complete_value_costs_what_it_costs_without_partial(self, cost):
        x, parameters = torch.rand(5, 4), torch.randn(3, 5, 4, requires_grad=True)
        for name in ("nll", "compute_cost"):
            found, expected = (getattr(Vector(4, cost=cost, partial=on), name)(parameters, x) for on in (True, False))
            assert torch.equal(found, expected)
            one, two = (torch.autograd.grad(costs.sum(), parameters)[0] for costs in (found, expected))
            assert torch.equal(one, two)

    def test_the_encoder_is_a_linear_map_of_values_and_mask_before_its_hidden_layers(self):
        encoder = Vector(3, hidden=(5,), partial=True).build_encoder(2)
        state = encoder.state_dict()
        assert not state["0.missing"].any()
        torch.nn.init.normal_(encoder[0].missing)
        x = torch.tensor([[1.0, NAN, -2.0], [NAN, NAN, 0.5], [0.1, 0.2, 0.3]])
        missing = x.isnan().numpy()
        state = {name: value.numpy() for name, value in encoder.state_dict().items()}
        hidden = np.where(missing, 0, x) @ state["0.weight"].T + missing @ state["0.missing"].T + state["0.bias"]
        expected = np.maximum(hidden, 0) @ state["2.weight"].T + state["2.bias"]
        np.testing.assert_allclose(encoder(x).detach(), expected, rtol=1e-5, atol=1e-6)

    @given(arrays.arrays(bool, (4, 3)), st.sampled_from(["gaussian", "laplace", "bernoulli", "l2"]))
    @settings(max_examples=25, deadline=None)
    def test_no_pattern_of_missing_elements_gives_anything_but_finite_numbers(self, missing, cost):
        vector = Vector(3, hidden=(4,), cost=cost, partial=True)
        x = torch.rand(4, 3).masked_fill(torch.from_numpy(missing), NAN)
        encoder, decoder = vector.build_encoder(2), vector.build_decoder(2)
        costs = vector.compute_cost(decoder(encoder(x)), x)
        costs.sum().backward()
        gradients = [p.grad for p in (*encoder.parameters(), *decoder.parameters())]
        assert all(part is not None and part.isfinite().all() for part in [costs, *gradients])
        assert (costs[torch.from_numpy(missing).all(1)] == 0).all()

    def test_the_contracts_of_modalities(self):
        check_modality(Vector(3, hidden=(8,), partial=True))

    def test_a_custom_network_gets_zeros_and_a_map_of_the_mask_at_its_end(self, monkeypatch):
        from dataclasses import dataclass

        @dataclass(frozen=True)
        class Sum(Network):
            def encoder(self, modality, features):
                return torch.nn.Linear(modality.shape[0], features)

        encoder = Vector(3, partial=True, network=Sum()).build_encoder(2)
        x = torch.tensor([[1.0, NAN, -2.0]])
        assert torch.equal(encoder(x), encoder.network(x.nan_to_num()))
        torch.nn.init.ones_(encoder.missing)
        torch.testing.assert_close(encoder(x), encoder.network(x.nan_to_num()) + 1)

    def test_a_single_number_cannot_be_partly_observed(self):
        with pytest.raises(ValueError, match=r"partial.*single number.*True"):
            Vector(1, partial=True)

    def test_files_and_repr_of_other_vectors_do_not_mention_it(self):
        assert "partial" not in repr(Vector(3))
        assert "partial" not in json.dumps(pm.Schema({"x": Vector(3)}).to_json())
        assert pm.Schema.from_json(pm.Schema({"x": Vector(3, partial=True)}).to_json())["x"].partial
        assert Vector(3) != Vector(3, partial=True)


class TestRows:
    """Which rows are observed, in batches and tables."""

    def test_a_vector_is_observed_if_one_element_is(self):
        x = torch.tensor([[1.0, 2.0], [NAN, 2.0], [NAN, NAN]])
        schema = pm.Schema({"x": Vector(2, partial=True), "kind": Label(2)})
        batch = schema.batch({"x": x, "kind": torch.tensor([0, 1, 0])})
        assert batch.observed[:, 0].tolist() == [True, True, False]
        table = pm.Table({"x": x, "kind": torch.tensor([0, 1, 0])}, schema=schema)
        assert table.observed[:, 0].tolist() == [True, True, False]

    def test_a_vector_without_an_element_cannot_be_marked_as_observed(self):
        x, schema = torch.tensor([[1.0, 2.0], [NAN, NAN]]), pm.Schema({"x": Vector(2, partial=True)})
        with pytest.raises(ValueError, match=r"'x'.*row 1.*mark it as missing"):
            pm.Table({"x": x}, torch.ones(2, 1).bool(), schema)
        with pytest.raises(ValueError, match=r"'x'.*finite.*inf"):
            pm.Table({"x": torch.tensor([[1.0, float("inf")]])}, torch.ones(1, 1).bool(), schema)

    def test_without_partial_nothing_changes(self):
        schema = pm.Schema({"x": Vector(2)})
        with pytest.raises(ValueError, match=r"finite where observed.*nan"):
            pm.Table({"x": torch.tensor([[1.0, NAN]])}, schema=schema)

    def test_all_rows_of_a_frame_are_used(self):
        frame = make_frame()
        said = []
        table = pm.Table.from_frame(frame, pm.Schema.infer(frame, groups=["bill_"], say=said.append), say=said.append)
        columns = ["bill_0", "bill_1", "bill_2"]
        assert table.schema["bill"].partial
        assert int(table.observed[:, 0].sum()) == frame[columns].notna().any(axis=1).sum() > len(frame.dropna()) + 20
        assert np.array_equal(table.values["bill"].isnan().any(1), frame[columns].isna().any(axis=1))
        assert "have only some of them" in " ".join(said[0].split())
        raw = table.schema["bill"].write(table.values["bill"])[table.observed[:, 0]]
        np.testing.assert_allclose(raw, frame[columns].dropna(how="all"), rtol=1e-5, atol=1e-5)

    def test_other_vectors_say_how_many_rows_they_do_not_use(self):
        frame, said = make_frame(), []
        schema = pm.Schema({"bill": Vector(3, names=("bill_0", "bill_1", "bill_2")), "other": Vector(1)})
        table = pm.Table.from_frame(frame, schema, say=said.append)
        some = frame.filter(like="bill_").notna()
        assert table.observed[:, 0].sum() == some.all(axis=1).sum()
        count = int((some.any(axis=1) & ~some.all(axis=1)).sum())
        assert any(f"'bill': {count} rows" in message and "partial=True" in message for message in said)

    def test_a_model_refuses_rows_of_the_other_kind(self):
        frame = make_frame()
        model, table = fit_table(frame)
        other = pm.Table.from_frame(frame.dropna(), table.schema.replace(hidden=(8,)), say=None)
        assert len(model.embed(other))  # complete rows of a schema with `partial`


class TestTraining:
    @pytest.mark.parametrize("name", list(pm.MODELS))
    def test_complete_vectors_are_trained_as_without_partial(self, name):
        """Equal weights give equal losses, gradients and codes, to the bit: further weights are 0."""
        values = {"x": torch.randn(6, 3), "kind": torch.tensor([0, 1, 2, 0, 1, 2])}
        models = []
        for partial in (False, True):
            schema = pm.Schema({"x": Vector(3, hidden=(8,), partial=partial), "kind": Label(3, hidden=(4,))})
            model = pm.build(name, schema, latent_dim=3, seed=1)
            torch.manual_seed(5)
            loss = model.loss(schema.batch(values)).total
            loss.backward()
            models.append((model, loss, model.translate(schema.batch(values), ["x"])))
        (one, loss, predicted), (two, other, again) = models
        assert torch.equal(loss, other)
        gradients = {key: p.grad for key, p in two.named_parameters() if not key.endswith(".missing")}
        assert gradients.keys() == {key for key, _ in one.named_parameters()}
        for key, parameter in one.named_parameters():
            assert torch.equal(parameter, two.get_parameter(key))
            torch.testing.assert_close(parameter.grad, gradients[key], rtol=1e-6, atol=1e-7)
        for key, value in predicted.items():
            torch.testing.assert_close(value, again[key], rtol=1e-6, atol=1e-6)

    @pytest.mark.parametrize("name", list(pm.MODELS))
    def test_every_model_learns_from_partly_observed_vectors(self, name):
        model, table = fit_table(make_frame(40).dropna(how="all", subset=["bill_0", "bill_1", "bill_2"]), name=name)
        model.train()
        loss = model.loss(table[:])
        loss.total.backward()
        assert loss.total.isfinite()
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
        assert all(value.isfinite().all() for value in model.translate(table[:]).values() if value.is_floating_point())

    def test_the_sign_of_nan_changes_nothing(self):
        for name in ("mac-wae", "mmvae"):
            model, table = fit_table(make_frame(), name=name)
            x = table.values["bill"]
            other = pm.Table(
                {**table.values, "bill": torch.where(x.isnan(), -torch.tensor(NAN), x)}, table.observed, table.schema
            )
            for one, two in zip(model.translate(table[:]).values(), model.translate(other[:]).values(), strict=True):
                assert torch.equal(one, two)

    def test_balanced_weights_use_the_observed_elements(self):
        """By hand: the cost of an element's mean, times the share of the rows that have the element."""
        table = pm.Table.from_frame(frame := make_frame(), pm.Schema.infer(frame, groups=["bill_"], say=None), say=None)
        x = table.values["bill"].double().numpy()
        x = x[~np.isnan(x).all(1)]
        expected = sum(np.nanvar(column) / 2 * np.mean(~np.isnan(column)) for column in x.T)
        for batch_size in (7, None):
            costs = compute_constant_costs(table.schema, table, batch_size=batch_size)
            assert costs[0] == pytest.approx(expected, rel=1e-6)

    def test_saved_loaded_and_resumed(self, tmp_path):
        frame = make_frame()
        table = pm.Table.from_frame(frame, pm.Schema.infer(frame, groups=["bill_"], say=None), say=None)
        schema = table.schema.replace(hidden=(8,))

        def train(folder, epochs, **options):
            model = pm.build("mac-wae", schema, latent_dim=4, seed=0)
            pm.fit(model, table, table, epochs=epochs, batch_size=20, progress=False, folder=folder, **options)
            return model

        whole = train(tmp_path / "whole", 4)
        train(tmp_path / "parts", 2)
        parts = train(tmp_path / "parts", 4, resume=True)
        loaded = pm.load(tmp_path / "whole" / "model")
        assert loaded.schema == schema
        for other in (parts, loaded):
            for one, two in zip(whole.state_dict().values(), other.state_dict().values(), strict=True):
                assert torch.equal(one, two)

    def test_a_flow_over_codes_is_trained(self):
        model, table = fit_table(make_frame(), prior="flow")
        assert model.translate(table[:], samples=2)["bill"].isfinite().all()


class TestImputing:
    def test_only_missing_cells_of_a_frame_change(self):
        frame = make_frame()
        said = []
        model, _ = fit_table(frame, epochs=30)
        whole = pm.impute(model, frame, marked=True, say=said.append)
        gaps = frame.isna()
        assert whole[frame.columns].notna().all().all()
        for column in frame.columns:
            assert whole[column][~gaps[column]].equals(frame[column][~gaps[column]])
        listed = [",".join(frame.columns[row]) for row in gaps.to_numpy()]
        assert whole["filled"].tolist() == listed
        assert f"{int(gaps.sum().sum())} cells were read as missing" in " ".join(said)

    def test_missing_elements_are_predicted_nearly_as_well_as_by_the_conditional_mean(self):
        """Held-out rows of normal numbers with one common factor, whose conditional mean is known in closed form."""
        generator = np.random.default_rng(1)
        covariance = np.ones((4, 4)) + 0.09 * np.eye(4)
        x = generator.multivariate_normal(np.zeros(4), covariance, 700)
        holes = generator.random(x.shape) < [0.2, 0.2, 0.2, 0.0]
        frame = pd.DataFrame(np.where(holes, NAN, x), columns=["bill_0", "bill_1", "bill_2", "other"])
        model, _ = fit_table(frame[:300], epochs=60)
        errors = (pm.impute(model, frame[300:], say=None).to_numpy() - x[300:])[holes[300:]]
        best = []
        for row, gaps in zip(x[300:], holes[300:], strict=True):
            seen = ~gaps
            weights = np.linalg.solve(covariance[np.ix_(seen, seen)], covariance[np.ix_(seen, gaps)])
            best.extend(row[seen] @ weights - row[gaps])
        root = [float(np.sqrt(np.mean(np.square(some)))) for some in (errors, best, x[300:][holes[300:]])]
        assert root[1] <= root[0] < 1.3 * root[1] < 0.6 * root[2]

    @pytest.mark.parametrize("of", [list, tuple, np.array])
    def test_only_missing_items_of_lists_change(self, of):
        rows = [[float(i), 2.0 * i + 0.5, NAN if i % 3 == 0 else float(i)] for i in range(30)]
        frame = pd.DataFrame({"v": [of(row) for row in rows], "kind": list("abc") * 10})
        frame["v"] = frame["v"].where(frame.index != 5, None)
        table = pm.Table.from_frame(frame, say=None)
        assert table.schema["v"].partial
        whole = pm.impute(pm.build("mac-wae", table.schema.replace(hidden=(4,)), latent_dim=2), frame, say=None)
        for i, (cell, row) in enumerate(zip(whole["v"], rows, strict=True)):
            assert isinstance(cell, np.ndarray if of is np.array else of)
            assert len(cell) == 3
            assert np.isfinite(np.asarray(cell)).all()
            if i != 5:
                assert all(new == old for new, old in zip(cell, row, strict=True) if old == old)
        assert frame["v"][0][2] != frame["v"][0][2]  # the frame itself has not changed

    @pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.large_list(pa.int64()), pa.list_(pa.float64(), 2)])
    def test_only_missing_items_of_arrow_lists_change(self, kind, tmp_path):
        large = 2**53 + 1 if pa.types.is_integer(kind.value_type) else 0.1
        cells = [[i, None if i % 4 == 0 else large] for i in range(24)]
        cells[3] = None
        column = pa.array(cells, kind)
        pq.write_table(pa.table({"v": column, "kind": pa.array(list("abc") * 8)}), tmp_path / "t.parquet")
        table = pm.Table.from_parquet(tmp_path / "t.parquet", say=None)
        model = pm.build("mac-wae", table.schema.replace(hidden=(4,)), latent_dim=2)
        model.save(tmp_path / "model")
        from polymodal.inference.imputed_cells import add_to_batch
        from polymodal.inference.imputer import Imputer

        batch = pq.read_table(tmp_path / "t.parquet").to_batches()[0]
        imputed = Imputer(model).impute_chunk(batch.to_pandas())
        whole = add_to_batch(batch, imputed, batch.schema).column("v")
        assert whole.type == kind
        for new, old in zip(whole.to_pylist(), column.to_pylist(), strict=True):
            assert None not in new
            assert old is None or all(item == other for item, other in zip(new, old, strict=True) if other is not None)
        series = pd.Series(column, dtype=pd.ArrowDtype(kind))
        frame = pd.DataFrame({"v": series, "kind": list("abc") * 8})
        again = pm.impute(model, frame, say=None)["v"]
        assert again.dtype == series.dtype
        assert pa.array(again).to_pylist() == whole.to_pylist()


class TestScores:
    def test_the_rmse_is_of_the_observed_elements(self):
        frame = make_frame()
        model, table = fit_table(frame, epochs=3)
        scores = pm.evaluate(model, table, tasks=["reconstruction", "many-to-one"])
        for task, names in {"reconstruction": None, "many-to-one": ["other", "kind"]}.items():
            predicted = model.translate(table[:], names and table.schema.mask(names).expand(1, -1), ["bill"])["bill"]
            errors = (predicted - table.values["bill"])[table.observed[:, 0]].numpy()
            row = scores[(scores.task == task) & (scores.modality == "bill")].iloc[0]
            assert row["value"] == pytest.approx(np.sqrt(np.nanmean(errors**2)), rel=1e-5)
            assert row["rows"] == table.observed[:, 0].sum()

    def test_other_metrics_are_of_complete_vectors(self, monkeypatch):
        class MeanError(RowMetric):
            better, kind = "lower", "numbers"

            def score_rows(self, prediction, target):
                return (prediction - target).abs().flatten(1).mean(1)

        monkeypatch.setitem(METRICS, "mean-error", MeanError)
        model, table = fit_table(make_frame())
        scores = pm.evaluate(model, table, tasks=["reconstruction"], metrics={"bill": ["mean-error"]})
        row = scores[scores.modality == "bill"].iloc[0]
        whole = ~table.values["bill"].isnan().any(1)
        error = (model.translate(table[:], None, ["bill"])["bill"] - table.values["bill"])[whole].abs().mean()
        assert row["rows"] == whole.sum()
        assert row["value"] == pytest.approx(float(error), rel=1e-5)

    def test_all_tasks_and_the_report_have_finite_scores(self, tmp_path):
        frame = make_frame(120)
        table = pm.Table.from_frame(frame, pm.Schema.infer(frame, groups=["bill_"], say=None), say=None)
        model = pm.build("mac-vae", table.schema.replace(hidden=(16,)), latent_dim=4)
        pm.fit(model, table, table, epochs=2, batch_size=20, progress=False)
        scores = pm.evaluate(model, table, train=table, tasks=[*TASKS, *FURTHER])
        assert np.isfinite(scores["value"]).all(), scores[~np.isfinite(scores["value"])]

    def test_the_baseline_of_the_report_is_the_mean_of_the_observed_elements(self):
        from polymodal.report.column_scores import _score_mean

        x = torch.tensor([[1.0, NAN], [3.0, 5.0], [NAN, NAN]])
        expected = np.sqrt((1 + 1 + 0) / 3)
        assert _score_mean(Vector(2, partial=True), x, torch.tensor([True, True, False])) == pytest.approx(expected)

    def test_values_are_shown(self):
        vector = Vector(3, partial=True)
        assert vector.show(torch.tensor([1.0, NAN, 2.0])) == "1, missing, 2"
        Vector(20, partial=True).draw(torch.tensor([NAN, 1.0] * 10))

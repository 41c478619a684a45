"""A modality that no training row has is reported: by `fit`, and wherever predictions are made from it or of it."""

import warnings

import pandas as pd
import pytest
import torch

import polymodal as pm
from polymodal.modalities import Label, Vector

SCHEMA = pm.Schema({"a": Vector(2, hidden=(8,)), "b": Label(3), "c": Vector(1, hidden=(8,))})


def table(lacks=(), rows=12):
    generator = torch.Generator().manual_seed(0)
    values = {
        "a": torch.randn(rows, 2, generator=generator),
        "b": torch.randint(3, (rows,), generator=generator),
        "c": torch.randn(rows, 1, generator=generator),
    }
    observed = torch.ones(rows, 3, dtype=torch.bool)
    for name in lacks:
        observed[:, SCHEMA.index(name)] = False
    return pm.Table(values, observed, SCHEMA)


def trained(*lacks, name="mac-wae", model=None, **options):
    model = model or pm.build(name, SCHEMA, latent_dim=4)
    pm.fit(model, table(lacks), table(lacks), epochs=1, progress=False, **options)
    return model


@pytest.mark.parametrize("name", ["mac-wae", "mac-vae", "mvae", "mopoe", "nexus"])
@pytest.mark.parametrize("lacks", [("c",), ("a",), ("b", "c")])
def test_fit_says_which_modalities_no_row_has(name, lacks):
    with pytest.warns(RuntimeWarning, match="no training row has " + ", ".join(map(repr, lacks))) as said:
        model = trained(*lacks, name=name)
    assert len([one for one in said if "no training row" in str(one.message)]) == 1
    assert said[0].filename == __file__
    for other in lacks:
        with pytest.warns(RuntimeWarning, match=f"no training row has '{other}'"):
            model.translate(table()[:3], given=[other], to=["a"])
    with pytest.warns(RuntimeWarning, match="no training row has"):
        model.translate(table()[:3], given=[name for name in SCHEMA if name not in lacks], to=[lacks[0]])


def test_nothing_is_said_where_all_are_trained():
    with warnings.catch_warnings(action="error"):
        model = trained()
        model.translate(table()[:3], given=["c"], to=["a"])


def test_it_is_kept_with_the_model(tmp_path):
    with pytest.warns(RuntimeWarning, match="no training row has 'c'"):
        model = trained("c", folder=tmp_path / "run")
    model.save(tmp_path / "model")
    for folder in ("model", "run/model"):
        again = pm.load(tmp_path / folder)
        assert again.untrained == ("c",)
        with pytest.warns(RuntimeWarning, match="'c'"):
            again.translate(table()[:3], given=["c"], to=["a"])
    trained().save(tmp_path / "other")
    assert '"untrained"' not in (tmp_path / "other" / "model.json").read_text()


def test_what_was_trained_before_stays_trained():
    with warnings.catch_warnings(action="error"):
        trained("c", model=trained())
    with pytest.warns(RuntimeWarning, match="no training row has 'c'"):
        model = trained("c")
    with warnings.catch_warnings(action="error"):
        trained(model=model)
        model.translate(table()[:3], given=["c"], to=["a"])


def test_a_run_can_be_resumed(tmp_path):
    with pytest.warns(RuntimeWarning, match="'c'"):
        trained("c", folder=tmp_path / "run")
    model = pm.build("mac-wae", SCHEMA, latent_dim=4)
    with pytest.warns(RuntimeWarning, match="'c'"):
        pm.fit(model, table("c"), table("c"), epochs=2, progress=False, folder=tmp_path / "run", resume=True)


def test_impute_says_so():
    with pytest.warns(RuntimeWarning, match="'c'"):
        model = trained("c")
    said: list[str] = []
    pm.impute(model, pd.DataFrame({"b": ["0", None], "c": [1.0, 2.0]}), say=said.append)
    assert said[1].startswith("no training row has 'c': predictions from it and of it are arbitrary")
    said.clear()
    pm.impute(model, pd.DataFrame({"b": ["0", "1"]}), say=said.append)
    assert not any("training row" in sentence for sentence in said)

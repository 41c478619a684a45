"""What every registered model promises; the laws are in `polymodal.testing`."""

import json
import subprocess
import sys

import pytest
import torch
from conftest import rows_of

from polymodal.models import MODELS, build
from polymodal.schema import Schema
from polymodal.testing import EXAMPLES
from polymodal.testing.laws import apply_law
from polymodal.testing.model_checks import MODEL_LAWS
from polymodal.testing.model_subject import ModelSubject

QUICK = "mac-wae"
"""The model whose laws are among the fast tests; those of the others are slow."""

SCRIPT = """
import json, sys, torch, polymodal as pm
values = torch.load(sys.argv[1] + "/batch.pt", weights_only=True)
batch = pm.Batch(values, values.pop("observed"))
for folder in sys.argv[2:]:
    model = pm.load(folder)
    print(json.dumps([model.name, [value.double().sum().item() for value in model.translate(batch).values()]]))
"""


@pytest.mark.parametrize("law", MODEL_LAWS)
@pytest.mark.parametrize(
    "name", [QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in MODELS if name != QUICK)]
)
def test_law(name, law):
    apply_law(MODEL_LAWS[law], f"model {name!r}", ModelSubject(name))


@pytest.mark.slow
@pytest.mark.parametrize("law", MODEL_LAWS)
@pytest.mark.parametrize("name", MODELS)
def test_law_of_an_ensemble(name, law):
    apply_law(MODEL_LAWS[law], f"an ensemble of {name!r}", ModelSubject(name, arguments={"members": 2}))


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """Predictions of every saved model of polymodal, here and in one fresh process that loads all of them."""
    folder, schema, expected = tmp_path_factory.mktemp("models"), Schema(EXAMPLES), {}
    batch = rows_of(schema, 5, complete=False)
    torch.save(dict(batch.values) | {"observed": batch.observed}, folder / "batch.pt")
    for name in MODELS:
        model = build(name, schema, latent_dim=6).double().eval()
        if type(model).__module__.startswith("polymodal."):  # others are registered by this process only
            model.save(folder / name)
            expected[name] = [value.double().sum().item() for value in model.translate(batch).values()]
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, str(folder), *(str(folder / name) for name in expected)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return expected, dict(map(json.loads, done.stdout.splitlines()))


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_a_saved_model_predicts_equally_in_a_fresh_process(fresh, name):
    expected, found = fresh
    if name not in expected:
        pytest.skip(f"{name} is registered by this process only, so another one does not know it")
    assert found[name] == pytest.approx(expected[name], rel=1e-12)

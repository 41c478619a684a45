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

pytestmark = pytest.mark.parametrize("name", MODELS)


@pytest.mark.parametrize("law", MODEL_LAWS)
def test_law(name, law):
    apply_law(MODEL_LAWS[law], f"model {name!r}", ModelSubject(name))


def test_a_saved_model_answers_equally_in_a_fresh_process(name, tmp_path):
    model = build(name, Schema(EXAMPLES), latent_dim=6).double().eval()
    if not type(model).__module__.startswith("polymodal."):
        pytest.skip(f"{name} is registered by this process only, so another one does not know it")
    batch = rows_of(model.schema, 5, complete=False)
    model.save(tmp_path / "model")
    torch.save(dict(batch.values) | {"observed": batch.observed}, tmp_path / "batch.pt")
    script = """
import sys, torch, polymodal as pm
model = pm.load(sys.argv[1] + "/model")
values = torch.load(sys.argv[1] + "/batch.pt", weights_only=True)
batch = pm.Batch(values, values.pop("observed"))
print([model.name, [value.double().sum().item() for value in model.translate(batch).values()]])
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )
    expected = [name, [value.double().sum().item() for value in model.translate(batch).values()]]
    assert json.loads(done.stdout.replace("'", '"')) == [name, pytest.approx(expected[1], rel=1e-12)]

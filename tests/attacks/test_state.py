"""A training state with bytes flipped, or values edited: the run goes on, or there is one error."""

import json
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import polymodal as pm
from attacks.guard import guarded
from attacks.test_fuzz import QUIET, edited, edits, replace_somewhere, values
from polymodal.training import fit

pytestmark = pytest.mark.slow

SCHEMA = pm.Schema({"size": pm.Vector(2, hidden=(3,)), "kind": pm.Label(3, hidden=(2,))})
FEW = settings(QUIET, max_examples=60)


class Original(NamedTuple):
    path: Path
    content: bytes

    def __repr__(self):
        return f"Original({self.path})"


def go_on(folder):
    """Resumes for one more epoch; None, or the error."""
    generator = torch.Generator().manual_seed(0)
    rows = {"size": torch.rand(8, 2, generator=generator), "kind": torch.arange(8) % 3}
    table = pm.Table(rows, schema=SCHEMA)
    model = pm.build("mac-wae", SCHEMA, latent_dim=2, draws=1, hidden=(3,))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    try:
        fit(model, table, table, epochs=2, batch_size=4, ema=0.5, folder=folder, resume=True, progress=False)
    except (ValueError, FloatingPointError) as error:
        if isinstance(error, ValueError):
            assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
        return error
    return None


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    """The state after the first of two epochs, in a folder of its own each time."""
    folder = tmp_path_factory.mktemp("state") / "run"
    rows = {"size": torch.rand(8, 2, generator=torch.Generator().manual_seed(0)), "kind": torch.arange(8) % 3}
    table = pm.Table(rows, schema=SCHEMA)
    model = pm.build("mac-wae", SCHEMA, latent_dim=2, draws=1, hidden=(3,))
    fit(model, table, table, epochs=1, batch_size=4, ema=0.5, folder=folder, progress=False)
    path = folder / "state" / "state.safetensors"
    return Original(path, path.read_bytes())


def attempt(path, content):
    path.write_bytes(content)
    with guarded():
        error = go_on(path.parents[1])
    if error is not None:
        assert "\n" not in str(error)
        assert len(str(error)) < 1000
    return error


def test_untouched_it_goes_on(state):
    assert attempt(*state) is None


@FEW
@given(edits)
def test_bytes(state, edits):
    attempt(state[0], edited(state[1], edits))


@FEW
@given(st.lists(st.integers(0, 10**6), max_size=8), values)
def test_values_of_the_document(state, tmp_path_factory, choices, value):
    path, content = state
    path.write_bytes(content)
    with safe_open(path, framework="pt") as file:
        document = json.loads(file.metadata()["document"])
    replace_somewhere(document, choices, value)
    other = tmp_path_factory.mktemp("edited") / "state.safetensors"
    save_file(load_file(path), other, {"document": json.dumps(document)})
    attempt(path, other.read_bytes())


@pytest.mark.parametrize("name", ["model/weight", "best/weight", "average/module.weight"])
def test_numbers_that_are_none(state, name, tmp_path):
    path, content = state
    path.write_bytes(content)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    tensors[name] = tensors[name] * float("nan")
    save_file(tensors, tmp_path / "a", metadata)
    error = attempt(path, (tmp_path / "a").read_bytes())
    assert f"{name} must not contain NaN" in str(error)

"""Sharing by the Hugging Face Hub, against a stand-in of its HTTP API on the loopback interface."""

import pytest
import torch
from hub_server import Hub

import polymodal as pm
from polymodal.modalities import Label, Text, Vector

pytestmark = pytest.mark.network


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """An empty Hub, which this process uses, with an empty cache and a token that may write."""
    from huggingface_hub import constants

    made = Hub()
    with made.serve() as address:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", "hf_write")
        yield made


@pytest.fixture
def model():
    schema = pm.Schema(
        {"size": Vector(2), "kind": Label(3, ("a", "b", "c")), "text": Text.learn(["one two", "two three"])}
    )
    return pm.build("mac-wae", schema, latent_dim=4, hidden=(8,), features=4).eval()


def predictions(model):
    batch = model.schema.batch({"size": torch.tensor([[0.5, -1.0], [2.0, 0.1]])})
    return model.translate(batch, given=["size"])


def test_a_pushed_model_loads_with_equal_predictions_and_equal_bytes(hub, model, tmp_path):
    address = model.push_to_hub("owner/name", licence="mit", data="birds")
    loaded = pm.load("hf://owner/name")
    for name, value in predictions(model).items():
        assert torch.equal(value, predictions(loaded)[name]), name
    folder = model.save(tmp_path / "model")
    for name in ("model.json", "weights.safetensors"):
        assert hub.files("owner/name")[name] == (folder / name).read_bytes()
    assert torch.equal(pm.load(address).state_dict()["weight"], model.state_dict()["weight"])

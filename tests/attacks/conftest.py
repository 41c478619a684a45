"""A model's folder to tamper with."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import EXAMPLES

import polymodal as pm


@pytest.fixture(scope="session")
def original(tmp_path_factory) -> Path:
    """A small model of all modalities."""
    folder = tmp_path_factory.mktemp("original") / "model"
    return pm.build("mac-wae", pm.Schema(EXAMPLES, groups={"numbers": ["vector"]}), latent_dim=2, hidden=(4,)).save(
        folder
    )


@pytest.fixture
def folder(original, tmp_path, monkeypatch) -> Path:
    """A copy of it."""
    monkeypatch.chdir(tmp_path)
    yield Path(shutil.copytree(original, tmp_path / "model"))
    assert not (tmp_path / "owned").exists()


@pytest.fixture
def edit(folder) -> Callable[[Callable[[dict[str, Any]], Any]], Path]:
    """Changes the document in place, or replaces it by what the change gives."""

    def edit(change):
        path = folder / "model.json"
        document = json.loads(path.read_text())
        path.write_text(json.dumps(change(document) or document))
        return folder

    return edit

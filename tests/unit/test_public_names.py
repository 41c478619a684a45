"""What `import polymodal as pm` gives, and what it costs."""

import json
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

import polymodal as pm


def test_every_public_name_resolves():
    for name in pm.__all__:
        assert getattr(pm, name) is not None
    assert dir(pm) == sorted(pm.__all__)
    with pytest.raises(AttributeError, match="no attribute 'bild'"):
        _ = pm.bild


def test_the_version_is_the_projects():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert pm.__version__ == version("polymodal") == project["version"]
    script = "import sys, polymodal; assert polymodal.__version__; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "pandas"} & set(done.stdout.split())


def test_registries_hold_the_fixed_names():
    assert {"image", "label", "vector", "text", "audio"} <= pm.MODALITIES.keys()
    assert {"mac-wae", "mac-vae", "m-wae"} <= pm.MODELS.keys()
    assert {"mmd", "kl"} <= pm.REGULARIZERS.keys()
    assert {"acc", "rmse", "ssim", "ssim-paper", "bleu-3"} <= pm.METRICS.keys()
    assert {"polydigits"} <= pm.DATASETS.keys()
    assert not pm.NETWORKS  # there are only users'


@pytest.mark.parametrize("command", [["-c", "import polymodal"], ["-m", "polymodal.cli.app", "--help"]])
def test_importing_and_asking_for_help_do_not_import_torch(command):
    watched = [sys.executable, "-X", "importtime", *command]
    done = subprocess.run(watched, capture_output=True, text=True, check=True)
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "polymodal" in imported
    assert not {"torch", "numpy", "pandas", "matplotlib", "accelerate"} & imported


def test_models_and_tables_cost_no_more_than_torch():
    """Heavy libraries are imported where they are used, so what stands in a user's first lines is torch alone."""
    script = "import sys, polymodal as pm; pm.build, pm.Table, pm.fit; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"pandas", "sklearn", "matplotlib", "torchmetrics", "accelerate", "tokenizers"} & set(
        done.stdout.split()
    )


@pytest.mark.parametrize("arguments", [{"seed": 1.5}, {"rows": "many"}, {"seed": None}])
def test_a_data_set_refuses_arguments_of_another_type(arguments):
    with pytest.raises(ValueError, match=f"{next(iter(arguments))} .*must be int"):
        pm.datasets.load("polydigits", **arguments)


def test_numbers_of_numpy_are_python_s_in_a_data_set_s_source():
    data = pm.datasets.load("polydigits", rows=np.int64(20), held_out_rows=10)
    assert json.loads(json.dumps(data.test.source))["arguments"] == {"rows": 20, "held_out_rows": 10, "seed": 0}

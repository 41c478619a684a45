"""What claims to be large takes no memory before it is known to be there."""

import json
import struct
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

SCRIPT = """
import json, resource, sys, polymodal as pm
pm.load(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for folder in sys.argv[2:]:
    try:
        pm.load(folder)
    except ValueError as error:
        pass
    else:
        raise AssertionError(folder)
unit = 1 if sys.platform == "darwin" else 1024
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit)
"""

LARGE = {
    "code": lambda document: document["arguments"].update(latent_dim=20_000),
    "layer": lambda document: document["arguments"].update(hidden=[20_000, 20_000]),
    "label": lambda document: document["schema"]["modalities"][2].update(classes=10**8),
    "picture": lambda document: document["schema"]["modalities"][1].update(height=20_000, width=20_000),
    "text": lambda document: document["schema"]["modalities"][3].update(length=10**7, width=64),
    "vector": lambda document: document["schema"]["modalities"][4].update(size=10**8),
    "sound": lambda document: document["schema"]["modalities"][0].update(frames=10**7, mels=10**3),
}
"""A gigabyte and more each, which a machine would grant."""


@pytest.fixture
def folders(original, tmp_path):
    """The original, and a copy for each attack."""
    copies = [original]
    for name, change in LARGE.items():
        document = json.loads((original / "model.json").read_text())
        change(document)
        copies.append(tmp_path / name)
        copies[-1].mkdir()
        (copies[-1] / "model.json").write_text(json.dumps(document))
        (copies[-1] / "weights.safetensors").write_bytes((original / "weights.safetensors").read_bytes())
    return copies


def test_a_document_that_claims_gigabytes(folders):
    assert growth(folders) < 100e6


def test_a_header_that_claims_gigabytes(folders):
    for share, folder in enumerate(folders[1:], start=20):
        path = folder / "weights.safetensors"
        path.write_bytes(struct.pack("<Q", 2**share) + path.read_bytes()[8:])
    assert growth(folders) < 100e6


def growth(folders) -> int:
    """Bytes by which a fresh process grows at most while it refuses all but the first."""
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)

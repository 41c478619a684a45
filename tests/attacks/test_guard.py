"""The guard itself sees what it is there for."""

import os
import pickle
import time

import pytest
import torch

from attacks.guard import PAYLOAD, guarded


@pytest.mark.parametrize(
    "attack",
    [
        lambda: pickle.loads(pickle.dumps(1)),  # noqa: S301
        lambda: torch.load("owned"),
        lambda: eval(PAYLOAD),
        lambda: exec(PAYLOAD),
        lambda: os.system("touch owned"),
        lambda: os.posix_spawn("/bin/true", ["true"], {}),
        lambda: time.sleep(5),
    ],
)
def test_it_raises(attack, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AssertionError, match=r"a file|it took more"), guarded(seconds=1):
        attack()
    assert not any(tmp_path.iterdir())
    assert pickle.loads(pickle.dumps(1)) == 1  # noqa: S301

"""Rows to test on: every registered modality, complete and incomplete."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from reliability import Results, kind_of

from polymodal.modalities import MODALITIES, NETWORKS
from polymodal.schema import Schema
from polymodal.testing import EXAMPLES
from polymodal.testing.examples import sample_rows, sample_values

draw, rows_of = sample_values, sample_rows


@pytest.fixture
def registries() -> Iterator[None]:
    """What a test registers is forgotten after it."""
    kept = [(registry, dict(registry)) for registry in (MODALITIES, NETWORKS)]
    yield
    for registry, entries in kept:
        registry.clear()
        registry.update(entries)


@pytest.fixture
def schema() -> Schema:
    return Schema(EXAMPLES)


@pytest.fixture(params=["complete", "incomplete"])
def complete(request: pytest.FixtureRequest) -> bool:
    return request.param == "complete"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data beside the checkout; tests that need them skip where they are not there."""
    folder = Path(os.environ.get("POLYMODAL_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"needs real data in {folder}; name their folder in POLYMODAL_DATA")
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of data sets of the test's own."""
    monkeypatch.setenv("POLYMODAL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--reliability", metavar="FILE", type=Path, help="write docs/reliability.md from the results")


class Restored:
    """State of PyTorch that a test or doctest changes is restored for those after it.

    The number of threads, which would slow them down, and the checks of distributions, which compiling disables.
    """

    number = torch.get_num_threads()

    def pytest_runtest_teardown(self) -> None:
        if torch.get_num_threads() != self.number:
            torch.set_num_threads(self.number)
        torch.distributions.Distribution.set_default_validate_args(__debug__)


MARKS = {"chromium": "browser", "server": "network"}
"""Markers of tests that use these fixtures."""


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Restored())
    if config.getoption("--reliability") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Results(), "reliability")


def pytest_unconfigure(config: pytest.Config) -> None:
    if (results := config.pluginmanager.get_plugin("reliability")) is not None:
        config.getoption("--reliability").write_text(results.page())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        for name in MARKS.keys() & getattr(item, "fixturenames", ()):
            item.add_marker(MARKS[name])
        if Path(__file__).parent / "end_to_end" in item.path.parents or item.get_closest_marker("torture"):
            item.add_marker("slow")
    if config.getoption("--reliability"):
        config.hook.pytest_deselected(items=[item for item in items if kind_of(item.nodeid) is None])
        items[:] = [item for item in items if kind_of(item.nodeid) is not None]

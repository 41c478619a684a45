"""Which tests the page of reliability counts, and how it counts their outcomes."""

from pathlib import Path

import pytest
from reliability import KINDS, Results, counts, kind_of

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", KINDS)
def test_tests_of_every_kind_are_there(name):
    for start in KINDS[name][1]:
        assert (ROOT / start.partition("::")[0]).is_file()
        assert kind_of(f"{start}::test") == name


def test_outcomes_are_counted_once_each(tmp_path):
    class Report:
        def __init__(self, outcome, when="call", tried=None):
            self.nodeid = "tests/unit/test_images.py::test[a]"
            self.when, self.user_properties = when, [] if tried is None else [("tried", tried)]
            self.passed, self.failed, self.skipped = (outcome == one for one in ("passed", "failed", "skipped"))

    results = Results()
    for report in [
        Report("passed", "setup"), Report("passed"), Report("passed", "teardown"), Report("failed"),
        Report("failed", "setup"), Report("skipped"), Report("passed", tried=30),
    ]:  # fmt: skip
        results.pytest_runtest_logreport(report)
    (tmp_path / "page.md").write_text(results.page())
    found = counts(tmp_path / "page.md")
    assert found["images and audio"] == found["**all inputs**"] == (33, 2)
    assert found["**all faults**"] == (0, 0)
    assert "1 cases were skipped" in results.page()


def test_the_page_says_that_every_input_and_fault_holds():
    found = counts(ROOT / "docs" / "reliability.md")
    assert found.keys() == {*KINDS, "**all inputs**", "**all faults**"}
    assert found["**all inputs**"][0] >= 600
    assert found["**all faults**"][0] >= 200
    assert {failed for _, failed in found.values()} == {0}

"""The first line of a data set's docstring is its entry in a list of data sets."""

import inspect

import pytest

from polymodal.datasets import DATASETS


@pytest.mark.parametrize("name", DATASETS)
def test_the_first_line_fits_a_list(name):
    summary, _, rest = (inspect.getdoc(DATASETS[name]) or "").partition("\n")
    assert 10 < len(summary) <= 80
    assert summary.endswith(".")
    assert not rest or rest.startswith("\n")

"""p(b) is Eq. 7: for complete rows, and per row over what it has."""

from itertools import product

import pytest
import torch
from scipy.stats import chisquare

from polymodal.objectives.conditioning import probabilities, sample, sample_rows, subsets

DRAWS = 20_000


def eq7(b, has, p0):
    """The law of a row's index over the modalities that it has, from the paper's words."""
    n = sum(has)
    p = 1.0
    for bit, there in zip(b, has, strict=True):
        if there:
            p *= 1 - p0 if bit else p0
        elif bit:
            return 0.0
    return 0.0 if not any(b) else p / (1 - p0**n)


def agrees(drawn, has, p0):
    """The p-value of a chi-square test of draws `(n, M)` against Eq. 7."""
    every = list(product([False, True], repeat=len(has)))
    expected = torch.tensor([eq7(b, has, p0) for b in every], dtype=torch.float64)
    codes = (drawn.long() * 2 ** torch.arange(len(has) - 1, -1, -1)).sum(1)
    seen = torch.bincount(codes, minlength=len(every)).double()
    assert seen[expected == 0].sum() == 0
    possible = expected > 0
    return chisquare(seen[possible], expected[possible] * len(drawn)).pvalue


@pytest.mark.parametrize("p0", [0.1, 0.4, 0.8])
@pytest.mark.parametrize("per_sample", [False, True])
def test_complete_rows(p0, per_sample):
    torch.manual_seed(0)
    b = sample(torch.ones(2, 4, dtype=torch.bool), DRAWS, p0, per_sample=per_sample)
    assert b.shape == (DRAWS, 2, 4)
    assert torch.equal(b[:, 0], b[:, 1]) != per_sample
    for row in (0, 1):
        assert agrees(b[:, row], [True] * 4, p0) > 1e-3


@pytest.mark.parametrize("p0", [0.1, 0.4, 0.8])
@pytest.mark.parametrize("per_sample", [False, True])
def test_each_incomplete_row(p0, per_sample):
    torch.manual_seed(1)
    observed = torch.tensor(list(product([False, True], repeat=4))[1:])  # every kind of row
    b = sample(observed, DRAWS, p0, per_sample=per_sample)
    smallest = min(agrees(b[:, row], has.tolist(), p0) for row, has in enumerate(observed) if has.sum() > 1)
    assert smallest > 1e-3 / len(observed)
    for row, has in enumerate(observed):
        assert b[:, row].any(1).all()
        assert not (b[:, row] & ~has).any()


def test_a_batch_shares_one_index_where_rows_have_it():
    torch.manual_seed(0)
    observed = torch.tensor([[True, True, True], [True, True, False]])
    b = sample(observed, 1000, 0.4)
    kept = b[:, 1].any(1) & (b[:, 0] & observed[1]).any(1)
    assert torch.equal(b[kept, 1], b[kept, 0] & observed[1])


def test_nothing_is_hidden_where_p0_is_zero():
    observed = torch.rand(50, 4) < 0.5
    observed[:, 0] = True
    assert torch.equal(sample_rows(observed, 0.0), observed)


@pytest.mark.parametrize("p0", [0.0, 0.3, 0.99])
def test_probabilities_are_eq7_and_sum_to_one(p0):
    b = subsets(4)
    assert len(b) == 15
    assert len(b.unique(dim=0)) == 15
    expected = torch.tensor([eq7(row, [True] * 4, p0) for row in b.tolist()], dtype=torch.float64)
    torch.testing.assert_close(probabilities(b, p0), expected, rtol=1e-12, atol=0)
    assert float(probabilities(b, p0).sum()) == pytest.approx(1, abs=1e-12)

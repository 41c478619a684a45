"""p(b) is Eq. 7, or that of masks of every size: for complete rows, and per row over what it has."""

from itertools import product

import pytest
import torch
from scipy.integrate import quad
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


def every_size(b, has):
    """The law of a row's mask where p0 ~ U(0, 1): Eq. 7's weights without the empty mask, integrated by scipy."""
    n = sum(has)
    if not any(b) or any(bit and not there for bit, there in zip(b, has, strict=True)):
        return 0.0
    weight = quad(lambda p: p ** sum(b) * (1 - p) ** (n - sum(b)), 0, 1)[0]
    return weight / quad(lambda p: 1 - (1 - p) ** n, 0, 1)[0]


def agrees(drawn, has, p0):
    """The p-value of a chi-square test of draws `(n, M)` against their law."""
    every = list(product([False, True], repeat=len(has)))
    law = [every_size(b, has) if p0 is None else eq7(b, has, p0) for b in every]
    expected = torch.tensor(law, dtype=torch.float64)
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


class TestEverySize:
    """p0=None: the number of observed modalities is uniform, and each of the K draws of a step keeps the law."""

    @pytest.mark.parametrize("draws", [1, 3, 5])
    def test_each_draw_of_complete_rows(self, draws):
        torch.manual_seed(0)
        b = sample(torch.ones(20_000, 4, dtype=torch.bool), draws, None, per_sample=True)
        assert min(agrees(one, [True] * 4, None) for one in b) > 1e-3 / draws

    @pytest.mark.parametrize("draws", [1, 3])
    def test_each_draw_of_a_batch_that_shares_it(self, draws):
        torch.manual_seed(0)
        steps = torch.stack([sample(torch.ones(1, 4, dtype=torch.bool), draws, None) for _ in range(4000)])
        assert min(agrees(steps[:, k, 0], [True] * 4, None) for k in range(draws)) > 1e-3 / draws

    @pytest.mark.parametrize("per_sample", [False, True])
    def test_each_draw_of_incomplete_rows(self, per_sample):
        torch.manual_seed(1)
        observed = torch.tensor(list(product([False, True], repeat=4))[1:])  # every kind of row
        steps = torch.stack([sample(observed, 3, None, per_sample=per_sample) for _ in range(4000)])  # (n, K, B, M)
        kinds = [(row, has.tolist()) for row, has in enumerate(observed) if has.sum() > 1]
        values = [agrees(steps[:, k, row], has, None) for k in range(3) for row, has in kinds]
        assert min(values) > 1e-3 / len(values)
        assert steps.any(-1).all()
        assert not (steps & ~observed).any()

    def test_the_sizes_of_a_step_are_spread(self):
        """Of K = M draws there is one of each size; of 2 M draws, two."""
        for draws in (6, 12):
            sizes = sample(torch.ones(1, 6, dtype=torch.bool), draws, None).sum(-1).flatten()
            assert sizes.bincount(minlength=7).tolist() == [0, *[draws // 6] * 6]

    def test_nothing_of_a_large_view_is_trained(self):
        """With p0 = .4 and 30 columns, one of 29 in which only the thirtieth is observed has probability 3e-12."""
        torch.manual_seed(0)
        b = sample(torch.ones(1, 30, dtype=torch.bool), 30_000, None)[:, 0]
        alone = (b[:, -1] & (b.sum(-1) == 1)).float().mean()
        assert float(alone) == pytest.approx(1 / 30**2, rel=0.3)

    def test_probabilities(self):
        b = subsets(4)
        expected = torch.tensor([every_size(row, [True] * 4) for row in b.tolist()], dtype=torch.float64)
        torch.testing.assert_close(probabilities(b, None), expected, rtol=1e-12, atol=0)
        assert float(probabilities(b, None).sum()) == pytest.approx(1, abs=1e-12)

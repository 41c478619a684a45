"""Every metric against an implementation that is not ours."""

import numpy as np
import pytest
import torch
from nltk.translate.bleu_score import corpus_bleu
from scipy.signal import convolve2d
from scipy.signal.windows import gaussian
from skimage.metrics import structural_similarity
from sklearn.metrics import accuracy_score, root_mean_squared_error
from torch.distributions import Categorical, Independent, Normal
from torchmetrics.text import BLEUScore

from polymodal.evaluation.metrics import BLEU3, METRICS, RMSE, SSIM, Accuracy, PaperSSIM


def score(metric, distributions, targets):
    for distribution, target in zip(distributions, targets, strict=True):
        metric.update(distribution, target)
    return metric.compute()


def pictures(shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    a = torch.rand(shape, generator=generator)
    return a, (a + 0.2 * torch.randn(shape, generator=generator)).clamp(0, 1)


@pytest.mark.parametrize("shape", [(4, 3, 28, 28), (2, 1, 11, 40), (3, 3, 64, 64)])
def test_ssim_is_scikit_images(shape):
    a, b = (part.double() for part in pictures(shape))
    ours = score(SSIM(), [Normal(a[:1], 1.0), Normal(a[1:], 1.0)], [b[:1], b[1:]])
    theirs = [
        structural_similarity(
            x.numpy().astype(float), y.numpy().astype(float), channel_axis=0, gaussian_weights=True, sigma=1.5,
            use_sample_covariance=False, data_range=1.0,
        )
        for x, y in zip(a, b, strict=True)
    ]  # fmt: skip
    assert ours == pytest.approx(np.mean(theirs), abs=1e-9)


@pytest.mark.parametrize("shape", [(4, 3, 28, 28), (2, 1, 7, 40), (3, 3, 64, 64)])
def test_paper_ssim_is_scikit_images_with_a_range_of_two(shape):
    a, b = (part.double() for part in pictures(shape))
    ours = score(PaperSSIM(), [Normal(a, 1.0)], [b])
    theirs = [
        structural_similarity(x.numpy().astype(float), y.numpy().astype(float), channel_axis=0, data_range=2.0)
        for x, y in zip(a, b, strict=True)
    ]
    assert ours == pytest.approx(np.mean(theirs), abs=1e-9)


@pytest.mark.parametrize("side", [5, 4, 2, 1])
def test_a_small_picture_has_a_paper_ssim_too(side):
    a, b = pictures((2, 1, side, 20))
    metric = PaperSSIM()
    assert score(metric, [Normal(a, 1.0)], [a]) == pytest.approx(1)
    assert -1 <= score(PaperSSIM(), [Normal(a, 1.0)], [b]) < 1
    assert "in place of 7x7" in metric.note


@pytest.mark.parametrize(("side", "window"), [(10, 9), (5, 5), (4, 3), (1, 1)])
def test_a_small_picture_takes_the_largest_odd_window_and_says_so(side, window):
    a, b = (part.double() for part in pictures((2, 1, side, 20)))
    metric = SSIM()
    ours = score(metric, [Normal(a, 1.0)], [b])
    assert f"window {window}x{window}" in metric.note
    side_weights = gaussian(window, 1.5)
    weights = np.outer(side_weights, side_weights) / side_weights.sum() ** 2

    def smooth(v):
        return convolve2d(v, weights, mode="valid")

    theirs = []
    for x, y in zip(a[:, 0].double().numpy(), b[:, 0].double().numpy(), strict=True):
        mx, my = smooth(x), smooth(y)
        vx, vy, vxy = smooth(x * x) - mx**2, smooth(y * y) - my**2, smooth(x * y) - mx * my
        luminance = (2 * mx * my + 1e-4) / (mx**2 + my**2 + 1e-4)
        theirs.append(np.mean(luminance * (2 * vxy + 9e-4) / (vx + vy + 9e-4)))
    assert ours == pytest.approx(np.mean(theirs), abs=1e-9)


@pytest.mark.parametrize("metric", [SSIM, PaperSSIM])
def test_single_precision_is_enough(metric):
    a, b = pictures((6, 3, 20, 24))
    a[:2], b[:2] = a[:2] * 0.05 + 0.95, 1.0  # bright and nearly flat: what cancels most
    a[2:4], b[1] = 0.9, 0.97
    for x, y in zip(a[:, None], b[:, None], strict=True):
        exact = score(metric(), [Normal(x.double(), 1.0)], [y.double()])
        assert score(metric(), [Normal(x, 1.0)], [y]) == pytest.approx(exact, abs=5e-6)


def test_bleu_is_nltks():
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(2, 9, (30, 12), generator=generator)
    answer = torch.where(torch.rand(target.shape, generator=generator) < 0.8, target, (target + 1) % 9)
    target[:, 9:] = torch.tensor([1, 0, 0])
    answer[::2, 7:] = torch.tensor([1, 0, 5, 0, 0])

    def words(rows):
        return [[token for token in row if token not in (0, 1)] for row in rows.tolist()]

    logits = 10.0 * torch.nn.functional.one_hot(answer, 9)
    parts = [Independent(Categorical(logits=part), 1) for part in (logits[:11], logits[11:])]
    ours = score(BLEU3(), parts, [target[:11], target[11:]])
    theirs = corpus_bleu([[reference] for reference in words(target)], words(answer), weights=(1 / 3, 1 / 3, 1 / 3))
    assert ours == pytest.approx(100 * theirs, abs=1e-4)
    assert 1 < ours < 99


@pytest.mark.parametrize("answers", [[[5, 6, 7]], [[5, 6]], [[]], [[5, 5, 5, 5, 6, 7], [8, 9]], [[6, 7, 5, 6], [5]]])
def test_bleu_of_odd_lengths_is_torchmetrics(answers):
    references = [[5, 6, 7, 5, 5, 6], [5]][: len(answers)]
    made, true = (torch.tensor([row + [1] + [0] * (6 - len(row)) for row in rows]) for rows in (answers, references))
    distribution = Independent(Categorical(logits=10.0 * torch.nn.functional.one_hot(made, 10)), 1)
    texts, others = ([" ".join(map(str, row)) for row in rows] for rows in (answers, references))
    theirs = BLEUScore(n_gram=3)(texts, [[other] for other in others])  # NLTK counts a 3-gram in a text of two words
    assert score(BLEU3(), [distribution], [true]) == pytest.approx(100 * float(theirs), abs=1e-4)


def test_accuracy_and_rmse_are_scikit_learns():
    logits, target = torch.randn(50, 4), torch.randint(0, 4, (50,))
    ours = score(Accuracy(), [Categorical(logits=logits[:7]), Categorical(logits=logits[7:])], [target[:7], target[7:]])
    assert ours == pytest.approx(100 * accuracy_score(target, logits.argmax(1)))
    a, b = torch.randn(50, 6), torch.randn(50, 6)
    ours = score(RMSE(), [Normal(a[:7], 1.0), Normal(a[7:], 1.0)], [b[:7], b[7:]])
    assert ours == pytest.approx(root_mean_squared_error(b.flatten(), a.flatten()), abs=1e-6)


SHAPES = {"acc": (), "bleu-3": (6,), "rmse": (5,), "ssim": (2, 12, 14), "ssim-paper": (2, 12, 14)}


@pytest.mark.parametrize("piece", [1, 10**9])
@pytest.mark.parametrize("name", METRICS)
def test_streams_that_share_answers_are_scored_as_one_by_one(name, piece, monkeypatch):
    monkeypatch.setattr("polymodal.evaluation.metrics.base.CHUNK", piece)
    generator = torch.Generator().manual_seed(0)
    shape, classes = SHAPES[name], name in ("acc", "bleu-3")
    outputs = torch.rand((7, *shape, *([4] if classes else [])), generator=generator, dtype=torch.float64)
    target = torch.rand((9, *shape), generator=generator, dtype=torch.float64)
    target = (4 * target).long() if classes else target
    answers = torch.randint(-1, 7, (3, 9), generator=generator)
    answers[1, 2:] = 4
    answers[2] = -1
    metric = METRICS[name](3)

    def distribution(chosen):
        made = Categorical(probs=chosen) if classes else Normal(chosen, 1.0)
        return Independent(made, len(shape))

    for rows in (slice(0, 4), slice(4, 9)):
        metric.update(distribution(outputs), target[rows], answers[:, rows])
    for stream, answer in enumerate(answers):
        one, has = METRICS[name](), answer >= 0
        if has.any():
            one.update(distribution(outputs[answer[has]]), target[has])
        assert metric.compute(stream) == pytest.approx(one.compute(), nan_ok=True)
        assert int(metric.rows[stream]) == int(one.rows) == int(has.sum())
    assert len({metric.compute(stream) for stream in range(2)}) == 2


@pytest.mark.parametrize("name", METRICS)
def test_no_rows_are_no_score(name):
    assert np.isnan(METRICS[name]().compute())
    assert METRICS[name].better in ("higher", "lower")

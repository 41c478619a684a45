"""PolyDigits: what its docstring promises."""

import numpy as np
import pytest
import torch

from polymodal.datasets import load
from polymodal.datasets.polydigits import BACKGROUNDS, _enlarge, _split


@pytest.fixture(scope="module")
def data():
    return load("polydigits")


def test_sizes_and_shapes(data):
    assert len(data.train) >= 8000
    assert list(data.schema) == ["m0", "m1", "m2", "m3", "m4", "label"]
    for table in (data.train, data.validation, data.test):
        assert table.observed.all()
        assert table.values["m2"].shape[1:] == (3, 16, 16)
        assert table.values["m2"].dtype == torch.uint8


def test_classes_are_balanced(data):
    for table in (data.train, data.validation, data.test):
        assert table.values["label"].bincount().tolist() == [len(table) // 10] * 10


def test_it_is_a_function_of_its_seed():
    first, same, other = (load("polydigits", rows=100, held_out_rows=50, seed=seed) for seed in (1, 1, 2))
    assert first.train.fingerprint() == same.train.fingerprint()
    assert first.test.fingerprint() == same.test.fingerprint()
    assert first.train.fingerprint() != other.train.fingerprint()


def test_handwriting_never_crosses_the_splits():
    from sklearn.datasets import load_digits

    target = load_digits().target
    writings = _split(target, np.random.default_rng(0))
    seen = [index for parts in writings.values() for part in parts for index in part]
    assert sorted(seen) == list(range(len(target)))
    for split, parts in writings.items():
        for digit, part in enumerate(parts):
            assert (target[part] == digit).all()
            assert len(part) == {"test": 30, "validation": 20}.get(split, len(part))


def test_pictures_hold_the_handwriting_of_their_split(data):
    """Where a background is nearly even, ink can be read off a picture; only its own split has such ink."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    ink = np.stack([_enlarge(image) for image in digits.images / 16])
    writings = _split(digits.target, np.random.default_rng(0))
    pictures = data.test.values["m4"].double().numpy()[:200] / 255
    labels = data.test.values["label"].numpy()[:200]
    hits = 0
    for picture, label in zip(pictures, labels, strict=True):
        grey = picture.mean(0)
        likeness = {
            split: max(np.corrcoef(ink[index].ravel(), grey.ravel())[0, 1] for index in parts[label])
            for split, parts in writings.items()
        }
        hits += max(likeness, key=likeness.get) == "test"
    assert hits > 150


def test_the_five_modalities_differ_plainly(data):
    colours = torch.stack([data.train.values[f"m{i}"].double().mean((0, 2, 3)) for i in range(5)])
    distances = torch.cdist(colours, colours)[~torch.eye(5, dtype=torch.bool)]
    assert distances.min() > 20
    assert len(BACKGROUNDS) == 5


def test_partners_share_the_digit_and_not_the_handwriting(data):
    """Given the label, the ink of two modalities is independent: their pictures correlate no more than strangers'."""
    of_one = data.train.values["label"] == 3
    a, b = (data.train.values[name][of_one].double().mean(1).flatten(1) for name in ("m2", "m4"))
    a, b = ((x - x.mean(0)) / x.norm(dim=1, keepdim=True) for x in (a, b))
    partners, strangers = (a * b).sum(1), (a * b.roll(1, 0)).sum(1)
    assert abs(partners.mean() - strangers.mean()) < 4 * (partners.std() + strangers.std()) / len(a) ** 0.5


@pytest.mark.parametrize("arguments", [{"rows": 105}, {"rows": 0}, {"held_out_rows": 7}])
def test_wrong_sizes(arguments):
    with pytest.raises(ValueError, match="must be a positive multiple of 10"):
        load("polydigits", **arguments)


def test_unknown_data_set():
    with pytest.raises(ValueError, match="unknown argument of polydigits 'row'; known are rows"):
        load("polydigits", row=100)
    with pytest.raises(ValueError, match="unknown data set 'polydigit'; known are polydigits"):
        load("polydigit")

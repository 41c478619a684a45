"""Strokes as curves and pictures, recordings as spectrograms, and the data set of both."""

import zlib
from itertools import pairwise

import numpy as np
import pytest
import scipy.signal
import torch
from PIL import Image, ImageDraw
from scipy.spatial import cKDTree

from polymodal.datasets import load
from polymodal.datasets.pendigits_mhd import FACTS, PENS, SPEECH, pairing
from polymodal.datasets.storage import SPLITS
from polymodal.datasets.strokes import Strokes, curves, render
from polymodal.modalities.spectrograms import cut, mel_bands, spectrograms

pytestmark = pytest.mark.slow


def strokes(*handwritings):
    """Handwritings, each a list of strokes, each a list of (x, y)."""
    points = [point for writing in handwritings for stroke in writing for point in stroke]
    numbers = [i for writing in handwritings for i, stroke in enumerate(writing) for _ in stroke]
    lengths = [sum(map(len, writing)) for writing in handwritings]
    return Strokes(np.array(points, float), np.array(numbers, np.uint8), np.array(lengths, np.int32))


def scribbles(number, seed=0):
    """Random walks of several strokes."""
    rng = np.random.default_rng(seed)
    walks = [rng.normal(0, 9, (rng.integers(2, 40), 2)).cumsum(0) for _ in range(3 * number)]
    return [[walk.tolist() for walk in walks[3 * i : 3 * i + rng.integers(1, 4)]] for i in range(number)]


def test_a_straight_line_becomes_equidistant():
    [[x, y]] = curves(strokes([[(0, 0), (1, 2), (1, 2), (30, 60), (50, 100)]]), 100)
    np.testing.assert_allclose(y, np.linspace(-1, 1, 100), atol=1e-12)
    np.testing.assert_allclose(x, y / 2, atol=1e-12)


def test_a_circle_stays_one_however_unevenly_it_was_drawn():
    angles = 2 * np.pi * np.linspace(0, 1, 5000) ** 3
    [curve] = curves(strokes([np.stack([7 * np.cos(angles), 7 * np.sin(angles)], 1).tolist()]), 100)
    even = 2 * np.pi * np.linspace(0, 1, 100)
    np.testing.assert_allclose(curve, [np.cos(even), np.sin(even)], atol=2e-3)


def test_a_curve_is_what_a_plain_loop_makes_of_each_handwriting():
    writings = scribbles(20)
    for curve, writing in zip(curves(strokes(*writings), 50), writings, strict=True):
        path = np.array([point for stroke in writing for point in stroke])
        way = np.r_[0, np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))]
        plain = np.stack([np.interp(np.linspace(0, way[-1], 50), way, side) for side in path.T])
        low, high = plain.min(1, keepdims=True), plain.max(1, keepdims=True)
        np.testing.assert_allclose(curve, (2 * plain - low - high) / (high - low).max(), atol=1e-7)


def test_neither_place_nor_size_of_a_handwriting_matters():
    writings = scribbles(10)
    moved = [[[(3 * x + 70, 3 * y - 20) for x, y in stroke] for stroke in writing] for writing in writings]
    np.testing.assert_allclose(curves(strokes(*writings)), curves(strokes(*moved)), atol=1e-9)
    away = render(strokes(*writings)).int() - render(strokes(*moved)).int()
    assert away.abs().max() <= 1


def test_a_handwriting_knows_nothing_of_its_neighbours():
    writings = scribbles(12)
    together, drawn = curves(strokes(*writings)), render(strokes(*writings))
    for i, writing in enumerate(writings):
        np.testing.assert_allclose(together[i], curves(strokes(writing))[0], atol=1e-9)
        assert torch.equal(drawn[i], render(strokes(writing))[0])


def test_a_pen_that_never_moved():
    still = strokes([[(5, 5), (5, 5)]], [[(9, 9)]])
    assert (curves(still) == 0).all()
    ink = render(still)
    assert ink[0, 0, 13:15, 13:15].min() > 0
    assert ink.flatten(1).gt(0).sum(1).tolist() == [4, 4]  # a dot between four pixels
    assert torch.equal(ink[0], ink[1])


def test_a_lift_is_on_the_curve_and_not_in_the_picture():
    lifted, bridged = strokes([[(0, 0), (0, 10)], [(10, 0), (10, 10)]]), strokes([[(0, 0), (0, 10), (10, 0), (10, 10)]])
    np.testing.assert_array_equal(curves(lifted), curves(bridged))
    middle = render(lifted)[0, 0, :, 9:19]
    assert (middle == 0).all()
    assert (render(bridged)[0, 0, :, 9:19].amax(0) > 200).all()


def test_pictures_are_upright_and_in_their_box():
    roof = strokes([[(0, 0), (50, 100), (100, 0)]])  # a tip above
    ink = render(roof)[0, 0].double()
    rows, columns = (ink.amax(axis).nonzero()[:, 0] for axis in (1, 0))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (4, 23, 4, 23)
    assert (ink[5] > 0).sum() <= 4 < 14 < ink[22].nonzero().max() - ink[22].nonzero().min()
    assert torch.equal(ink, ink.flip(1))
    flat = render(strokes([[(0, 0), (100, 0)]]))[0, 0]
    assert flat[:, 14].tolist() == [255 if row in (13, 14) else 0 for row in range(28)]  # two pixels wide


def test_a_pixel_is_as_light_as_the_nearest_ink_is_near():
    """Against points strewn densely along the strokes."""
    writings = scribbles(5)
    for drawn, writing in zip(render(strokes(*writings)), writings, strict=True):
        path = np.array([point for stroke in writing for point in stroke])
        low, high = path.min(0), path.max(0)
        dense = np.concatenate([_dense(np.array(stroke)) for stroke in writing])
        pixels = 14 + (dense - (low + high) / 2) * 18 / (high - low).max() * [1, -1]
        centres = np.stack(np.meshgrid(np.arange(28) + 0.5, np.arange(28) + 0.5), -1)
        ink = 255 * np.clip(1.5 - cKDTree(pixels).query(centres)[0], 0, 1)
        assert np.abs(drawn[0].numpy() - ink).max() < 3


def test_pictures_are_like_pils():
    """A thick line of PIL's, 16 times finer, and averaged."""
    zigzag = [(0, 0), (60, 100), (100, 0)]
    finer = Image.new("L", (28 * 16, 28 * 16))
    places = [(16 * (5 + 0.18 * x), 16 * (23 - 0.18 * y)) for x, y in zigzag]
    ImageDraw.Draw(finer).line(places, fill=255, width=32, joint="curve")
    other = np.asarray(finer.resize((28, 28), Image.Resampling.BOX)).astype(float)
    assert np.abs(render(strokes([zigzag]))[0, 0].numpy() - other).mean() < 3


def test_recordings_are_cut_and_filled_with_silence():
    samples = np.arange(-5, 5, dtype=np.int16)
    assert (cut(samples, np.array([2, 7, 1]), 4) * 2**15).tolist() == [[-5, -4, 0, 0], [-3, -2, -1, 0], [4, 0, 0, 0]]


def test_spectrograms_are_scipys():
    waves = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 8192)) * np.linspace(0, 1, 8192) ** 4)
    made = spectrograms(waves, 8000)
    assert made.shape == (3, 1, 32, 128)
    assert made.dtype == torch.float64
    for row, wave in zip(made[:, 0], waves.numpy(), strict=True):
        padded = np.pad(wave, 384)
        _, _, z = scipy.signal.stft(padded, window="hann", nperseg=1024, noverlap=768, boundary=None, padded=False)
        power = (np.abs(z) ** 2).T @ mel_bands(128, 1024, 8000).numpy()
        decibels = 10 * np.log10(power / power.max())
        np.testing.assert_allclose(row, np.clip(1 + decibels / 80, 0, 1), atol=1e-9)
    assert (made == 0).any()
    assert made.amax((1, 2, 3)).tolist() == [1, 1, 1]


def test_bands_are_triangles_between_the_tops_of_their_neighbours():
    bands = mel_bands(128, 1024, 8000)
    assert bands.shape == (513, 128)
    mels = 2595 * np.log10(1 + 4000 / 700) * np.arange(130) / 129
    tops = 700 * (10 ** (mels / 2595) - 1)
    for band in (0, 1, 50, 127):
        plain = np.interp(np.arange(513) * 8000 / 1024, tops[band : band + 3], [0, 1, 0])
        np.testing.assert_allclose(bands[:, band], plain, atol=1e-12)
    assert (bands.amax(0) > 0.2).all()  # none is so narrow that it hears nothing
    inside = (np.arange(513) * 8000 / 1024 > tops[1]) & (np.arange(513) * 8000 / 1024 < tops[-2])
    np.testing.assert_allclose(bands.sum(1)[inside], 1, atol=1e-12)


@pytest.mark.parametrize("hertz", [100, 440, 1000, 2000, 3700])
def test_a_pure_tone_is_loudest_in_its_band(hertz):
    tone = torch.sin(2 * torch.pi * hertz * torch.arange(8192) / 8000)
    loudest = spectrograms(tone[None], 8000)[0, 0].argmax(1)
    mel = 2595 * np.log10(1 + hertz / 700)
    expected = mel / (2595 * np.log10(1 + 4000 / 700) / 129) - 1
    assert (loudest[2:-2] - expected).abs().max() < 1


def test_a_click_stands_in_the_frames_around_it():
    wave = torch.zeros(1, 8192)
    wave[0, 20 * 256 + 128] = 1.0  # the middle of frame 20's samples
    loud = spectrograms(wave, 8000)[0, 0].amax(1)
    assert loud.argmax() == 20
    assert loud.nonzero()[:, 0].tolist() == [19, 20, 21]
    torch.testing.assert_close(loud[19], loud[21])


def test_silence_is_zero_and_loudness_does_not_matter():
    rng = np.random.default_rng(0)
    wave = torch.from_numpy(rng.normal(size=8192))
    quiet, silent, loud = spectrograms(torch.stack([wave / 1000, 0 * wave, wave]), 8000)
    assert (silent == 0).all()
    torch.testing.assert_close(quiet, loud)


@pytest.fixture(scope="session")
def data(shared_data, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POLYMODAL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield load("pendigits-mhd", root=str(shared_data))


@pytest.fixture(scope="session")
def pairs(shared_data):
    return pairing(shared_data)


@pytest.fixture(scope="session")
def speech(shared_data):
    return dict(np.load(shared_data / SPEECH))


def test_rows_and_shapes(data):
    tables = [getattr(data, split) for split in SPLITS]
    assert tuple(map(len, tables)) == FACTS.rows == (7494, 1749, 1749)
    assert list(data.schema) == ["image", "trajectory", "audio", "label"]
    for table in tables:
        assert {n: (v.shape[1:], v.dtype) for n, v in table.values.items()} == {
            "image": ((1, 28, 28), torch.uint8),
            "trajectory": ((200,), torch.float32),
            "audio": ((1, 32, 128), torch.float32),
            "label": ((), torch.int64),
        }
        assert table.observed.all()
    assert np.abs(np.subtract(*(table.values["label"].bincount().numpy() for table in tables[1:]))).max() <= 1


@pytest.mark.parametrize(
    ("name", "mean", "deviation"),
    [("image", 0.10840, 0.28199), ("trajectory", 0.50567, 0.27098), ("audio", 0.22193, 0.27598)],
)
def test_pinned_means_and_deviations(data, name, mean, deviation):
    value = data.train.values[name].double() / (255 if name == "image" else 1)
    assert value.mean().item() == pytest.approx(mean, abs=1e-4)
    assert value.std().item() == pytest.approx(deviation, abs=1e-4)
    assert (value.min(), value.max()) == (0, 1)


def test_trajectories_span_the_unit_interval_in_every_row(data):
    """So the training split's smallest and largest numbers, before they become 0 and 1, are -1 and 1."""
    for split in SPLITS:
        sides = getattr(data, split).values["trajectory"].unflatten(1, (2, 100))
        spans = sides.amax(2) - sides.amin(2)
        torch.testing.assert_close(spans.amax(1), torch.ones(len(spans)))
        torch.testing.assert_close(sides.amax(2) + sides.amin(2), torch.ones(len(spans), 2))


def test_a_pictures_ink_lies_along_its_trajectory(data):
    """x to the right and y upwards: most of the curve's points are on ink, and are not when it is turned over."""
    image = data.test.values["image"][:, 0].double() / 255
    x, y = data.test.values["trajectory"].unflatten(1, (2, 100)).unbind(1)
    rows = torch.arange(len(image))[:, None]
    hit, turned = (image[rows, (14 + s * 18 * (0.5 - y)).long(), (5 + 18 * x).long()].mean() for s in (1, -1))
    assert hit > 0.9
    assert turned < 0.6


def test_the_pairing_is_pinned(pairs):
    sums = {s: tuple(zlib.crc32(part.astype("<i8").tobytes()) for part in (p.pens, p.clips)) for s, p in pairs.items()}
    assert sums == {
        "train": (2109395175, 2923493460),
        "validation": (894406852, 3274302326),
        "test": (4072953813, 1726263680),
    }


def test_recordings_match_the_digit_and_are_used_evenly_within_their_split(data, pairs, speech):
    for split, (_, _, clips) in pairs.items():
        assert (speech["label"][clips] == getattr(data, split).values["label"].numpy()).all()
        official = np.flatnonzero((speech["index"] >= 5) == (split == "train"))
        for digit in range(10):
            of_it = np.intersect1d(official, np.flatnonzero(speech["label"] == digit))
            times = np.bincount(clips[speech["label"][clips] == digit], minlength=3000)[of_it]
            used = times[times > 0]
            assert len(used) == {"train": 270}.get(split, 15)
            assert used.max() - used.min() <= 1
        assert set(speech["speaker"][clips]) == set(range(6))


def test_neither_recordings_nor_handwritings_cross_the_splits(pairs):
    assert pairs["train"].part == "train"
    assert (pairs["train"].pens == np.arange(7494)).all()
    assert sorted([*pairs["validation"].pens, *pairs["test"].pens]) == list(range(3498))
    clips = [set(pairs[split].clips) for split in SPLITS]
    assert sum(map(len, clips)) == len(set.union(*clips)) == 3000


def test_values_are_those_of_the_pairing(data, pairs, speech, shared_data):
    pens = dict(np.load(shared_data / PENS))
    row = 1000
    _, pen, clip = (pairs["validation"][0], *(part[row] for part in pairs["validation"][1:]))
    start, stop = np.r_[0, np.cumsum(pens["test_lengths"])][pen : pen + 2]
    one = Strokes(pens["test_points"][start:stop], pens["test_stroke"][start:stop], np.array([stop - start]))
    values = data.validation[row].values
    assert torch.equal(values["image"], render(one))
    np.testing.assert_allclose(values["trajectory"], (1 + curves(one).reshape(1, 200)) / 2, atol=1e-6)
    start, stop = np.r_[0, np.cumsum(speech["lengths"])][clip : clip + 2]
    wave = torch.zeros(1, 8192)
    wave[0, : stop - start] = torch.from_numpy(speech["samples"][start:stop][:8192].astype(np.float32))
    torch.testing.assert_close(values["audio"], spectrograms(wave, 8000))  # loudness does not matter
    assert values["label"] == pens["test_label"][pen]


@pytest.mark.parametrize(("name", "least"), [("trajectory", 0.97), ("image", 0.9), ("audio", 0.9)])
def test_the_nearest_training_row_is_mostly_of_the_same_digit(data, name, least):
    (known, x), (digits, y) = (
        [
            table.values[each].flatten(1).float() if each == name else table.values[each]
            for table in (data.train, data.test)
        ]
        for each in (name, "label")
    )
    nearest = torch.cat([torch.cdist(part, known).argmin(1) for part in x.split(500)])
    hit = (digits[nearest] == y).double()
    assert hit.mean() > least


def test_distinct_recordings_are_told_apart_too(data, pairs):
    """As the one before for audio, each recording once."""
    (known, which), (x, clips) = (np.unique(pairs[split].clips, return_index=True) for split in ("train", "test"))
    assert (len(known), len(x)) == (2700, 150)
    value, label = data.train.values["audio"][which].flatten(1), data.train.values["label"][which]
    nearest = torch.cdist(data.test.values["audio"][clips].flatten(1), value).argmin(1)
    assert (label[nearest] == data.test.values["label"][clips]).double().mean() > 0.9


def digits_and_speech(root, seed=0):
    """Small files of the true form: two handwritings of each digit in each part's half, eight recordings of each."""
    rng = np.random.default_rng(seed)
    pens = {}
    for part in ("train", "test"):
        label = np.arange(40, dtype=np.uint8) % 10
        made = strokes(*scribbles(40, seed))
        pens |= {f"{part}_points": made.points.astype(np.int16), f"{part}_stroke": made.stroke}
        pens |= {f"{part}_lengths": made.lengths, f"{part}_label": label}
    lengths = rng.integers(500, 9000, 80).astype(np.int32)
    speech = {
        "samples": rng.integers(-999, 999, lengths.sum()).astype(np.int16),
        "lengths": lengths,
        "label": np.arange(80, dtype=np.uint8) % 10,
        "speaker": np.zeros(80, np.uint8),
        "index": (np.arange(80) // 10 * 2).astype(np.uint8),
        "sample_rate": np.array(8000, np.int32),
    }
    for name, arrays in ((PENS, pens), (SPEECH, speech)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(root / name, **arrays)
    return {PENS: pens, SPEECH: speech}


@pytest.fixture
def small(tmp_path, monkeypatch):
    monkeypatch.setenv("POLYMODAL_CACHE", str(tmp_path / "cache"))
    return tmp_path, digits_and_speech(tmp_path)


def test_it_is_a_function_of_its_files_and_seed(small):
    root, _ = small
    first, again, other = (load("pendigits-mhd", root=str(root), seed=seed) for seed in (0, 0, 1))
    assert first.train.fingerprint() == again.train.fingerprint() != other.train.fingerprint()
    assert torch.equal(first.train.values["image"], other.train.values["image"])
    assert not torch.equal(first.train.values["audio"], other.train.values["audio"])
    assert not torch.equal(first.test.values["image"], other.test.values["image"])
    digits_and_speech(root, seed=1)
    assert not torch.equal(load("pendigits-mhd", root=str(root)).train.values["image"], first.train.values["image"])
    assert first.train.source == {
        "dataset": "pendigits-mhd",
        "split": "train",
        "arguments": {"root": str(root), "seed": 0},
    }


def test_a_missing_file(small):
    root, _ = small
    (root / SPEECH).unlink()
    with pytest.raises(FileNotFoundError, match=r"fsdd\.npz must exist, and does not; .*https://github.com/Jakobovski"):
        load("pendigits-mhd", root=str(root))


@pytest.mark.parametrize("name", [PENS, SPEECH])
@pytest.mark.parametrize("damage", ["short", "text", "empty", "scrambled", "one array"])
def test_damaged_files(small, name, damage):
    root, _ = small
    path = root / name
    whole = path.read_bytes()
    middle = len(whole) // 2
    if damage == "one array":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    else:
        path.write_bytes(
            {
                "short": whole[:middle],
                "text": b"x,y\n1,2\n",
                "empty": b"",
                "scrambled": whole[:middle] + bytes(99) + whole[middle + 99 :],
            }[damage]
        )
    _refused(root, rf"{path.name} must be a complete \.npz file with .*https://")


@pytest.mark.parametrize(
    ("name", "array", "value", "said"),
    [
        (
            PENS,
            "train_points",
            np.zeros((5, 3), np.int16),
            r"train_points, int16 of shape \(any, 2\); got int16 \(5, 3\)",
        ),
        (PENS, "test_stroke", None, r"test_stroke, uint8 of shape \(any\); got no such array"),
        (PENS, "test_label", np.zeros(7, np.uint8), "must hold 40 test_label, by test_lengths; got 7"),
        (PENS, "test_label", np.full(40, 10, np.uint8), "must hold digits as test_label, 0 to 9; got 10"),
        (PENS, "train_lengths", np.zeros(40, np.int32), "train_lengths of 1 or more"),
        (PENS, "train_lengths", np.ones(40, np.int32), "must hold 40 train_points, by train_lengths; got "),
        (PENS, "train_label", np.zeros(40, np.float32), r"train_label, uint8 of shape \(any\); got float32 \(40,\)"),
        (SPEECH, "sample_rate", np.array(16000, np.int32), "must hold recordings at 8000 Hz; got 16000"),
        (SPEECH, "samples", np.zeros(9, np.int16), "samples, by lengths; got 9"),
        (SPEECH, "index", np.full(80, 9, np.uint8), "a recording of each digit for validation rows; it has none of 0"),
        (SPEECH, "speaker", np.array([["a"]], object), "must be a complete .npz file"),
    ],
)
def test_arrays_that_do_not_fit(small, name, array, value, said):
    root, files = small
    arrays = {key: kept for key, kept in files[name].items() if key != array}
    np.savez(root / name, **arrays, **({} if value is None else {array: value}))
    _refused(root, said)


def _refused(root, said):
    with pytest.raises(ValueError, match=said):
        load("pendigits-mhd", root=str(root))
    made = root / "cache" / "datasets"
    assert not made.exists() or not list(made.iterdir())


def _dense(path):
    """A stroke's points and 400 between each two."""
    parts = [np.linspace(a, b, 400) for a, b in pairwise(path)]
    return np.concatenate([path, *parts])

"""Sound files as spectrograms."""

import io
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from polymodal import Audio, Schema, Table, build, impute
from polymodal.modalities import audio
from polymodal.modalities.spectrograms import spectrograms

soundfile = pytest.importorskip("soundfile")


def tone(hertz, rate, seconds=1.5):
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate).astype(np.float32)


def wav(samples, rate):
    soundfile.write(file := io.BytesIO(), samples, rate, format="WAV", subtype="FLOAT")
    return file.getvalue()


@pytest.fixture
def files(tmp_path):
    for name, hertz, rate in (("low.wav", 300, 8000), ("high.wav", 2500, 16_000)):
        (tmp_path / name).write_bytes(wav(tone(hertz, rate), rate))
    return tmp_path


def test_a_file_at_the_modalitys_rate_is_the_spectrogram_of_its_beginning(files):
    wave = torch.from_numpy(tone(300, 8000)[: 32 * 256])
    expected = spectrograms(wave[None], 8000)[0]
    assert torch.allclose(Audio(32, 128).read(files / "low.wav"), expected, atol=1e-6)


def test_another_rate_gives_the_same_pitch(files):
    peaks = [int(Audio(32, 128).read(tone_file)[0].mean(0).argmax()) for tone_file in (wav(tone(2500, 8000), 8000),)]
    peaks.append(int(Audio(32, 128).read(files / "high.wav")[0].mean(0).argmax()))
    assert abs(peaks[0] - peaks[1]) <= 1


def test_channels_are_averaged_and_short_sounds_end_in_silence():
    short = tone(300, 8000, seconds=0.25)
    both = wav(np.stack([short, short], axis=1), 8000)
    value = Audio(32, 64).read(both)
    assert value.shape == (1, 32, 64)
    assert torch.equal(value, Audio(32, 64).read(wav(short, 8000)))
    assert value[0, -8:].max() == 0


def test_columns_of_files_are_read_counted_and_left_alone(files):
    (files / "odd.wav").write_bytes(b"noise")
    frame = pd.DataFrame({"sound": ["low.wav", "high.wav", None, "none.wav", "odd.wav"], "grams": [1.5, 2, 3, 4, 5]})
    said = []
    table = Table.from_frame(
        frame, Schema.infer(frame, modalities={"sound": "audio:32x64"}, root=files, say=None),
        root=files, unreadable=0.5, say=said.append,
    )  # fmt: skip
    assert table.observed[:, 0].tolist() == [True, True, False, False, False]
    assert "row 4: this is not a readable audio file" in said[0]
    filled = impute(build("mac-wae", table.schema, latent_dim=4), frame, root=files, unreadable=0.5)
    assert filled["sound"].isna().tolist() == frame["sound"].isna().tolist()


def test_another_shape_and_a_missing_file_are_errors(tmp_path):
    with pytest.raises(ValueError, match="must be"):
        Audio(32, 128).read(np.zeros((3, 3)))
    with pytest.raises(FileNotFoundError, match=r"none\.wav must exist, and does not"):
        Audio(32, 128).read(tmp_path / "none.wav")


SUBTYPES = {"PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32, "FLOAT": 30, "DOUBLE": 60}
"""What a WAV file's samples can be, and about how many bits of them count."""


def encoded(samples, rate, subtype="PCM_16", kind="WAV"):
    soundfile.write(file := io.BytesIO(), samples, rate, format=kind, subtype=subtype)
    return file.getvalue()


@pytest.mark.parametrize("subtype", SUBTYPES)
@pytest.mark.parametrize("rate", [4000, 8000, 11_025, 44_100, 96_000, 8001])
def test_samples_of_every_depth_and_rate_keep_their_content(subtype, rate):
    """The peak is where the tone is, and what is louder than the steps of the samples is as of floats."""
    sound = tone(600, rate)
    value = Audio(32, 128).read(encoded(sound, rate, subtype))
    expected = Audio(32, 128).read(encoded(sound, rate, "DOUBLE"))
    assert (value[0, 4:28].argmax(1) == expected[0, 4:28].argmax(1)).all()
    loud = expected > 1 - min(70, 6 * SUBTYPES[subtype] - 20) / 80
    assert (value - expected)[loud].abs().max() < 0.05


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
@pytest.mark.parametrize("scale", [1e-35, 1e-20, 2**-40, 2**30, 32_768, 1e25, 1e37])
def test_floats_of_any_scale_are_the_same_sound(subtype, scale):
    sound = np.random.default_rng(0).normal(size=9000) * np.linspace(0, 1, 9000)
    value = Audio(32, 64).read(encoded(sound * scale, 8000, subtype))
    expected = Audio(32, 64).read(encoded(sound, 8000, subtype))
    assert value.isfinite().all()
    assert (value - expected).abs().max() < 1e-4


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize(("low", "phase"), [(300, np.pi), (1234.5, np.pi), (300, -np.pi), (2000, 3 * np.pi)])
def test_channels_of_opposite_phases_are_the_sound_and_not_what_their_rounding_leaves(subtype, low, phase):
    at = 2 * np.pi * low * np.arange(9000) / 8000
    left, right = 0.9 * np.sin(at), 0.9 * np.sin(at + phase)
    value = Audio(32, 64).read(encoded(np.stack([left, right], 1), 8000, subtype))
    alone = Audio(32, 64).read(encoded(left, 8000, subtype))
    assert (value - alone).abs().max() < 0.02


def test_channels_that_do_not_cancel_are_averaged():
    left, right = np.random.default_rng(0).normal(size=(2, 9000)) / 8
    for one, other in ((left, right), (left, left * 0), (left, -0.9 * left)):
        value = Audio(32, 64).read(encoded(np.stack([one, other], 1), 8000, "DOUBLE"))
        assert torch.equal(value, Audio(32, 64).read(encoded((one + other) / 2, 8000, "DOUBLE")))


@pytest.mark.parametrize("subtype", SUBTYPES)
@pytest.mark.parametrize("channels", [1, 2])
def test_silence_is_zero(subtype, channels):
    assert Audio(32, 64).read(encoded(np.zeros((4000, channels)), 11_025, subtype)).max() == 0


@pytest.mark.parametrize("rate", [4000, 8000, 11_025, 44_100])
@pytest.mark.parametrize("seconds", [0.01, 0.7, 1.02, 1.1, 3, 20])
def test_a_sounds_beginning_is_as_of_all_of_it(rate, seconds):
    """As it was read when all of a file was, to the bit."""
    from scipy.signal import resample_poly

    sound = np.random.default_rng(1).normal(size=int(rate * seconds)) / 8
    wave = torch.from_numpy(resample_poly(sound, 8000, rate).astype(np.float32))[: 32 * audio.HOP]
    wave = torch.nn.functional.pad(wave, (0, 32 * audio.HOP - len(wave)))
    expected = spectrograms(wave[None], 8000, hop=audio.HOP, bands=64)[0]
    assert torch.equal(Audio(32, 64).read(encoded(sound, rate, "DOUBLE")), expected)


def with_rate(rate):
    content = bytearray(encoded(tone(300, 8000, 0.1), 8000))
    content[24:28] = rate.to_bytes(4, "little")
    return bytes(content)


def poisoned(value, place=100):
    samples = tone(300, 8000).astype(np.float64)
    samples[place] = value
    return encoded(samples, 8000, "DOUBLE")


BROKEN = {
    "not a number": lambda: poisoned(np.nan),
    "infinite": lambda: poisoned(np.inf),
    "minus infinite": lambda: poisoned(-np.inf, 0),
    "all not numbers": lambda: encoded(np.full(4000, np.nan), 8000, "FLOAT"),
    "no samples": lambda: encoded(np.zeros(0), 8000),
    "no samples of two channels": lambda: encoded(np.zeros((0, 2)), 8000),
    "cut in its header": lambda: encoded(tone(300, 8000), 8000)[:30],
    "rate of 0": lambda: with_rate(0),
    "rate of 2**31 - 1": lambda: with_rate(2**31 - 1),
    "rate of 2**32 - 1": lambda: with_rate(2**32 - 1),
    "nothing": lambda: b"",
    "noise": lambda: np.random.default_rng(0).bytes(5000),
    "image": lambda: b"\x89PNG\r\n\x1a\n" + bytes(100),
    "spectrogram that is not a number": lambda: np.full((32, 64), np.nan),
    "spectrogram with an infinite number": lambda: np.where(np.eye(32, 64) > 0, np.inf, 0.5),
    "number": lambda: 5,
    "object": lambda: object(),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_sounds_that_are_damaged_are_counted_and_not_the_end_of_a_table(kind):
    cell, whole = BROKEN[kind](), encoded(tone(300, 8000), 8000)
    said = []
    frame = pd.DataFrame({"sound": pd.Series([whole, {"bytes": whole}, cell, bytearray(whole)], dtype=object)})
    table = Table.from_frame(frame, Schema({"sound": Audio(32, 64)}), unreadable=0.25, say=said.append)
    assert len(table) == 3
    assert "'sound': 1 file cannot be read (row 2: " in said[0]
    assert "0x" not in said[0]
    with pytest.raises(ValueError, match=r"at most 1% of the files may be damaged; 1 file cannot be read \(row 2"):
        Table.from_frame(frame, Schema({"sound": Audio(32, 64)}), say=None)


@pytest.mark.parametrize("there", ["folder", "pipe", "device", "circle"])
def test_what_is_no_file_is_damaged_and_never_opened(there, tmp_path):
    path = tmp_path / "a.wav"
    {
        "folder": path.mkdir, "pipe": lambda: os.mkfifo(path),
        "device": lambda: path.symlink_to("/dev/zero"), "circle": lambda: path.symlink_to(path),
    }[there]()  # fmt: skip
    with pytest.raises(ValueError, match=r"a\.wav"):
        Audio(32, 64).read(path)
    (tmp_path / "b.wav").write_bytes(encoded(tone(300, 8000), 8000))
    table = Table.from_frame(
        pd.DataFrame({"sound": [path.name, "b.wav", Path("b.wav")]}), Schema({"sound": Audio(32, 64)}), root=tmp_path,
        unreadable=0.4, say=None,
    )  # fmt: skip
    assert len(table) == 2

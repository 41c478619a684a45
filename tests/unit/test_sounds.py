"""Sound files as spectrograms."""

import io

import numpy as np
import pandas as pd
import pytest
import torch

from polymodal import Audio, Schema, Table, build, impute
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
    assert "row 4: this is no sound file" in said[0]
    filled = impute(build("mac-wae", table.schema, latent_dim=4), frame, root=files, unreadable=0.5)
    assert filled["sound"].isna().tolist() == frame["sound"].isna().tolist()


def test_another_shape_and_a_missing_file_are_errors(tmp_path):
    with pytest.raises(ValueError, match="must be"):
        Audio(32, 128).read(np.zeros((3, 3)))
    with pytest.raises(FileNotFoundError, match="must be a sound file"):
        Audio(32, 128).read(tmp_path / "none.wav")

"""The paper's networks for the paper's shapes, and something that fits for any other."""

import numpy as np
import pytest
import torch
from torch import nn

from polymodal.modalities import Audio, Image, Label, Vector


def layers(network):
    """What a network is made of, in the paper's words."""
    found = []
    for layer in network:
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            kind = "convT" if isinstance(layer, nn.ConvTranspose2d) else "conv"
            found.append(
                (kind, layer.out_channels, layer.kernel_size, layer.stride, layer.padding, layer.output_padding)
            )
        elif isinstance(layer, nn.Linear):
            found.append(("FC", layer.out_features))
        elif isinstance(layer, nn.Sigmoid):
            found.append("sigmoid")
    return found


def conv(channels):
    return ("conv", channels, (3, 3), (2, 2), (1, 1), (0, 0))


def conv_t(channels, padding):
    return ("convT", channels, (3, 3), (2, 2), (1, 1), (padding, padding))


def over_time(kind, channels):
    return (kind, channels, (4, 1), (2, 1), (1, 0), (0, 0))


def test_pictures_of_28():
    picture = Image(3, 28, 28)
    assert layers(picture.encoder(64)) == [conv(32), conv(64), conv(128), ("FC", 64), ("FC", 64)]
    assert layers(picture.decoder(64)) == [("FC", 2048), conv_t(64, 0), conv_t(32, 1), conv_t(3, 1), "sigmoid"]


def test_pictures_of_64():
    picture = Image(3, 64, 64)
    assert layers(picture.encoder(64)) == [conv(32), conv(64), conv(128), conv(256), ("FC", 64), ("FC", 64)]
    expected = [("FC", 4096), *[conv_t(channels, 1) for channels in (128, 64, 32, 3)], "sigmoid"]
    assert layers(picture.decoder(64)) == expected


def test_audio_of_32_by_128():
    sound = Audio(32, 128)
    mels = (1, 128)
    encoder = [("conv", 32, mels, (1, 1), (0, 0), (0, 0)), over_time("conv", 64), over_time("conv", 128)]
    assert layers(sound.encoder(64)) == [*encoder, ("FC", 64), ("FC", 64)]
    decoder = [over_time("convT", 64), over_time("convT", 32), ("convT", 1, mels, (1, 1), (0, 0), (0, 0)), "sigmoid"]
    assert layers(sound.decoder(64)) == [("FC", 1024), *decoder]


def test_labels_and_trajectories():
    assert layers(Label(10).encoder(64)) == [("FC", 32), ("FC", 64)]
    assert layers(Label(10).decoder(64)) == [("FC", 32), ("FC", 10)]
    assert layers(Label(10, cost="l2").decoder(64)) == [("FC", 32), ("FC", 10), "sigmoid"]
    curve = Vector(200, activation="sigmoid")
    assert layers(curve.encoder(64)) == [("FC", 512), ("FC", 512), ("FC", 64)]
    assert layers(curve.decoder(64)) == [("FC", 512), ("FC", 512), ("FC", 200), "sigmoid"]


@pytest.mark.parametrize(
    "modality",
    [Image(c, h, w) for c in (1, 3, 5) for h, w in [(1, 1), (2, 9), (17, 40), (16, 16), (1, 200), (33, 5)]]
    + [Image(3, 16, 16, widths=(4, 5, 6))]
    + [Audio(frames, mels) for frames, mels in [(1, 1), (2, 3), (3, 80), (31, 7), (100, 64)]]
    + [Audio(50, 8, widths=(4,)), Vector(1), Vector(3, hidden=())],
    ids=str,
)
def test_any_shape_comes_back(modality):
    x = torch.rand(2, *modality.shape)
    assert modality.decoder(4)(modality.encoder(4)(x)).shape == x.shape


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
def test_pictures_of_any_number_of_channels_can_be_shown(channels):
    picture = Image(channels, 4, 6)
    assert picture.show(torch.rand(channels, 4, 6)).size == (6, 4)
    assert picture.show(torch.zeros(channels, 4, 6, dtype=torch.uint8)).size == (6, 4)
    if channels not in (1, 3, 4):
        with pytest.raises(ValueError, match="channels must be 1, 3 or 4"):
            picture.write(torch.rand(channels, 4, 6))


def test_a_picture_of_one_row_is_read_as_it_is():
    pixels = np.arange(15, dtype=np.uint8).reshape(1, 5, 3)
    assert torch.equal(Image(3, 1, 5).read(pixels), torch.from_numpy(pixels).permute(2, 0, 1))
    assert torch.equal(Image(3, 1, 5).read(pixels / 255), torch.from_numpy(pixels).permute(2, 0, 1))


def test_vectors_take_the_statistics_of_arrays():
    x = np.array([[1.0, 2.0], [3.0, 6.0]])
    size = Vector(2, center=x.mean(0), scale=torch.tensor([1.0, 2.0]))
    assert (size.center, size.scale) == ((2.0, 4.0), (1.0, 2.0))
    with pytest.raises(ValueError, match="activation must be 'linear' or 'sigmoid'; got 'sigmod'"):
        Vector(2, activation="sigmod")


def test_a_blank_label_is_the_zero_vector_and_not_class_0():
    encoder = Label(3).encoder(4)
    codes = encoder[0](torch.tensor([-1, 0, 2]))
    assert codes.tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 1]]


def test_a_long_vector_is_drawn_as_a_curve():
    assert Vector(16).draw(torch.zeros(16)) == Vector(16).show(torch.zeros(16))
    for vector, ends in ((Vector(40, activation="sigmoid"), (0, 1)), (Vector(40), (-3, 3)), (Vector(40), (-90, 70))):
        drawn = vector.draw(torch.linspace(*ends, 40))
        dark = 255 - np.asarray(drawn.convert("L"), dtype=float)
        rows = (dark * np.arange(len(dark))[:, None]).sum(0)[4:-4] / dark.sum(0)[4:-4]
        assert (np.diff(rows) < 0).all()  # a rising line, whose rows are counted from above
        assert rows[0] - rows[-1] > 80

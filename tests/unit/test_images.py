"""What an image shows is what is read, whatever its mode, its depth, its orientation and the form of its cell."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import PIL.Image
import pytest
from PIL import ImageOps, PngImagePlugin

from polymodal import Image, Schema, Table

HEIGHT, WIDTH = 6, 20
RAMP = np.linspace(0, 65535, WIDTH).astype(np.uint16)[None].repeat(HEIGHT, 0)
"""Of 16 bits."""
EIGHT = np.round(RAMP / 257).astype(np.uint8)
COLOURS = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def encoded(image, kind, **options):
    image.save(file := io.BytesIO(), kind, **options)
    return file.getvalue()


def read(cell, channels=1):
    return Image(channels, HEIGHT, WIDTH).read(cell).permute(1, 2, 0).squeeze(-1).numpy()


def tiff(numbers, **options):
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(file := io.BytesIO(), numbers, **options)
    return file.getvalue()


DEEP = {
    "16-bit PNG": (lambda: encoded(PIL.Image.fromarray(RAMP), "PNG"), EIGHT),
    "16-bit TIFF": (lambda: encoded(PIL.Image.fromarray(RAMP), "TIFF"), EIGHT),
    "16-bit TIFF, high bytes first": (lambda: encoded(PIL.Image.fromarray(RAMP.astype(">u2")), "TIFF"), EIGHT),
    "16-bit TIFF, compressed": (
        lambda: encoded(PIL.Image.fromarray(RAMP), "TIFF", compression="tiff_adobe_deflate"), EIGHT,
    ),
    "16-bit PGM": (lambda: encoded(PIL.Image.fromarray(RAMP), "PPM"), EIGHT),
    "16-bit JPEG 2000": (lambda: encoded(PIL.Image.fromarray(RAMP), "JPEG2000"), EIGHT),
    "32-bit TIFF of 16 bits": (lambda: encoded(PIL.Image.fromarray(RAMP.astype(np.int32)), "TIFF"), EIGHT),
    "32-bit TIFF of 8 bits": (lambda: encoded(PIL.Image.fromarray(EIGHT.astype(np.int32)), "TIFF"), EIGHT),
    "32-bit TIFF of more": (lambda: encoded(PIL.Image.fromarray(RAMP.astype(np.int32) * 999), "TIFF"), EIGHT),
    "signed TIFF": (lambda: tiff((RAMP.astype(np.int32) - 32768).astype(np.int16)), EIGHT),
    "float TIFF in [0, 1]": (lambda: encoded(PIL.Image.fromarray((RAMP / 65535).astype(np.float32)), "TIFF"), EIGHT),
    "float TIFF in [0, 255]": (lambda: encoded(PIL.Image.fromarray(EIGHT.astype(np.float32)), "TIFF"), EIGHT),
    "float TIFF of heights": (
        lambda: encoded(PIL.Image.fromarray((RAMP / 10 - 3000).astype(np.float32)), "TIFF"), EIGHT,
    ),
    "12-bit TIFF": (lambda: twelve_bits(RAMP // 16), np.round((RAMP // 16) * (255 / 4095)).astype(np.uint8)),
    "image of 16 bits": (lambda: PIL.Image.fromarray(RAMP), EIGHT),
    "image of 16 bits, high bytes first": (lambda: PIL.Image.fromarray(RAMP.astype(">u2")), EIGHT),
    "image of integers": (lambda: PIL.Image.fromarray(RAMP.astype(np.int32)), EIGHT),
    "image of floats": (lambda: PIL.Image.fromarray((RAMP / 65535).astype(np.float32)), EIGHT),
    "array of 16 bits": (lambda: RAMP, EIGHT),
    "array of 16 bits and a channel": (lambda: RAMP[..., None], EIGHT),
    "array of floats": (lambda: RAMP / 65535, EIGHT),
    "array of halves": (lambda: (EIGHT / 255).astype(np.float16), EIGHT),
    "array of integers": (lambda: EIGHT.astype(np.int64), EIGHT),
    "array of truths": (lambda: RAMP > 30_000, np.where(RAMP > 30_000, 255, 0)),
}  # fmt: skip


def twelve_bits(numbers):
    """A TIFF file of 12 bits a pixel, two in three bytes, written by hand."""
    first, second = numbers.reshape(-1, 2).T.astype(np.uint16)
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], 1).astype(np.uint8).tobytes()
    entries = {256: WIDTH, 257: HEIGHT, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: HEIGHT, 279: len(packed)}
    tags = b"".join(
        tag.to_bytes(2, "little") + (4).to_bytes(2, "little") + (1).to_bytes(4, "little") + value.to_bytes(4, "little")
        for tag, value in entries.items()
    )
    return (
        b"II*\0"
        + (8 + len(packed)).to_bytes(4, "little")
        + packed
        + len(entries).to_bytes(2, "little")
        + tags
        + bytes(4)
    )


@pytest.mark.parametrize("form", DEEP)
def test_more_than_8_bits_keep_all_their_levels(form):
    made, expected = DEEP[form]
    np.testing.assert_array_equal(read(made()), expected)
    np.testing.assert_array_equal(read(made(), 3), np.stack([expected] * 3, -1))
    assert read(made(), 4)[..., 3].min() == 255


@pytest.mark.parametrize(
    "wrap",
    [lambda b, _: b, lambda b, _: {"bytes": b, "path": None}, lambda _, p: str(p), lambda _, p: {"path": p.name},
     lambda b, _: bytearray(b), lambda b, _: memoryview(b), lambda b, _: PIL.Image.open(io.BytesIO(b))],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_every_form_of_a_cell_holds_a_deep_image(wrap, kind, tmp_path):
    content = encoded(PIL.Image.fromarray(RAMP), kind)
    (tmp_path / "deep").write_bytes(content)
    frame = pd.DataFrame({"x": pd.Series([wrap(content, tmp_path / "deep")], dtype=object)})
    table = Table.from_frame(frame, Schema({"x": Image(1, HEIGHT, WIDTH)}), root=tmp_path, say=None)
    np.testing.assert_array_equal(table.values["x"][0, 0].numpy(), EIGHT)


TO_XYZ = np.array(
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
)
"""From linear sRGB to XYZ under D50, after Bradford's adaptation."""


def lab(colours):
    """8-bit L*a*b* of sRGB under D50, as an image: a* and b* as signed bytes."""
    part = colours / 255
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    ratio = linear @ TO_XYZ.T / TO_XYZ.sum(1)
    root = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / 3 * (29 / 6) ** 2 + 4 / 29)
    x, y, z = np.moveaxis(root, -1, 0)
    values = np.stack([(116 * y - 16) * 255 / 100, 500 * (x - y), 200 * (y - z)], -1)
    return np.round(values).astype(np.int16).astype(np.uint8)


SMOOTH = np.stack(np.broadcast_arrays(
    np.linspace(40, 200, WIDTH)[None], np.linspace(60, 180, HEIGHT)[:, None], np.full((1, 1), 120.0)), -1,
).astype(np.uint8)  # fmt: skip

SHOWN = {
    "1": (lambda: PIL.Image.fromarray(RAMP > 30_000), np.stack([np.where(RAMP > 30_000, 255, 0)] * 3, -1), 0),
    "L": (lambda: PIL.Image.fromarray(EIGHT), np.stack([EIGHT] * 3, -1), 0),
    "RGB": (lambda: PIL.Image.fromarray(COLOURS), COLOURS, 0),
    "P": (lambda: PIL.Image.fromarray(COLOURS).quantize(256), COLOURS, 0),
    "CMYK": (lambda: PIL.Image.fromarray(np.append(255 - COLOURS, COLOURS[..., :1] * 0, 2), "CMYK"), COLOURS, 0),
    "YCbCr": (lambda: PIL.Image.fromarray(SMOOTH).convert("YCbCr"), SMOOTH, 3),
    "HSV": (lambda: PIL.Image.fromarray(SMOOTH).convert("HSV"), SMOOTH, 3),
    "LAB": (lambda: PIL.Image.fromarray(lab(SMOOTH), "LAB"), SMOOTH, 8),  # of a step of a* or b*
}


@pytest.mark.filterwarnings("ignore:'mode' parameter:DeprecationWarning")
@pytest.mark.parametrize("mode", SHOWN)
def test_modes_keep_their_colours(mode):
    made, expected, most = SHOWN[mode]
    assert made().mode == mode
    assert abs(read(made(), 3).astype(int) - expected.astype(int)).max() <= most


def transparent(mode):
    """Black under an alpha that grows from left to right."""
    alpha = EIGHT if mode in ("LA", "La", "RGBA", "RGBa") else np.where(EIGHT > 127, 255, 0).astype(np.uint8)
    image = PIL.Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8))
    image.putalpha(PIL.Image.fromarray(alpha))
    if mode in ("P", "PA"):
        image = PIL.Image.fromarray((alpha == 0).astype(np.uint8), "P")
        image.putpalette([0, 0, 0, 9, 9, 9])
        image.info["transparency"] = 1
        return image.convert(mode) if mode == "PA" else image, 255 - alpha
    return image.convert("RGBA").convert(mode) if mode in ("RGBA", "RGBa") else image.convert(mode), 255 - alpha


@pytest.mark.filterwarnings("ignore:'mode' parameter:DeprecationWarning")
@pytest.mark.parametrize("mode", ["LA", "La", "PA", "P", "RGBA", "RGBa"])
def test_what_is_transparent_lies_on_white_and_stays_where_there_are_four_channels(mode):
    image, expected = transparent(mode)
    assert image.mode == mode
    assert abs(read(image).astype(int) - expected).max() <= 1
    assert abs(read(image, 4)[..., 3].astype(int) - (255 - expected.astype(int))).max() <= 1


def test_the_transparent_number_of_a_16_bit_png_is_white():
    content = encoded(PIL.Image.fromarray(RAMP), "PNG", transparency=int(RAMP[0, 3]))
    expected = EIGHT.copy()
    expected[:, 3] = 255
    np.testing.assert_array_equal(read(content), expected)
    assert (read(content, 4)[..., 3] == np.where(np.arange(WIDTH) == 3, 0, 255)).all()


def stored(shown, orientation):
    """Pixels as a camera stores them that notes this orientation."""
    turns = {
        1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud, 5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, 1), 7: lambda a: np.rot90(a, 2).swapaxes(0, 1), 8: lambda a: np.rot90(a, 3),
    }  # fmt: skip
    return np.ascontiguousarray(turns[orientation](shown))


def exif(orientation):
    made = PIL.Image.Exif()
    made[0x0112] = orientation
    return made


QUARTERS = np.zeros((48, 96, 3), np.uint8)
QUARTERS[:24, :48], QUARTERS[:24, 48:], QUARTERS[24:, :48], QUARTERS[24:, 48:] = (
    (250, 20, 20), (20, 250, 20), (20, 20, 250), (240, 240, 240),
)  # fmt: skip


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_read_and_proposed_upright(kind, orientation, tmp_path):
    content = encoded(PIL.Image.fromarray(stored(QUARTERS, orientation)), kind, exif=exif(orientation))
    turned = np.asarray(ImageOps.exif_transpose(PIL.Image.open(io.BytesIO(content))).convert("RGB"))
    assert abs(turned[12::24, 24::48].astype(int) - QUARTERS[12::24, 24::48]).max() < 20  # as the library turns it
    (tmp_path / f"a.{kind.lower()}").write_bytes(content)
    cells = [content, {"bytes": content}, f"a.{kind.lower()}", PIL.Image.open(io.BytesIO(content))]
    schema = Schema.infer(pd.DataFrame({"x": cells[:2]}), say=None)
    assert schema["x"] == Image(3, 32, 64)
    values = Table.from_frame(pd.DataFrame({"x": cells}), schema, root=tmp_path, say=None).values["x"]
    for value in values:
        for y, x in ((4, 8), (4, 56), (28, 8), (28, 56)):
            assert abs(value[:, y, x].int().numpy() - QUARTERS[y * 3 // 2, x * 3 // 2].astype(int)).max() < 60


@pytest.mark.parametrize("damage", [b"Exif\0\0II*\0\x08\0\0\0\xff\xff", b"Exif\0\0", b"Exif\0\0MM\0*" + b"\xff" * 40])
def test_damaged_notes_of_a_camera_leave_an_image_as_it_is(damage):
    content = encoded(PIL.Image.fromarray(QUARTERS), "JPEG", exif=damage)
    assert Image(3, 48, 96).read(content).float().mean() > 50


@pytest.mark.parametrize("orientation", [0, 9, 255, 65535])
def test_orientations_that_there_are_not_leave_an_image_as_it_is(orientation):
    content = encoded(PIL.Image.fromarray(COLOURS), "PNG", exif=exif(orientation))
    np.testing.assert_array_equal(read(content, 3), COLOURS)


def test_deep_images_are_turned_too():
    content = encoded(PIL.Image.fromarray(stored(RAMP, 6)), "PNG", exif=exif(6))
    np.testing.assert_array_equal(read(content), EIGHT)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_several_images_in_a_file_the_first_is_read(kind):
    frames = [PIL.Image.fromarray(np.full((HEIGHT, WIDTH, 3), grey, np.uint8)) for grey in (80, 160, 240)]
    options = {"lossless": True} if kind == "WEBP" else {}
    content = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert (read(content, 3) == 80).all()


def as_8_bits_were_read(image, channels):
    """The lines by which 8-bit images have always been read."""
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
    if image.has_transparency_data and channels < 4:
        image = PIL.Image.alpha_composite(PIL.Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return np.array(image.convert(mode).resize((7, 5))).reshape(5, 7, channels)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV"])
def test_8_bit_images_are_read_as_ever(mode, channels):
    colours = np.random.default_rng(1).integers(0, 256, (30, 41, 4), dtype=np.uint8)
    image = PIL.Image.fromarray(colours).convert("RGB" if mode == "HSV" else "RGBA").convert(mode)
    expected = as_8_bits_were_read(image, channels)
    assert (Image(channels, 5, 7).read(image).permute(1, 2, 0).numpy() == expected).all()


def test_deep_images_in_a_column_are_proposed_as_grey():
    content = encoded(PIL.Image.fromarray(RAMP), "TIFF")
    for cell in (content, RAMP, PIL.Image.fromarray(RAMP)):
        schema = Schema.infer(pd.DataFrame({"x": pd.Series([cell, cell], dtype=object)}), say=None)
        assert schema["x"] == Image(1, HEIGHT, WIDTH)


@pytest.mark.parametrize(
    "cell",
    [np.full((4, 4), np.nan), np.array([[0.5, np.inf]]), PIL.Image.fromarray(np.full((3, 3), np.nan, np.float32)),
     np.zeros((0, 4), np.uint8), np.zeros((2, 3, 4, 5), np.uint8), np.zeros((4, 4, 7), np.uint8), np.array([["a"]])],
)  # fmt: skip
def test_arrays_that_are_no_images_are_damaged_cells(cell):
    with pytest.raises(ValueError, match=r"image.*(must be|must have)"):
        Image(1, 4, 4).read(cell)
    frame = pd.DataFrame({"x": pd.Series([EIGHT, cell], dtype=object)})
    table = Table.from_frame(frame, Schema({"x": Image(1, 4, 4)}), unreadable=0.6, say=None)
    assert len(table) == 1


WHOLE = {
    kind: encoded(PIL.Image.fromarray(QUARTERS), kind) for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
}


@pytest.mark.parametrize("kind", WHOLE)
def test_damaged_files_are_told_in_one_way(kind, tmp_path):
    """Whatever Pillow raises of it, a public reader raises a ValueError that names the file."""
    generator = np.random.default_rng(0)
    told = []
    for number in range(60):
        content = bytearray(WHOLE[kind])
        for place in generator.integers(0, min(len(content), 300), 4):
            content[place] = generator.integers(256)
        content = bytes(content)[: generator.integers(1, len(content)) if number % 3 == 0 else None]
        (path := tmp_path / "a.img").write_bytes(content)
        for raw in (content, path):
            try:
                Image(3, 8, 8).read(raw)
            except ValueError as error:
                told.append((raw, str(error)))
    assert told
    for raw, said in told:
        assert said.startswith("this is no image that can be read: ")
        assert isinstance(raw, bytes) or "a.img" in said
        assert "0x" not in said


def test_a_png_of_many_pixels_is_refused_and_not_made():
    chunk = PngImagePlugin.PngStream(io.BytesIO()).crc
    assert chunk is not None
    header = (60_000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    file = io.BytesIO()
    PngImagePlugin.putchunk(file, b"IHDR", header)
    PngImagePlugin.putchunk(file, b"IDAT", b"")
    PngImagePlugin.putchunk(file, b"IEND")
    with pytest.raises(ValueError, match="this is no image that can be read: Image size"):
        Image(3, 8, 8).read(b"\x89PNG\r\n\x1a\n" + file.getvalue())


@pytest.mark.parametrize("there", ["nothing", "folder", "pipe", "device", "circle", "null"])
def test_what_is_no_file_is_never_opened(there, tmp_path):
    import os

    path = tmp_path / "a.png"
    made = {
        "nothing": lambda: None, "folder": path.mkdir, "pipe": lambda: os.mkfifo(path),
        "device": lambda: path.symlink_to("/dev/zero"), "circle": lambda: path.symlink_to(path), "null": lambda: None,
    }  # fmt: skip
    made[there]()
    raw = Path("a\0b") if there == "null" else path
    with pytest.raises(FileNotFoundError if there == "nothing" else ValueError, match=r"a\.png|a\\x00b"):
        Image(3, 8, 8).read(raw)
    frame = pd.DataFrame({"x": pd.Series([EIGHT, str(raw)], dtype=object)})
    assert len(Table.from_frame(frame, Schema({"x": Image(1, 4, 4)}), root=tmp_path, unreadable=0.6, say=None)) == 1

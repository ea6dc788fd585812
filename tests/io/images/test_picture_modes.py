"""Images of every mode and format are loaded as open_clip loads them."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, features
from support.small_clip import make_small_clip

from laion_dask.errors import ImageError
from laion_dask.inference.embed import embed
from laion_dask.io.images.decoding import as_picture, as_rgb, read_picture
from laion_dask.models import ClipModel


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return make_small_clip(tmp_path_factory.mktemp("clip"), name="tiny-modes")


@pytest.fixture(scope="module")
def peer(files):
    """A function that returns open_clip's unit embedding of one file."""
    import open_clip
    import torch

    clip, _, preprocess = open_clip.create_model_and_transforms("tiny-modes", str(files[1]))
    clip.eval()

    def embedding(data: bytes) -> np.ndarray:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # warnings about palettes with transparency
            picture = preprocess(Image.open(io.BytesIO(data)))
            return clip.encode_image(picture[None], normalize=True)[0].numpy()

    return embedding


def scene(size=(90, 70)) -> Image.Image:
    """An image with edges and noise, whose alpha channel hides other colors."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: size[1], : size[0]]
    pixels = np.stack([x * 255 // size[0], y * 255 // size[1], (x * y) % 256, 0 * x], -1)
    pixels = np.clip(pixels + rng.integers(-20, 20, pixels.shape), 0, 255).astype(np.uint8)
    pixels[..., 3] = np.where((x - 40) ** 2 + (y - 30) ** 2 < 600, 255, (x * 3) % 120)
    pixels[:20, :, :3] = (255, 0, 255)
    return Image.fromarray(pixels)


def saved(picture: Image.Image, kind: str, **options) -> bytes:
    sink = io.BytesIO()
    picture.save(sink, kind, **options)
    return sink.getvalue()


def png(pixels: np.ndarray, depth: int, color: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """Encode (height, width, channels) integers as a PNG of any bit depth."""
    height, width = pixels.shape[:2]
    flat = pixels.reshape(height, -1)
    if depth < 8:
        bits = (flat[..., None] >> np.arange(depth)[::-1]) & 1
        lines = np.packbits(bits.reshape(height, -1).astype(np.uint8), axis=1)
    else:
        lines = flat.astype(f">u{depth // 8}")
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + line.tobytes() for line in lines))
    parts = [(b"IHDR", header), *chunks, (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )


def tiff(pixels: np.ndarray, bits: int = 16, photometric: int = 2, extra: int | None = None):
    """Encode (height, width, channels) 12- or 16-bit integers as an uncompressed TIFF."""
    height, width, n = pixels.shape
    data = pixels.astype("<u2").tobytes()
    if bits == 12:
        high, low = pixels.reshape(-1, 2).T
        packed = np.stack([high >> 4, (high & 15) << 4 | low >> 8, low & 255], -1)
        data = packed.astype(np.uint8).tobytes()
    start = 8 + len(data) + len(data) % 2
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 8, 277: n}
    tags |= {278: height, 279: len(data), 284: 1} | ({} if extra is None else {338: extra})
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    if n > 1:  # the bits per channel are stored after the entries
        behind = struct.pack("<I", start + 2 + len(entries) + 4)
        entries = entries.replace(
            struct.pack("<HHII", 258, 4, 1, bits), struct.pack("<HHI", 258, 3, n) + behind
        )
    head = struct.pack("<2sHI", b"II", 42, start) + data + b"\0" * (len(data) % 2)
    return head + struct.pack("<H", len(tags)) + entries + bytes(4) + struct.pack("<H", bits) * n


def deep_pictures() -> dict[str, bytes]:
    """Formats that Pillow reads but cannot write: 16 bits per channel, 2 and 4 bits per pixel."""
    rgba = np.asarray(scene()).astype(int)
    rng = np.random.default_rng(3)
    wide = np.clip(rgba * 257 + rng.integers(-120, 120, rgba.shape), 0, 65_535)
    grey = np.asarray(scene().convert("L")).astype(int)[..., None]
    palette = scene().convert("RGB").quantize(16)
    entries = np.asarray(palette)[..., None]
    colors = (b"PLTE", bytes(palette.getpalette()[:48]))
    return {
        "RGB png of 16 bits": png(wide[..., :3], 16, 2),
        "RGB png of 16 bits with a transparent color": png(
            wide[..., :3], 16, 2, (b"tRNS", struct.pack(">3H", 65_535, 0, 65_535))
        ),
        "RGBA png of 16 bits": png(wide, 16, 6),
        "LA png of 16 bits": png(np.concatenate([grey * 257, wide[..., 3:]], -1), 16, 4),
        "L png of 4 bits": png(grey >> 4, 4, 0),
        "L png of 2 bits": png(grey >> 6, 2, 0),
        "L png of 2 bits with a transparent grey": png(grey >> 6, 2, 0, (b"tRNS", b"\0\1")),
        "P png of 4 bits with alpha": png(
            entries, 4, 3, colors, (b"tRNS", bytes(range(0, 256, 16)))
        ),
        "P png with alpha of two entries": png(entries, 8, 3, colors, (b"tRNS", b"\0\x80")),
        "RGB tiff of 16 bits": tiff(wide[..., :3]),
        "RGBA tiff of 16 bits": tiff(wide, extra=2),
        "RGBa tiff of 16 bits": tiff(wide, extra=1),
    }


def pictures() -> dict[str, bytes]:
    rgba = scene()
    rgb = rgba.convert("RGB")
    grey = rgb.convert("L")
    palette = rgb.quantize(16)
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees
    frames = [rgb.rotate(90 * n) for n in range(3)]
    result = {
        "1 png": saved(rgb.convert("1"), "PNG"),
        "1 tiff": saved(rgb.convert("1"), "TIFF"),
        "1 bmp": saved(rgb.convert("1"), "BMP"),
        "L png": saved(grey, "PNG"),
        "L jpeg": saved(grey, "JPEG"),
        "L with a transparent grey": saved(grey, "PNG", transparency=40),
        "LA png": saved(rgba.convert("LA"), "PNG"),
        "LA tiff": saved(rgba.convert("LA"), "TIFF"),
        "P png": saved(palette, "PNG"),
        "P bmp": saved(palette, "BMP"),
        "P with one transparent color": saved(palette, "PNG", transparency=3),
        "P with alpha": saved(palette, "PNG", transparency=bytes(range(0, 256, 16))),
        "RGB png": saved(rgb, "PNG"),
        "RGB bmp": saved(rgb, "BMP"),
        "RGB tiff": saved(rgb, "TIFF", compression="tiff_lzw"),
        "RGB webp": saved(rgb, "WEBP"),
        "RGB with a transparent color": saved(rgb, "PNG", transparency=(255, 0, 255)),
        "RGBA png": saved(rgba, "PNG"),
        "RGBA tiff": saved(rgba, "TIFF"),
        "RGBA webp": saved(rgba, "WEBP", lossless=True, exact=True),
        "CMYK jpeg": saved(rgb.convert("CMYK"), "JPEG"),
        "CMYK tiff": saved(rgb.convert("CMYK"), "TIFF"),
        "YCbCr jpeg": saved(rgb.convert("YCbCr"), "JPEG"),
        "YCbCr tiff": saved(rgb.convert("YCbCr"), "TIFF"),
        "LAB tiff": saved(Image.merge("LAB", rgb.split()), "TIFF"),
        "progressive jpeg": saved(rgb, "JPEG", progressive=True, quality=60),
        "EXIF orientation": saved(rgb, "JPEG", exif=exif),
        "animated gif": saved(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "animated webp": saved(frames[0], "WEBP", save_all=True, append_images=frames[1:]),
        "animated png": saved(frames[0], "PNG", save_all=True, append_images=frames[1:]),
        "gif with transparency": saved(palette, "GIF", transparency=2),
        "webp with lossy alpha": saved(rgba, "WEBP", quality=60),
        "png with EXIF orientation": saved(rgb, "PNG", exif=exif),
        "webp with EXIF orientation": saved(rgb, "WEBP", exif=exif),
        "tiff with orientation": saved(rgb, "TIFF", tiffinfo={274: 6}),
        **deep_pictures(),
    }
    cmyk = result["CMYK jpeg"]
    marker = cmyk.index(b"\xff\xee\0\x0eAdobe")  # 16 bytes; the last is the transform
    result["CMYK jpeg without Adobe's marker"] = cmyk[:marker] + cmyk[marker + 16 :]
    result["YCCK jpeg"] = cmyk[: marker + 15] + b"\2" + cmyk[marker + 16 :]
    jpeg = result["YCbCr jpeg"]
    result["RGB jpeg with Adobe's marker"] = jpeg[:2] + cmyk[marker : marker + 16] + jpeg[2:]
    if features.check("avif"):
        result["animated avif"] = saved(frames[0], "AVIF", save_all=True, append_images=frames[1:])
        result["RGB avif"] = saved(rgb, "AVIF")
        result["RGBA avif"] = saved(rgba, "AVIF")
    return result


PICTURES = pictures()


@pytest.mark.parametrize("name", PICTURES)
def test_as_open_clip_loads_it(name, files, peer):
    result, expected = ClipModel(*files).image(PICTURES[name]), peer(PICTURES[name])
    assert float(np.asarray(result) @ expected) >= 0.9999


@pytest.mark.parametrize("mode", ["La", "PA", "RGBX", "RGBa", "HSV"])
def test_pictures_of_modes_that_no_such_file_has(mode, files, peer):
    through = {"La": ["LA", "La"], "PA": ["P", "PA"], "RGBa": ["RGBA", "RGBa"]}.get(mode, [mode])
    picture = scene() if mode == "RGBa" else scene().convert("RGB")
    for each in through:
        picture = picture.convert(each)
    result = ClipModel(*files).image(picture)
    if mode in ("La", "RGBa"):  # open_clip fails or ignores that colors are premultiplied
        expected = ClipModel(*files).image(picture.convert(through[0]))
    else:
        import open_clip
        import torch

        clip, _, preprocess = open_clip.create_model_and_transforms("tiny-modes", str(files[1]))
        with torch.no_grad():
            expected = clip.eval().encode_image(preprocess(picture)[None], normalize=True)[0]
    assert float(np.asarray(result) @ np.asarray(expected)) >= 0.9999


def sixteen(kind: str, dtype: str) -> bytes:
    grey = np.asarray(scene().convert("L")).astype(dtype) * 257
    return saved(Image.fromarray(grey), kind)


def test_grey_of_16_bits_is_scaled_and_counted(files, tmp_path):
    model, grey = ClipModel(*files), scene().convert("L")
    (tmp_path / "in").mkdir()
    data = [saved(grey, "PNG"), sixteen("PNG", "<u2"), sixteen("TIFF", "<u2")]
    vectors = np.asarray(model.image(data))
    assert (vectors @ vectors[0] >= 0.9999).all()
    for each in data[1:]:
        assert np.array_equal(np.asarray(read_picture(each)), np.asarray(grey))
    for name, each in zip(("0.png", "1.png", "2.tif"), data, strict=True):
        (tmp_path / "in" / name).write_bytes(each)
    result = embed(tmp_path / "in", tmp_path / "out", model)
    assert (result.n_kept, result.n_rescaled) == (3, 2)
    assert "3 kept (2 scaled from 16 bits)" in str(result)


@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("photometric", [0, 1])
def test_what_is_white_in_a_grey_tiff(bits, photometric):
    grey = np.asarray(scene().convert("L")).astype(int)
    white = 2**bits - 1
    pixels = np.rint(grey / 255 * white).astype(int)
    if bits == 12 and photometric == 0:
        with pytest.raises(ImageError, match="not an image of a known format"):
            read_picture(tiff(white - pixels[..., None], bits, photometric))
        return
    data = tiff((pixels if photometric else white - pixels)[..., None], bits, photometric)
    result = read_picture(data)
    assert np.array_equal(np.asarray(result), grey)
    assert np.array_equal(np.asarray(as_picture(Image.open(io.BytesIO(data)))), grey)


@pytest.mark.parametrize(("mode", "dtype"), [("I", np.int32), ("F", np.float32)])
def test_pixels_without_a_range_are_refused(mode, dtype, files):
    picture = Image.fromarray(np.asarray(scene().convert("L")).astype(dtype))
    assert picture.mode == mode
    for source in (saved(picture, "TIFF"), picture):
        with pytest.raises(ImageError, match=f"of mode {mode}, 32 bits per pixel"):
            ClipModel(*files).image(source)


def test_what_else_is_a_picture(tmp_path):
    data = PICTURES["RGB png"]
    (tmp_path / "1.png").write_bytes(data)
    expected = np.asarray(read_picture(data))
    buffer = io.BytesIO(data)
    with open(tmp_path / "1.png", "rb") as file:
        source = [file, buffer, buffer, expected, Image.fromarray(expected), tmp_path / "1.png"]
        for each in source:
            assert np.array_equal(np.asarray(as_rgb(as_picture(each))), expected)
    assert as_picture(expected[..., 0]).mode == "L"
    with (
        open(tmp_path / "1.png", encoding="latin-1") as file,
        pytest.raises(ImageError, match=r"1\.png is opened as text.*'rb'"),
    ):
        as_picture(file)
    with pytest.raises(ImageError, match=r"array of pixels, \(height, width, 3\) uint8"):
        as_picture(expected.astype(float))

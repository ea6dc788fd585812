"""Thumbnails: small new files, made in a process that hostile images cannot outlive or escape."""

import io
import os
import re
import signal
import struct
import subprocess
import sys
import textwrap
import threading
import time
import zlib

import numpy as np
import pandas as pd
import pytest
from PIL import Image, features

from laion_dask.io.images import thumbnails as module
from laion_dask.io.images.thumbnail_process import BLUR
from laion_dask.io.images.thumbnails import Thumbnails, doubt


@pytest.fixture(scope="module")
def maker():
    made = Thumbnails()
    yield made
    made.close()


def scene(size=(256, 192), mode="RGB") -> Image.Image:
    y, x = np.mgrid[: size[1], : size[0]]
    pixels = np.stack([x * 255 // size[0], y * 255 // size[1], (x // 4 + y // 4) % 2 * 255], -1)
    return Image.fromarray(pixels.astype(np.uint8)).convert(mode)


def saved(picture: Image.Image, kind="JPEG", **options) -> bytes:
    sink = io.BytesIO()
    picture.save(sink, kind, **options)
    return sink.getvalue()


def opened(thumbnail) -> Image.Image:
    assert thumbnail.reason == ""
    picture = Image.open(io.BytesIO(thumbnail.jpeg))
    picture.load()
    assert picture.format == "JPEG" and picture.size == thumbnail.size
    return picture


KINDS = [kind for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")]
KINDS += ["AVIF"] if features.check("avif") else []


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_becomes_a_small_jpeg(maker, kind):
    picture = opened(maker.make(saved(scene(), kind), blurred=False))
    assert picture.size == (128, 96)
    expected = np.asarray(scene().convert("RGB").resize((128, 96)), dtype=float)[..., :2]
    assert abs(np.asarray(picture.convert("RGB"), dtype=float)[..., :2] - expected).mean() < 12


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_every_mode_becomes_a_small_jpeg(maker, mode):
    kind = "JPEG" if mode == "CMYK" else "PNG"
    source = Image.fromarray(np.full((90, 90), 40_000, np.uint16)) if mode == "I;16" else None
    data = saved(source or scene((90, 90), mode), kind)
    assert opened(maker.make(data, blurred=False)).size == (90, 90)


def test_transparent_parts_are_white_and_their_colors_hidden(maker):
    layer = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    palette = scene((64, 64)).quantize(8)
    palette.info["transparency"] = bytes(8)
    for data in (saved(layer, "PNG"), saved(layer, "WEBP", lossless=True), saved(palette, "PNG")):
        assert np.asarray(opened(maker.make(data, blurred=False))).min() > 250


def test_the_first_frame_of_an_animation_is_shown(maker):
    frames = [Image.new("RGB", (50, 40), color) for color in ("red", "blue")]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    red, _, blue = opened(maker.make(data, blurred=False)).getpixel((20, 20))
    assert red > 200 > 50 > blue


def test_the_orientation_is_applied_and_no_metadata_is_kept(maker):
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "taken at home"
    upright = saved(scene((200, 100)), exif=exif, comment=b"secret", icc_profile=b"profile" * 40)
    thumbnail = maker.make(upright, blurred=False)
    picture = opened(thumbnail)
    assert picture.size == (64, 128)
    turned = np.asarray(scene((200, 100)).rotate(-90, expand=True).resize((64, 128)), dtype=float)
    assert abs(np.asarray(picture, dtype=float) - turned)[..., :2].mean() < 12
    assert not {"exif", "icc_profile", "comment"} & set(picture.info)
    for word in (b"taken", b"secret", b"profile", b"Exif"):
        assert word not in thumbnail.jpeg


def test_a_blurred_thumbnail_holds_a_few_pixels_of_the_original(maker):
    pixels = np.indices((256, 256)).sum(0) // 8 % 2 * 255
    data = saved(Image.fromarray(pixels.astype(np.uint8)), "PNG")
    clear = np.asarray(opened(maker.make(data, blurred=False)), dtype=float)
    blurred = np.asarray(opened(maker.make(data, blurred=True)), dtype=float)
    assert clear.std() > 90 and blurred.std() < 10 and blurred.shape == clear.shape
    # all that it tells is in the cells of the reduced image
    cells = Image.fromarray(blurred.astype(np.uint8)).resize((128 // BLUR, 128 // BLUR))
    assert abs(np.asarray(cells.resize((128, 128)), dtype=float) - blurred).max() < 10


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, pixels: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(pixels)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


JPEG = saved(scene())
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>'
BIG_WEBP = b"RIFF\x00\x01\x00\x00WEBPVP8X\x0a\x00\x00\x00\x10\x00\x00\x00" + b"\xff\x3f\x00" * 2

HOSTILE = {
    "empty": (b"", "empty file"),
    "html": (b"<html><script>alert(1)</script>", "not an image"),
    "svg": (SVG, "not an image"),
    "html in a comment of a gif": (b"GIF89a=1;/*" + SVG, "cannot|damaged|over"),
    "bomb": (png(60_000, 60_000), "over the limit"),
    "wide": (png(60_000, 1), "200 to 1"),
    "no pixels": (png(0, 5), "0 x 5"),
    "webp canvas": (BIG_WEBP + bytes(200), "over the limit"),
    "gif canvas": (b"GIF89a\xff\xff\xff\xff\x00\x00\x00;", "over the limit"),
    "truncated png": (saved(scene(), "PNG")[:-300], "cannot be decoded"),
    "truncated header": (JPEG[:20], "without a size"),
    "jpeg of nothing": (b"\xff\xd8\xff\xd9", "without a size"),
    "endless markers": (b"\xff\xd8\xff" + b"\xff" * 100_000, "without a size"),
    "float tiff": (saved(Image.new("F", (20, 20)), "TIFF"), "not defined"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "not an image"),
    "chunks that grow": (
        png(50, 50)[:33]
        + chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**8)))
        + png(50, 50)[33:],
        "cannot be decoded|too large",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_bad_file_is_a_reason(maker, name):
    data, reason = HOSTILE[name]
    thumbnail = maker.make(data, blurred=False)
    assert thumbnail.jpeg == b""
    assert re.search(reason, thumbnail.reason), thumbnail.reason
    assert opened(maker.make(JPEG, blurred=False)).size == (128, 96)


def test_every_truncation_and_flipped_byte_is_an_image_or_a_reason(maker):
    rng = np.random.default_rng(5)
    for kind in KINDS:
        data = saved(scene((40, 30)), kind)
        for _ in range(25):
            at = int(rng.integers(0, len(data)))
            flipped = bytearray(data)
            flipped[at] ^= 1 << int(rng.integers(8))
            for hostile in (data[:at], bytes(flipped), bytes(flipped) * 2):
                thumbnail = maker.make(hostile, blurred=True)
                assert bool(thumbnail.jpeg) != bool(thumbnail.reason)


def test_memory_is_limited():
    """A file of 81 million pixels in a mode that has to be copied."""
    rows = zlib.compress((b"\0" + bytes(2 * 9_000)) * 9_000)
    header = struct.pack(">IIBBBBB", 9_000, 9_000, 16, 0, 0, 0, 0)
    data = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )
    maker = Thumbnails(seconds=100)
    assert "too much memory" in maker.make(data, blurred=False).reason
    assert opened(maker.make(JPEG, blurred=False))
    maker.close()


def test_a_process_that_hangs_or_dies_is_replaced():
    maker = Thumbnails(seconds=60)
    try:
        assert opened(maker.make(JPEG, blurred=False))
        os.kill(maker._process.pid, signal.SIGKILL)  # as the system does when memory is short
        assert opened(maker.make(JPEG, blurred=True))
        os.kill(maker._process.pid, signal.SIGSTOP)
        stopped, maker.seconds = maker._process, 0.5
        assert "too many seconds" in maker.make(saved(scene((90, 90))), blurred=False).reason
        assert stopped.poll() is not None
        maker.seconds = 60
        assert opened(maker.make(saved(scene((90, 90))), blurred=False)).size == (90, 90)
    finally:
        maker.close()


def test_an_image_that_fails_twice_is_not_tried_again(monkeypatch):
    asked = []

    def ask(self, request, seconds=None):
        asked.append(request)
        raise module._TimedOut("takes too many seconds to decode")

    monkeypatch.setattr(Thumbnails, "_start", lambda self: True)
    monkeypatch.setattr(Thumbnails, "_ask", ask)
    maker = Thumbnails()
    reasons = {maker.make(JPEG, blurred=False).reason for _ in range(5)}
    assert reasons == {"takes too many seconds to decode"} and len(asked) == 2


def test_an_answer_that_is_no_jpeg_is_not_passed_on(monkeypatch):
    """A decoder that has been taken over may send anything."""
    code = "import os,struct; os.read(0,99999); os.write(1,struct.pack('<?HHI',True,1,1,4)+b'<svg')"
    run = subprocess.Popen
    monkeypatch.setattr(
        module.subprocess, "Popen", lambda _, **k: run([sys.executable, "-c", code], **k)
    )
    maker = Thumbnails()
    assert "does not start" in maker.make(JPEG, blurred=False).reason
    assert maker._process is None


def test_a_python_that_is_missing_is_a_reason(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert "does not start" in Thumbnails().make(JPEG, blurred=False).reason


def test_the_process_gets_no_secrets(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    assert "AWS_SECRET_ACCESS_KEY" not in module._environment()


def test_the_cache_is_bounded():
    maker = Thumbnails(cache_bytes=8_000)
    try:
        for width in range(40, 60):
            maker.make(saved(scene((width, 40))), blurred=False)
        assert 0 < maker._cached <= 8_000
        assert maker._cached == sum(len(each.jpeg) + 500 for each in maker._cache.values())
    finally:
        maker.close()


def test_threads_get_their_own_thumbnails(maker):
    sizes = [(60 + 4 * n, 50) for n in range(24)]
    found = {}

    def make(size):
        found[size] = maker.make(saved(scene(size)), blurred=False).size

    threads = [threading.Thread(target=make, args=(size,)) for size in sizes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = {w: (w, h) if w <= 128 else (128, round(h * 128 / w)) for w, h in sizes}
    assert {w: size for (w, _), size in found.items()} == expected


SCRIPT = """
    import io, os, signal, sys
    from PIL import Image
    print("imported", flush=True)
    from laion_dask.io.images.thumbnails import Thumbnails
    sink = io.BytesIO()
    Image.new("RGB", (10, 10)).save(sink, "PNG")
    maker = Thumbnails()
    print(maker.make(sink.getvalue(), blurred=False).size, flush=True)
    if (child := os.fork()) == 0:
        print(maker.make(sink.getvalue() + b"2", blurred=False).size, flush=True)
        maker.close()
        os._exit(0)
    os.waitpid(child, 0)
    print(maker.make(sink.getvalue() + b"3", blurred=False).size, flush=True)
    print(maker._process.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_script_without_a_main_guard_and_its_forks_can_use_it(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    run = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    lines = run.stdout.split("\n")
    assert lines[:4] == ["imported", "(10, 10)", "(10, 10)", "(10, 10)"], run.stderr
    for _ in range(100):  # the process ends with its parent, however that ended
        if not _is_running(int(lines[4])):
            return
        time.sleep(0.1)
    pytest.fail("the process outlived its parent")


def _is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("score", "reason"),
    [
        (0.0, None),
        (np.float32(0.4999), None),
        (0.5, "is 0.5"),
        (1, "is 1"),
        (-1, "is -1"),
        (float("nan"), "is missing"),
        (None, "is missing"),
        ("UNLIKELY", "is not a number"),
        ("0.1", "is not a number"),
        (False, "is not a number"),
        (np.False_, "is not a number"),
        (pd.NA, "is missing"),
    ],
)
def test_only_a_known_low_score_shows_that_an_image_is_safe(score, reason):
    assert doubt(score) == reason

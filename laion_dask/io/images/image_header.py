"""The format and size of an image file, from its first bytes and without a decoder.

Some decoders allocate the whole canvas when they open a file, before its size can be asked for, so
the size that a file declares is read and checked here first.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from laion_dask.errors import ImageError
from laion_dask.io.images.decoding import MAX_ASPECT, MAX_IMAGE_BYTES, MAX_PIXELS

#: Bytes of the start of a file that decide its format.
SIGNATURE_BYTES = 16

#: Bytes of an AVIF file in which its size has to be stated.
_AVIF_HEADER = 64 * 1024

#: JPEG markers that start a frame and carry its size: SOF0 to SOF15, without DHT, JPG and DAC.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


@dataclass(frozen=True)
class ImageHeader:
    """What the start of an image file declares.

    Attributes
    ----------
    format : str
        Pillow's name of the format, such as ``"JPEG"``.
    size : (int, int) or None
        Width and height in pixels. None for TIFF, whose size may be stated at its end.
    """

    format: str
    size: tuple[int, int] | None


def format_of(data: bytes) -> str | None:
    """The format that the first bytes of a file show, or None; its name and address do not matter.

    Parameters
    ----------
    data : bytes
        At least the first `SIGNATURE_BYTES` of the file.
    """
    if data[:3] == b"\xff\xd8\xff":
        return "JPEG"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "PNG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return "GIF"
    if data[4:8] == b"ftyp" and data[8:12] in (b"avif", b"avis", b"mif1"):
        return "AVIF"
    if data[:4] in (b"II*\x00", b"MM\x00*"):
        return "TIFF"
    return "BMP" if data[:2] == b"BM" else None


def read_header(data: bytes) -> ImageHeader:
    """The format and size that an image file declares, within the limits of `decoding`.

    Parameters
    ----------
    data : bytes

    Raises
    ------
    ImageError
        When the bytes are not an image of a supported format, declare no size, or exceed
        ``MAX_IMAGE_BYTES``, ``MAX_PIXELS`` or ``MAX_ASPECT``.
    """
    if len(data) > MAX_IMAGE_BYTES:
        raise ImageError(f"file of {len(data):,} bytes, over the limit of {MAX_IMAGE_BYTES:,}")
    kind = format_of(data)
    if kind is None:
        raise ImageError("not an image" if data else "an empty file")
    if kind == "TIFF":
        return ImageHeader(kind, None)
    try:
        width, height = max(_SIZES[kind](data), key=lambda size: size[0] * size[1])
    except (ValueError, IndexError, struct.error):
        raise ImageError(f"{kind} file without a size: damaged or truncated") from None
    if width < 1 or height < 1:
        raise ImageError(f"{kind} image of {width} x {height} pixels")
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"image of {width:,} x {height:,} pixels, over the limit of {MAX_PIXELS:,}"
        )
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ImageError(f"image of {width:,} x {height:,} pixels, over {MAX_ASPECT} to 1")
    return ImageHeader(kind, (width, height))


def _jpeg_sizes(data: bytes) -> Iterator[tuple[int, int]]:
    at = 2
    while at < len(data):
        if data[at] != 0xFF:  # bytes between segments, which decoders skip
            at += 1
            continue
        marker = data[at + 1]
        if marker == 0xFF or marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:
            at += 1 if marker == 0xFF else 2
            continue
        if marker in (0xD9, 0xDA):  # the end, or the start of the pixels
            return
        (length,) = struct.unpack_from(">H", data, at + 2)
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            yield width, height
        at += 2 + length


def _png_sizes(data: bytes) -> Iterator[tuple[int, int]]:
    if data[12:16] == b"IHDR":
        yield struct.unpack_from(">II", data, 16)


def _webp_sizes(data: bytes) -> Iterator[tuple[int, int]]:
    kind = data[12:16]
    if kind == b"VP8X":  # the canvas, of which 24 bits each, less one
        yield (
            1 + int.from_bytes(data[24:27], "little"),
            1 + int.from_bytes(data[27:30], "little"),
        )
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        yield 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    elif kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        yield width & 0x3FFF, height & 0x3FFF


def _gif_sizes(data: bytes) -> Iterator[tuple[int, int]]:
    yield struct.unpack_from("<HH", data, 6)


def _bmp_sizes(data: bytes) -> Iterator[tuple[int, int]]:
    (n_bytes,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if n_bytes == 12 else "<ii", data, 18)
    yield abs(width), abs(height)


def _avif_sizes(data: bytes) -> Iterator[tuple[int, int]]:
    """The sizes of all items, of which the largest counts: ``ispe`` boxes of ISO 23008-12."""
    header, at = data[:_AVIF_HEADER], 0
    while (at := header.find(b"ispe", at)) >= 0:
        yield struct.unpack_from(">II", header, at + 8)
        at += 4


_SIZES = {
    "JPEG": _jpeg_sizes,
    "PNG": _png_sizes,
    "WEBP": _webp_sizes,
    "GIF": _gif_sizes,
    "BMP": _bmp_sizes,
    "AVIF": _avif_sizes,
}

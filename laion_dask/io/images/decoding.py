"""Decode the bytes of an image file to the RGB image that a model sees, within limits."""

from __future__ import annotations

import io
import os
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from laion_dask.errors import ImageError

if TYPE_CHECKING:
    from PIL import Image

#: Maximum bytes of one image file; larger files are rejected before they are read.
MAX_IMAGE_BYTES = 64 * 2**20

#: Maximum pixels that a file may declare, just below the limit at which Pillow warns instead of
#: raising (``Image.MAX_IMAGE_PIXELS``, 89,478,485).
MAX_PIXELS = 89_000_000

#: Maximum aspect ratio. Preprocessing scales the short side to the model's input size, so an image
#: one pixel high would otherwise grow to gigabytes.
MAX_ASPECT = 200

#: Pillow's names of the supported formats; all other decoders remain disabled.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")

#: Modes with 16 bits per pixel: 0 is black and 65,535 white, unless a TIFF tag says otherwise.
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")

#: TIFF tags: bits per channel, and whether 0 means white (0) or black (1).
_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262

#: The key in ``Image.info`` for the original mode of an image scaled to 8 bits.
SCALED_FROM = "scaled_from"

#: Modes without a standard range, so the value of white is unknown.
_NO_RANGE = ("I", "F")


def decode(data: bytes) -> Image.Image:
    """Decode an image file to RGB with 8 bits per channel. Eager.

    Combines `read_picture` and `as_rgb`.
    """
    return as_rgb(read_picture(data))


def read_picture(data: bytes, draft: tuple[int, int] | None = None) -> Image.Image:
    """Decode an image file in the file's own mode. Eager.

    Reads the first frame of an animation. EXIF rotation is not applied, as in the published CLIP
    pipelines. 16-bit gray is scaled to 8 bits (``L``), whereas open_clip clips it, which makes
    nearly every pixel white. 32-bit and floating-point gray has no defined range and is rejected.

    Every decoder failure raises an ``ImageError`` whose message depends only on the bytes.

    Parameters
    ----------
    data : bytes
        A JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF file; AVIF only if Pillow supports it.
    draft : (int, int), optional
        A width and height at which the image may be decoded, or larger; much faster for JPEG.

    Returns
    -------
    PIL.Image.Image
        An image with 8 bits per channel, or 1 bit per pixel. `as_rgb` converts it to RGB.

    Raises
    ------
    ImageError
        When the bytes are not such a file, are damaged, or exceed ``MAX_IMAGE_BYTES``,
        ``MAX_PIXELS`` or ``MAX_ASPECT``; or when the mode has no defined range.
    """
    from PIL import Image, UnidentifiedImageError

    if not data:
        raise ImageError("empty image file: 0 bytes")
    if len(data) > MAX_IMAGE_BYTES:
        raise ImageError(f"image file of {len(data)} bytes, over the limit of {MAX_IMAGE_BYTES}")
    try:
        with Image.open(io.BytesIO(data), formats=_formats()) as picture:
            _check_size(*picture.size)
            if draft is not None:
                picture.draft(None, draft)
            picture.load()
            return with_range(picture)
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError(f"not an image of a known format ({', '.join(_formats())})") from None
    except Exception as error:  # decoders raise anything from SyntaxError to struct.error
        raise ImageError(f"image cannot be decoded: {_stable(error)}") from error


@cache
def _formats() -> tuple[str, ...]:
    """The formats that this Pillow supports; requesting others raises or warns."""
    from PIL import Image, features

    Image.init()
    missing = {"AVIF"} if not features.check("avif") else set()
    return tuple(name for name in FORMATS if name in Image.OPEN and name not in missing)


def with_range(picture: Image.Image) -> Image.Image:
    """The image with a defined range of pixel values; 16 bits are scaled to 8. Eager.

    Raises
    ------
    ImageError
        For 32-bit and floating-point modes.
    """
    if picture.mode in _NO_RANGE:
        raise ImageError(
            f"image of mode {picture.mode}, 32 bits per pixel: the values of black and white are "
            "not defined. Convert it to 8 or 16 bits"
        )
    if picture.mode in _SIXTEEN_BITS:
        from PIL import Image

        grey, white = np.asarray(picture).astype(np.uint32), 65_535
        tags = getattr(picture, "tag_v2", {})  # only on TIFF images
        if tags.get(_BITS_PER_SAMPLE) == (12,):
            white = 4_095
        if tags.get(_PHOTOMETRIC) == 0:  # Pillow inverts these itself only for 8 bits
            grey = white - grey
        scaled = Image.fromarray(((grey * 255 + white // 2) // white).astype(np.uint8))
        scaled.info[SCALED_FROM] = picture.mode
        return scaled
    return picture.convert("LA") if picture.mode == "La" else picture


def as_rgb(picture: Image.Image) -> Image.Image:
    """Convert an image to RGB as open_clip does, dropping transparency. Eager.

    Raises
    ------
    ImageError
        As for `with_range`.
    """
    picture = with_range(picture)
    if picture.mode == "P":  # converting a palette with transparency directly warns
        return picture.convert("RGBA").convert("RGB")
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def as_picture(image) -> Image.Image:
    """Convert a Pillow image, a path, bytes, an open file or pixels to a Pillow image. Eager.

    Parameters
    ----------
    image : PIL.Image.Image, path, bytes, binary file, or array
        Arrays contain pixels and have shape (height, width) or (height, width, 3 or 4), uint8.

    Raises
    ------
    ImageError
        When the argument is of an unsupported type or cannot be read; the message names the path.
    """
    if hasattr(image, "convert"):
        return with_range(image)
    if isinstance(image, (bytes, bytearray, memoryview)):
        return read_picture(bytes(image))
    if is_pixels(image):
        from PIL import Image

        return Image.fromarray(np.ascontiguousarray(image))
    if hasattr(image, "read"):
        return read_picture(_read(image))
    if not isinstance(image, (str, os.PathLike)):
        raise ImageError(
            f"An image is {type(image).__name__}. Expected a Pillow image, a path, bytes, a file "
            "opened for reading bytes, or an array of pixels, (height, width, 3) uint8."
        )
    try:
        if os.path.getsize(image) > MAX_IMAGE_BYTES:
            raise ImageError(f"over the limit of {MAX_IMAGE_BYTES} bytes")
        return read_picture(Path(image).read_bytes())
    except (OSError, ImageError) as error:
        raise ImageError(f"{os.fspath(image)} cannot be read: {error}") from error


def is_pixels(value) -> bool:
    """Whether an object is an array of pixels: (height, width) or (height, width, 3 or 4) uint8."""
    if not isinstance(value, np.ndarray) or value.dtype != np.uint8 or not value.size:
        return False
    return value.ndim == 2 or (value.ndim == 3 and value.shape[2] in (3, 4))


def _read(file) -> bytes:
    """The remaining bytes of an open file, or all bytes if it is at its end."""
    name = getattr(file, "name", type(file).__name__)
    try:
        data = file.read(MAX_IMAGE_BYTES + 1)
        if not data and file.seekable():
            file.seek(0)
            data = file.read(MAX_IMAGE_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ImageError(f"{name} cannot be read: {error}") from error
    if not isinstance(data, bytes):
        raise ImageError(f"{name} is opened as text. Open it for reading bytes, with mode 'rb'.")
    return data


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ImageError(f"image of {width} x {height} pixels, over the limit of {MAX_PIXELS}")
    if max(width, height) > MAX_ASPECT * max(1, min(width, height)):
        raise ImageError(
            f"image of {width} x {height} pixels, one side over {MAX_ASPECT} times the other"
        )


def _stable(error: Exception) -> str:
    """An error's message without memory addresses, which differ between runs."""
    text = re.sub(r" ?at 0x[0-9a-fA-F]+", "", str(error)) or "no details"
    return f"{type(error).__name__}: {text[:200]}"

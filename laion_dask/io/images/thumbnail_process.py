"""The process that decodes images for `thumbnails`, one at a time, under limits.

Started as ``python -m laion_dask.io.images.thumbnail_process``. A request on standard input is a
`REQUEST` header and the bytes of an image file; an answer on standard output is an `ANSWER` header
and the bytes of a new JPEG file, or of the reason in words. The process ends with its parent.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import struct
import warnings
from typing import TYPE_CHECKING, BinaryIO

from laion_dask.errors import ImageError
from laion_dask.io.images.decoding import read_picture
from laion_dask.io.images.image_header import read_header

if TYPE_CHECKING:
    from PIL import Image

#: Length of the file in bytes, longest side of the thumbnail in pixels, whether to blur it.
REQUEST = struct.Struct("<IH?")
#: Whether it is an image, its width and height, and the number of bytes that follow.
ANSWER = struct.Struct("<?HHI")

#: Address space for one image beyond what the process has when it starts. The largest image that
#: `decoding` accepts has 89 million pixels of 4 bytes, and needs a copy when its mode changes.
MEMORY = 1_000_000_000
#: CPU seconds for one image.
CPU_SECONDS = 10
#: Seconds between looks at whether the parent still exists.
_PARENT_CHECK = 5.0

#: A blurred thumbnail keeps one pixel of this many along each side: 6 of 144.
BLUR = 24
QUALITY = 80

#: EXIF tag of the orientation, and how to turn an image of each value upright (EXIF 2.32, 4.6.4).
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}


def render(data: bytes, side: int, blurred: bool) -> tuple[bytes, tuple[int, int]]:
    """A new JPEG file of the first frame of an image, at most ``side`` pixels wide and high. Eager.

    Transparent parts are white and the orientation is applied, as in a browser. Nothing else of
    the file's metadata is used or kept. A blurred thumbnail is made of at most ``side / 24``
    pixels along each side, enlarged again.

    Raises
    ------
    ImageError
        As `read_header` and `read_picture`.
    """
    from PIL import Image

    read_header(data)
    picture, turn = _small(data, side)
    if picture.mode in ("P", "PA", "LA", "RGBA") or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        picture = Image.new("RGB", layer.size, "white")
        picture.paste(layer, mask=layer.getchannel("A"))
    elif picture.mode not in ("RGB", "L"):
        picture = picture.convert("RGB")
    picture.thumbnail((side, side), Image.Resampling.BILINEAR)
    if turn:
        picture = picture.transpose(Image.Transpose[turn])
    if blurred:
        size = (max(1, picture.width // BLUR), max(1, picture.height // BLUR))
        picture = picture.resize(size, Image.Resampling.BOX).resize(picture.size)
    sink = io.BytesIO()
    picture.info = {}
    picture.save(sink, "JPEG", quality=QUALITY)
    return sink.getvalue(), picture.size


def _small(data: bytes, side: int) -> tuple[Image.Image, str | None]:
    """The decoded image, quickly reduced if it is much larger, and how to turn it."""
    picture = read_picture(data, draft=(side, side))
    turn = None
    if "exif" in picture.info:
        with contextlib.suppress(Exception):  # EXIF is as hostile as the rest of the file
            turn = _UPRIGHT.get(picture.getexif().get(_ORIENTATION, 1))
    factor = min(picture.size) // (2 * side)
    if factor > 1 and picture.mode in ("RGB", "L", "RGBA", "LA", "CMYK"):
        picture = picture.reduce(factor)
    return picture, turn


def answer(data: bytes, side: int, blurred: bool) -> bytes:
    """The answer to one request; every failure is a reason in words."""
    try:
        jpeg, size = render(data, side, blurred)
        return ANSWER.pack(True, *size, len(jpeg)) + jpeg
    except Exception as error:  # decoders raise anything
        is_known = isinstance(error, ImageError)
        reason = str(error) if is_known else f"cannot be decoded: {type(error).__name__}"
        if isinstance(error, MemoryError) or isinstance(error.__cause__, MemoryError):
            reason = "needs too much memory to decode"
    words = reason.encode("utf-8", "replace")[:500]
    return ANSWER.pack(False, 0, 0, len(words)) + words


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until the parent closes the pipe or is gone."""
    parent = os.getppid()
    while _wait(requests, parent):
        header = requests.read(REQUEST.size)
        if len(header) < REQUEST.size:
            return
        n_bytes, side, blurred = REQUEST.unpack(header)
        data = requests.read(n_bytes)
        if len(data) < n_bytes:
            return
        _limit_cpu()
        answers.write(answer(data, side, blurred))
        answers.flush()


def _wait(requests: BinaryIO, parent: int) -> bool:
    """Wait for a request or the end of the pipe; False if the parent has ended.

    A process that the parent forked may hold its end of the pipe open.
    """
    while not select.select([requests], [], [], _PARENT_CHECK)[0]:
        if os.getppid() != parent:
            return False
    return True


def limit_resources() -> None:
    """Limit memory, and forbid this process to write files or start others."""
    import resource

    import psutil

    used = psutil.Process().memory_info().vms
    limits = {
        resource.RLIMIT_AS: used + MEMORY,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 32,
    }
    for name, value in limits.items():
        hard = resource.getrlimit(name)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        with contextlib.suppress(ValueError, OSError):  # macOS has no limit on address space
            resource.setrlimit(name, (value, value))


def _limit_cpu() -> None:
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    value = int(used.ru_utime + used.ru_stime) + 1 + CPU_SECONDS
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (value, hard))


def main() -> None:
    """Load the decoders, set the limits, and serve standard input."""
    from PIL import Image

    warnings.simplefilter("ignore")
    Image.init()
    requests, answers = os.fdopen(0, "rb", buffering=0), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a decoder prints is not an answer
    limit_resources()
    serve(io.BufferedReader(requests), answers)


if __name__ == "__main__":
    main()

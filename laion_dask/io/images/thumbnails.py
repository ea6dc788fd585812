"""Small, re-encoded copies of images, made in a process of their own.

Image files of web data sets are hostile: decoders have had exploits, and a small file may declare
billions of pixels. Files are therefore recognized by their content, checked by their headers, and
decoded in a process with limits on memory, time and files, which is replaced when it hangs or dies.
What comes back is a new JPEG file with nothing of the original's metadata. An image that is not to
be shown is blurred there, so that its pixels never reach a page.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import select
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from laion_dask.errors import ImageError
from laion_dask.io.images.image_header import format_of, read_header
from laion_dask.io.images.thumbnail_process import ANSWER, REQUEST

#: The longest side of a thumbnail in pixels: half of 256, at which many copies of web data sets are
#: stored, and at which a JPEG file is decoded to half its size four times as fast.
SIDE = 128

#: An image is shown unblurred only if its safety score is known and below this value (the
#: threshold of LAION-5B's ``punsafe``).
UNSAFE = 0.5

#: Seconds for one image, and for the start of the process.
SECONDS, START_SECONDS = 10.0, 60.0

#: Maximum bytes of one thumbnail.
MAX_BYTES = 2**20

#: Bytes of thumbnails that are kept.
CACHE_BYTES = 16 * 2**20

_MODULE = "laion_dask.io.images.thumbnail_process"

#: Variables of the environment that the process needs to start; it gets no other, such as keys.
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR")


@dataclass(frozen=True)
class Thumbnail:
    """A small copy of an image, or the reason why there is none.

    Attributes
    ----------
    jpeg : bytes
        A JPEG file without metadata; empty if there is none.
    size : (int, int)
        Width and height in pixels.
    reason : str
        Why there is no image, in words. Parts of it may come from the file: it is text, not HTML.
    """

    jpeg: bytes = b""
    size: tuple[int, int] = (0, 0)
    reason: str = ""


class _ProcessEnded(Exception):
    """The process died before it gave a whole answer."""


class _TimedOut(_ProcessEnded):
    """The process took too long."""


class _NotStarted(Exception):
    """No process can be started."""


class Thumbnails:
    """Makes thumbnails in one process, which starts with the first and is replaced if it fails.

    Thread-safe: one image is decoded at a time.

    Parameters
    ----------
    seconds : float
        Time limit for one image.
    cache_bytes : int
        Size of the thumbnails that are kept, the latest used first.
    """

    def __init__(self, *, seconds: float = SECONDS, cache_bytes: int = CACHE_BYTES) -> None:
        self.seconds, self._cache_bytes = seconds, cache_bytes
        self._cache: OrderedDict[tuple, Thumbnail] = OrderedDict()
        self._cached = 0
        self._failed: set[tuple] = set()  # tried once more when they are next asked for
        self._process: subprocess.Popen | None = None
        self._owner = os.getpid()
        self._lock = threading.Lock()
        atexit.register(self.close)

    def make(self, data: bytes, *, blurred: bool, side: int = SIDE) -> Thumbnail:
        """The thumbnail of an image file, from the cache if it was made before. Eager.

        Never raises for what an image file contains.

        Parameters
        ----------
        data : bytes
        blurred : bool
            Whether only a few pixels of it may be recognizable; see `render`.
        side : int
            The longest side of the thumbnail in pixels.
        """
        try:
            read_header(data)
        except ImageError as error:
            return Thumbnail(reason=str(error))
        self._after_fork()
        key = (hashlib.blake2b(data, digest_size=16).digest(), blurred, side)
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]
            try:
                thumbnail = self._make(REQUEST.pack(len(data), side, blurred) + data)
            except _NotStarted as error:
                return Thumbnail(reason=str(error))
            except _ProcessEnded as error:
                thumbnail = Thumbnail(reason=str(error))
                if key not in self._failed:  # the machine may have been busy
                    self._failed.add(key)
                    return thumbnail
            self._keep(key, thumbnail)
            return thumbnail

    def close(self) -> None:
        """End the process; the next image starts another."""
        self._after_fork()
        with self._lock:
            self._end()

    def _make(self, request: bytes) -> Thumbnail:
        is_new = self._start()
        try:
            return self._ask(request)
        except _ProcessEnded as error:
            if is_new or isinstance(error, _TimedOut):
                raise
        self._start()  # the idle process may have been ended by somebody: once more, in a new one
        return self._ask(request)

    def _ask(self, request: bytes, seconds: float | None = None) -> Thumbnail:
        process = cast(subprocess.Popen, self._process)
        deadline = time.monotonic() + (self.seconds if seconds is None else seconds)
        try:
            _write(cast(BinaryIO, process.stdin).fileno(), request, deadline)
            output = cast(BinaryIO, process.stdout).fileno()
            is_image, width, height, n_bytes = ANSWER.unpack(_read(output, ANSWER.size, deadline))
            content = _read(output, min(n_bytes, MAX_BYTES + 1), deadline)
            if n_bytes > MAX_BYTES or (is_image and format_of(content) != "JPEG"):
                raise _ProcessEnded("takes over its decoder")  # it no longer runs our code
        except BaseException:  # an interrupt too leaves half an answer in the pipe
            self._end()
            raise
        if is_image:
            return Thumbnail(content, (width, height))
        return Thumbnail(reason=content.decode("utf-8", "replace"))

    def _start(self) -> bool:
        """Start a process unless one is running; whether this call did.

        Waits until it has loaded its decoders, which is not time of the first image.
        """
        if self._process is not None and self._process.poll() is None:
            return False
        self._end()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", _MODULE],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=_environment(),
                bufsize=0,
                start_new_session=True,  # Ctrl-C interrupts this process, not that one
            )
            self._ask(REQUEST.pack(0, 0, False), START_SECONDS)
        except (OSError, _ProcessEnded) as error:
            self._end()
            raise _NotStarted("the process that decodes images does not start") from error
        return True

    def _after_fork(self) -> None:
        """Let a forked copy of this process start its own: two writers would mix requests."""
        if self._owner == os.getpid():
            return
        self._owner, self._lock = os.getpid(), threading.Lock()
        process, self._process = self._process, None
        if process is not None:
            process.returncode = 0  # not a child of this process
            _close(process)

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None and self._owner == os.getpid():
            process.kill()
            process.wait()
            _close(process)

    def _keep(self, key: tuple, thumbnail: Thumbnail) -> None:
        self._cache[key] = thumbnail
        self._cached += _n_bytes(thumbnail)
        while self._cached > self._cache_bytes:
            self._cached -= _n_bytes(self._cache.popitem(last=False)[1])


@cache
def shared_thumbnails() -> Thumbnails:
    """The `Thumbnails` of this process, with one decoding process for all galleries."""
    return Thumbnails()


def doubt(score: object) -> str | None:
    """Why a safety score does not show that an image is safe, or None if it does.

    Parameters
    ----------
    score : object
        The probability that the image is unsafe. Null, NaN, negative numbers (some tables write -1
        for a missing score) and what is no number do not show that it is safe.
    """
    if _is_null(score):
        return "is missing"
    if isinstance(score, (str, bytes, bool, np.bool_)):
        return "is not a number"
    try:
        value = float(score)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return "is not a number"
    if value != value:
        return "is missing"
    return None if 0 <= value < UNSAFE else f"is {value:.3g}"


def _is_null(score: object) -> bool:
    return score is None or type(score).__name__ in ("NAType", "NaTType")


def _n_bytes(thumbnail: Thumbnail) -> int:
    return len(thumbnail.jpeg) + 500


def _environment() -> dict[str, str]:
    """The environment of the process: where this one finds its modules, and nothing secret."""
    root = str(Path(__file__).parents[3])
    paths = [root, *(path for path in sys.path if path and path != root)]
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    threads = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    return kept | threads | {"PYTHONPATH": os.pathsep.join(paths)}


def _write(pipe: int, data: bytes, deadline: float) -> None:
    os.set_blocking(pipe, False)
    rest = memoryview(data)
    while rest:
        _wait(pipe, deadline, writing=True)
        try:
            rest = rest[os.write(pipe, rest) :]
        except BlockingIOError:
            continue
        except OSError:  # the other end is closed
            raise _ProcessEnded("makes its decoder fail") from None


def _read(pipe: int, n_bytes: int, deadline: float) -> bytes:
    parts = []
    while n_bytes:
        _wait(pipe, deadline, writing=False)
        part = os.read(pipe, min(n_bytes, 2**20))
        if not part:
            raise _ProcessEnded("makes its decoder fail")
        parts.append(part)
        n_bytes -= len(part)
    return b"".join(parts)


def _wait(pipe: int, deadline: float, *, writing: bool) -> None:
    seconds = deadline - time.monotonic()
    waiting = select.poll()
    waiting.register(pipe, select.POLLOUT if writing else select.POLLIN)
    if seconds <= 0 or not waiting.poll(seconds * 1_000):
        raise _TimedOut("takes too many seconds to decode")


def _close(process: subprocess.Popen) -> None:
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError):
            cast(BinaryIO, pipe).close()

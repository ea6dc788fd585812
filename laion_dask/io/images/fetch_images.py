"""Fetch images from their urls, for one call that asks for it: within limits, and politely.

Urls, hosts, redirects and content are hostile. Each host is resolved once, every address that it
has must be public, and the connection goes to that address, so a second look-up cannot change it;
the same for each redirect. No cookie, password, referrer or proxy is used.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

from laion_dask._version import __version__
from laion_dask.errors import ImageError
from laion_dask.io.images.image_header import SIGNATURE_BYTES, format_of, read_header
from laion_dask.io.images.public_addresses import FetchRefused, WebUrl, parse_url, resolve
from laion_dask.io.images.robots_tag import AGENT, forbids

#: Maximum bytes of one image, as received and as decompressed.
MAX_BYTES = 16 * 2**20

#: Seconds for one image, redirects included.
SECONDS = 10.0

MAX_REDIRECTS = 4

#: Images requested at a time.
AT_ONCE = 8

#: Formats that are accepted, by their content: those that browsers show.
FORMATS = frozenset({"JPEG", "PNG", "WEBP", "GIF", "AVIF"})

_BLOCK = 64 * 1024

_HEADERS = {
    "User-Agent": f"{AGENT}/{__version__} (a person views single images of a data set)",
    "Accept": "image/avif,image/webp,image/png,image/jpeg,image/gif",
    "Accept-Encoding": "identity",
    "Connection": "close",
}


@dataclass(frozen=True)
class FetchedImage:
    """An image file from the web, or the reason why there is none.

    Attributes
    ----------
    data : bytes or None
    reason : str
        In words; empty if there is an image.
    """

    data: bytes | None
    reason: str = ""


def fetch_images(urls: Sequence[object]) -> list[FetchedImage]:
    """The image files at urls, in their order, several at a time. Eager.

    Never raises for what a url, a host or an answer contains. An interrupt ends the wait.

    Parameters
    ----------
    urls : sequence of str or None
    """
    rounds = -(-len(urls) // AT_ONCE)
    pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="laion_dask-fetch")
    try:
        futures = [pool.submit(fetch_image, url) for url in urls]
        wait(futures, timeout=SECONDS * (rounds + 1))  # looking up a name has no limit of its own
        late = FetchedImage(None, "takes too long")
        return [future.result() if future.done() else late for future in futures]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def fetch_image(url: object) -> FetchedImage:
    """The image file at a url, or the reason why there is none. Eager.

    Parameters
    ----------
    url : str or None
        Of http or https, whose host has public addresses only; see `public_addresses`. An answer
        with ``X-Robots-Tag: noai``, and those of `robots_tag`, is not used.
    """
    deadline = _Deadline(SECONDS)
    try:
        data = _follow(parse_url(url), deadline)
        read_header(data)
        return FetchedImage(data)
    except (FetchRefused, ImageError) as error:
        reason = str(error)
    except TimeoutError:
        reason = "takes too long"
    except ssl.SSLError:
        reason = "its host has no valid certificate"
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = f"its host does not answer ({type(error).__name__})"
    finally:
        deadline.close()
    return FetchedImage(None, "takes too long" if deadline.is_over else reason)


class _Deadline:
    """Ends the connection of a fetch when its time is over, whatever the other end sends."""

    def __init__(self, seconds: float) -> None:
        self.is_over = False
        self._end = time.monotonic() + seconds
        self._socket: socket.socket | None = None
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.daemon = True
        self._timer.start()

    def left(self) -> float:
        """Seconds that are left, at least a few milliseconds: 0 would mean no limit."""
        return max(0.005, self._end - time.monotonic())

    def watch(self, connection: socket.socket) -> None:
        self._socket = connection
        if self.is_over:
            self._expire()

    def close(self) -> None:
        self._timer.cancel()

    def _expire(self) -> None:
        self.is_over = True
        if self._socket is not None:
            with suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


class _PinnedConnection(http.client.HTTPConnection):
    """A connection to one address of a host, whose name is sent and must be in its certificate."""

    def __init__(self, url: WebUrl, address: str, deadline: _Deadline) -> None:
        super().__init__(url.host, url.port)
        self.default_port = 443 if url.is_secure else 80  # the header Host then has no port
        self._url, self._address, self._deadline = url, address, deadline

    def connect(self) -> None:
        family = socket.AF_INET6 if ":" in self._address else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        self.sock.settimeout(self._deadline.left())
        self._deadline.watch(self.sock)
        self.sock.connect((self._address, self._url.port))
        if self._url.is_secure:
            self.sock = _tls().wrap_socket(
                self.sock, server_hostname=self._url.host, do_handshake_on_connect=False
            )
            self._deadline.watch(self.sock)
            self.sock.do_handshake()


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _follow(url: WebUrl, deadline: _Deadline) -> bytes:
    """Request a url and those that it redirects to; each is checked as the first."""
    for _ in range(MAX_REDIRECTS + 1):
        connection = _connect(url, deadline)
        try:
            connection.request("GET", url.target, headers=_HEADERS)
            response = connection.getresponse()
            if forbids(response.headers.get_all("X-Robots-Tag", [])):
                raise FetchRefused("its owner asks not to use it (X-Robots-Tag)")
            if response.status not in (301, 302, 303, 307, 308):
                return _content(response)
            url = parse_url(response.headers.get("Location"), url)
        finally:
            connection.close()
    raise FetchRefused(f"more than {MAX_REDIRECTS} redirects")


def _connect(url: WebUrl, deadline: _Deadline) -> _PinnedConnection:
    """A connection to the first address of a host that accepts one."""
    failure: OSError | None = None
    for address in resolve(url)[:3]:
        if deadline.is_over:
            break
        connection = _PinnedConnection(url, address, deadline)
        try:
            connection.connect()
            return connection
        except OSError as error:
            connection.close()
            failure = error
    raise failure or FetchRefused("takes too long")


def _content(response: http.client.HTTPResponse) -> bytes:
    """The body of an answer, as soon as it cannot be an image no longer read."""
    if response.status != 200:
        raise FetchRefused(f"its host answers with status {response.status}")
    unpack = _decompressor(response.headers.get("Content-Encoding", "identity"))
    data, n_received = bytearray(), 0
    while block := response.read1(_BLOCK):
        had_signature = len(data) >= SIGNATURE_BYTES
        n_received += len(block)
        data += unpack(block, MAX_BYTES)
        if max(n_received, len(data)) > MAX_BYTES:
            raise FetchRefused(f"over the limit of {MAX_BYTES:,} bytes")
        if not had_signature and len(data) >= SIGNATURE_BYTES:
            _check_format(data)
    if response.length:
        raise FetchRefused("its host breaks off")
    _check_format(data)
    return bytes(data)


def _check_format(data: bytearray) -> None:
    if format_of(bytes(data[:SIGNATURE_BYTES])) not in FORMATS:
        raise FetchRefused("not an image")


def _decompressor(encoding: str):
    """A function of a block and a limit that decompresses the block, to at most limit + 1 bytes."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return lambda block, limit: block
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise FetchRefused("compressed in a way that was not asked for")
    stream = zlib.decompressobj(wbits=47)  # either header

    def unpack(block: bytes, limit: int) -> bytes:
        try:
            return stream.decompress(block, limit + 1)
        except zlib.error:
            raise FetchRefused("damaged") from None

    return unpack

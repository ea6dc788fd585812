"""A publisher of weight files on 127.0.0.1, over TLS, with correct or misbehaving answers."""

from __future__ import annotations

import hashlib
import http.server
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from laion_dask.models.weights import PublishedFile

CERTIFICATE = Path(__file__).parent / "loopback.pem"
Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


class Publisher:
    """Answers by path; ``asked`` counts the requests."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.answers: dict[str, Answer] = {}
        self.asked = 0

    def offer(self, name: str, content: bytes, answer: Answer | None = None) -> PublishedFile:
        """Return a registry entry for ``content``, served in full or by ``answer``."""
        self.answers["/" + name.replace("+", "%2B")] = answer or whole(content)
        address = f"{self.address}/{name.replace('+', '%2B')}"
        digest = hashlib.sha256(content).hexdigest()
        return PublishedFile(name, "tests", self.address, "MIT", address, len(content), digest)


@contextmanager
def serving() -> Iterator[Publisher]:
    """Run a publisher inside the block."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            publisher.asked += 1
            publisher.answers.get(self.path, status(404))(self)

        def log_message(self, *args) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = False  # leaving the block waits for them

        def handle_error(self, *args) -> None:  # a client that hangs up is no error
            pass

    server = Server(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    publisher = Publisher(f"https://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield publisher
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def whole(content: bytes, length: int | None = None) -> Answer:
    """Send all of ``content``, with ``length`` as its Content-Length."""

    def answer(handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content) if length is None else length))
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def endless(block: bytes, pause: float = 0) -> Answer:
    """Send one block after the other, ``pause`` seconds apart, until the client hangs up."""

    def answer(handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(block)
            time.sleep(pause)

    return answer


def status(code: int, location: str | None = None, then: Answer | None = None) -> Answer:
    """Send a status without a file, or a redirect, followed by ``then``'s output."""

    def answer(handler) -> None:
        handler.send_response(code)
        if location is not None:
            handler.send_header("Location", location)
        handler.end_headers()
        if then is not None:
            then(handler)

    return answer


def in_halves(content: bytes, between: Callable[[], None]) -> Answer:
    """Send the first half, call ``between``, then send the second half."""

    def answer(handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content[: len(content) // 2])
        handler.wfile.flush()
        between()
        handler.wfile.write(content[len(content) // 2 :])

    return answer

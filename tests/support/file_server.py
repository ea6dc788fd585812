"""A web server for the files of a folder, which counts requests."""

import http.server
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote


class FileServer:
    """The address of the server, and what was requested from it.

    Attributes
    ----------
    url : str
    requests : Counter of (method, path)
    most_at_once : int
        The largest number of requests that were answered at the same time.
    delay : float
        Seconds that each answer takes.
    has_ranges : bool
    broken : set of str
        Paths that are answered with an error.
    """

    def __init__(self) -> None:
        self.url = ""
        self.requests: Counter[tuple[str, str]] = Counter()
        self.most_at_once = self.active = 0
        self.delay = 0.0
        self.has_ranges = True
        self.broken: set[str] = set()
        self.lock = threading.Lock()


def _handler(folder: Path, server: FileServer) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer("HEAD")

        def do_GET(self) -> None:
            self.answer("GET")

        def answer(self, method: str) -> None:
            with server.lock:
                server.requests[method, self.path] += 1
                server.active += 1
                server.most_at_once = max(server.most_at_once, server.active)
            try:
                time.sleep(server.delay)
                self.send(method)
            finally:
                with server.lock:
                    server.active -= 1

        def send(self, method: str) -> None:
            path = folder / unquote(self.path).lstrip("/")
            if self.path in server.broken or not path.is_file():
                self.send_response(500 if path.is_file() else 404)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            content = path.read_bytes()
            wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            if wanted and server.has_ranges:
                start, stop = int(wanted[1]), min(int(wanted[2]) + 1, len(content))
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}")
                content = content[start:stop]
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if method == "GET":
                try:
                    self.wfile.write(content)
                except ConnectionError:  # the client did not want all of it
                    self.close_connection = True

    return Handler


class _Quiet(http.server.ThreadingHTTPServer):
    request_queue_size = 128

    def handle_error(self, request, client_address) -> None:
        """Clients may close a connection whenever they want."""


@contextmanager
def serving(folder: Path) -> Iterator[FileServer]:
    """Serve the files of a folder on this machine."""
    server = FileServer()
    httpd = _Quiet(("127.0.0.1", 0), _handler(folder, server))
    httpd.daemon_threads = True
    server.url = f"http://127.0.0.1:{httpd.server_address[1]}"
    thread = threading.Thread(target=httpd.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()

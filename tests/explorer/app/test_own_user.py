"""The explorer's server answers programs of its own user and of root, and nobody else's."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest

from laion_dask.explorer.app import own_user
from laion_dask.explorer.app.own_user import REFUSAL, trusted_users, user_of

OWN, OTHER = 12345, 23456
HAS_TABLE = Path("/proc/net/tcp").exists()

pytestmark = pytest.mark.skipif(not HAS_TABLE, reason="needs /proc/net/tcp, as Linux has it")
needs_root = pytest.mark.skipif(
    not (hasattr(os, "geteuid") and os.geteuid() == 0), reason="only root can be another user"
)

SERVER = """
    import asyncio, os, sys
    from tornado.httpserver import HTTPServer
    from tornado.netutil import bind_sockets
    from tornado.web import Application, RequestHandler
    from tornado.websocket import WebSocketHandler
    from laion_dask.explorer.app import own_user

    class Page(RequestHandler):
        def get(self):
            self.write("page")

    class Lookups(RequestHandler):
        def get(self):
            self.write(str(len(lookups)))

    class Echo(WebSocketHandler):
        def on_message(self, message):
            self.write_message(message)

    lookups, look_up = [], own_user.user_of
    own_user.user_of = lambda *ends: lookups.append(ends) or look_up(*ends)

    async def main():
        files = {"static_path": os.path.dirname(own_user.__file__)}
        routes = [("/", Page), ("/ws", Echo), ("/lookups", Lookups)]
        application = Application(routes, **files)
        own_user.serve_own_user_only(application)
        sockets = bind_sockets(0, "127.0.0.1")
        HTTPServer(application).add_sockets(sockets)
        print(sockets[0].getsockname()[1], flush=True)
        await asyncio.Event().wait()

    os.setuid(int(sys.argv[1]))
    asyncio.run(main())
"""

CLIENT = """
    import os, socket, sys
    os.setuid(int(sys.argv[1]))
    family, host, port, request = sys.argv[2:]
    with socket.socket(getattr(socket, family)) as client:
        client.connect((host, int(port)))
        client.sendall(request.encode())
        print(client.recv(10_000).decode())
"""


@pytest.fixture(scope="module")
def port():
    command = [sys.executable, "-c", textwrap.dedent(SERVER), str(OWN)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield int(server.stdout.readline())
        server.kill()


def request_of(path: str, port: int) -> str:
    lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}"]
    if path == "/ws":
        lines += ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
        lines += ["Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="]
    return "\r\n".join([*lines, "", ""])


def answer_to(user: int, path: str, port: int, family: str = "AF_INET") -> str:
    host = "127.0.0.1" if family == "AF_INET" else "::ffff:127.0.0.1"
    arguments = [str(user), family, host, str(port), request_of(path, port)]
    command = [sys.executable, "-c", textwrap.dedent(CLIENT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def status(answer: str) -> int:
    return int(answer.split()[1])


@needs_root
@pytest.mark.parametrize("path", ["/", "/static/own_user.py", "/no-such-page", "/ws"])
def test_another_user_is_answered_nothing_but_a_line(port, path):
    for user in (OTHER, 65534):
        answer = answer_to(user, path, port)
        head, _, body = answer.partition("\n\n")
        assert status(answer) == 403 and body.strip() == REFUSAL
        assert "Connection: close" in head and "text/plain" in head


@needs_root
@pytest.mark.parametrize("path", ["/", "/static/own_user.py", "/ws"])
def test_the_same_user_and_root_are_answered(port, path):
    for user in (OWN, 0):
        assert status(answer_to(user, path, port)) == (101 if path == "/ws" else 200)


@needs_root
def test_the_user_of_a_socket_of_ipv6_is_found(port):
    try:
        with socket.create_connection(("::ffff:127.0.0.1", port)):
            pass
    except OSError:
        pytest.skip("IPv6 is off")
    statuses = [status(answer_to(user, "/", port, "AF_INET6")) for user in (OWN, 0, OTHER)]
    assert statuses == [200, 200, 403]


@needs_root
def test_a_connection_is_looked_up_once(port):
    with socket.create_connection(("127.0.0.1", port)) as client:
        counts = []
        for _ in range(3):
            client.sendall(request_of("/lookups", port).encode())
            counts.append(client.recv(10_000).decode().splitlines()[-1])
    assert len(set(counts)) == 1


@pytest.fixture
def connection():
    """The client's end, and the server's."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
        with client, accepted:
            yield client, accepted


def test_a_closed_socket_is_nobodys_although_the_table_says_root(connection):
    client, accepted = connection
    ends = accepted.getpeername(), accepted.getsockname()
    assert user_of(*ends) == os.geteuid()
    assert user_of(*reversed(ends)) == os.geteuid()  # the server's own
    client.close()
    assert user_of(*ends) is None


def test_a_line_is_found_whatever_is_around_it(tmp_path, monkeypatch):
    table = tmp_path / "tcp"
    monkeypatch.setattr(own_user, "_TABLES", {str(table): b"", str(tmp_path / "tcp6"): b""})
    client, server = ("127.0.0.1", 0xE842), ("127.0.0.1", 0x8839)
    local, remote = (own_user._as_listed(end, b"").decode() for end in (client, server))

    def user(*lines: str) -> int | None:
        table.write_text("".join(f"{at:4}: {line} \n" for at, line in enumerate(lines)))
        return user_of(client, server)

    rest = "00000000:00000000 00:00000000 00000000"
    assert user() is None
    assert user(f"{remote} {local} 01 {rest} 7 0 11 1") is None  # the other end
    assert user(f"{local} {remote} 06 {rest} 0 0 0 3") is None  # closed
    assert user(f"{local} {remote} 01 {rest} 0 0 0 3") is None  # no program has it
    assert user(f"{remote} {local} 01 {rest} 7 0 11 1", f"{local} {remote} 01 {rest} 8 0 12") == 8


@pytest.mark.parametrize("release", ["6.18.44", "5.15.90.1-microsoft-standard-WSL2"])
def test_programs_that_linux_does_not_list_are_those_of_windows(connection, monkeypatch, release):
    monkeypatch.setattr(platform, "release", lambda: release)
    matcher = own_user._OtherUser(frozenset({0, OWN}))

    def is_refused(user: int | None) -> bool:
        monkeypatch.setattr(own_user, "user_of", lambda client, server: user)
        stream = Stream(connection[1])
        request = SimpleNamespace(connection=SimpleNamespace(stream=stream))
        return matcher.match(request) is not None

    assert [is_refused(user) for user in (OWN, 0, OTHER)] == [False, False, True]
    assert is_refused(None) == ("WSL" not in release)


class Stream:
    def __init__(self, socket: socket.socket) -> None:
        self.socket = socket


@pytest.mark.parametrize(
    ("users", "trusts_nobody"),
    [("0 0 4294967295", True), ("0 1000 1", False), ("0 1000 1\n1 100000 65536", False)],
)
def test_users_from_outside_a_user_namespace_are_not_trusted(
    tmp_path, monkeypatch, users, trusts_nobody
):
    (tmp_path / "uid_map").write_text(users)
    (tmp_path / "overflowuid").write_text("65534\n")
    monkeypatch.setattr(own_user, "Path", lambda name: tmp_path / Path(name).name)
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    assert trusted_users() == ({0, 65534} if trusts_nobody else {0})
    (tmp_path / "uid_map").unlink()
    assert trusted_users() == {0}

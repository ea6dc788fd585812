"""Refuses requests by other users of the machine, on Linux.

Every user of a shared machine can connect to its loopback address. Linux lists its sockets with the
users who opened them in ``/proc/net/tcp`` and ``/proc/net/tcp6`` (proc_pid_net(5); the columns are
those of ``get_tcp4_sock`` in net/ipv4/tcp_ipv4.c of the kernel).
"""

from __future__ import annotations

import os
import platform
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any
from weakref import WeakSet

from tornado.httputil import HTTPServerRequest
from tornado.routing import Matcher, Rule
from tornado.web import Application, RequestHandler

REFUSAL = "Only the user who started this page can open it."
#: A socket of IPv4, and one of IPv6 that is connected to an address of IPv4.
_TABLES = {
    "/proc/net/tcp": b"",
    "/proc/net/tcp6": bytes(10) + b"\xff\xff",
}
_ESTABLISHED = b"01"
#: The kernel's default user id for users outside a user namespace.
_NOBODY = 65534
#: Attempts to read the table: reading is not atomic, and may miss a line while others come and go.
_ATTEMPTS = 3

Address = tuple[str, int]


def serve_own_user_only(application: Application) -> None:
    """Answer 403 to requests and WebSockets of users other than root and this process's.

    Programs of the user are the near end of a tunnel (``ssh -L``) and Jupyter's proxy, too. Without
    ``/proc/net/tcp``, as on macOS, every program of the machine is answered.
    """
    if sys.platform == "linux" and os.access(next(iter(_TABLES)), os.R_OK):
        refused = Rule(_OtherUser(trusted_users()), _Refused)
        application.default_router.rules.insert(0, refused)


def trusted_users() -> frozenset[int]:
    """The user of this process, and root.

    In a user namespace, all users from outside it have one number, so it is nobody's.
    """
    users = frozenset({os.geteuid(), 0})
    try:
        if Path("/proc/self/uid_map").read_text().split() == ["0", "0", str(2**32 - 1)]:
            return users
        return users - {int(Path("/proc/sys/kernel/overflowuid").read_text())}
    except OSError:
        return users - {_NOBODY}


def user_of(client: Address, server: Address) -> int | None:
    """The user who owns the client's end of a connection; None if no program has it open.

    Parameters
    ----------
    client, server : tuple of str and int
        The IPv4 addresses and ports of both ends, on this machine.
    """
    for _ in range(_ATTEMPTS):
        for name, prefix in _TABLES.items():
            with suppress(FileNotFoundError):  # without IPv6
                table = Path(name).read_bytes()
                ends = _as_listed(client, prefix), _as_listed(server, prefix), _ESTABLISHED
                _, found, rest = table.partition(b" %b %b %b " % ends)
                if found:
                    _, _, _, user, _, inode, *_ = rest.split(maxsplit=6)
                    return int(user) if int(inode) else None
    return None


def _as_listed(address: Address, prefix: bytes) -> bytes:
    """An address as the table has it: words of 4 bytes in the machine's order, then the port."""
    packed = prefix + socket.inet_aton(address[0])
    words = [packed[at : at + 4] for at in range(0, len(packed), 4)]
    text = "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)
    return f"{text}:{address[1]:04X}".encode()


class _OtherUser(Matcher):
    """Matches requests of other users; a connection is looked up once."""

    def __init__(self, trusted: frozenset[int]) -> None:
        self._trusted = trusted
        self._accepted: WeakSet[Any] = WeakSet()

    def match(self, request: HTTPServerRequest) -> dict[str, Any] | None:
        connection: Any = request.connection
        stream = connection.stream
        if stream not in self._accepted:
            try:
                user = user_of(stream.socket.getpeername(), stream.socket.getsockname())
            except (OSError, AttributeError):  # the client is gone, and with it the socket
                return {}
            if user not in self._trusted and not (user is None and _is_windows_below()):
                return {}
            self._accepted.add(stream)
        return None


def _is_windows_below() -> bool:
    """Whether programs of Windows, which Linux does not list, connect as if from this machine."""
    return "microsoft" in platform.release().lower()


class _Refused(RequestHandler):
    def prepare(self) -> None:
        self.set_status(403)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.set_header("Connection", "close")
        self.finish(f"{REFUSAL}\n")

    def check_xsrf_cookie(self) -> None:
        """Refuse requests with data in the same words."""

"""Serves the explorer as a web page, to this machine only."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress

import panel
from bokeh.server.server import Server
from panel.io.resources import COMPONENT_PATH

from laion_dask.errors import OptionError
from laion_dask.explorer.app.explorer import Explorer
from laion_dask.explorer.app.own_address import serve_own_address_only
from laion_dask.explorer.app.own_user import serve_own_user_only

#: The only address that the server listens on: the data is for the user alone.
ADDRESS = "127.0.0.1"
#: The port that is tried first if none is given.
_USUAL_PORT = 5006


def free_port(port: int | None) -> int:
    """A free port of the loopback address: the given one, if any.

    Raises
    ------
    OptionError
        When another program listens on the given port.
    """
    for candidate in (port,) if port is not None else (_USUAL_PORT, 0):
        with socket.socket() as trial, suppress(OSError):
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((ADDRESS, candidate))
            return int(trial.getsockname()[1])
    raise OptionError(
        f"port is {port}, which another program uses or this user may not use. Give another, or "
        "none to use one that is free."
    )


def make_server(make: Callable[[], Explorer], *, title: str, port: int) -> Server:
    """A server, not yet started, that makes an explorer for each page that is opened.

    It listens on the loopback address and answers only to the names of that address and, on Linux,
    only to this process's user and root. It accepts WebSockets from its own pages only, serves no
    files except the scripts and styles of Panel and Bokeh, and fetches nothing from the web.

    Parameters
    ----------
    make : callable
        Makes the explorer of a page.
    title : str
        The title of the page.
    port : int
    """

    def page() -> Explorer:
        explorer = make()
        panel.state.on_session_destroyed(lambda context: explorer.abandon())
        return explorer

    panel.extension("tabulator")
    server = panel.serve(
        page,
        address=ADDRESS,
        port=port,
        title=title,
        websocket_origin=[f"{ADDRESS}:{port}", f"localhost:{port}"],
        show=False,
        start=False,
        verbose=False,
        threaded=False,
    )
    for router in (server._tornado.default_router, server._tornado.wildcard_router):
        router.rules = [rule for rule in router.rules if not _imports(rule)]
    serve_own_user_only(server._tornado)
    serve_own_address_only(server._tornado)
    return server


def _imports(rule) -> bool:
    """Whether a route of Panel imports the module named in the URL, which no view needs."""
    pattern = getattr(getattr(rule.matcher, "regex", None), "pattern", "")
    return pattern.startswith(f"/{COMPONENT_PATH}")


def serve(
    make: Callable[[], Explorer],
    *,
    title: str,
    port: int,
    open_browser: bool = False,
    ready: Callable[[str], object] = lambda address: None,
) -> None:
    """Serve an explorer for each page that is opened, until Ctrl-C. Eager.

    Parameters
    ----------
    make, title, port
        As for `make_server`.
    open_browser : bool
        Whether to open the page in the browser.
    ready : callable
        Called with the address once the server listens.
    """
    server = make_server(make, title=title, port=port)
    try:
        server.start()
        ready(f"http://{ADDRESS}:{port}/")
        if open_browser:
            server.io_loop.add_callback(server.show, "/")
        server.io_loop.start()
    except KeyboardInterrupt:
        pass
    finally:
        server.stop(wait=False)

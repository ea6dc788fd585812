"""The explorer's server: this machine only, pages of its own address only, and no user's files."""

from __future__ import annotations

import asyncio
import socket
import threading
from http.client import HTTPConnection
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from support.shards import laion_table, write_shard

import laion_dask as ld
from laion_dask.errors import OptionError
from laion_dask.explorer.app import own_user
from laion_dask.explorer.app.explorer import Explorer
from laion_dask.explorer.app.server import ADDRESS, free_port, make_server
from laion_dask.explorer.sample import draw_sample


@pytest.fixture
def server(tmp_path):
    frame = ld.read_shards([write_shard(tmp_path / "0.parquet", laion_table(30))])
    port, made, loops, running = free_port(None), [], [], threading.Event()

    def make():
        made.append(Explorer(lambda: draw_sample(frame), is_page=True))
        return made[-1]

    def run():
        asyncio.set_event_loop(asyncio.new_event_loop())
        server = make_server(make, title="Explorer", port=port)
        server.start()
        loops.append(server.io_loop)
        server.io_loop.add_callback(running.set)
        server.io_loop.start()
        server.stop(wait=False)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert running.wait(60)
    yield port
    loops[0].add_callback(loops[0].stop)
    thread.join(60)
    for explorer in made:
        explorer.close()


def page(port: int, path: str = "/") -> str:
    with urlopen(f"http://{ADDRESS}:{port}{path}") as answer:
        return answer.read().decode()


def answer_to(port: int, origin: str, host: str = "") -> int:
    """The status with which the page's socket answers a page of some origin."""
    token = page(port).partition('"token":"')[2].partition('"')[0]
    headers = {
        "Origin": origin,
        "Host": host or f"{ADDRESS}:{port}",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec-WebSocket-Protocol": f"bokeh, {token}",
    }
    connection = HTTPConnection(ADDRESS, port)
    try:
        connection.request("GET", "/ws", headers=headers)
        with connection.getresponse() as answer:
            return answer.status
    finally:
        connection.close()


def test_a_page_is_served_with_its_own_scripts_only(server):
    text = page(server)
    sources = [part.partition('"')[0] for part in text.split('src="')[1:]]
    assert sources and not [source for source in sources if "//" in source]
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert "https://" not in text.partition("<body")[0].replace("https://cdn.holoviz.org", "https:")


def test_only_pages_of_the_own_address_connect(server):
    for own in (ADDRESS, "localhost"):
        assert answer_to(server, f"http://{own}:{server}") == 101
    for origin in ("http://evil.example", f"http://{ADDRESS}:{server + 1}", "null"):
        assert answer_to(server, origin) == 403


def test_a_site_whose_name_points_here_reaches_nothing(server):
    for name in ("evil.example", f"{ADDRESS}.evil.example", "localhost.evil.example", "0.0.0.0"):
        assert answer_to(server, f"http://{name}:{server}", f"{name}:{server}") == 403
        for path in ("/", "/autoload.js", "/static/js/bokeh.min.js"):
            connection = HTTPConnection(ADDRESS, server)
            connection.request("GET", path, headers={"Host": f"{name}:{server}"})
            with connection.getresponse() as answer:
                assert answer.status == 403 and len(answer.read()) < 500
            connection.close()


def test_a_tunnel_may_have_another_port(server):
    assert answer_to(server, "http://localhost:8000", "localhost:8000") == 101
    assert answer_to(server, "http://localhost:8000", f"{ADDRESS}:{server}") == 403


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs /proc/net/tcp")
def test_another_user_of_the_machine_reaches_nothing(server, monkeypatch):
    monkeypatch.setattr(own_user, "user_of", lambda client, own: 65533)
    for path in ("/", "/autoload.js", "/static/js/bokeh.min.js", "/ws"):
        connection = HTTPConnection(ADDRESS, server)
        connection.request("GET", path)
        with connection.getresponse() as answer:
            assert (answer.status, answer.read().decode()) == (403, f"{own_user.REFUSAL}\n")
        connection.close()


def test_no_other_site_can_frame_it(server):
    with urlopen(f"http://{ADDRESS}:{server}/") as answer:
        assert answer.headers["X-Frame-Options"] == "SAMEORIGIN"
        assert answer.headers["Content-Security-Policy"] == "frame-ancestors 'self'"


@pytest.mark.parametrize(
    "path",
    [
        "/0.parquet",
        "/static/../../../etc/passwd",
        "/static/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/components/..%2f..%2fetc/passwd",
        "/components/laion_dask.explorer.views.page/PageComponent/_esm/x",
        "/assets/x",
    ],
)
def test_no_other_files_are_served(server, path):
    with pytest.raises(HTTPError) as error:
        page(server, path)
    assert error.value.code in (400, 403, 404)
    error.value.close()


def test_it_listens_on_the_loopback_address_alone(server):
    entries = socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)
    for address in {entry[4][0] for entry in entries} - {ADDRESS}:
        with socket.socket() as trial:
            assert trial.connect_ex((address, server)) != 0


def test_a_port_in_use_is_refused_and_another_is_found():
    with socket.socket() as taken:
        taken.bind((ADDRESS, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OptionError, match=f"port is {port}"):
            free_port(port)
        assert free_port(None) != port

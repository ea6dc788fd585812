"""Images are fetched from public hosts only, within limits, and not against their owner's will."""

import gzip
import http.server
import io
import socket
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from laion_dask.io.images import fetch_images as module
from laion_dask.io.images import public_addresses
from laion_dask.io.images.fetch_images import fetch_image, fetch_images
from laion_dask.io.images.public_addresses import FetchRefused, is_public, parse_url, resolve
from laion_dask.io.images.robots_tag import forbids


def png(side=40) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(np.arange(side * side, dtype=np.uint8).reshape(side, side)).save(sink, "PNG")
    return sink.getvalue()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.requests.append((self.path, dict(self.headers)))
        self.close_connection = True
        self.server.pages[self.path](self)

    def answer(self, body=b"", status=200, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """Clients that have seen enough close the connection."""


@contextmanager
def serving(pages):
    server = Server(("127.0.0.1", 0), Handler)
    server.pages, server.requests = pages, []
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def page(body=b"", status=200, **headers):
    return lambda handler: handler.answer(body, status, **headers)


@pytest.fixture
def local(monkeypatch):
    """Let tests connect to 127.0.0.1 on any port, and to no other address that is not public."""
    public = is_public
    monkeypatch.setattr(public_addresses, "is_public", lambda ip: ip == "127.0.0.1" or public(ip))
    monkeypatch.setattr(public_addresses, "PORTS", range(1, 65_536))


def fetched(pages, path="/a"):
    with serving(pages) as (server, root):
        return fetch_image(root + path), server.requests


def test_an_image_is_fetched_without_cookie_referrer_or_password(local):
    image, ((path, headers),) = fetched({"/a?b=%20": page(png())}, "/a?b= #c")
    assert image.data == png() and image.reason == "" and path == "/a?b=%20"
    assert headers["User-Agent"].startswith("laion_dask/")
    assert not {"Cookie", "Referer", "Authorization"} & set(headers)


def test_redirects_are_followed_without_cookies(local):
    first = page(status=302, Location="/b?x", Set_Cookie="a=b; Path=/")
    image, requests = fetched({"/a": first, "/b?x": page(png())})
    assert image.data == png() and len(requests) == 2
    assert not {"Cookie", "Referer"} & set(requests[1][1])


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("http://169.254.169.254/latest/meta-data/", "not on the public web"),
        ("http://[::1]/", "not on the public web"),
        ("http://0x7f000002/", "not on the public web"),
        ("http://10.1.2.3/", "not on the public web"),
        ("http://localhost./", "not a name of the public web"),
        ("//[fd00:ec2::254]/", "not on the public web"),
        ("file:///etc/passwd", "not a url of http or https"),
        ("data:image/png;base64,AAAA", "not a url of http or https"),
        ("gopher://a.example/", "not a url of http or https"),
        ("http://user:secret@1.1.1.1/", "password"),
        ("/a", "more than 4 redirects"),
        (None, "no url"),
    ],
)
def test_every_redirect_is_checked(local, target, reason):
    headers = {} if target is None else {"Location": target}
    image, requests = fetched({"/a": page(status=301, **headers)})
    assert image.data is None and reason in image.reason
    assert len(requests) == (5 if target == "/a" else 1)


def names(monkeypatch, *answers):
    """A resolver whose answers, lists of addresses, change from call to call."""
    answers, asked = list(answers), []

    def getaddrinfo(host, port, *_, **__):
        asked.append(host)
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        if not addresses:
            raise socket.gaierror("no such name")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port)) for a in addresses]

    monkeypatch.setattr(public_addresses.socket, "getaddrinfo", getaddrinfo)
    return asked


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (["192.168.1.1"], "not on the public web"),
        (["8.8.8.8", "127.0.0.1"], "not on the public web"),
        (["::ffff:10.0.0.1"], "not on the public web"),
        ([], "no address"),
    ],
)
def test_a_name_with_any_address_that_is_not_public_is_refused(monkeypatch, answer, reason):
    asked = names(monkeypatch, answer)
    assert reason in fetch_image("https://cdn.example/a.jpg").reason
    assert asked == ["cdn.example."]  # absolute: never looked up below the local domain


def test_the_address_that_was_checked_is_the_one_connected_to(local, monkeypatch):
    """A second look-up, which would lead elsewhere, does not happen."""
    asked = names(monkeypatch, ["127.0.0.1"], ["169.254.169.254"])
    with serving({"/a": page(png())}) as (server, _):
        image = fetch_image(f"http://rebound.example:{server.server_port}/a")
    assert image.data == png() and asked == ["rebound.example."]
    assert server.requests[0][1]["Host"] == f"rebound.example:{server.server_port}"


def _endless(handler):
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(png())
    while True:
        handler.wfile.write(bytes(100_000))


def _drip(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    for byte in png():
        handler.wfile.write(bytes([byte]))
        time.sleep(0.05)


def _drip_headers(handler):
    for _ in range(1000):
        handler.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        time.sleep(0.05)


def _breaks_off(handler):
    handler.answer(png()[:-20], Content_Length=str(len(png())))


BOMB = png()[:50] + bytes(30 * 2**20)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (_endless, "over the limit"),
        (page(gzip.compress(BOMB), Content_Encoding="gzip"), "over the limit"),
        (page(png(), Content_Encoding="br"), "not asked for"),
        (page(b"\x1f\x8b not gzip at all", Content_Encoding="gzip"), "damaged"),
        (_drip, "takes too long"),
        (_drip_headers, "takes too long"),
        (_breaks_off, "breaks off"),
        (page(b"<html>" * 10, Content_Type="image/png"), "not an image"),
        (page(b"<svg/>", Content_Type="image/svg+xml"), "not an image"),
        (page(b"", Content_Type="image/png"), "not an image"),
        (page(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\1\0\0\0\1\0\0" + bytes(30)), "over the limit"),
        (page(png(), status=404), "status 404"),
        (page(png(), X_Robots_Tag="noai"), "X-Robots-Tag"),
    ],
)
def test_a_hostile_or_unwilling_host_is_a_reason(local, monkeypatch, answer, reason):
    if answer in (_drip, _drip_headers):
        monkeypatch.setattr(module, "SECONDS", 0.4)
    image, _ = fetched({"/a": answer})
    assert image.data is None and reason in image.reason


def test_content_decides_and_not_its_name_or_header(local):
    image, _ = fetched({"/a": page(png(), Content_Type="text/html")})
    assert image.data == png()
    packed = page(gzip.compress(png()), Content_Encoding="gzip")
    assert fetched({"/a": packed})[0].data == png()


def test_a_redirect_that_says_noai_is_not_followed(local):
    first = page(status=302, Location="/b", X_Robots_Tag="noarchive, noimageai")
    image, requests = fetched({"/a": first, "/b": page(png())})
    assert "X-Robots-Tag" in image.reason and len(requests) == 1


def test_a_host_without_a_certificate_is_refused(local):
    with serving({"/a": page(png())}) as (server, _):
        image = fetch_image(f"https://127.0.0.1:{server.server_port}/a")
    assert image.data is None and server.requests == []


def test_many_are_fetched_in_their_order(local):
    with serving({f"/{n}": page(png(n)) for n in range(20, 40)}) as (_, root):
        urls = [f"{root}/{n}" for n in range(20, 40)]
        found = fetch_images([*urls, None, 3, "not a url", "ftp://a.example/b"])
    assert [image.data for image in found[:20]] == [png(n) for n in range(20, 40)]
    assert [image.reason for image in found[20:]] == [
        *("no url", "no url", "not a url", "not a url of http or https")
    ]
    assert fetch_images([]) == []


def test_without_the_seam_of_these_tests_nothing_local_is_requested():
    with serving({"/a": page(png())}) as (server, root):
        assert "port" in fetch_image(f"{root}/a").reason
        assert "public web" in fetch_image("http://127.0.0.1/a").reason
        assert "public web" in fetch_image("http://localhost/a").reason
        assert server.requests == []


@pytest.mark.parametrize(
    "address",
    """0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 100.100.100.200 127.0.0.1 127.9.9.9 169.254.169.254
    172.16.0.1 172.31.255.255 192.0.0.192 192.0.2.1 192.88.99.1 192.168.0.1 198.18.0.1
    198.51.100.1 203.0.113.9 224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255 168.63.129.16
    :: ::1 ::7f00:1 ::ffff:127.0.0.1 ::ffff:8.8.8.8 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe
    64:ff9b:1::808:808 100::1 2001::1 2001:db8::1 2002:7f00:1:: 2002:808:808:: 3fff::1 5f00::1
    fc00::1 fd00:ec2::254 fe80::1 fe80::1%eth0 fec0::1 ff02::1 nonsense""".split(),  # noqa: SIM905
)
def test_addresses_that_are_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "100.63.0.1", "100.128.0.1", "172.32.0.1", "2606:4700::1111", "64:ff9b::808:808"],
)
def test_addresses_that_are_public(address):
    assert is_public(address)


def test_an_address_of_this_machine_is_not_public(monkeypatch):
    monkeypatch.setattr(public_addresses, "_own_addresses", lambda: {"8.8.8.8"})
    assert not is_public("8.8.8.8") and not is_public("64:ff9b::808:808")


@pytest.mark.parametrize(
    "host",
    """2130706433 0x7f000001 0x7f.1 0177.0.0.1 127.1 017700000001 0 127.0.0.1. [::ffff:127.0.0.1]
    [::ffff:a9fe:a9fe] [0:0:0:0:0:0:0:1] localhost localhost. metadata intranet
    ①②⑦.⓪.⓪.① 127。0。0。1 2852039166""".split(),  # noqa: SIM905
)
def test_other_spellings_of_local_hosts_are_refused(host):
    with pytest.raises(FetchRefused, match="public web"):
        resolve(parse_url(f"http://{host}/"))


@pytest.mark.parametrize(
    "url",
    ["", None, 3, "a.jpg", "http://", "http://a b/", "http://[::1", "http://a.example\r\n/x",
     "javascript:alert(1)", "http://a.example:22/", "ws://a.example/",
     "http://a.example/" + "x" * 9_000],
)  # fmt: skip
def test_what_is_no_url_of_the_web(url):
    with pytest.raises(FetchRefused):
        parse_url(url)


@pytest.mark.parametrize(
    ("values", "answer"),
    [
        ([], False),
        (["noai"], True),
        (["all", "NoImageAI"], True),
        (["noarchive,noai"], True),
        (["otherbot: noai"], True),
        (["otherbot: noindex"], False),
        (["laion_dask: noindex"], True),
        (["*: noindex"], True),
        (["otherbot: noarchive, noindex"], False),
        (["noindex, nofollow"], True),
        (["none"], True),
        (["unavailable_after: 25 Jun 2010 15:00:00 PST"], False),
        (["max-image-preview: none"], False),
        (["max-snippet:20, noai"], True),
        ([": noai"], True),
        ([","], False),
    ],
)
def test_robots_tag(values, answer):
    assert forbids(values) is answer

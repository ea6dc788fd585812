"""Nothing calls home: neither this package nor what it imports looks up or connects to a host."""

from __future__ import annotations

import subprocess
import sys

WATCHED = """
import ipaddress, socket, sys
hosts = []

def watched(function, host_of):
    def call(*args, **options):
        hosts.append(host_of(*args))
        return function(*args, **options)
    return call

def host_of_connection(connection, address):
    if connection.type == socket.SOCK_DGRAM:  # distributed asks for its own address
        return "localhost"
    return address[0] if connection.family in (socket.AF_INET, socket.AF_INET6) else "localhost"

socket.socket.connect = watched(socket.socket.connect, host_of_connection)
socket.getaddrinfo = watched(socket.getaddrinfo, lambda host, *_: host)
socket.gethostbyname = watched(socket.gethostbyname, lambda host: host)

import bokeh, dask, distributed, holoviews, panel
import laion_dask as ld

frame = ld.read_shards(sys.argv[1])
images = ld.open_embeddings(sys.argv[2], model="demo", like=frame)
frame.laion.summary()._repr_html_()
ld.show(ld.histogram([0.1]))._repr_html_()
frame.laion.explore(images).wait().close()
options = {"n_workers": 1, "processes": False, "dashboard_address": "127.0.0.1:0"}
with distributed.Client(**options):
    frame.laion.rows()

def is_here(host):
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in (None, "", "localhost", socket.gethostname())

print("abroad:", sorted({str(host) for host in hosts if not is_here(host)}))
"""


def test_no_host_is_looked_up_or_connected_to(demo_folder):
    folder = demo_folder / "embedded"
    command = [sys.executable, "-W", "ignore", "-c", WATCHED]
    ran = subprocess.run(
        [*command, str(folder / "metadata"), str(folder / "img_emb")],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.stdout.splitlines()[-1:] == ["abroad: []"], ran.stdout + ran.stderr

"""Weight files are found, fetched if the user allows it, and used only if they are unaltered."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from support import weight_server

import laion_dask as ld
from laion_dask.errors import OptionError, WeightsError
from laion_dask.models import weights
from laion_dask.models.weights import fetching
from laion_dask.models.weights.listing import describe_weights

NAME = "sac+logos.pth"
CONTENT = bytes(range(256)) * 700  # fetched in three blocks
OTHER = bytes(len(CONTENT))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache and no other folder of weights."""
    monkeypatch.delenv("LAION_DASK_WEIGHTS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "laion_dask" / "weights"


@pytest.fixture
def publisher(monkeypatch):
    """A publisher whose certificate this process trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", str(weight_server.CERTIFICATE))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with weight_server.serving() as found:
        yield found


@pytest.fixture
def offer(publisher, monkeypatch):
    """``offer(answer)`` registers NAME with CONTENT as a file that the server answers that way."""

    def register(answer=None, name=NAME):
        file = publisher.offer(name, CONTENT, answer)
        monkeypatch.setitem(weights.REGISTRY, name, file)
        return file

    return register


def left(folder) -> list[str]:
    return sorted(os.listdir(folder)) if folder.exists() else []


@pytest.mark.parametrize("name", weights.REGISTRY)
def test_the_registry_says_what_the_published_files_are(shared, name):
    file = weights.REGISTRY[name]
    path = shared / "weights" / name
    if file.sha256 is None:
        assert not path.exists() and file.n_bytes is None and not file.can_be_fetched
        return
    assert (path.stat().st_size, weights.sha256_of(path)) == (file.n_bytes, file.sha256)


def test_addresses_are_https_and_quoted():
    for file in weights.REGISTRY.values():
        assert file.address is None or re.fullmatch(r"https://github\.com/[\w./%-]+", file.address)
        assert file.address or ("prompts.p" in file.instead and not file.can_be_fetched)
    assert weights.REGISTRY["sac+logos+ava1-l14-linearMSE.pth"].address == (
        "https://github.com/christophschuhmann/improved-aesthetic-predictor/raw/main/"
        "sac%2Blogos%2Bava1-l14-linearMSE.pth"
    )


def test_nothing_is_fetched_unasked(offer, publisher, cache):
    offer()
    with pytest.raises(WeightsError) as missing:
        weights.find(NAME)
    for part in (NAME, str(cache), publisher.address, "%2B", "models --download", "download=True"):
        assert part in str(missing.value)
    with ld.set_options(download=True), pytest.raises(WeightsError, match="not found"):
        weights.find(NAME, download=False)
    assert publisher.asked == 0 and left(cache) == []


@pytest.mark.parametrize("how", ["argument", "function", "option"])
def test_it_is_fetched_where_the_user_allows_it(offer, publisher, cache, how):
    offer()
    if how == "argument":
        path = weights.find(NAME, download=True)
    elif how == "function":
        path = weights.download(NAME)
    else:
        with ld.set_options(download=True):
            path = weights.find(NAME)
    assert path == cache / NAME and path.read_bytes() == CONTENT and left(cache) == [NAME]
    assert weights.find(NAME) == weights.download(NAME) == path and publisher.asked == 1


def test_the_named_folder_comes_first_and_is_never_written(offer, cache, tmp_path, monkeypatch):
    offer()
    named = tmp_path / "named"
    named.mkdir()
    monkeypatch.setenv("LAION_DASK_WEIGHTS", str(named))
    assert weights.download(NAME) == cache / NAME and left(named) == []
    (named / NAME).write_bytes(OTHER)
    with pytest.raises(WeightsError, match="truncated or altered"):
        weights.download(NAME)
    (named / NAME).write_bytes(CONTENT)
    assert weights.find(NAME) == named / NAME


def test_an_altered_copy_in_the_cache_is_refused_or_replaced(offer, cache):
    offer()
    cache.mkdir(parents=True)
    (cache / NAME).write_bytes(CONTENT[:-1])
    with pytest.raises(WeightsError, match=rf"{len(CONTENT) - 1} bytes.*truncated or altered"):
        weights.find(NAME)
    assert weights.download(NAME).read_bytes() == CONTENT and left(cache) == [NAME]


def test_what_has_no_address_or_no_digest_is_not_fetched(cache):
    cache.mkdir(parents=True)
    with pytest.raises(WeightsError, match=r"convert it once: numpy\.save\('q16_prompts_vit_b_32"):
        weights.download("q16_prompts_vit_b_32.npy")
    (cache / "h14_nsfw.pth").write_bytes(b"anything")
    for name in ("h14_nsfw.pth", "watermark_model_v1.pt"):
        with pytest.raises(WeightsError, match=r"digest of .* is not known .* weights="):
            weights.download(name)  # a copy in the cache is not used either
    with pytest.raises(WeightsError, match=r"Did you mean 'h14_nsfw.pth'"):
        weights.find("h14_nsfw")
    with pytest.raises(OptionError, match="Expected True or False"):
        weights.find("h14_nsfw.pth", download="yes")
    with pytest.raises(OptionError, match="download"):
        ld.set_options(download="yes")


PAGE = b"<!DOCTYPE html><html><title>Sign in</title>" + bytes(len(CONTENT))
DIGESTS = r"sha256 [0-9a-f]{12}….*sha256 [0-9a-f]{12}…"

ODD_ANSWERS = {
    "truncated": (weight_server.whole(CONTENT[:-9], len(CONTENT)), rf"179191 bytes with {DIGESTS}"),
    "altered": (weight_server.whole(OTHER), rf"179200 bytes with {DIGESTS}"),
    "empty": (weight_server.whole(b""), rf" 0 bytes with {DIGESTS}"),
    "too long": (weight_server.whole(CONTENT + b"!"), r"more than 179200 bytes.*sha256"),
    "endless": (weight_server.endless(CONTENT), "more than 179200 bytes"),
    "a page": (weight_server.whole(PAGE), "answered with a web page"),
    "nothing": (weight_server.status(404), "Not Found"),
    "to http": (weight_server.status(302, "http://127.0.0.1/x"), "only https is followed"),
    "to a file": (weight_server.status(302, "file:///etc/hostname"), "is not allowed"),
    "to ftp": (weight_server.status(302, "ftp://127.0.0.1/x"), "only https is followed"),
    "to itself": (weight_server.status(302, "/sac%2Blogos.pth"), "infinite loop"),
}


@pytest.mark.parametrize(("answer", "said"), ODD_ANSWERS.values(), ids=ODD_ANSWERS)
def test_what_is_not_the_published_file_is_refused_and_leaves_nothing(offer, cache, answer, said):
    file = offer(answer)
    with pytest.raises(WeightsError, match=said) as refused:
        weights.download(NAME)
    assert file.address in str(refused.value) and NAME in str(refused.value)
    assert left(cache) == []


def test_a_redirect_to_https_is_followed(offer, publisher, cache):
    publisher.answers["/moved"] = weight_server.whole(CONTENT)
    offer(weight_server.status(302, publisher.address + "/moved", then=weight_server.endless(b"!")))
    assert weights.download(NAME).read_bytes() == CONTENT


def test_only_https_and_only_from_whom_we_trust(offer, cache, monkeypatch):
    file = offer()
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull)
    with pytest.raises(WeightsError, match="CERTIFICATE_VERIFY_FAILED"):
        weights.download(NAME)
    for scheme in ("http://127.0.0.1:1/", "file://", "data:,"):
        plain = weights.PublishedFile(NAME, *(["x"] * 3), scheme + "x", 1, file.sha256)
        monkeypatch.setitem(weights.REGISTRY, NAME, plain)
        with pytest.raises(WeightsError, match="unknown url type"):
            weights.download(NAME)
    assert left(cache) == []


def test_a_publisher_that_falls_silent_is_given_up(offer, cache, monkeypatch):
    waited = threading.Event()
    monkeypatch.setattr(fetching, "SILENCE", 0.3)
    offer(weight_server.in_halves(CONTENT, lambda: waited.wait(60)))
    with pytest.raises(WeightsError, match="timed out"):
        weights.download(NAME)
    waited.set()
    assert left(cache) == []


def test_a_publisher_that_trickles_is_given_up(offer, cache, monkeypatch):
    monkeypatch.setattr(fetching, "SILENCE", 0.5)
    monkeypatch.setattr(fetching, "SLOWEST_BYTES_PER_SECOND", 1e9)
    offer(weight_server.endless(b"!", pause=0.05))
    with pytest.raises(WeightsError, match="too slow"):
        weights.download(NAME)
    assert left(cache) == []


@pytest.mark.parametrize("watched", [False, True])
def test_it_can_be_cancelled(offer, cache, monkeypatch, watched):
    monkeypatch.setattr(fetching, "is_watched", lambda: watched)

    def interrupt():
        while not any(file.stat().st_size for file in cache.glob(".*.partial")):
            time.sleep(0.01)  # until the first half is written and the second is awaited
        os.kill(os.getpid(), signal.SIGINT)

    offer(weight_server.in_halves(CONTENT, interrupt))
    with pytest.raises(KeyboardInterrupt):
        weights.download(NAME)
    assert left(cache) == []


def test_a_folder_that_cannot_be_written_to(offer, cache):
    offer()
    cache.parent.mkdir(parents=True)
    cache.write_bytes(b"")
    with pytest.raises(WeightsError, match=r"could not be downloaded .* into"):
        weights.download(NAME)


def test_two_processes_may_fetch_at_once(publisher, cache):
    both = threading.Barrier(2, timeout=250)
    file = publisher.offer(NAME, CONTENT, weight_server.in_halves(CONTENT, both.wait))
    script = f"""
from laion_dask.models import weights
weights.REGISTRY[{NAME!r}] = weights.PublishedFile(*{tuple(vars(file).values())!r})
print(weights.sha256_of(weights.download({NAME!r})) == {file.sha256!r})
"""
    running = [
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) for _ in range(2)
    ]
    assert [process.communicate(timeout=280)[0] for process in running] == [b"True\n"] * 2
    assert publisher.asked == 2 and left(cache) == [NAME]


def test_a_head_is_fetched_by_its_name(publisher, cache, shared, monkeypatch):
    name = "sa_0_4_vit_b_32_linear.pth"
    file = publisher.offer(name, (shared / "weights" / name).read_bytes())
    assert file.sha256 == weights.REGISTRY[name].sha256
    monkeypatch.setitem(weights.REGISTRY, name, file)
    with ld.set_options(download=True):
        head = ld.heads.aesthetic("ViT-B-32")
    assert head.weights == str(cache / name)
    assert head.predict(np.ones((2, 512), np.float32)).shape == (2,)


def test_the_table_says_where_each_file_is(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("LAION_DASK_WEIGHTS", str(tmp_path))
    (tmp_path / "h14_nsfw.pth").write_bytes(b"anything")
    (tmp_path / "sa_0_4_vit_b_16_linear.pth").write_bytes(b"short")
    found = weights.table().set_index("name")
    assert list(found.index) == list(weights.REGISTRY)
    assert found.loc["sa_0_4_vit_b_16_linear.pth", "state"] == (
        f"altered: 5 bytes, sha256 f9b0078b5df5… in {tmp_path}"
    )
    assert found.loc["sa_0_4_vit_b_32_linear.pth", "state"] == "missing"
    assert found.loc["h14_nsfw.pth", "state"] == f"in {tmp_path}, not verified"
    assert found.loc["watermark_model_v1.pt", "state"] == "missing"
    assert found["address"].isna().sum() == 3 and found["bytes"].isna().sum() == 2


def test_the_table_finds_what_is_there(shared, monkeypatch):
    monkeypatch.setenv("LAION_DASK_WEIGHTS", str(shared / "weights"))
    found = weights.table().set_index("name")["state"]
    here = {name for name, file in weights.REGISTRY.items() if file.sha256}
    assert set(found.index[found == f"in {shared / 'weights'}"]) == here


def test_the_list_can_be_read_in_a_terminal(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME")
    lines = describe_weights().splitlines()
    assert max(map(len, lines)) <= 100
    assert all(any(name in line for line in lines) for name in weights.REGISTRY)
    assert any("~/.cache/laion_dask/weights" in line for line in lines)


def test_the_home_folder_may_be_written_as_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LAION_DASK_WEIGHTS", "~/x")
    assert weights.folders()[0] == tmp_path / "x"

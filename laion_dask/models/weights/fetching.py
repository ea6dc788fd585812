"""Download a published weight file: https only, verified, and renamed when complete."""

from __future__ import annotations

import hashlib
import http.client
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib import request
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from laion_dask.errors import WeightsError
from laion_dask.io.storage.atomic_file import partial, put
from laion_dask.models.weights.registry import PublishedFile
from laion_dask.options import is_watched
from laion_dask.runtime.progress import ProgressBar

#: A download fails after this many seconds without a byte, or below the rate that follows.
SILENCE = 30
SLOWEST_BYTES_PER_SECOND = 4096
_BLOCK = 1 << 16
_PAGE = (b"<!doctype", b"<html", b"<?xml")


@dataclass(frozen=True)
class _Offer:
    """A published file that can be downloaded and verified."""

    name: str
    address: str
    n_bytes: int
    sha256: str

    @classmethod
    def of(cls, published: PublishedFile) -> _Offer:
        address, n_bytes, sha256 = published.address, published.n_bytes, published.sha256
        assert address is not None and n_bytes is not None and sha256 is not None
        return cls(published.name, address, n_bytes, sha256)


def fetch(published: PublishedFile, folder: Path) -> Path:
    """Download a file into a folder, replacing an earlier one, and return its path. Eager.

    The file is written under a temporary name, verified and renamed, so two processes may download
    it at the same time, and a partial file is never visible. After any failure, or Ctrl-C, nothing
    remains. Shows progress after two seconds.

    Raises
    ------
    WeightsError
        When the folder is not writable, the publisher does not answer, or the response is not the
        published file.
    """
    offer = _Offer.of(published)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with partial(folder, published.name) as file, _open(offer.address) as answer:
            _copy(answer, file, offer)
            put(file, folder / published.name)
    except WeightsError:
        raise
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, HTTPError):
            error.close()
        reason = getattr(error, "reason", None) or error or type(error).__name__
        raise WeightsError(
            f"{published.name} could not be downloaded from {published.address} into {folder}: "
            f"{reason}. Try again, or copy the file there by other means."
        ) from error
    return folder / published.name


class _HttpsOnly(request.HTTPRedirectHandler):
    """Follows redirects to https only, without reading the body of the redirect."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        fp.close()
        if urlsplit(newurl).scheme != "https":
            raise URLError(f"it redirects to {newurl!r}, and only https is followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(address: str) -> http.client.HTTPResponse:
    opener = request.OpenerDirector()  # build_opener would add http, ftp, file and data
    for handler in (
        request.ProxyHandler(),
        request.HTTPSHandler(context=ssl.create_default_context()),
        _HttpsOnly(),
        request.HTTPDefaultErrorHandler(),
        request.HTTPErrorProcessor(),
        request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    http_request = request.Request(address, headers={"User-Agent": "laion_dask"})
    return opener.open(http_request, timeout=SILENCE)


def _copy(answer: http.client.HTTPResponse, file: BinaryIO, offer: _Offer) -> None:
    """Write a response to a file; raise as soon as it cannot be the published file."""
    n_bytes, digest = 0, hashlib.sha256()
    give_up = time.monotonic() + SILENCE + offer.n_bytes / SLOWEST_BYTES_PER_SECOND
    with ProgressBar(
        desc=offer.name,
        total=offer.n_bytes,
        unit="B",
        unit_scale=True,
        delay=2,
        leave=False,
        disable=not is_watched(),
    ) as bar:
        while block := answer.read1(_BLOCK):
            if n_bytes == 0 and block.lstrip().lower().startswith(_PAGE):
                raise _refused(offer, "a web page")
            n_bytes += len(block)
            if n_bytes > offer.n_bytes:
                raise _refused(offer, f"more than {offer.n_bytes} bytes")
            if time.monotonic() > give_up:
                raise TimeoutError("the transfer was too slow")
            digest.update(block)
            file.write(block)
            bar.update(len(block))
    if (n_bytes, digest.hexdigest()) != (offer.n_bytes, offer.sha256):
        raise _refused(offer, f"{n_bytes} bytes with sha256 {digest.hexdigest()[:12]}…")


def _refused(offer: _Offer, problem: str) -> WeightsError:
    return WeightsError(
        f"{offer.address} answered with {problem}. Expected {offer.name}: "
        f"{offer.n_bytes} bytes with sha256 {offer.sha256[:12]}…. Nothing was kept; try "
        "again, or copy the published file by other means."
    )

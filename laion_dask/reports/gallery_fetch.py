"""Fetch the images of a gallery that no local source has, when its call asks for it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pandas as pd

from laion_dask.errors import FetchWarning, warn_caller
from laion_dask.formatting import counted
from laion_dask.io.images.fetch_images import FetchedImage, fetch_images
from laion_dask.io.images.row_match import RowImage
from laion_dask.io.images.samples import URL_FIELDS, first_text

#: Columns with the sha256 of the image file of a row, as ``ld.embed`` and DataComp write them.
_DIGESTS = ("image_sha256", "sha256")


def fetch_missing(
    rows: pd.DataFrame, images: Sequence[RowImage | None], doubts: Sequence[str | None]
) -> list[FetchedImage | None]:
    """The images of rows that are known to be safe and have none; None for the other rows. Eager.

    An image that is not to be shown is not requested either. If the row has a digest, an image
    with another one is not used: hosts and owners of domains change.

    Parameters
    ----------
    rows : pandas.DataFrame
    images : sequence of RowImage or None
        The local images of the rows.
    doubts : sequence of str or None
        Why a row is not known to be safe.
    """
    wanted: dict[int, tuple[str, str | None]] = {}
    fetched: list[FetchedImage | None] = [None] * len(rows)
    for at, (_, row) in enumerate(rows.iterrows()):
        image, url = images[at], first_text(row, URL_FIELDS)
        if image is not None and image.data is not None:
            continue
        if doubts[at] is not None:
            fetched[at] = FetchedImage(None, f"not fetched: {doubts[at]}")
        elif url is None:
            fetched[at] = FetchedImage(None, "not fetched: no url")
        else:
            wanted[at] = (url, first_text(row, _DIGESTS))
    if wanted:
        warn_caller(
            f"fetch=True requests {counted(len(wanted), 'image')} from the web. The hosts learn "
            "this machine's address, and may send other images than those that were scored.",
            FetchWarning,
        )
    found = fetch_images([url for url, _ in wanted.values()])
    for (at, (_, digest)), answer in zip(wanted.items(), found, strict=True):
        fetched[at] = _checked(answer, digest)
    return fetched


def fetch_notes(fetched: Sequence[FetchedImage | None], n_unsafe: int) -> list[str]:
    """Notes on what was fetched, and what was not."""
    n = sum(image is not None and image.data is not None for image in fetched)
    notes = []
    if n:
        notes.append(
            f"{counted(n, 'image')} fetched from the web now. Where a row has no digest "
            "(image_sha256 or sha256) to compare, its host may have sent another image than the "
            "one that was scored."
        )
    if n_unsafe:
        notes.append(
            f"{counted(n_unsafe, 'image')} not fetched, since the rows are not known to be safe. "
            "Fetch and show all with reveal=True."
        )
    return notes


def _checked(image: FetchedImage, digest: str | None) -> FetchedImage:
    if image.data is None:
        return FetchedImage(None, f"not fetched: {image.reason}")
    if digest is not None and hashlib.sha256(image.data).hexdigest() != digest.lower():
        return FetchedImage(None, "not shown: its url now has another image")
    return image

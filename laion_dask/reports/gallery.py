"""A page of images with captions: local files only, blurred unless known to be safe."""

from __future__ import annotations

import base64
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from laion_dask.backend import to_pandas
from laion_dask.errors import ColumnError, OptionError, did_you_mean
from laion_dask.io.images.fetch_images import FetchedImage
from laion_dask.io.images.images import Images
from laion_dask.io.images.row_match import Match, RowImage
from laion_dask.io.images.thumbnails import doubt, shared_thumbnails
from laion_dask.reports.environment import render
from laion_dask.reports.gallery_fetch import fetch_missing, fetch_notes

#: Maximum width and height of an image on the page, in pixels.
SIDE = 144


@dataclass(frozen=True)
class Gallery:
    """Images and captions as self-contained HTML."""

    html: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return f"Gallery({self.html.count('<figure>')} images)"


def gallery(
    rows: pd.DataFrame,
    images: Images | None = None,
    *,
    n: int = 24,
    facts: Sequence[str] = (),
    safety: str = "punsafe",
    reveal: bool = False,
    fetch: bool = False,
) -> Gallery:
    """A page of the first rows of a computed frame: images, or cards of text. Eager.

    Nothing is downloaded unless this call says so: images come from archives, Parquet files or
    folders. An image whose safety score is missing, invalid or at least 0.5 is blurred before it is
    embedded, so that the page does not contain the original; its card gives the reason. Images are
    decoded, and encoded again without their metadata, in a process with limits. A card without an
    image shows the ``url`` of the row. An image whose name matches a row, but whose digest or url
    differs, is not shown (`Images.read_rows`). Captions and addresses are escaped.

    Parameters
    ----------
    rows : pandas.DataFrame, or cuDF's
        Needs ``key`` or ``image_path`` if images are given; ``text``, ``caption`` or ``TEXT`` is
        the caption.
    images : Images, optional
        From `open_images`. Without images, each card shows the caption and ``url``.
    n : int
        Number of rows, from the start.
    facts : sequence of str
        Columns whose values are printed below each image.
    safety : str
        The column with the probability that an image is unsafe.
    reveal : bool
        Show every image unblurred. It has to be passed in every call.
    fetch : bool
        Fetch the images that ``images`` does not have from their urls, with a `FetchWarning`; it
        has to be passed in every call. Only rows that are known to be safe are requested (or all,
        with ``reveal=True``), over http or https, from hosts on the public web, with limits on
        bytes, pixels, time and redirects. Images whose owner refuses (``X-Robots-Tag: noai``), or
        whose digest is not that of the row, are not shown; the card says why.

    Raises
    ------
    ColumnError
        When images are given but the rows have neither ``key`` nor ``image_path``, or a fact is
        not a column.
    OptionError
        When ``rows`` is not a DataFrame, or ``images`` is a path.
    ImageError
        When a key or path matches several images.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> ld.gallery(frame.head(), ld.open_images("demo-corpus/images"), facts=["similarity"])
    Gallery(5 images)
    """
    if isinstance(images, (str, os.PathLike)):
        raise OptionError(
            f"images is {os.fspath(images)!r}. Expected what ld.open_images({os.fspath(images)!r}) "
            "returns."
        )
    if getattr(rows, "ndim", 0) != 2 or not hasattr(rows, "head"):
        raise OptionError(
            f"rows is a {type(rows).__name__}. Expected a DataFrame of rows, such as "
            "frame.laion.search(...) or frame.head() returns."
        )
    rows = to_pandas(rows.head(n))
    missing = next((fact for fact in facts if fact not in rows.columns), None)
    if missing is not None:
        raise ColumnError(
            f"facts names a column {missing!r} that the rows do not have."
            f"{did_you_mean(missing, rows.columns)}"
        )
    pictures = [None] * len(rows) if images is None else images.read_rows(rows)
    doubts = [None if reveal else _why_blurred(row, safety) for _, row in rows.iterrows()]
    fetched = fetch_missing(rows, pictures, doubts) if fetch else [None] * len(rows)
    figures = [
        _figure(row, image if new is None else new, facts, why)
        for (_, row), image, new, why in zip(
            rows.iterrows(), pictures, fetched, doubts, strict=True
        )
    ]
    notes = [] if fetch and images is None else _notes(rows, images, pictures, safety, reveal)
    if fetch:
        n_unsafe = sum(
            new is not None and why is not None for new, why in zip(fetched, doubts, strict=True)
        )
        notes += fetch_notes(fetched, n_unsafe)
    return Gallery(str(render("gallery", notes=notes, figures=figures)))


def _notes(rows: pd.DataFrame, images, pictures: list, safety: str, reveal: bool) -> list[str]:
    """Notes on what is missing from the page, and how to get it."""
    if not len(rows):
        return []
    if images is None:
        return [
            "No images were given. If you have them: ld.gallery(rows, "
            "ld.open_images('folder')). If not, download the urls of these rows with img2dataset "
            "and open its output, or look at a few with fetch=True."
        ]
    shown = sum(image.data is not None for image in pictures)
    notes = _match_notes(Counter(image.match for image in pictures), len(rows), images)
    if not shown and not notes:
        notes.append(
            f"None of these rows has an image in {images!r}. Open the source of these rows."
        )
    if shown and not reveal and safety not in rows.columns:
        notes.append(
            f"Every image is blurred, since the rows have no column {safety!r}. Score them with "
            "the head ld.heads.nsfw, name another column with safety=, or show all with "
            "reveal=True."
        )
    return notes


def _match_notes(matches: Counter, n_rows: int, images: Images) -> list[str]:
    """Notes on images that belong, or may belong, to other rows."""
    notes = []
    if n := matches[Match.OTHER]:
        notes.append(
            f"For {n} of these {n_rows} rows, the image of that name in {images!r} has a different "
            "digest or url: it belongs to another row or has changed since, and is not shown. Open "
            "every source that the rows come from: ld.open_images([…, …])."
        )
    if n := matches[Match.SHARED]:
        notes.append(
            f"{n} of these {n_rows} rows share an image name with a row of another shard, and no "
            "digest or url tells which row the image belongs to, so it is not shown. Also read the "
            "column image_sha256 or url, or show the rows of one source at a time."
        )
    if n := matches[Match.NAME]:
        notes.append(
            f"For {n} of these {n_rows} rows, the image was matched only by its name, since there "
            "is neither a digest (image_sha256, which ld.embed writes) nor a url to compare. Make "
            f"sure that the rows belong to {images!r}: other sources may reuse image names."
        )
    return notes


def _why_blurred(row: pd.Series, safety: str) -> str | None:
    """The reason why a row is not known to be safe, or None."""
    if safety not in row.index:
        return f"no column {safety}"
    reason = doubt(row[safety])
    return reason and f"{safety} {reason}"


class _Figure(NamedTuple):
    """The data of one row that the template displays.

    ``jpeg`` is base64; it is empty if there is no image to show, and ``instead`` says why.
    """

    caption: object
    jpeg: str
    instead: str
    doubt: str | None
    facts: list[tuple[str, object]]
    has_url: bool
    url: object


def _figure(
    row: pd.Series,
    image: RowImage | FetchedImage | None,
    facts: Sequence[str],
    doubt: str | None,
) -> _Figure:
    jpeg, instead = ("", "") if image is None else _picture(image, doubt)
    url = row.get("url", row.get("URL"))
    return _Figure(
        caption=next((row[c] for c in ("text", "caption", "TEXT") if c in row.index), None),
        jpeg=jpeg,
        instead=instead,
        doubt=doubt,
        facts=[(fact, _fact(row[fact])) for fact in facts],
        has_url=url is not None and (image is None or image.data is None),
        url=url,
    )


def _fact(value: object) -> object:
    is_finite = isinstance(value, (float, np.floating)) and np.isfinite(value)
    return f"{value:.3f}" if is_finite else value


def _picture(image: RowImage | FetchedImage, reason: str | None) -> tuple[str, str]:
    """A thumbnail as base64, blurred if its row is in doubt; or the reason why there is none."""
    if image.data is None:
        return "", image.match.value if isinstance(image, RowImage) else image.reason
    thumbnail = shared_thumbnails().make(image.data, blurred=reason is not None, side=SIDE)
    if thumbnail.reason:
        return "", f"not readable: {thumbnail.reason}"
    return base64.b64encode(thumbnail.jpeg).decode(), ""

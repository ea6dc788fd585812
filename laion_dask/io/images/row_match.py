"""Decide whether an image belongs to a row.

Keys and paths identify an image within one source. Two sources, such as two splits of a data set or
two runs of img2dataset, use the same names, so a frame that combines both needs more than a name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

import pandas as pd

from laion_dask.display.overview import Displayed
from laion_dask.errors import ImageError
from laion_dask.io.images.samples import CAPTION_FIELDS, URL_FIELDS, SupportsGet, first_text
from laion_dask.io.images.shards import Shard


class Match(Enum):
    """The reason why an image was accepted for a row, or why the row has none."""

    DIGEST = "its digest equals that of the row"
    URL = "its url equals that of the row"
    NAME = "only its name matches"
    ABSENT = "no image"
    OTHER = "another row's image"
    SHARED = "two rows share its name"


@dataclass(frozen=True)
class ImageLocation:
    """The position of an image: its shard, and the argument of the shard's ``fetch``."""

    shard: Shard
    location: object

    def read(self) -> bytes | None:
        """The image file; None if it is truncated or over the limit."""
        return self.shard.fetch(self.location)

    def url(self) -> str | None:
        """The url in the JSON fields of its sample."""
        return self.shard.url(self.location)


@dataclass(frozen=True)
class RowImage(Displayed):
    """The image file of one row.

    Attributes
    ----------
    data : bytes or None
    match : Match
    location : ImageLocation or None
    """

    data: bytes | None = field(repr=False)
    match: Match
    location: ImageLocation | None = field(default=None, repr=False)


def row_image(
    key: str, row: SupportsGet, candidates: Sequence[ImageLocation], *, by_name: bool = True
) -> RowImage:
    """Choose the image of a row among candidates.

    Parameters
    ----------
    key : str
    row : mapping or Series
        Column → value. With ``image_sha256``, the image file must have that digest. Otherwise, if
        both the row and the image's sample have a url, the two must be equal.
    candidates : sequence of ImageLocation
    by_name : bool
        Whether to accept an image by name if there is nothing to compare.

    Raises
    ------
    ImageError
        When several images may belong to the row.
    """
    digest, url = first_text(row, ("image_sha256",)), first_text(row, URL_FIELDS)
    if digest:
        return _match_digest(digest.lower(), candidates)
    urls = [candidate.url() if url else None for candidate in candidates]
    same = [
        candidate
        for candidate, image_url in zip(candidates, urls, strict=True)
        if image_url and image_url == url
    ]
    unknown = [
        p for p, image_url in zip(candidates, urls, strict=True) if image_url is None and by_name
    ]
    chosen, match = (same, Match.URL) if same else (unknown, Match.NAME)
    if len(chosen) > 1:
        raise several_images_error(key, chosen)
    if not chosen:
        return RowImage(None, Match.OTHER if candidates else Match.ABSENT)
    data = chosen[0].read()
    return RowImage(data, match if data is not None else Match.ABSENT, chosen[0])


def several_images_error(key: str, candidates: Sequence[ImageLocation]) -> ImageError:
    """The error for a name that several images share."""
    names = list(dict.fromkeys(candidate.shard.name for candidate in candidates))
    return ImageError(
        f"{key!r} matches {len(candidates)} images, in {', '.join(names[:3])}. Expected one: give "
        "the full image_path that embed writes, or open only the files that you mean."
    )


def withhold_shared(rows: pd.DataFrame, images: Sequence[RowImage]) -> list[RowImage]:
    """The images, except those that rows of different shards share by name.

    Rows of one shard may share an image, for example if it has several captions. Rows with the same
    url and caption may also share one, for example if two overlapping subsets are read together.
    Images verified by a digest are kept. Without a column ``shard``, no image is withheld.
    """
    if "shard" not in rows.columns:
        return list(images)
    shards: dict[ImageLocation, set] = {}
    contents: dict[ImageLocation, set] = {}
    for image, (_, row) in zip(images, rows.iterrows(), strict=True):
        if image.location is not None and not pd.isna(row["shard"]):
            shards.setdefault(image.location, set()).add(row["shard"])
            url, caption = first_text(row, URL_FIELDS), first_text(row, CAPTION_FIELDS)
            contents.setdefault(image.location, set()).add((url, caption))

    def is_shared(image: RowImage) -> bool:
        if image.data is None or image.match is Match.DIGEST or image.location not in shards:
            return False
        one_row = len(contents[image.location]) == 1 and image.match is Match.URL
        return len(shards[image.location]) > 1 and not one_row

    return [
        replace(image, data=None, match=Match.SHARED) if is_shared(image) else image
        for image in images
    ]


def _match_digest(digest: str, candidates: Iterable[ImageLocation]) -> RowImage:
    match = Match.ABSENT
    for candidate in candidates:
        data = candidate.read()
        if data is not None:
            if hashlib.sha256(data).hexdigest() == digest:
                return RowImage(data, Match.DIGEST, candidate)
            match = Match.OTHER
    return RowImage(None, match)

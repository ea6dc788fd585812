"""Whether an image is a row's own: by its digest, or by what lies beside it.

Keys and paths name an image within one source. Two sources, such as two splits of a data set or
two runs of img2dataset, use the same ones, so a frame of both needs more than a name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum

import pandas as pd

from laion_dask.errors import ImageError
from laion_dask.io.image_shards import Shard
from laion_dask.io.samples import CAPTION_FIELDS, Sample

#: Why a row has no picture.
ABSENT = "no image"
OTHER = "another row's image"

_URLS = ("url", "URL")


class _Match(IntEnum):
    """What says that a sample is a row's, the surest last."""

    OTHER = 0
    UNKNOWN = 1
    CAPTION = 2
    URL = 3


@dataclass(frozen=True)
class RowImage:
    """The image file of one row.

    Attributes
    ----------
    data : bytes or None
    why : str or None
        Why there is none: ``"no image"``, or ``"another row's image"``.
    verified : bool
        Whether its digest or its url is the row's; many images may have one caption.
    """

    data: bytes | None
    why: str | None = None
    verified: bool = True


def row_image(key: str, row: Mapping, found: list[tuple[Shard, object]]) -> RowImage:
    """The image among those of one name that is this row's.

    Parameters
    ----------
    key : str
    row : mapping
        Column → value. With ``image_sha256``, the image file must have that digest. Else, where
        both the row and the sample of the image have a url, these must be equal; and where one of
        them has none, their captions, if both have one.
    found : list of (Shard, place)

    Raises
    ------
    ImageError
        When several images may be the row's.
    """
    if not found:
        return RowImage(None, ABSENT)
    expected = _known(row, ("image_sha256",))
    if expected:
        return _of_digest(expected, found)
    matches = [_match(row, shard.describe(place)) for shard, place in found]
    best = max(matches)
    if best is _Match.OTHER:
        return RowImage(None, OTHER)
    own = [each for each, match in zip(found, matches, strict=True) if match is best]
    if len(own) > 1:
        raise several(key, own)
    shard, place = own[0]
    data = shard.fetch(place)
    return RowImage(data, ABSENT if data is None else None, verified=best is _Match.URL)


def several(key: str, found: Iterable[tuple[Shard, object]]) -> ImageError:
    """The error for a name that several images have."""
    found = list(found)
    names = list(dict.fromkeys(shard.name for shard, _ in found))
    return ImageError(
        f"{key!r} stands for {len(found)} images, in {', '.join(names[:3])}. Expected one: "
        "ask by the image_path that embed writes, or open only the files that are meant."
    )


def check_unlike(keys: Iterable[str], rows: pd.DataFrame, images: Iterable[RowImage]) -> None:
    """Raise where two rows were given one image, and nothing tells whose it is.

    Raises
    ------
    ImageError
        For rows of different ``shard`` or ``row``.
    """
    if not {"shard", "row"} <= set(rows.columns):
        return
    first: dict[str, tuple] = {}
    where = zip(rows["shard"].tolist(), rows["row"].tolist(), strict=True)
    for key, place, image in zip(keys, where, images, strict=True):
        unsure = image.data is not None and not image.verified
        if unsure and first.setdefault(key, place) != place:
            raise ImageError(
                f"Two rows have the name {key!r}: row {first[key][1]} of shard {first[key][0]} and "
                f"row {place[1]} of shard {place[0]}. One image has it, and neither a digest "
                "nor a url tells whose it is. Read the frame with the columns "
                "image_sha256 or url, or show the rows of one source at a time."
            )


def _of_digest(expected: str, found: list[tuple[Shard, object]]) -> RowImage:
    why = ABSENT
    for shard, place in found:
        data = shard.fetch(place)
        if data is not None:
            if hashlib.sha256(data).hexdigest() == expected.lower():
                return RowImage(data)
            why = OTHER
    return RowImage(None, why)


def _match(row: Mapping, sample: Sample) -> _Match:
    """Whether a sample is the row's."""
    ours, theirs = _known(row, _URLS), _known(sample.fields, _URLS)
    if ours and theirs:
        return _Match.URL if ours == theirs else _Match.OTHER
    captions = {_squeezed(row.get(name)) for name in CAPTION_FIELDS} - {None}
    said = {_squeezed(sample.fields.get(name)) for name in CAPTION_FIELDS}
    said = (said | {_squeezed(sample.caption)}) - {None}
    if not captions or not said:
        return _Match.UNKNOWN
    return _Match.OTHER if captions.isdisjoint(said) else _Match.CAPTION


def _known(values: Mapping, names: tuple[str, ...]) -> str | None:
    """The first of some values that is a text and not empty."""
    found = (values.get(name) for name in names)
    return next((value for value in found if isinstance(value, str) and value), None)


def _squeezed(value) -> str | None:
    """A caption as it is compared: white space at either end and between words does not count."""
    return " ".join(value.split()) or None if isinstance(value, str) else None

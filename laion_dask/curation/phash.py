"""Perceptual hashes of the images of rows."""

from __future__ import annotations

import os

import dask.dataframe as dd
import pandas as pd
import pyarrow as pa

from laion_dask.backend import Frame, frame_from_arrow, is_cudf, to_pandas
from laion_dask.cost import Cost, PlannedFrame
from laion_dask.errors import ColumnError, ImageError, OptionError, must_be
from laion_dask.extras import require_extra
from laion_dask.io.images.decoding import read_picture
from laion_dask.io.images.images import NAMES, Images, open_images
from laion_dask.io.images.samples import CAPTION_FIELDS, URL_FIELDS
from laion_dask.runtime import cancellation, graph

#: Columns that tell whether an image of a row's name is the row's.
_CHECKED = ("image_sha256", *URL_FIELDS, *CAPTION_FIELDS)


def phash(frame: dd.DataFrame, images: Images | str | os.PathLike, *, to: str = "phash"):
    """The frame with a column of perceptual hashes of its rows' images. Lazy.

    The hash is `imagehash.phash`, of 64 bits: the signs of the 8 by 8 lowest frequencies of the
    discrete cosine transform of the image in gray, at 32 by 32 pixels, against their median
    (Krawetz 2011). Images that look alike have hashes of which few bits differ, whatever their size
    and format; pass the column to `dedup` or `duplicates` with ``radius``.

    Images are found as by `Images.read_rows`, by ``image_path`` or ``key``, and checked against
    ``image_sha256`` or ``url``. Where neither is known, the name alone decides: names must then be
    different for all rows.

    Parameters
    ----------
    frame : dask DataFrame
        With ``image_path`` or ``key``, as `embed` and img2dataset write them.
    images : Images, or str or path
        From `open_images`, or what that opens.
    to : str
        The new column: text of 16 hexadecimal digits, null where the image is missing or broken.

    Raises
    ------
    ColumnError, OptionError, ImageError, ShardNotFoundError, MissingExtraError
        Immediately, when an argument or the frame does not fit.
    ImageError, ShardError
        During the computation, when several images may belong to a row, or the store fails.

    References
    ----------
    Krawetz, N. (2011). Looks like it. hackerfactor.com; as implemented by imagehash (J. Buchner).

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> hashed = frame.laion.phash(ld.open_images("demo-corpus/images"))
    >>> len(hashed.head(1)["phash"].iloc[0])
    16
    """
    require_extra("dedup", "A perceptual hash")
    must_be("to", to, str, "the new column's name")
    if to in frame.columns:
        raise OptionError(f"to is {to!r}, which is a column already. Choose another name.")
    names = [name for name in NAMES if name in frame.columns]
    if not names:
        raise ColumnError(
            f"The frame has neither {NAMES[0]!r} nor {NAMES[1]!r}, which identify an image; "
            f"ld.embed writes both, img2dataset the key. Available: {', '.join(frame.columns)}."
        )
    if isinstance(images, (str, os.PathLike)):
        images = open_images(images)
    must_be("images", images, Images, "what ld.open_images returns, or a path")
    reads = [*names, *(name for name in _CHECKED if name in frame.columns)]
    meta = _column(frame._meta, [], to)
    shared = graph.share(images)
    hashed = graph.map_columns(frame, _hashed, shared, to, reads=reads, meta=meta)
    return frame.assign(**{to: hashed[to]})


def phash_cost(frame: PlannedFrame) -> Cost:
    """The cost of `phash`, as that of embedding the images."""
    columns = tuple(name for name in (*NAMES, *_CHECKED) if name in frame.columns)
    note = "phash: the rate is that of embedding images, which decodes them too; omits their bytes"
    return Cost(("embed ViT-B-32",), columns=columns, notes=(note,))


def _hashed(part: Frame, images: Images, to: str) -> Frame:
    rows = to_pandas(part).reset_index(drop=True)
    hashes = []
    for number in range(len(rows)):
        cancellation.check()
        # One row at a time: whether an image is found does not depend on the other rows.
        (found,) = images.read_rows(rows.iloc[number : number + 1])
        hashes.append(hash_of(found.data))
    return _column(part, hashes, to)


def hash_of(data: bytes | None) -> str | None:
    """The perceptual hash of an image file, 16 hexadecimal digits; None if it is broken."""
    if data is None:
        return None
    import imagehash

    try:
        return str(imagehash.phash(read_picture(data)))
    except ImageError:
        return None


def _column(part: Frame, hashes: list[str | None], to: str) -> pd.DataFrame:
    table = pa.table({to: pa.array(hashes, pa.large_string())})
    result: pd.DataFrame = frame_from_arrow(table, "cudf" if is_cudf(part) else "pandas")
    result.index = part.index
    return result

"""Perceptual hashes of the images of rows."""

from __future__ import annotations

import os
from collections.abc import Iterator

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from dask.delayed import Delayed

from laion_dask.backend import Frame, frame_from_arrow, frame_to_arrow, is_cudf, to_pandas
from laion_dask.cost import Cost, PlannedFrame
from laion_dask.curation.bucket_pass import HASH, bucket_count, decide_in_buckets
from laion_dask.curation.row_table import (
    KEY,
    RowTable,
    row_keys,
    shard_and_row,
    shards_per_block,
)
from laion_dask.curation.row_writer import RowWriter
from laion_dask.errors import ColumnError, ImageError, OptionError, must_be
from laion_dask.extras import require_extra
from laion_dask.frame.exploded import refuse_exploded
from laion_dask.frame.provenance import Provenance
from laion_dask.io.images.decoding import read_picture
from laion_dask.io.images.images import NAMES, Images, open_images
from laion_dask.io.images.row_match import Match, RowImage
from laion_dask.io.images.samples import URL_FIELDS
from laion_dask.numerics.murmur3 import hashes_of
from laion_dask.runtime import cancellation, graph
from laion_dask.schema import PROVENANCE

_DIGEST = "image_sha256"
#: Columns that tell whether an image of a row's name is the row's.
_CHECKED = (_DIGEST, *URL_FIELDS)
#: Rows whose images are held at a time.
_ROWS = 16
_LOW, _SHARED = "low", "shared"
_RECORD = np.dtype([(HASH, "<u8"), (_LOW, "<u8"), (KEY, "<i8")])
_SCHEMA = pa.schema({_SHARED: pa.bool_()})


def phash(frame: dd.DataFrame, images: Images | str | os.PathLike, *, to: str = "phash"):
    """The frame with a column of perceptual hashes of its rows' images. Lazy.

    The hash is `imagehash.phash`, of 64 bits: the signs of the 8 by 8 lowest frequencies of the
    discrete cosine transform of the image in gray, at 32 by 32 pixels, against their median
    (Krawetz 2011). Images that look alike have hashes of which few bits differ, whatever their size
    and format; pass the column to `dedup` or `duplicates` with ``radius``.

    Images are found by ``image_path`` or ``key``, and checked against ``image_sha256``, or else
    ``url``. Where an image has neither, its name decides, unless rows of another shard have the
    same name, as rows of two data sets that img2dataset has numbered: the image may belong to any
    of them, so all of them get null. To tell them apart, give ``image_path`` or ``image_sha256``,
    as `embed` writes them, or hash each data set by itself. Without ``image_sha256``, names are
    compared in a pass of their own, which writes 24 bytes a row to Dask's ``temporary_directory``.

    Parameters
    ----------
    frame : dask DataFrame
        With ``image_path`` or ``key``, as `embed` and img2dataset write them.
    images : Images, or str or path
        From `open_images`, or what that opens.
    to : str
        The new column: text of 16 hexadecimal digits, null where the image is missing or broken,
        or may be another row's.

    Raises
    ------
    ColumnError, OptionError, ImageError, ShardNotFoundError, MissingExtraError, ProvenanceError
        Immediately, when an argument or the frame does not fit; without ``image_sha256``, rows need
        their ``shard`` and ``row``.
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
    refuse_exploded(frame, "phash")
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
    meta = _column(frame._meta, [], to)
    shared = graph.share(images)
    checked = [name for name in _CHECKED if name in frame.columns]
    reads = [*names, *checked]
    if _DIGEST in frame.columns:
        hashed = graph.map_columns(frame, _hashed, shared, to, reads=reads, meta=meta)
    else:
        table = _shared_names(frame, names)
        reads = list(dict.fromkeys([*reads, *PROVENANCE]))
        kernel = _hashed_unless_shared
        hashed = graph.map_columns(frame, kernel, shared, to, table, reads=reads, meta=meta)
    return frame.assign(**{to: hashed[to]})


def phash_cost(frame: PlannedFrame) -> Cost:
    """The cost of `phash`, as that of embedding the images."""
    columns = tuple(name for name in (*NAMES, *_CHECKED) if name in frame.columns)
    note = "phash: the rate is that of embedding images, which decodes them too; omits their bytes"
    return Cost(("embed ViT-B-32",), columns=columns, notes=(note,))


def _shared_names(frame: dd.DataFrame, names: list[str]) -> Delayed:
    """Which rows have a name that rows of other shards have too, as a `RowTable`. Lazy."""
    provenance = Provenance.of(frame)
    provenance.check_row_identity()
    writer = RowWriter.create(_SCHEMA, shards_per_block(provenance))
    return decide_in_buckets(
        frame[[*names, *PROVENANCE]],
        _records_of_names,
        _is_shared,
        writer,
        _RECORD,
        bucket_count(provenance),
        names,
    )


def _records_of_names(part: Frame, names: list[str]) -> np.ndarray:
    table = frame_to_arrow(part[names].reset_index(drop=True))
    chosen = pc.coalesce(*(table[name].cast(pa.large_string()) for name in names))
    keys, valid = row_keys(part)
    valid &= chosen.is_valid().to_numpy()
    records = np.empty(int(valid.sum()), _RECORD)
    hashes = hashes_of(chosen)[valid]
    records[HASH], records[_LOW], records[KEY] = hashes[:, 0], hashes[:, 1], keys[valid]
    return records


def _is_shared(records: np.ndarray, names: list[str]) -> tuple[np.ndarray, dict]:
    """The keys of rows, and whether rows of other shards have their name."""
    records = records[np.lexsort((records[KEY], records[_LOW], records[HASH]))]
    shard, _ = shard_and_row(records[KEY])
    same = (np.diff(records[HASH]) == 0) & (np.diff(records[_LOW]) == 0)
    group = np.append(0, np.cumsum(~same))[: len(records)]
    others = same & (np.diff(shard) != 0)
    shared = np.bincount(group[1:][others], minlength=len(records) + 1) > 0
    return np.ascontiguousarray(records[KEY]), {_SHARED: shared[group]}


def _hashed(part: Frame, images: Images, to: str) -> Frame:
    rows = to_pandas(part).reset_index(drop=True)
    return _column(part, [hash_of(one.data) for one in _images_of(rows, images)], to)


def _hashed_unless_shared(part: Frame, images: Images, to: str, table: RowTable) -> Frame:
    """As `_hashed`; null where only a name that rows of other shards share finds the image."""
    rows = to_pandas(part).reset_index(drop=True)
    keys, valid = row_keys(part)
    shared = table.lookup(np.where(valid, keys, -1))[_SHARED]
    withheld = pc.fill_null(shared, True).to_numpy()
    hashes = [
        None if is_withheld and one.match is Match.NAME else hash_of(one.data)
        for one, is_withheld in zip(_images_of(rows, images), withheld, strict=True)
    ]
    return _column(part, hashes, to)


def _images_of(rows: pd.DataFrame, images: Images) -> Iterator[RowImage]:
    """The image of each row, which does not depend on the other rows."""
    for start in range(0, len(rows), _ROWS):
        cancellation.check()
        yield from images.find_rows(rows.iloc[start : start + _ROWS])


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

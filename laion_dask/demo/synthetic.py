"""LAION-shaped shards of any size, sampled from the statistics that LAION published.

The corpus of a seed is an endless sequence of rows, generated in blocks of 25,000 that depend only
on (seed, subset, block). Shards are slices of it, so no row depends on the number of rows, the size
of a shard, or the process that writes it.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from laion_dask.demo.synthetic_rows import BLOCK, SCHEMA, SUBSETS, draw_block, draw_embeddings
from laion_dask.errors import ExportError, OptionError, one_of
from laion_dask.io.storage.atomic_file import committed


def write_laion_like(
    out: str | os.PathLike[str],
    n_rows: int,
    *,
    rows_per_shard: int = 500_000,
    seed: int = 0,
    subset: str = "laion2B-en",
    dim: int | None = None,
    progress: bool = False,
) -> list[Path]:
    """Write LAION-shaped metadata shards and, with ``dim``, embeddings beside them. Eager.

    Writes ``out/metadata/metadata_0000.parquet`` … with the columns of
    `synthetic_rows.SCHEMA` and, if ``dim`` is given, ``out/img_emb/img_emb_0000.npy`` …, laid out
    as by clip-retrieval: float16 of unit norm, (rows, dim), one row per metadata row. Each file is
    written atomically.

    Parameters
    ----------
    out : path
        The folder to write to; created if missing.
    n_rows : int
        Number of rows, at least 0. A smaller corpus is a prefix of a larger one.
    rows_per_shard : int
        Rows of every shard except the last.
    seed : int
        At least 0. Equal seeds give equal rows on every machine with the same NumPy.
    subset : {"laion2B-en", "laion2B-multi", "laion1B-nolang"}
        The subset whose published statistics are used.
    dim : int, optional
        Width of the embeddings: 512 for ViT-B/32, 768 for ViT-L/14. With None, no embeddings are
        written.
    progress : bool
        Show a progress bar over shards.

    Returns
    -------
    list of pathlib.Path
        The metadata shards, in order.

    Raises
    ------
    OptionError
        Before anything is written, when a count, seed or subset is out of range.
    ExportError
        Before anything is written, when the folder contains shards that this call would not
        replace.

    Notes
    -----
    Reproduced from published figures (``published.json``): the quantiles 5 %, 10 % … 95 % of WIDTH,
    HEIGHT and text length; the mean text length; the shares ``punsafe > 0.5`` and
    ``pwatermark > 0.8``; the shares of the eleven most common languages of laion2B-multi (25 others
    share the rest).

    *Sizes and lengths* use the inverse of the published distribution, interpolated in the normal
    score of the quantile. Above the 95 % quantile the tail is a power law: for sizes with exponent
    3, truncated at 20,000 pixels; for text with the exponent that yields the published mean,
    truncated at 4,000 characters. Below the 5 % quantile they go down to 64 pixels, 5 characters.

    *Width with height* is a Gaussian copula whose correlation is fitted to the published counts
    of images with both sides over 256, 512 and 1024 pixels: laion2B-en comes to 57.4, 20.3 and
    3.4 % for 57.6, 21.2 and 3.3 published, laion2B-multi to 57.2, 21.5 and 3.4 % for 59.0, 21.8
    and 2.6. laion1B-nolang has no such counts and borrows the correlation.

    Modeled, because nothing is published: similarity is the threshold of the collection plus a
    half-normal of scale 0.05; the shapes of punsafe and pwatermark around the published shares;
    words and domains follow Zipf's law (`zipf_text`), with English words first and invented words
    after them, in every language; only width and height depend on each other.

    *Missing values*: 0.1 % of WIDTH, HEIGHT and punsafe are null, and 0.1 % of similarity are NaN.
    LANGUAGE is null throughout laion1B-nolang.

    Examples
    --------
    >>> shards = write_laion_like("corpus", 1500, rows_per_shard=1000, dim=8)
    >>> [path.name for path in shards]
    ['metadata_0000.parquet', 'metadata_0001.parquet']
    """
    n_rows = _at_least("n_rows", n_rows, 0)
    rows_per_shard = _at_least("rows_per_shard", rows_per_shard, 1)
    seed = _at_least("seed", seed, 0)
    dim = None if dim is None else _at_least("dim", dim, 1)
    if subset not in SUBSETS:
        raise one_of("subset", subset, SUBSETS)
    starts = range(0, max(n_rows, 1), rows_per_shard)
    out = Path(out)
    metadata = [out / "metadata" / f"metadata_{i:04d}.parquet" for i in range(len(starts))]
    img_emb = [out / "img_emb" / f"img_emb_{i:04d}.npy" for i in range(len(starts) if dim else 0)]
    _refuse_strangers(out, {*metadata, *img_emb})
    for i in tqdm(range(len(starts)), unit="shard", disable=not progress):
        stop = min(starts[i] + rows_per_shard, n_rows)
        _write_metadata(metadata[i], seed, subset, starts[i], stop)
        if dim:
            _write_embeddings(img_emb[i], seed, subset, starts[i], stop, dim)
    return metadata


def _at_least(name: str, value: int, low: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = low - 1
    if number < low:
        raise OptionError(f"{name} is {value!r}. Expected a whole number of at least {low}.")
    return number


def _refuse_strangers(out: Path, expected: set[Path]) -> None:
    """Raise if a shard of another corpus would remain among the new ones."""
    existing = {*out.glob("metadata/*.parquet"), *out.glob("img_emb/*.npy")}
    if strangers := sorted(existing - expected):
        raise ExportError(
            f"{out} contains {len(strangers)} shard(s) that are not part of this corpus, the first "
            f"{strangers[0].relative_to(out)}. Expected none: a reader would mix the two. "
            "Choose an empty folder, or remove them."
        )


def _blocks(start: int, stop: int) -> Iterator[tuple[int, slice]]:
    """The blocks that contain rows ``start`` … ``stop``, and the slice of each."""
    for block in range(start // BLOCK, -(-stop // BLOCK)):
        first = block * BLOCK
        yield block, slice(max(start - first, 0), min(stop - first, BLOCK))


def _write_metadata(path: Path, seed: int, subset: str, start: int, stop: int) -> None:
    tables = [draw_block(seed, subset, block)[rows] for block, rows in _blocks(start, stop)]
    table = pa.concat_tables(tables) if tables else SCHEMA.empty_table()
    path.parent.mkdir(parents=True, exist_ok=True)
    with committed(path) as file:
        # The defaults of pyarrow (snappy, dictionaries, row groups of up to 1,048,576 rows), with
        # which clip-retrieval and pandas write LAION's metadata.
        pq.write_table(table, file)


def _write_embeddings(path: Path, seed: int, subset: str, start: int, stop: int, dim: int) -> None:
    header = {"descr": "<f2", "fortran_order": False, "shape": (stop - start, dim)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with committed(path) as file:
        np.lib.format.write_array_header_1_0(file, header)
        for block, rows in _blocks(start, stop):
            file.write(draw_embeddings(seed, subset, block, dim)[rows].tobytes())

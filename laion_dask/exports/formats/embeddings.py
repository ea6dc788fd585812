"""Parquet and, beside each part, the embeddings of its rows as ``.npy``, in their own dtype.

Row i of ``00000.npy`` belongs to row i of ``00000.parquet``. Several sets of embeddings are named:
``00000.img_emb.npy``, ``00000.text_emb.npy``. Embeddings of NaN are written as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from laion_dask.errors import OptionError, SchemaError, must_be
from laion_dask.exports.formats.base import Part, PartWriter, WrittenPart
from laion_dask.exports.formats.npy import npy_header
from laion_dask.exports.formats.parquet import write_parquet
from laion_dask.exports.formats.staged_files import StagedFile, StagingFolder
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.runtime import cancellation
from laion_dask.schema import PROVENANCE

#: Rows that are read at a time.
_BLOCK = 8192
_SET_NAME = re.compile(r"\w+")


@dataclass(frozen=True)
class EmbeddingWriter(PartWriter):
    staging: StagingFolder
    sets: tuple[tuple[str, Embeddings], ...]

    def write(self, part: Part) -> list[StagedFile]:
        staging = self.staging.of_attempt()
        files = [write_parquet(staging, f"{part.stem}.parquet", part.table)]
        shards, rows = (part.table[name].to_numpy() for name in PROVENANCE)
        for name, vectors in self.sets:
            files.append(_write_vectors(staging, part, name, vectors, shards, rows))
        return files

    def final_names(self, part: WrittenPart, n_parts: int) -> Sequence[str]:
        stem = f"{part.number:05d}"
        vectors = [f"{stem}.{name}.npy" if name else f"{stem}.npy" for name, _ in self.sets]
        return [f"{stem}.parquet", *vectors]


def _write_vectors(
    staging: StagingFolder,
    part: Part,
    name: str,
    vectors: Embeddings,
    shards: np.ndarray,
    rows: np.ndarray,
) -> StagedFile:
    suffix = f".{name}.npy" if name else ".npy"
    with staging.create(part.stem + suffix) as sink:
        sink.write(npy_header(np.dtype(vectors.dtype), (len(rows), vectors.dim)))
        ends = np.flatnonzero(np.diff(shards)) + 1
        for start, stop in zip([0, *ends], [*ends, len(rows)], strict=True):
            for at in range(start, stop, _BLOCK):
                cancellation.check()
                block = vectors.read(int(shards[at]), rows[at : min(at + _BLOCK, stop)])
                sink.write(np.ascontiguousarray(block, vectors.dtype).tobytes())
    return sink.staged


def open(
    staging: StagingFolder,
    schema: pa.Schema,
    *,
    embeddings: Embeddings | Mapping[str, Embeddings],
) -> EmbeddingWriter:
    """A writer of Parquet files and arrays.

    Parameters
    ----------
    staging : StagingFolder
    schema : pyarrow.Schema
    embeddings : Embeddings or mapping of str to Embeddings
        Paired with the frame's shards.

    Raises
    ------
    OptionError
        When ``embeddings`` are something else, or a name has other characters than letters, digits
        and underscores.
    SchemaError
        When the frame lacks the columns ``shard`` and ``row``.
    """
    if not set(PROVENANCE) <= set(schema.names):
        raise SchemaError(
            "The frame has no columns 'shard' and 'row', which tell the embeddings of a row. Keep "
            "them in the frame."
        )
    sets = dict(embeddings) if isinstance(embeddings, Mapping) else {"": embeddings}
    expected = "embeddings from open_embeddings, or a mapping of names to them"
    for name, one in sets.items():
        must_be("embeddings", one, Embeddings, expected)
        if isinstance(embeddings, Mapping) and not _SET_NAME.fullmatch(str(name)):
            raise OptionError(
                f"An embedding set has the name {name!r}. Expected letters, digits and "
                "underscores, since files are named by it."
            )
    if not sets:
        raise OptionError(f"No embeddings were given. Expected {expected}.")
    return EmbeddingWriter(staging, tuple(sets.items()))

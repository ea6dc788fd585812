"""What exact search reads: only the rows and columns it needs, each file once."""

from pathlib import Path

import dask
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.embeddings import pair
from support.frames import both
from support.searches import check, opened
from support.shards import refuse, vectors

from laion_dask.errors import ColumnError, OptionError
from laion_dask.io.embeddings import stored_rows
from laion_dask.io.embeddings.file import EmbeddingFile
from laion_dask.io.parquet.scan import Scan
from laion_dask.retrieval import search as searching

pytestmark = both


@pytest.mark.only_pandas
def test_parquet_is_read_only_for_what_was_found(small, monkeypatch, partitioning):
    frame, emb = opened(small)
    read = []
    before = Scan.__call__

    def spy(self, partition, columns):
        found = before(self, partition, columns)
        read.extend((piece.shard.index, tuple(columns), len(found)) for piece in partition.pieces)
        return found

    monkeypatch.setattr(Scan, "__call__", spy)
    monkeypatch.setattr(Scan, "read", refuse)
    frame.laion.search(emb, vectors(3, seed=9), 5, columns=[])
    assert read == []
    result = frame.laion.search(emb, small.images[2][4], 1, columns=["text"])
    assert [len(result), *read] == [1, (2, ("text", "shard", "row"), 1)]
    read.clear()
    filtered = frame.laion.where("width > 500")
    filtered.laion.search(emb, vectors(3, seed=9), 5, columns=[])
    assert {columns for _, columns, _ in read} == {("shard", "row")}


def test_embeddings_are_read_of_no_other_rows(small, monkeypatch):
    frame, emb = opened(small)
    kept = frame.laion.where("language == 'de'").compute()
    allowed = set(zip(kept["shard"], kept["row"], strict=True))
    names = {file.path: i for i, file in enumerate(pair(emb, frame).files)}
    read, before = set(), EmbeddingFile._read

    def spy(self, rows):
        read.update((names[self.path], int(row)) for row in rows)
        return before(self, rows)

    monkeypatch.setattr(EmbeddingFile, "_read", spy)
    frame.laion.search(emb, vectors(3, seed=9), 5, where="language == 'de'")
    assert read == allowed


@pytest.mark.only_pandas
@pytest.mark.parametrize("kind", ["parquet", "packed"])
def test_packed_embeddings_are_unpacked_no_more_often_for_many_queries(small, kind, monkeypatch):
    for i, x in enumerate(small.images):
        path = Path(f"{small.img_emb}/img_emb_{i}.npy")
        path.unlink()
        if kind == "packed":
            np.savez_compressed(path.with_suffix(".npz"), x=x)
        else:
            column = pa.array(x.tolist(), pa.list_(pa.float32()))
            pq.write_table(pa.table({"v": column}), path.with_suffix(".parquet"), row_group_size=9)
    frame, emb = opened(small)
    pieces = stored_rows._group if kind == "parquet" else stored_rows.unpacked
    monkeypatch.setattr(searching, "_QUERIES_PER_TASK", 4)
    read = []
    for m in (5, 200):
        pieces.cache_clear()
        queries = vectors(m, seed=9)
        with dask.config.set(scheduler="sync"):
            found = frame.laion.search(emb, queries, 3, columns=[])
        check(found, small.images, queries[:5], 3)
        read.append(pieces.cache_info().misses)
    assert read[1] <= read[0] + 8


@pytest.mark.only_pandas
def test_a_piece_is_asked_for_its_own_rows(small, monkeypatch):
    frame, emb = opened(small)
    asked, before = [], Scan.and_where

    def spy(self, predicate):
        asked.append(len(predicate.root.values))
        return before(self, predicate)

    monkeypatch.setattr(Scan, "and_where", spy)
    found = frame.laion.search(emb, vectors(20, seed=9), 5, columns=["text"])
    own = found.groupby("shard")["row"].nunique().tolist()
    assert asked == own


def test_the_frame_is_not_computed_before(small, no_compute):
    frame, emb = opened(small)
    with pytest.raises(AssertionError, match="should have been lazy"):
        frame.laion.search(emb, vectors(1, seed=9)[0])
    for wrong in ({"k": 0}, {"columns": ["nobody"]}, {"to": "text"}, {"where": "nobody > 1"}):
        with pytest.raises((OptionError, ColumnError)):
            frame.laion.search(emb, vectors(1, seed=9)[0], **wrong)

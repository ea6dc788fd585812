"""Search with an index: its candidates are scored exactly, and what it misses is missed."""

import pandas as pd
import pytest
from support.frames import both
from support.searches import Brute, brute, opened
from support.shards import npy, vectors

import laion_dask as ld
from laion_dask.errors import (
    PairingError,
)
from laion_dask.retrieval import approximate

pytestmark = both


@pytest.mark.parametrize("how", ["all", "where=", "mask"])
@pytest.mark.parametrize("k", [1, 7, 96, 200])
def test_by_an_index(small, how, k):
    frame, emb = opened(small)
    queries = vectors(5, seed=9)
    kept = frame[frame["width"].fillna(0) > 1500] if how == "mask" else frame
    options = {"where": "width > 1500"} if how == "where=" else {}
    index = Brute(small.images)
    wanted = kept.laion.search(emb, queries, k, **options)
    got = kept.laion.search(emb, queries, k, index=index, **options)
    assert "rows" in wanted.attrs and "rows" not in got.attrs
    wanted.attrs.clear()
    pd.testing.assert_frame_equal(got, wanted)
    asked = [n for n, _ in index.of]
    assert asked == sorted(set(asked)) and asked[0] == min(4 * k, 96)
    if how == "all":
        assert len(asked) == 1
    short = (got["query"].value_counts() < k).sum()
    assert got.attrs == {"short": short} and (short == 0 or k > 7)


def test_an_index_may_miss_rows_and_propose_directionless_ones(small):
    frame, emb = opened(small)
    query = vectors(1, seed=9)[0]
    best = brute(small.images, query, 3)
    index = Brute(small.images, miss=[best[0][:2]])
    npy(f"{small.img_emb}/img_emb_{best[1][0]}.npy", _zeroed(small.images, best[1]))
    got = frame.laion.search(emb, query, 1, index=index, columns=[])
    assert got[["shard", "row"]].to_numpy().tolist() == [list(best[2][:2])]


@pytest.mark.parametrize("held", [1, 40, 200])
def test_candidates_are_held_for_few_queries_at_a_time(small, held, monkeypatch):
    frame, emb = opened(small)
    queries = vectors(23, seed=9)
    wanted = frame.laion.search(emb, queries, 4, where="width > 1500")
    monkeypatch.setattr(approximate, "_MAX_CANDIDATES", held)
    index = Brute(small.images)
    got = frame.laion.search(emb, queries, 4, where="width > 1500", index=index)
    wanted.attrs.clear()
    assert got.attrs == {"short": 0}
    pd.testing.assert_frame_equal(got, wanted)
    assert all(n * m <= max(n, held) for n, m in index.of)
    first = sum(m for n, m in index.of if n == 16)
    assert first == 23 > sum(m for n, m in index.of if n == 64) > 0


def test_more_candidates_are_asked_for_up_to_a_bound(small, monkeypatch):
    frame, emb = opened(small)
    monkeypatch.setattr(approximate, "_PER_RESULT", 10)
    monkeypatch.setattr(approximate, "_PER_QUERY", 30)
    queries = vectors(6, seed=9)
    allowed = frame.laion.where("width > 1900").compute()
    allowed = set(zip(allowed["shard"], allowed["row"], strict=True))
    index = Brute(small.images)
    got = frame.laion.search(emb, queries, 2, where="width > 1900", index=index, columns=[])
    assert {n for n, _ in index.of} == {8, 30}
    short = 0
    for number, query in enumerate(queries):
        proposed = [row_id[:2] for row_id in brute(small.images, query, 8)]
        if len(allowed & set(proposed)) < 2:
            proposed = [row_id[:2] for row_id in brute(small.images, query, 30)]
        kept = [list(row_id) for row_id in proposed if row_id in allowed][:2]
        of_query = got[got["query"] == number]
        assert of_query[["shard", "row"]].to_numpy().tolist() == kept
        short += len(kept) < 2
    assert got.attrs == {"short": short} and 0 < short < 6
    index = Brute(small.images)
    frame.laion.search(emb, queries, 5, where="width > 1900", index=index, columns=[])
    assert {n for n, _ in index.of} == {20, 50}
    nothing = frame.laion.search(emb, queries, 5, where="width > 10000", index=index)
    assert len(nothing) == 0 and nothing.attrs == {"short": 6}


def test_the_short_are_counted_after_reordering(small):
    frame, emb = opened(small)
    query = vectors(3, seed=9)
    left = frame[(frame["shard"] == 0) & (frame["row"] < 5)]
    for k, short in ((5, 0), (6, 3)):
        rerank = ld.Rerank(emb, query, take=9)
        found = left.laion.search(emb, query, k, index=Brute(small.images), rerank=rerank)
        assert len(found) == 15 and found.attrs == {"short": short}


def _zeroed(images, row_id):
    x = images[row_id[0]].copy()
    x[row_id[1]] = 0
    return x


def test_an_index_of_other_embeddings_is_refused(small):
    frame, emb = opened(small)

    class Other(Brute):
        def check(self, embeddings):
            raise PairingError("other embeddings")

    with pytest.raises(PairingError):
        frame.laion.search(emb, vectors(1, seed=9)[0], index=Other(small.images))

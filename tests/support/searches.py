"""What the search tests share: a brute-force reference and an index that knows every row."""

import numpy as np

import laion_dask as ld
from support.shards import cosine

SIZES = (40, 0, 25, 31)


def opened(c, **options):
    return ld.read_shards(c.metadata, **options), ld.open_embeddings(c.img_emb, model=c.model)


def brute(images, query, k, allowed=None):
    """[(shard, row, cosine)] from a plain loop in float64; ties by (shard, row)."""
    matches = []
    for shard, x in enumerate(images):
        for row, one in enumerate(x):
            value = cosine(one, query)
            if not np.isnan(value) and (allowed is None or (shard, row) in allowed):
                matches.append((-value, shard, row))
    return [(shard, row, -value) for value, shard, row in sorted(matches)[:k]]


def check(result, images, queries, k, allowed=None, to="query_similarity"):
    """Compare a result with the loop: row IDs in order, ranks, and cosines to within 1e-7."""
    assert result.columns[:5].tolist() == ["query", "rank", to, "shard", "row"]
    for number, query in enumerate(queries):
        wanted = brute(images, query, k, allowed)
        got = result[result["query"] == number]
        assert got[["shard", "row"]].to_numpy().tolist() == [[s, r] for s, r, _ in wanted]
        assert got["rank"].tolist() == list(range(1, len(wanted) + 1))
        np.testing.assert_allclose(got[to], [c for _, _, c in wanted], atol=1e-7)


def unit_rows(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


class Brute:
    """An exhaustive index with the methods that `search` calls."""

    def __init__(self, images, miss=()):
        self._rows = [(s, r) for s, x in enumerate(images) for r in range(len(x))]
        self._x = unit_rows(np.concatenate(images).astype(np.float64))
        self._miss, self.of, self.checked = set(miss), [], None

    def check(self, embeddings):
        self.checked = embeddings

    def n_candidates(self, k):
        return 4 * k

    def candidates(self, queries, n):
        assert queries.dtype == np.float32 and self.checked is not None
        np.testing.assert_allclose(np.linalg.norm(queries, axis=1), 1, atol=1e-6)
        self.of.append((n, len(queries)))
        shard = np.full((len(queries), n), -1, np.int32)
        row = np.full((len(queries), n), -1, np.int64)
        for i, scores in enumerate(queries @ self._x.T):
            best = [j for j in np.argsort(-scores) if self._rows[j] not in self._miss][:n]
            at = np.array([self._rows[j] for j in best]).reshape(-1, 2)
            shard[i, : len(at)], row[i, : len(at)] = at[:, 0], at[:, 1]
        return shard, row

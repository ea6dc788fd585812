"""Edges that a person would choose, and the bin of each value against a loop."""

import numpy as np
import pytest

from laion_dask.explorer.bins import MAX_BINS, codes_of, edges_of

draw = np.random.default_rng(0)
COLUMNS = {
    "punsafe": draw.beta(0.3, 3, 5000).astype(np.float32),
    "similarity": draw.normal(0.32, 0.04, 5000),
    "aesthetic": draw.normal(5, 0.7, 5000).astype(np.float32),
    "width": np.exp(draw.normal(6, 0.8, 5000)).astype(np.int32),
    "outlier": np.append(draw.normal(0, 1, 5000), [1e30, -5e9]),
    "sentinel": np.append(draw.uniform(0, 1, 5000).astype(np.float32), np.float32(-999)),
    "huge": draw.integers(2**62, 2**63 - 1, 500),
    "unsigned": draw.integers(0, 2**64 - 1, 500, dtype=np.uint64),
    "tiny": draw.uniform(0, 1e-300, 500),
    "near": 1e15 + draw.uniform(0, 4, 500),
    "count": draw.integers(0, 5, 500).astype(np.int8),
    "one": np.full(3, -7.5),
    "none": np.empty(0, np.float32),
    "infinite": np.array([np.inf, -np.inf, np.nan]),
    "neighbors": np.array([1.0, np.nextafter(1, 2)]),
    "limits": np.array([np.finfo(float).max, -np.finfo(float).max]),
    "largest": np.array([-1.7e308, 1.7e308, 0.0]),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_edges_ascend_and_each_value_has_the_bin_between_its_edges(name):
    values = COLUMNS[name]
    edges, _ = edges_of(name, values)
    assert 2 <= len(edges) <= MAX_BINS + 1
    assert np.isfinite(edges).all() and (edges[1:] > edges[:-1]).all()
    codes = codes_of(values, edges, None)
    inner = edges[1:-1].astype(values.dtype) if values.dtype == np.float32 else edges[1:-1]
    for value, code in zip(values[-300:].tolist(), codes[-300:].tolist(), strict=True):
        expected = sum(value >= edge for edge in inner.tolist())
        assert code == (len(edges) - 1 if np.isnan(value) else expected)


def test_edges_are_round():
    assert edges_of("punsafe", COLUMNS["punsafe"])[0].tolist() == [k / 100 for k in range(101)]
    assert set(np.round(np.diff(edges_of("similarity", COLUMNS["similarity"])[0]), 9)) == {0.005}
    assert 0.3 in edges_of("similarity", COLUMNS["similarity"])[0]
    assert edges_of("count", COLUMNS["count"])[0].tolist() == [0, 1, 2, 3, 4, 5]
    edges, is_logarithmic = edges_of("width", COLUMNS["width"])
    assert is_logarithmic and {256, 512, 1024} <= set(edges.tolist())


def test_a_few_values_far_away_do_not_hide_the_others():
    for name in ("outlier", "sentinel"):
        edges, _ = edges_of(name, COLUMNS[name])
        counts = np.bincount(codes_of(COLUMNS[name], edges, None))
        assert (counts > 20).sum() > 20

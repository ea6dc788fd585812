"""Centroids by k-means, and the nearest centroid of each row."""

from __future__ import annotations

import numpy as np
import pytest
from support.clustered_shards import clustered_shards
from support.clustered_vectors import DIM, clustered, everything
from support.partitionings import read_combined
from support.shards import npy, space

import laion_dask as ld
from laion_dask.curation.clusters import chunks, lloyd, products
from laion_dask.curation.clusters.nearest import nearest_centroids
from laion_dask.curation.clusters.stages import Workspace, read_arrays, write_arrays
from laion_dask.errors import EmbeddingsError, ModelMismatchError, OptionError, SpillError
from laion_dask.numerics import int8_codes
from laion_dask.numerics.int8_codes import Products, encode


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return clustered_shards(tmp_path_factory.mktemp("clustered"))


def brute_force(x: np.ndarray, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    cosines = np.full((len(x), len(centroids)), np.nan)
    for i, row in enumerate(x.astype(np.float64)):
        for j, centroid in enumerate(centroids.astype(np.float64)):
            with np.errstate(invalid="ignore"):
                length = np.sqrt((row * row).sum()) * np.sqrt((centroid * centroid).sum())
            if np.isfinite(length) and length > 0:
                cosines[i, j] = (row * centroid).sum() / length
    scored = ~np.isnan(cosines).any(1)
    label = np.where(scored, np.nan_to_num(cosines).argmax(1), -1)
    return label, np.where(scored, cosines.max(1), np.nan)


@pytest.mark.parametrize("dim", [1, 5, DIM, 100])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_the_nearest_centroid_is_that_of_a_loop(dim, dtype, monkeypatch):
    monkeypatch.setattr(products, "TILE_COLUMNS", 8)
    monkeypatch.setattr("laion_dask.curation.clusters.nearest.TILE_ROWS", 50)
    rng = np.random.default_rng(dim)
    x = rng.standard_normal((120, dim)).astype(dtype)
    centroids = rng.standard_normal((21, dim)).astype(np.float32)
    x[0], x[1, 0], x[2, 0] = 0, np.nan, np.inf
    x[3] = centroids[4]
    centroids[9] = 2 * centroids[4]  # the same direction: the first one wins
    label, cosine = nearest_centroids(x, centroids)
    expected, expected_cosine = brute_force(x, centroids)
    assert label[:3].tolist() == [-1, -1, -1]
    np.testing.assert_allclose(cosine, expected_cosine, atol=3e-7)
    expected[expected == 9] = 4
    if dim > 1:  # with one dimension, many are equally near
        np.testing.assert_array_equal(label, expected)


def test_codes_bound_the_cosines_of_rows():
    x = np.random.default_rng(0).standard_normal((60, 40)).astype(np.float32)
    x[7] *= 1e-42  # subnormal numbers
    x[8] *= 1e36
    x[9] = 0
    x[10, 3] = 40  # one element far larger than the others
    codes = encode(x)
    assert codes.is_scored.tolist() == [row != 9 for row in range(60)]
    with np.errstate(invalid="ignore"):
        unit = x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
    found = Products(codes.codes).of(codes.codes, np.empty(3600, np.int32))
    np.testing.assert_array_equal(found, codes.codes.astype(int) @ codes.codes.astype(int).T)
    lost = codes.lost.astype(np.float64)
    bound = lost[:, None] * (1 + lost) + lost + int8_codes.ROUNDING
    unit[9] = 0
    wrong = np.abs(found * np.outer(codes.scale, codes.scale) - unit @ unit.T) > bound
    assert not wrong[codes.is_scored][:, codes.is_scored].any()


def test_products_without_torch_are_the_same(monkeypatch):
    codes = encode(clustered(50)).codes
    expected = Products(codes).of(codes, np.empty(2500, np.int32)).copy()
    monkeypatch.setattr(int8_codes, "_torch_codes", lambda codes: None)
    np.testing.assert_array_equal(Products(codes).of(codes, np.empty(2500, np.int32)), expected)


def test_centroids_do_not_depend_on_partitions_chunks_and_workers(data, monkeypatch):
    frame, emb = data
    first = frame.laion.kmeans(emb, 12, iterations=4, sample=200, seed=3)
    monkeypatch.setattr(chunks, "CHUNK", 64)
    monkeypatch.setattr(chunks, "BLOCK", 10)
    shuffled = frame.repartition(npartitions=7).sample(frac=1.0, random_state=1)
    for other in (frame, shuffled):
        again = other.laion.kmeans(emb, 12, iterations=4, sample=200, seed=3)
        assert again.centroids.tobytes() == first.centroids.tobytes()
        assert again.sizes.tolist() == first.sizes.tolist() and again.distance == first.distance
    assert frame.laion.kmeans(emb, 12, iterations=4, seed=4).distance != first.distance


def test_sizes_and_distance_are_those_of_a_loop(data):
    frame, emb = data
    clusters = frame.laion.kmeans(emb, 12, iterations=5)
    x = np.stack([vector for _, _, vector in everything(emb)])
    label, cosine = brute_force(x, clusters.centroids)
    assert clusters.sizes.tolist() == np.bincount(label, minlength=12).tolist()
    assert clusters.distance == pytest.approx(1 - cosine.mean(), abs=1e-8)
    assert clusters.sizes.sum() == len(x) == 500 - 6
    assert "12 x 16, 494 rows" in repr(clusters)


def test_the_objective_is_near_that_of_scikit_learn(tmp_path):
    from sklearn.cluster import KMeans

    n = 3000
    x = clustered(n).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    frame, emb = clustered_shards(tmp_path, (n,), dtype="float32")
    ours = frame.laion.kmeans(emb, 20, iterations=15).distance
    fitted = KMeans(20, n_init=1, max_iter=15, random_state=0).fit(x)
    centroids = fitted.cluster_centers_ / np.linalg.norm(
        fitted.cluster_centers_, axis=1, keepdims=True
    )
    theirs = 1 - (x @ centroids.T).max(1).mean()
    assert ours < 1.02 * theirs


def test_only_the_rows_of_the_frame_are_clustered(data):
    frame, emb = data
    few = frame.laion.where("width > 300")
    rows = few[["shard", "row"]].compute()
    identities = set(zip(rows["shard"], rows["row"], strict=True))
    scored = sum((shard, row) in identities for shard, row, _ in everything(emb))
    assert few.laion.kmeans(emb, 3, iterations=2).sizes.sum() == scored


def test_no_rows_and_fewer_rows_than_centroids(data, tmp_path):
    frame, emb = data
    none = frame.laion.where("width > 300 and width < 200").laion.kmeans(emb, 3)
    assert none.centroids.shape == (0, DIM) and np.isnan(none.distance)
    frame, emb = clustered_shards(tmp_path, (5,))
    few = frame.laion.kmeans(emb, 9)
    assert len(few.centroids) == 5 and few.distance == pytest.approx(0, abs=1e-6)


def test_equal_rows_leave_clusters_empty(tmp_path):
    frame, emb = clustered_shards(tmp_path, (40,))
    npy(tmp_path / "img_emb" / "img_emb_0000.npy", np.ones((40, DIM), np.float16))
    emb = ld.open_embeddings(tmp_path / "img_emb", model=space(tmp_path, DIM), like=frame)
    clusters = frame.laion.kmeans(emb, 4)
    assert sorted(clusters.sizes.tolist()) == [0, 0, 0, 40]


def test_an_empty_cluster_takes_half_of_the_largest():
    centroids = np.eye(3, 8, dtype=np.float32)
    sums = np.stack([2**31 * np.eye(1, 8, 4)[0] * 9, 2**31 * np.eye(1, 8, 5)[0], np.zeros(8)])
    new = lloyd._Sums(sums.astype(np.int64), np.array([9, 1, 0]))
    moved = lloyd._moved(centroids, new, 0, 0)
    assert moved[1].tolist() == np.eye(1, 8, 5)[0].tolist()
    assert 0.9 < moved[0] @ moved[2] < 0.99 and moved[0][4] > 0.95 and moved[2][4] > 0.95


def test_the_nearest_centroid_as_a_column(data, tmp_path):
    frame, emb = data
    clusters = frame.laion.kmeans(emb, 6, iterations=2)
    clusters.save(tmp_path / "centroids.npy")
    for given in (clusters, clusters.centroids, str(tmp_path / "centroids.npy")):
        found = frame.laion.nearest_centroid(emb, given, to="at", distance="far").compute()
        assert found["at"].isna().sum() == 6 and found["far"].isna().sum() == 6
        assert found["at"].value_counts().sort_index().tolist() == clusters.sizes.tolist()
    combined = read_combined([shard.path for shard in ld_shards(frame)])
    other = combined.laion.nearest_centroid(emb, clusters)["cluster"].compute()
    assert other.tolist() == found["at"].tolist()
    kept = frame.laion.nearest_centroid(emb, clusters).laion.where("cluster in (0, 1)")
    assert "unscored" in str(kept.laion.rows())


def ld_shards(frame):
    from laion_dask.frame.provenance import Provenance

    return Provenance.of(frame).shards


def test_arguments_are_checked_before_data_is_read(data, tmp_path):
    frame, emb = data
    (tmp_path / "no.npy").write_text("no")
    with pytest.raises(OptionError, match="k is 0"):
        frame.laion.kmeans(emb, 0)
    with pytest.raises(OptionError, match="iterations is 0"):
        frame.laion.kmeans(emb, 2, iterations=0)
    with pytest.raises(OptionError, match="seed is -1"):
        frame.laion.kmeans(emb, 2, seed=-1)
    with pytest.raises(OptionError, match="embeddings is"):
        frame.laion.kmeans("emb", 2)
    with pytest.raises(EmbeddingsError, match=r"have the shape \(2, 3\)"):
        frame.laion.nearest_centroid(emb, np.ones((2, 3)))
    with pytest.raises(EmbeddingsError, match="no direction in row 1"):
        frame.laion.nearest_centroid(emb, np.eye(2, DIM) * [[1], [0]])
    with pytest.raises(OptionError, match="cannot be read"):
        frame.laion.nearest_centroid(emb, tmp_path / "no.npy")
    with pytest.raises(OptionError, match=r"centroids is dict"):
        frame.laion.nearest_centroid(emb, {})
    with pytest.raises(OptionError, match="to is 'width'"):
        frame.laion.nearest_centroid(emb, np.eye(2, DIM), to="width")
    of_another = ld.Clusters(np.eye(2, DIM), np.ones(2), 0.0, "other")
    with pytest.raises(ModelMismatchError, match="are of embeddings of other"):
        frame.laion.nearest_centroid(emb, of_another)


def test_files_of_stages(tmp_path):
    folder = Workspace().stage("one")
    written = [np.arange(6).reshape(2, 3), np.empty((0, 4), np.float16), np.arange(2.0)]
    write_arrays(folder, 3, written)
    for array, expected in zip(read_arrays(folder, 3), written, strict=True):
        assert array.dtype == expected.dtype
        np.testing.assert_array_equal(array, expected)
    with pytest.raises(SpillError, match="cannot be read"):
        read_arrays(folder, 4)
    Workspace.of(tmp_path / "kept", {"k": 1})
    assert Workspace.of(tmp_path / "kept", {"k": 1}).stage("a").path.endswith("kept/a")
    with pytest.raises(OptionError, match="other rows, embeddings or arguments"):
        Workspace.of(tmp_path / "kept", {"k": 2})
    with pytest.raises(OptionError, match="is not empty"):
        Workspace.of(tmp_path, {"k": 2})

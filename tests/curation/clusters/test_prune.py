"""Pruning by the complexity of clusters."""

from __future__ import annotations

import numpy as np
import pytest
from support.clustered_shards import clustered_shards
from support.clustered_vectors import everything

import laion_dask as ld
from laion_dask.curation.clusters import chunks, prune
from laion_dask.curation.clusters.complexity import mean_distance_of_centroids
from laion_dask.curation.clusters.nearest import nearest_centroids
from laion_dask.errors import OptionError
from laion_dask.plots import complexity as plot


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return clustered_shards(tmp_path_factory.mktemp("pruned"))


def by_loops(emb, centroids, n, temperature, lower, neighbors=20):
    """The kept rows of the published procedure, and each cluster's distances."""
    rows = everything(emb)
    x = np.stack([vector for _, _, vector in rows])
    label, _ = nearest_centroids(x.astype(np.float32), centroids)
    k, c = len(centroids), centroids.astype(np.float64)
    members = [
        sorted(
            (i for i in range(len(rows)) if label[i] == cluster),
            key=lambda i: (round(float(x[i] @ c[cluster]), 12), rows[i][:2]),
        )
        for cluster in range(k)
    ]
    intra = [np.mean([1 - x[i] @ c[at] for i in members[at]]) for at in range(k)]
    inter = [
        np.mean(sorted(1 - c[at] @ c[other] for other in range(k) if other != at)[:neighbors])
        for at in range(k)
    ]
    sizes = [len(one) for one in members]
    quotas = ld.stats.cluster_quotas(intra, inter, sizes, n, temperature=temperature, lower=lower)
    kept = {rows[i][:2] for one, quota in zip(members, quotas, strict=True) for i in one[:quota]}
    return kept, np.array(intra), np.array(inter), quotas


@pytest.mark.parametrize(
    ("keep", "options"),
    [(0.28, {}), (200, {"temperature": 0.05, "lower": 3}), (0.9, {"temperature": 0.01})],
)
def test_the_rows_kept_are_those_of_loops(data, keep, options):
    frame, emb = data
    n = round(keep * 494) if isinstance(keep, float) else keep
    temperature, lower = options.get("temperature", 0.5), options.get("lower", 1)
    centroids = frame.laion.kmeans(emb, 25, seed=1).centroids
    kept, intra, inter, quotas = by_loops(emb, centroids, n, temperature, lower)
    pruned = frame.laion.prune(emb, keep, n_clusters=25, seed=1, **options)
    found = pruned[["shard", "row"]].compute()
    assert set(zip(found["shard"], found["row"], strict=True)) == kept
    rows = pruned.laion.rows()
    assert (rows.read, rows.kept, rows.dropped, rows.unscored) == (500, n, 494 - n, 6)
    assert f"prune({emb.model.name}, keep={keep!r}, n_clusters=25" in str(pruned.laion.funnel())
    table = frame.laion.complexity(emb, keep, n_clusters=25, seed=1, **options)
    np.testing.assert_allclose(table["d_intra"], intra, atol=1e-8)
    np.testing.assert_allclose(table["d_inter"], inter, atol=1e-11)
    assert table["kept"].tolist() == quotas.tolist()


def test_the_answer_does_not_depend_on_partitions_and_batches(data, monkeypatch, tmp_path):
    frame, emb = data
    options = {"n_clusters": 9, "iterations": 3, "temperature": 0.1}
    first = frame.laion.prune(emb, 0.4, **options)[["shard", "row"]].compute()
    monkeypatch.setattr(chunks, "CHUNK", 60)
    monkeypatch.setattr(prune, "_ROWS_PER_TASK", 50)
    shuffled = frame.repartition(npartitions=5).sample(frac=1.0, random_state=1)
    other = shuffled.laion.prune(emb, 0.4, **options)[["shard", "row"]].compute()
    assert other.sort_values(["shard", "row"], ignore_index=True).equals(
        first.sort_values(["shard", "row"], ignore_index=True)
    )
    folder = tmp_path / "run"
    table = frame.laion.complexity(emb, 0.4, folder=folder, **options)
    again = frame.laion.prune(emb, 0.4, folder=folder, **options)
    assert len(again) == table["kept"].sum() == len(first)


def test_a_filter_before_and_after(data):
    frame, emb = data
    few = frame.laion.where("width > 300")
    pruned = few.laion.prune(emb, 20, n_clusters=3).laion.where("height > 200")
    rows = pruned.laion.rows()
    assert rows.kept <= 20 and rows.read == 500
    funnel = str(pruned.laion.funnel())
    assert "width > 300" in funnel and "prune(" in funnel and "height > 200" in funnel


def test_no_rows_and_one_cluster(data):
    frame, emb = data
    none = frame.laion.where("width > 300 and width < 200").laion.prune(emb)
    assert none.laion.rows().kept == 0
    one = frame.laion.complexity(emb, 30, n_clusters=1)
    assert np.isnan(one["d_inter"]).all() and one["kept"].tolist() == [30]


def test_the_distance_to_other_centroids():
    x = np.eye(4, 8, dtype=np.float32)
    assert mean_distance_of_centroids(x).tolist() == [1.0] * 4
    x[1] = x[0]
    assert mean_distance_of_centroids(x, 1).tolist() == [0.0, 0.0, 1.0, 1.0]
    assert np.isnan(mean_distance_of_centroids(x[:1])).all()
    assert mean_distance_of_centroids(x[:0]).tolist() == []


def test_the_plot_shows_every_cluster(data):
    frame, emb = data
    table = frame.laion.complexity(emb, 0.3, n_clusters=6)
    (panel,) = plot.description(table, "Pruned").panels
    (curve,) = panel.curves
    assert len(curve.x) == len(table) and list(curve.x) == sorted(curve.x)
    assert set(curve.y) == set(table["share"])
    with pytest.raises(OptionError, match=r"table has no column 'cluster'"):
        ld.complexity_plot(table[["size"]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep": 0.0}, "keep is 0.0"),
        ({"keep": 1.5}, "keep is 1.5"),
        ({"keep": True}, "keep is True"),
        ({"keep": "half"}, "keep is 'half'"),
        ({"keep": 495}, "494 rows have an embedding"),
        ({"keep": 3, "n_clusters": 20}, "which is 1 of each cluster"),
        ({"n_clusters": 1.5}, "n_clusters is 1.5"),
        ({"temperature": 0}, "temperature is 0"),
        ({"lower": -1}, "lower is -1"),
    ],
)
def test_impossible_arguments(data, options, message):
    frame, emb = data
    with pytest.raises(OptionError, match=message):
        frame.laion.prune(emb, **options)

"""What the plans of clustering depend on, against counts of the work by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support.shards import collection

import laion_dask as ld
from laion_dask.curation.clusters.work import (
    NUMBERS,
    PAIRS,
    PRODUCTS,
    assign_work,
    search_work,
    training_work,
)
from laion_dask.errors import OptionError


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    written = collection(tmp_path_factory.mktemp("costs"), (400, 200))
    frame = ld.read_shards(written.metadata)
    return frame, ld.open_embeddings(written.img_emb, model=written.model, like=frame)


def seconds(data, verb, rows=1_000_000, **options):
    frame, emb = data
    name, *given = verb
    request = (name, *given, options) if options else verb
    return ld.plan(frame, request, embeddings=emb, workers=1).scaled(rows=rows).seconds


def units(work, rate):
    return sum(one.units for one in work if one.rate == rate)


def test_the_work_is_that_of_the_algorithm():
    n, dim, k = 1_000_000, 64, 100
    trained = training_work(n, dim, k, 10, None)
    first = 16_384 * k * (2 + math.log(k))  # greedy k-means++ among 2 ** 14 rows
    iterations = 9 * 25_600 * k + n * k  # nine on the sample, one on all rows
    assert units(trained, PRODUCTS) == pytest.approx((first + iterations) * dim)
    assigned = assign_work(n, dim, k, with_vectors=False)
    assert (units(assigned, PRODUCTS), units(assigned, PAIRS)) == (n * k * dim, n * k)
    written = assign_work(n, dim, k, with_vectors=True)
    assert units(written, NUMBERS) == 3 * units(assigned, NUMBERS)
    blocks = math.fsum(
        min(1024, 10_000 - at) * min(10_000, at + 1024) for at in range(0, 10_000, 1024)
    )
    assert units(search_work(n, dim, k, 1), PRODUCTS) == pytest.approx(k * blocks * dim, rel=0.01)


@pytest.mark.parametrize("verb", ["dedup", "duplicates", "prune", "complexity"])
def test_times_depend_on_clusters_and_iterations(data, verb):
    request = (verb, data[1]) if verb in ("dedup", "duplicates") else (verb,)
    default = seconds(data, request)
    few, many = (seconds(data, request, n_clusters=k) for k in (1_000, 20_000))
    assert 1.5 < default < many and 5 * few < many
    assert seconds(data, request, n_clusters=1_000, iterations=40) > 1.5 * few
    # The default number of clusters is that of the verb, for as many rows as are planned.
    k = 114 if verb in ("dedup", "duplicates") else 100
    assert seconds(data, request, n_clusters=k) == default
    k = 50_000 if verb in ("dedup", "duplicates") else 500
    billion = seconds(data, request, rows=1_000_000_000)
    assert billion == seconds(data, request, rows=1_000_000_000, n_clusters=k)


def test_rows_of_a_cluster_are_compared_in_pairs(data):
    """Few clusters: four times the time for twice the rows."""
    one, two = (
        seconds(data, ("dedup", data[1]), rows, n_clusters=2) for rows in (10**7, 2 * 10**7)
    )
    assert 3.9 < two / one < 4.1


def test_centroids_are_counted(data, tmp_path):
    path = tmp_path / "centroids.npy"
    np.save(path, np.eye(3000, data[1].dim, dtype=np.float32) + 0.01)
    for verb in ("near_targets", "nearest_centroid"):
        assert seconds(data, (verb,), centroids=path) == seconds(data, (verb, 3000))
        assert seconds(data, (verb, 30_000)) > 3 * seconds(data, (verb, 3000))
    assert seconds(data, ("kmeans", 3000)) > 3 * seconds(data, ("kmeans", 300))
    assert seconds(data, ("kmeans", 300), sample=900_000) > seconds(data, ("kmeans", 300))


def test_embeddings_are_read_twice_and_more_workers_help_as_far_as_there_are_tasks(data):
    frame, emb = data
    found = ld.plan(frame, ("dedup", emb, {"n_clusters": 1000}), workers=1)
    assert found.bytes_read == 2 * 600 * emb.dim * np.dtype(emb.dtype).itemsize
    assert found.scaled(workers=8).seconds == found.seconds  # one chunk of rows
    large = found.scaled(rows=100_000_000)
    assert large.scaled(workers=8).seconds < large.seconds / 3


def test_wrong_arguments_are_refused_as_by_the_verb(data):
    for options in ({"n_clusters": 0}, {"iterations": 0}):
        with pytest.raises(OptionError, match=next(iter(options))):
            seconds(data, ("dedup", data[1]), **options)


def test_arguments_by_name_are_those_of_the_verb(data):
    request = ("dedup", data[1])
    same = seconds(data, request, eps=0.2, keep="easy", n_clusters=9)
    assert same == seconds(data, request, n_clusters=9)
    with pytest.raises(OptionError, match="n_clusters"):
        seconds(data, request, n_cluster=9)


def test_a_recipe_passes_its_arguments(data):
    frame, emb = data

    def planned(**options):
        recipe = ld.Recipe("x").dedup("embeddings:image", **options)
        table = recipe.plan(frame, emb, workers=1).cost.table
        return float(table.loc[table["step"] == "dedup", "seconds"].iloc[0])

    assert planned(n_clusters=600) > planned(n_clusters=2)
    assert planned(n_clusters=2, iterations=900) > planned(n_clusters=2)

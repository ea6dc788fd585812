"""Semantic duplicates by the published rule, and by components."""

from __future__ import annotations

import numpy as np
import pytest
from support.clustered_shards import clustered_shards
from support.clustered_vectors import DIM, clustered
from support.shards import npy, space

import laion_dask as ld
from laion_dask.curation.clusters import chunks
from laion_dask.curation.clusters.nearest import nearest_centroids
from laion_dask.curation.duplicates import semantic_search
from laion_dask.curation.duplicates.semantic import semantic_dedup, semantic_duplicates
from laion_dask.errors import OptionError, ProvenanceError

EPS = 0.06


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return clustered_shards(tmp_path_factory.mktemp("semantic"))


def rows_of(frame, emb) -> tuple[list[tuple[int, int]], np.ndarray]:
    """The identities and float64 unit vectors of a frame's rows that have a direction."""
    table = frame[["shard", "row"]].compute().sort_values(["shard", "row"])
    identities, vectors = [], []
    for shard, row in zip(table["shard"], table["row"], strict=True):
        x = emb.read(int(shard), [int(row)])[0].astype(np.float64)
        length = np.sqrt((x * x).sum())
        if np.isfinite(length) and length > 0:
            identities.append((int(shard), int(row)))
            vectors.append(x / length)
    return identities, np.array(vectors).reshape(-1, emb.dim)


def brute_force(identities, x, centroids, eps, keep) -> dict:
    """Of every dropped row, the nearest earlier row of its cluster, by loops."""
    label, _ = nearest_centroids(x.astype(np.float32), centroids)
    dropped = {}
    for cluster in np.unique(label):
        members = [i for i in range(len(x)) if label[i] == cluster]
        center = centroids[cluster].astype(np.float64)
        sign = 1 if keep == "hard" else -1
        members.sort(key=lambda i: (sign * round(float(x[i] @ center), 12), identities[i]))
        for place, j in enumerate(members):
            cosines = [round(float(x[i] @ x[j]), 12) for i in members[:place]]
            if cosines and max(cosines) > 1 - eps:
                dropped[identities[j]] = identities[members[int(np.argmax(cosines))]]
    return dropped


@pytest.mark.parametrize("keep", ["hard", "easy"])
@pytest.mark.parametrize("n_clusters", [1, 7])
def test_the_published_rule_is_that_of_loops(data, keep, n_clusters, monkeypatch):
    monkeypatch.setattr(semantic_search, "_BLOCK", 40)
    frame, emb = data
    found = semantic_duplicates(frame, emb, eps=EPS, n_clusters=n_clusters, keep=keep)
    identities, x = rows_of(frame, emb)
    centroids = frame.laion.kmeans(emb, n_clusters).centroids
    expected = brute_force(identities, x, centroids, EPS, keep)
    assert 50 < len(expected) == found.dropped
    assert found.kept == len(x) - len(expected) and found.unscored == 6
    groups = found.groups()
    gone = groups[~groups["kept"]]
    mine = {
        (row.shard, row.row): (row.representative_shard, row.representative_row)
        for row in gone.itertuples()
    }
    assert mine == expected
    kept = semantic_dedup(frame, emb, eps=EPS, n_clusters=n_clusters, keep=keep)
    left = kept[["shard", "row"]].compute()
    assert set(zip(left["shard"], left["row"], strict=True)) == set(identities) - set(expected)
    rows = kept.laion.rows()
    assert (rows.read, rows.kept, rows.dropped, rows.unscored) == (
        500,
        found.kept,
        found.dropped,
        6,
    )


def test_groups_lead_to_a_row_that_is_kept(data):
    frame, emb = data
    groups = semantic_duplicates(frame, emb, eps=EPS, n_clusters=3).groups()
    assert groups["group"].is_monotonic_increasing
    for _, rows in groups.groupby("group"):
        assert rows["rank"].tolist() == list(range(1, len(rows) + 1)) and len(rows) > 1
        assert rows["kept"].tolist() == [True] + [False] * (len(rows) - 1)
        members = set(zip(rows["shard"], rows["row"], strict=True))
        others = zip(rows["representative_shard"], rows["representative_row"], strict=True)
        assert set(others) <= members
        similarity = rows["similarity"].to_numpy()
        assert np.isnan(similarity[0]) and (similarity[1:] > 1 - EPS).all()
    first = groups[groups["kept"]]
    assert list(zip(first["shard"], first["row"], strict=True)) == sorted(
        zip(first["shard"], first["row"], strict=True)
    )


def test_components_are_those_of_scipy(data):
    from scipy.sparse.csgraph import connected_components

    frame, emb = data
    found = semantic_duplicates(frame, emb, eps=0.02, n_clusters=1, rule="components")
    identities, x = rows_of(frame, emb)
    n, label = connected_components(x @ x.T > 0.98)
    assert found.kept == n < len(x)
    groups = found.groups()
    mine = {frozenset(zip(g["shard"], g["row"], strict=True)) for _, g in groups.groupby("group")}
    theirs = [frozenset(identities[i] for i in np.flatnonzero(label == at)) for at in range(n)]
    assert mine == {group for group in theirs if len(group) > 1}


def test_the_answer_does_not_depend_on_partitions_memory_and_chunks(data, monkeypatch, tmp_path):
    frame, emb = data
    options = {"eps": EPS, "n_clusters": 5, "keep": "random", "seed": 2}
    first = semantic_duplicates(frame, emb, **options).groups()
    monkeypatch.setattr(chunks, "CHUNK", 70)
    monkeypatch.setattr(semantic_search, "_BLOCK", 16)
    shuffled = frame.repartition(npartitions=5).sample(frac=1.0, random_state=1)
    other = semantic_duplicates(shuffled, emb, memory_limit=DIM * 2 * 30, **options)
    assert other.n_batches > 3  # and some clusters go through a memory map
    assert other.groups().equals(first)
    kept = semantic_duplicates(frame, emb, folder=tmp_path / "run", **options)
    again = semantic_duplicates(frame, emb, folder=tmp_path / "run", **options)
    assert kept.groups().equals(first) and again.groups().equals(first)
    assert again.kept == kept.kept and again.unscored == kept.unscored == 6
    with pytest.raises(OptionError, match="other rows, embeddings or arguments"):
        semantic_duplicates(frame, emb, folder=tmp_path / "run", eps=0.1)
    assert (
        not semantic_duplicates(frame, emb, eps=EPS, n_clusters=5, keep="random")
        .groups()
        .equals(first)
    )


def test_only_the_rows_of_the_frame_take_part(data):
    frame, emb = data
    few = frame.laion.where("width > 300")
    identities, x = rows_of(few, emb)
    found = semantic_duplicates(few, emb, eps=EPS, n_clusters=1)
    assert found.kept + found.dropped == len(x) < 494
    expected = brute_force(identities, x, few.laion.kmeans(emb, 1).centroids, EPS, "hard")
    kept = semantic_dedup(few, emb, eps=EPS, n_clusters=1)
    left = kept[["shard", "row"]].compute()
    assert set(zip(left["shard"], left["row"], strict=True)) == set(identities) - set(expected)
    after = kept.laion.where("height > 300")
    assert after.laion.rows().kept <= len(left)
    assert "dedup" in str(after.laion.funnel())


def test_no_rows_one_row_and_equal_rows(data, tmp_path):
    frame, emb = data
    none = semantic_duplicates(frame.laion.where("width > 300 and width < 200"), emb)
    assert (none.kept, none.dropped, none.unscored) == (0, 0, 0) and not len(none.groups())
    frame, _ = clustered_shards(tmp_path, (60, 0))
    npy(tmp_path / "img_emb" / "img_emb_0000.npy", np.repeat(clustered(1), 60, 0))
    emb = ld.open_embeddings(tmp_path / "img_emb", model=space(tmp_path, DIM), like=frame)
    for rule in ("semdedup", "components"):
        equal = semantic_duplicates(frame, emb, rule=rule, n_clusters=4)
        groups = equal.groups()
        assert (equal.kept, equal.dropped) == (1, 59)
        assert groups["row"].tolist() == list(range(60))  # ties by shard and row
        assert (groups["representative_row"] == 0).all()
        assert (groups["similarity"].dropna() > 0.999999).all()


def test_a_frame_with_a_row_twice_is_refused(data):
    import dask.dataframe as dd

    frame, emb = data
    with pytest.raises(ProvenanceError, match="more than once"):
        semantic_duplicates(dd.concat([frame, frame.sample(frac=0.3)]), emb)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eps": 0}, "eps is 0"),
        ({"eps": 3}, "eps is 3"),
        ({"keep": "first"}, "keep is 'first'"),
        ({"rule": "groups"}, "rule is 'groups'"),
        ({"n_clusters": 0}, "n_clusters is 0"),
        ({"seed": 0.5}, "seed is 0.5"),
        ({"memory_limit": 0}, "memory_limit is 0"),
        ({"folder": 3}, "folder is 3"),
    ],
)
def test_arguments_are_checked_before_data_is_read(data, options, message):
    with pytest.raises(OptionError, match=message):
        semantic_duplicates(*data, **options)


def test_the_verbs_take_embeddings(data):
    frame, emb = data
    found = semantic_duplicates(frame, emb, eps=EPS, n_clusters=2, keep="easy")
    kept = frame.laion.dedup(emb, eps=EPS, n_clusters=2, keep="easy")
    assert kept.laion.rows().kept == found.kept
    table = frame.laion.duplicates(emb, eps=EPS, n_clusters=2, keep="easy", most=3)
    sizes = found.groups().groupby("group").size().sort_values(ascending=False)
    assert table.groupby("group").size().tolist() == sizes.tolist()[:3]
    assert table.attrs == {
        "rows": 500,
        "missing": 6,
        "groups": len(sizes),
        "repeats": found.dropped,
    }
    every = frame.laion.duplicates(emb, eps=EPS, n_clusters=2, keep="easy")
    assert len(every) == sizes.sum()
    with pytest.raises(OptionError, match="eps applies to embeddings"):
        frame.laion.dedup("url", eps=0.1)
    with pytest.raises(OptionError, match="n_clusters applies to embeddings"):
        frame.laion.duplicates("url", n_clusters=4)
    with pytest.raises(OptionError, match="missing is 'keep'"):
        frame.laion.dedup(emb, missing="keep")

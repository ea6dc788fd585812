"""Searching an index: its exact scores, its stated recall, and its queries."""

import numpy as np
import pandas as pd
import pytest
from support.clustered_vectors import DIM, everything, queries

import laion_dask as ld
from laion_dask.errors import EmbeddingsError, OptionError, PairingError


def exact_neighbors(emb, query, k) -> list[tuple[int, int]]:
    """The k nearest rows, from a plain loop."""
    scored = [(-float(x @ query), shard, row) for shard, row, x in everything(emb)]
    return [(shard, row) for _, shard, row in sorted(scored)[:k]]


def rescored(emb, query, shard, row, k) -> list[tuple[int, int]]:
    """Candidates ordered by their exact scores."""
    place = [(s, r) for s, r in zip(shard.tolist(), row.tolist(), strict=True) if s >= 0]
    x = {(s, r): v for s, r, v in everything(emb)}
    return sorted(place, key=lambda at: (-float(x[at] @ query), at))[:k]


def test_all_lists_and_exact_scores_are_exact_search(built, emb):
    index = built.with_nprobe(built.manifest["index"]["nlist"])
    wanted = queries(6)
    shard, row = index.candidates(wanted, 500)
    assert (shard.dtype, row.dtype, shard.shape) == (np.int32, np.int64, (6, 500))
    for q, query in enumerate(wanted):
        assert rescored(emb, query, shard[q], row[q], 10) == exact_neighbors(emb, query, 10)
    shard, row = index.candidates(wanted, 2000)
    assert (shard[:, 1394:] == -1).all() and (row[:, 1394:] == -1).all()
    found = {*zip(shard[0, :1394].tolist(), row[0, :1394].tolist(), strict=True)}
    assert found == {(s, r) for s, r, _ in everything(emb)}
    assert (built.n_candidates(1), built.n_candidates(300)) == (1000, 3000)


def test_recall_is_what_it_says(built, emb):
    measured = built.manifest["recall"]
    drawn = np.random.default_rng(0).choice(
        1401, 100 + built.manifest["parameters"]["sample"], False
    )
    rows = everything(emb)
    starts = {0: 0, 2: 600, 3: 1101}
    where = {starts[s] + r: (s, r, x) for s, r, x in rows}
    asked = [where[at] for at in sorted(drawn[:100]) if at in where]
    assert measured["queries"] == len(asked)
    brute_force = [{*exact_neighbors(emb, x, 101)} - {(s, r)} for s, r, x in asked]
    for step in measured["steps"]:
        index, hits = built.with_nprobe(step["nprobe"]), {"found": 0, "rescored": 0}
        shard, row = index.candidates(np.array([x for *_, x in asked]), 1001)
        for q, ((s, r, _), truth) in enumerate(zip(asked, brute_force, strict=True)):
            place = [*zip(shard[q].tolist(), row[q].tolist(), strict=True)]
            place = [at for at in place if at != (s, r)]
            hits["found"] += len(truth & set(place[:100]))
            hits["rescored"] += len(truth & set(place[:1000]))
        for name, n in hits.items():
            assert step[name] == pytest.approx(n / len(asked) / 100, abs=2e-3)
    assert measured["steps"][-1]["rescored"] > 0.99
    assert f"{measured['steps'][0]['found']:.3f}" in str(built)


def test_candidates_do_not_depend_on_groups(emb, built, tmp_path):
    one = ld.build_index(emb, tmp_path / "one")
    assert len(one.manifest["groups"]) == 1
    for a, b in zip(one.candidates(queries(5), 50), built.candidates(queries(5), 50), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def demo(demo_folder, tmp_path_factory):
    """The demo corpus as a frame, its embeddings, and an index of these."""
    frame = ld.read_shards(demo_folder / "embedded/metadata")
    emb = ld.open_embeddings(demo_folder / "embedded/img_emb", model="demo", like=frame)
    return frame, emb, ld.build_index(emb, tmp_path_factory.mktemp("demo-index") / "out")


TEXTS = ["a photo of a red star", "a blue circle", "two green squares"]


@pytest.mark.parametrize("where", [None, "key < '000400'"])
def test_search_over_all_lists_is_exact_search(demo, where):
    frame, emb, index = demo
    index = index.with_nprobe(index.manifest["index"]["nlist"])
    exact = frame.laion.search(emb, TEXTS, 20, where=where)
    found = frame.laion.search(emb, TEXTS, 20, where=where, index=index)
    assert len(exact) == 60
    pd.testing.assert_frame_equal(found, exact)


def test_search_scores_exactly_what_it_finds(demo):
    frame, emb, index = demo
    exact = frame.laion.search(emb, TEXTS, 796, columns=[])
    found = frame.laion.search(emb, TEXTS, 20, index=index.with_nprobe(1), columns=[])
    both = found.merge(exact, on=["query", "shard", "row"])
    assert len(both) == len(found) > 20
    assert (both["query_similarity_x"] == both["query_similarity_y"]).all()
    assert (both["rank_x"] <= both["rank_y"]).all()


def test_search_refuses_the_index_of_other_embeddings(demo, built, demo_folder):
    frame, emb, index = demo
    with pytest.raises(PairingError, match="which is not among these"):
        frame.laion.search(emb, TEXTS, 5, index=built)
    texts = ld.open_embeddings(demo_folder / "embedded/text_emb", model="demo", like=frame)
    with pytest.raises(PairingError, match="which is not among these"):
        frame.laion.search(texts, TEXTS, 5, index=index)


def test_queries_are_checked(built):
    for wrong in (np.ones(DIM), np.ones((1, 8)), np.full((1, DIM), np.nan)):
        with pytest.raises(EmbeddingsError, match="The queries have shape"):
            built.candidates(wrong, 5)
    with pytest.raises(OptionError, match="n is 0"):
        built.candidates(queries(1), 0)
    with pytest.raises(OptionError, match="nprobe is 0"):
        built.with_nprobe(0)

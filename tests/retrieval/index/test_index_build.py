"""``build_index``: every row is counted, whatever the workers, the options and the rows."""

import pickle
import sys

import dask
import numpy as np
import pytest
from support.clustered_vectors import DIM, clustered, everything, queries
from support.digests import digest
from support.shards import npy

import laion_dask as ld
from laion_dask.errors import EmbeddingsError, MissingExtraError, OptionError
from laion_dask.retrieval.index import build as verb
from laion_dask.retrieval.index import folder as index_files
from laion_dask.retrieval.index.fill import Queries


def test_every_row_is_counted(built, emb):
    counts = built.manifest["counts"]
    assert counts == {"read": 1401, "indexed": 1394, "unscored": 7}
    assert len(everything(emb)) == len(built) == 1394
    assert "1,401 read = 1,394 indexed + 7 unscored" in str(built)
    names = {p.name for p in built.path.iterdir()}
    groups = {g["name"] for g in built.manifest["groups"]}
    assert names == {"index.json", "trained.faiss", *groups} and len(groups) == 3


def test_the_files_do_not_depend_on_workers(emb, built, tmp_path, monkeypatch):
    expected = digest(built.path)
    with dask.config.set(scheduler="synchronous"):
        ld.build_index(emb, tmp_path / "a", group_rows=500)
    monkeypatch.setattr(verb, "CPU_COUNT", 9)
    ld.build_index(emb, tmp_path / "b", group_rows=500)
    assert digest(tmp_path / "a") == digest(tmp_path / "b") == expected


@pytest.mark.slow
def test_on_a_cluster(emb, built, tmp_path, worker_processes):
    from distributed import Client

    with Client(worker_processes):
        ld.build_index(emb, tmp_path / "a", group_rows=500)
    assert digest(tmp_path / "a") == digest(built.path)


def test_another_seed_is_another_sample(emb, tmp_path):
    ld.build_index(emb, tmp_path / "a", seed=1)
    ld.build_index(emb, tmp_path / "b", seed=2)
    assert digest(tmp_path / "a")["trained.faiss"] != digest(tmp_path / "b")["trained.faiss"]


@pytest.mark.parametrize("n", [1, 2, 7, 8, 39, 80, 320])
def test_tiny_data_sets_without_a_word_of_faiss(model, tmp_path, capfd, n):
    x = clustered(n)
    emb = ld.open_embeddings(npy(tmp_path / "e_0.npy", x), model=model)
    index = ld.build_index(emb, tmp_path / "out")
    index = index.with_nprobe(index.manifest["index"]["nlist"])
    shard, row = index.candidates(queries(2), n + 1)
    assert np.array_equal(np.sort(row[0]), [-1, *range(n)]) and (shard[:, :n] == 0).all()
    assert capfd.readouterr().err == "" and str(index)


def test_nothing_to_index(model, tmp_path):
    emb = ld.open_embeddings(npy(tmp_path / "e_0.npy", np.zeros((50, DIM), "f2")), model=model)
    with pytest.raises(EmbeddingsError, match="None of the 44 sampled rows"):
        ld.build_index(emb, tmp_path / "out")
    emb = ld.open_embeddings(npy(tmp_path / "e_0.npy", clustered(0)), model=model)
    with pytest.raises(EmbeddingsError, match="have no rows"):
        ld.build_index(emb, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_groups_of_no_rows_and_no_queries(model, tmp_path):
    x = clustered(300)
    x[100:200] = 0
    emb = ld.open_embeddings(npy(tmp_path / "e_0.npy", x), model=model)
    index = ld.build_index(emb, tmp_path / "out", group_rows=100, recall_queries=0)
    assert index.manifest["counts"] == {"read": 300, "indexed": 200, "unscored": 100}
    assert index.manifest["recall"]["steps"] == [] and "of 0 rows" in str(index)
    _, row = index.candidates(queries(1), 300)
    assert set(row[0].tolist()) == {-1, *range(100), *range(200, 300)}
    assert [a.shape for a in index.candidates(np.empty((0, DIM)), 4)] == [(0, 4), (0, 4)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"nlist": 0}, "nlist is 0. Expected a whole number of at least 1"),
        ({"nlist": 500}, "nlist is 500, which needs a sample of 19,500 rows"),
        ({"pq_m": 5}, "Expected a divisor of the dimension 16"),
        ({"sample": 1.5}, "sample is 1.5"),
        ({"seed": -1}, "seed is -1"),
        ({"group_rows": None}, "group_rows is None"),
        ({"device": "gpu"}, "Expected 'cpu' or 'cuda'"),
    ],
)
def test_options_are_refused_at_once(emb, tmp_path, options, said):
    with pytest.raises(OptionError, match=said):
        ld.build_index(emb, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_options_that_are_taken(emb, tmp_path):
    index = ld.build_index(emb, tmp_path / "out", nlist=5, pq_m=4, sample=200, recall_queries=9)
    made, chosen = index.manifest["index"], index.manifest["parameters"]
    assert (made["nlist"], made["m"], chosen["sample"]) == (5, 4, 200)
    assert index.manifest["recall"]["queries"] <= 9


def test_a_missing_extra_is_named(emb, built, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    for act in (lambda: ld.build_index(emb, tmp_path / "a"), lambda: ld.open_index(built.path)):
        with pytest.raises(MissingExtraError, match=r"laion_dask\[index\]"):
            act()
    monkeypatch.undo()
    monkeypatch.setattr("laion_dask.gpu_packages.gpu_count", lambda: 0)
    with pytest.raises(MissingExtraError, match="no CUDA device is visible"):
        ld.build_index(emb, tmp_path / "a", device="cuda")
    monkeypatch.setattr("laion_dask.gpu_packages.gpu_count", lambda: 1)
    monkeypatch.setitem(sys.modules, "cuvs", None)
    with pytest.raises(MissingExtraError, match=r"laion_dask\[index-gpu\]"):
        ld.build_index(emb, tmp_path / "a", device="cuda")


def test_progress(emb, tmp_path, capsys):
    ld.build_index(emb, tmp_path / "a", progress=False)
    with ld.set_options(progress=False):
        ld.build_index(emb, tmp_path / "a")
    assert capsys.readouterr() == ("", "")
    index = ld.build_index(emb, tmp_path / "b", progress=True)
    printed, shown = capsys.readouterr()
    assert printed == "" and "recall@100 of" in str(index)
    assert all(f"{label}: 100%" in shown for label in ("look", "sample", "train", "index"))


def test_the_work_pickles():
    wanted = Queries(queries(2), np.arange(2), 100)
    work = verb._Work(index_files.IndexFolder("out"), {}, wanted, "cpu", 3)
    assert pickle.loads(pickle.dumps(work)).n_concurrent == 3

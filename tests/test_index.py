"""``build_index``: bound to its embeddings, counted, resumable, and as good as it says."""

import hashlib
import json
import os
import pickle
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import dask
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shards import npy, space

import laion_dask as ld
from laion_dask.errors import (
    EmbeddingsError,
    ExportError,
    IndexFileError,
    MissingExtraError,
    OptionError,
    PairingError,
)
from laion_dask.io import embedding_identity, index_files
from laion_dask.kernels import cuvs_train, ivf_pq, nearest
from laion_dask.kernels.index_rows import Queries
from laion_dask.verbs import build_index as verb

DIM = 16


def clustered(n: int, seed: int = 0) -> np.ndarray:
    """Float16 vectors of length one around twenty centres."""
    draw = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(20, DIM))
    found = centres[draw.integers(20, size=n)] + 0.5 * draw.normal(size=(n, DIM))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four files, one of them empty, with five rows that have no direction."""
    folder = tmp_path_factory.mktemp("embeddings")
    for number, n in enumerate((600, 0, 501, 300)):
        x = clustered(n, number)
        if n:
            x[3], x[n - 1, 2] = 0, np.nan
        if n == 300:
            x[7, 1] = np.inf
        npy(folder / f"img_emb_{number}.npy", x)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return space(tmp_path_factory.mktemp("model"), DIM)


@pytest.fixture(scope="module")
def emb(folder, model):
    return ld.open_embeddings(folder, model=model)


@pytest.fixture(scope="module")
def built(emb, tmp_path_factory):
    """An index of three groups; not to be changed."""
    return ld.build_index(emb, tmp_path_factory.mktemp("index") / "out", group_rows=500)


@pytest.fixture
def copied(built, tmp_path):
    """A folder of the same index that may be changed."""
    return Path(shutil.copytree(built.path, tmp_path / "copy"))


def digest(folder) -> dict:
    """Every file's name and content."""
    files = sorted(p for p in Path(folder).rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def everything(emb) -> list[tuple[int, int, np.ndarray]]:
    """(shard, row, vector of length one in float64) of every row that has a direction."""
    found = []
    for shard, file in enumerate(emb.files):
        for row, x in enumerate(emb.read(shard, np.arange(file.n_rows)).astype(float)):
            length = np.sqrt((x * x).sum())
            if np.isfinite(length) and length > 0:
                found.append((shard, row, x / length))
    return found


def by_the_book(emb, query, k) -> list[tuple[int, int]]:
    """The k nearest rows, one after the other."""
    scored = [(-float(x @ query), shard, row) for shard, row, x in everything(emb)]
    return [(shard, row) for _, shard, row in sorted(scored)[:k]]


def rescored(emb, query, shard, row, k) -> list[tuple[int, int]]:
    """Candidates in the order of their exact scores."""
    place = [(s, r) for s, r in zip(shard.tolist(), row.tolist(), strict=True) if s >= 0]
    x = {(s, r): v for s, r, v in everything(emb)}
    return sorted(place, key=lambda at: (-float(x[at] @ query), at))[:k]


def queries(n: int, seed: int = 5) -> np.ndarray:
    x = clustered(n, seed).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_every_row_is_counted(built, emb):
    counts = built.manifest["counts"]
    assert counts == {"read": 1401, "indexed": 1394, "unscored": 7}
    assert len(everything(emb)) == len(built) == 1394
    assert "1,401 read = 1,394 indexed + 7 unscored" in str(built)
    names = {p.name for p in built.path.iterdir()}
    groups = {g["name"] for g in built.manifest["groups"]}
    assert names == {"index.json", "trained.faiss", *groups} and len(groups) == 3


def test_all_lists_and_exact_scores_are_exact_search(built, emb):
    index = built.with_nprobe(built.manifest["index"]["nlist"])
    wanted = queries(6)
    shard, row = index.candidates(wanted, 500)
    assert (shard.dtype, row.dtype, shard.shape) == (np.int32, np.int64, (6, 500))
    for q, query in enumerate(wanted):
        assert rescored(emb, query, shard[q], row[q], 10) == by_the_book(emb, query, 10)
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
    for step in measured["steps"]:
        index, hits = built.with_nprobe(step["nprobe"]), {"found": 0, "rescored": 0}
        shard, row = index.candidates(np.array([x for *_, x in asked]), 1001)
        for q, (s, r, x) in enumerate(asked):
            truth = {at for at in by_the_book(emb, x, 101) if at != (s, r)}
            place = [*zip(shard[q].tolist(), row[q].tolist(), strict=True)]
            place = [at for at in place if at != (s, r)]
            hits["found"] += len(truth & set(place[:100]))
            hits["rescored"] += len(truth & set(place[:1000]))
        for name, n in hits.items():
            assert step[name] == pytest.approx(n / len(asked) / 100, abs=2e-3)
    assert measured["steps"][-1]["rescored"] > 0.99
    assert f"{measured['steps'][0]['found']:.3f}" in str(built)


def test_the_files_do_not_depend_on_workers(emb, built, tmp_path, monkeypatch):
    expected = digest(built.path)
    with dask.config.set(scheduler="synchronous"):
        ld.build_index(emb, tmp_path / "a", group_rows=500)
    monkeypatch.setattr(verb, "CPU_COUNT", 9)
    ld.build_index(emb, tmp_path / "b", group_rows=500)
    assert digest(tmp_path / "a") == digest(tmp_path / "b") == expected


@pytest.mark.slow
def test_on_a_cluster(emb, built, tmp_path):
    from distributed import Client

    with Client(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0"):
        ld.build_index(emb, tmp_path / "a", group_rows=500)
    assert digest(tmp_path / "a") == digest(built.path)


def test_candidates_do_not_depend_on_groups(emb, built, tmp_path):
    one = ld.build_index(emb, tmp_path / "one")
    assert len(one.manifest["groups"]) == 1
    for a, b in zip(one.candidates(queries(5), 50), built.candidates(queries(5), 50), strict=True):
        np.testing.assert_array_equal(a, b)


def test_another_seed_is_another_sample(emb, tmp_path):
    ld.build_index(emb, tmp_path / "a", seed=1)
    ld.build_index(emb, tmp_path / "b", seed=2)
    assert digest(tmp_path / "a")["trained.faiss"] != digest(tmp_path / "b")["trained.faiss"]


# -- bound to its embeddings ------------------------------------------------------------------


def test_files_may_move_and_come_in_another_order(built, emb, model, folder, tmp_path):
    for number in range(4):
        (tmp_path / f"{9 - number}").mkdir()
        name = f"img_emb_{number}.npy"
        shutil.copy(folder / name, tmp_path / f"{9 - number}" / name)
    moved = ld.open_embeddings(tmp_path, model=model)
    assert [f.n_rows for f in moved.files] == [300, 501, 0, 600]
    index = ld.open_index(built.path, moved)
    here, there = built.candidates(queries(3), 20), index.candidates(queries(3), 20)
    np.testing.assert_array_equal(here[1], there[1])
    np.testing.assert_array_equal(here[0], 3 - there[0])
    for s, r, t in zip(here[0][0], here[1][0], there[0][0], strict=True):
        np.testing.assert_array_equal(emb.read(s, [r]), moved.read(t, [r]))
    again = pickle.loads(pickle.dumps(index.with_nprobe(2)))
    assert again.nprobe == 2
    np.testing.assert_array_equal(again.with_nprobe(index.nprobe).candidates(queries(3), 20), there)


def change(array: np.ndarray) -> np.ndarray:
    array[0, 0] += 1
    return array


@pytest.mark.parametrize(
    ("done", "said"),
    [
        (change, "img_emb_2.npy is not the file.*holds other rows"),
        (lambda x: clustered(len(x), 77), "img_emb_2.npy is not the file.*holds other rows"),
        (lambda x: x[:-1], "img_emb_2.npy .*had 501 rows then, and has 500 now"),
        (lambda x: x.astype(np.float32), "had float16 dtype then, and has float32 now"),
    ],
)
def test_other_embeddings_are_refused(built, model, folder, tmp_path, done, said):
    shutil.copytree(folder, tmp_path / "e")
    built.check(ld.open_embeddings(tmp_path / "e", model=model))
    path = tmp_path / "e" / "img_emb_2.npy"
    npy(path, done(np.load(path)))
    os.utime(path, (1, 1))
    with pytest.raises(PairingError, match=said):
        built.check(ld.open_embeddings(tmp_path / "e", model=model))
    with pytest.raises(PairingError, match=said):
        ld.open_index(built.path, ld.open_embeddings(tmp_path / "e", model=model))


def test_missing_and_extra_files_are_refused(built, model, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "e")
    npy(tmp_path / "e" / "img_emb_4.npy", clustered(5))
    with pytest.raises(PairingError, match=r"img_emb_4\.npy \(5 rows\) is not among the 4 files"):
        built.check(ld.open_embeddings(tmp_path / "e", model=model))
    (tmp_path / "e" / "img_emb_4.npy").unlink()
    (tmp_path / "e" / "img_emb_2.npy").unlink()
    with pytest.raises(PairingError, match=r"built of img_emb_2\.npy \(501 rows\), which is not"):
        built.check(ld.open_embeddings(tmp_path / "e", model=model))


def test_every_kind_of_file_is_told_by_its_content(model, tmp_path):
    x = clustered(200)
    y = np.where(np.arange(200)[:, None] == 57, x[::-1], x)  # row 57 is none of 64 of 200
    assert 57 not in np.linspace(0, 199, embedding_identity.N_ROWS, dtype=int)
    seen = {}
    for name, data in (("x", x), ("y", y)):
        np.savez(tmp_path / "a.npz", l14=data)
        np.savez_compressed(tmp_path / "b.npz", l14=data)
        column = pa.FixedSizeListArray.from_arrays(data.astype(np.float32).ravel(), DIM)
        pq.write_table(pa.table({"v": column}), tmp_path / "c.parquet", row_group_size=40)
        npy(tmp_path / "d.npy", data)
        for file in ("a.npz", "b.npz", "c.parquet", "d.npy"):
            os.utime(tmp_path / file, (len(seen), len(seen)))
            opened = ld.open_embeddings(tmp_path / file, model=model)
            seen[name, file] = embedding_identity.identity(opened.files[0])["sha256"]
    assert seen["x", "a.npz"] != seen["y", "a.npz"]
    assert seen["x", "b.npz"] != seen["y", "b.npz"]
    assert seen["x", "c.parquet"] != seen["y", "c.parquet"]
    assert seen["x", "d.npy"] == seen["y", "d.npy"]  # what the digest says that it misses


# -- search by it -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def demo(demo_folder, tmp_path_factory):
    """The demo corpus as a frame and its embeddings, and an index of these."""
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


# -- its files --------------------------------------------------------------------------------


def test_truncated_and_altered_files_are_refused_by_name(copied):
    group = next(copied.glob("group-00001*"))
    whole = group.read_bytes()
    group.write_bytes(whole[:-10])
    with pytest.raises(IndexFileError, match=f"{group.name} has {len(whole) - 10:,} bytes"):
        ld.open_index(copied)
    for file in (group, copied / "trained.faiss"):
        group.write_bytes(whole)
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
        index = ld.open_index(copied)
        with pytest.raises(IndexFileError, match=rf"{file.name} was altered"):
            index.candidates(queries(1), 5)
    group.unlink()
    with pytest.raises(IndexFileError, match=rf"{group.name} is missing"):
        ld.open_index(copied)


@pytest.mark.parametrize(
    "damage",
    [
        lambda m: b"{",
        lambda m: b"[1]",
        lambda m: b"\xff\xfe",
        lambda m: {**m, "format": "laion_dask index 2"},
        lambda m: {**m, "groups": [{**m["groups"][0], "name": "../../etc/passwd"}]},
        lambda m: {**m, "trained": {**m["trained"], "sha256": "0"}},
        lambda m: {**m, "counts": {"read": -1, "indexed": 0, "unscored": 0}},
        lambda m: {**m, "index": {**m["index"], "nprobe": 0}},
        lambda m: {**m, "embeddings": [{"name": "x"}]},
        lambda m: {k: v for k, v in m.items() if k != "recall"},
    ],
)
def test_a_damaged_manifest_is_refused(copied, damage):
    path = copied / "index.json"
    damaged = damage(json.loads(path.read_text()))
    path.write_bytes(damaged if isinstance(damaged, bytes) else json.dumps(damaged).encode())
    with pytest.raises(IndexFileError, match=r"index\.json is (damaged|not the manifest)"):
        ld.open_index(copied)


def test_no_index_and_one_built_anew(copied, tmp_path, emb):
    with pytest.raises(IndexFileError, match="it is no index"):
        ld.open_index(tmp_path / "nothing")
    travelling = pickle.dumps(ld.open_index(copied))
    shutil.rmtree(copied)
    ld.build_index(emb, copied, seed=3)
    with pytest.raises(IndexFileError, match="built anew since"):
        pickle.loads(travelling)


def test_killed_anywhere_it_resumes_to_the_same_bytes(emb, built, tmp_path, monkeypatch):
    expected = digest(built.path)
    real, n_files = index_files.os.replace, 1 + 1 + 2 * 3 + 1  # plan, trained, groups, manifest
    for dies_at in range(n_files):
        out, renames = tmp_path / f"out{dies_at}", []

        def replace(a, b, dies_at=dies_at, renames=renames):
            if len(renames) >= dies_at:
                raise KeyboardInterrupt  # as abruptly as an exception can be
            renames.append(b)
            real(a, b)

        with monkeypatch.context() as patch:
            patch.setattr(index_files.os, "replace", replace)
            with pytest.raises(KeyboardInterrupt), dask.config.set(scheduler="synchronous"):
                ld.build_index(emb, out, group_rows=500)
        assert not list(out.rglob("*.partial")) and not (out / "index.json").exists()
        if out.exists():
            (out / ".left.partial").write_bytes(b"what a killed process leaves")
        with pytest.raises(IndexFileError, match="it is no index"):
            ld.open_index(out)
        ld.build_index(emb, out, group_rows=500)
        assert digest(out) == expected


def test_a_finished_index_is_left_alone(emb, copied, monkeypatch):
    before = digest(copied)
    monkeypatch.setattr(verb, "draw", None)  # would fail if anything were computed
    assert str(ld.build_index(emb, copied, group_rows=500)) == str(ld.open_index(copied))
    assert digest(copied) == before


def test_another_build_is_refused(emb, model, folder, copied, tmp_path):
    before = digest(copied)
    with pytest.raises(ExportError, match="of other parameters"):
        ld.build_index(emb, copied, group_rows=400)
    other = ld.open_embeddings(folder / "img_emb_0.npy", model=model)
    with pytest.raises(ExportError, match="of other embeddings"):
        ld.build_index(other, copied, group_rows=500)
    assert digest(copied) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep me")
    with pytest.raises(ExportError, match=r"not empty \(notes\.txt\)"):
        ld.build_index(emb, tmp_path / "mine")
    with pytest.raises(ExportError, match="is a file"):
        ld.build_index(emb, tmp_path / "mine" / "notes.txt")
    assert digest(tmp_path / "mine").keys() == {"notes.txt"}


# -- small, empty, refused --------------------------------------------------------------------


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
    with pytest.raises(EmbeddingsError, match="None of the 44 rows that were drawn"):
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
        ({"nlist": 0}, "nlist is 0. Expected a whole number from 1 on"),
        ({"nlist": 500}, "nlist is 500, which takes a sample of 19,500 rows"),
        ({"pq_m": 5}, "Expected a divisor of 16"),
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


def test_queries_are_checked(built):
    for wrong in (np.ones(DIM), np.ones((1, 8)), np.full((1, DIM), np.nan)):
        with pytest.raises(EmbeddingsError, match="The queries are of shape"):
            built.candidates(wrong, 5)
    with pytest.raises(OptionError, match="n is 0"):
        built.candidates(queries(1), 0)
    with pytest.raises(OptionError, match="nprobe is 0"):
        built.with_nprobe(0)


def test_a_missing_extra_is_named(emb, built, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    for act in (lambda: ld.build_index(emb, tmp_path / "a"), lambda: ld.open_index(built.path)):
        with pytest.raises(MissingExtraError, match=r"laion_dask\[index\]"):
            act()
    monkeypatch.undo()
    monkeypatch.setattr("laion_dask.backend.gpu_count", lambda: 0)
    with pytest.raises(MissingExtraError, match="no CUDA device is visible"):
        ld.build_index(emb, tmp_path / "a", device="cuda")
    monkeypatch.setattr("laion_dask.backend.gpu_count", lambda: 1)
    monkeypatch.setitem(sys.modules, "cuvs", None)
    with pytest.raises(MissingExtraError, match=r"laion_dask\[index-gpu\]"):
        ld.build_index(emb, tmp_path / "a", device="cuda")


def test_progress(emb, tmp_path, capsys):
    ld.build_index(emb, tmp_path / "a", progress=False)
    assert capsys.readouterr().err == ""
    ld.build_index(emb, tmp_path / "b", progress=True)
    shown = capsys.readouterr().err
    assert all(f"{label}: 100%" in shown for label in ("look", "sample", "train", "index"))


# -- kernels ----------------------------------------------------------------------------------


def test_torch_encodes_as_faiss_does():
    import faiss

    x = queries(12_000, seed=1)
    trained = ivf_pq.train(x, 300, 8, 0, lambda: None)
    by_faiss, by_torch = ivf_pq.encoder(trained)(x), ivf_pq.torch_encoder(trained, "cpu")(x)
    assert by_faiss.shape == by_torch.shape and trained.coarse_code_size() == 2
    assert (by_faiss == by_torch).mean() > 0.9999
    codebook = faiss.vector_to_array(trained.pq.centroids).reshape(8, 256, 2)
    coarse = faiss.downcast_index(trained.quantizer).reconstruct_n(0, 300)
    np.testing.assert_array_equal(ivf_pq.encoder(ivf_pq.assemble(coarse, codebook))(x), by_faiss)


def like_cuvs(broken: bool):
    """What `cuvs_train` calls of cuVS 26.10, with faiss behind it and on the processor."""
    import faiss

    class Trained:
        def __init__(self, params, sample):
            assert params["metric"] == "inner_product" and not params["add_data_on_build"]
            trained = ivf_pq.train(
                sample.numpy(), params["n_lists"], params["pq_dim"], 0, lambda: None
            )
            self.centers = faiss.downcast_index(trained.quantizer).reconstruct_n(0, trained.nlist)
            codebook = faiss.vector_to_array(trained.pq.centroids).reshape(8, 256, 2)
            self.pq_centers = codebook if broken else codebook.transpose(0, 2, 1).copy()

    return SimpleNamespace(IndexParams=dict, build=Trained)


def test_what_cuvs_trains_is_checked_and_becomes_the_same_index(monkeypatch):
    x = queries(10_000, seed=1)
    monkeypatch.setattr(cuvs_train, "require_cuvs", lambda: like_cuvs(False))
    made, expected = cuvs_train.train(x, 20, 8, "cpu"), ivf_pq.train(x, 20, 8, 0, lambda: None)
    np.testing.assert_array_equal(ivf_pq.encoder(made)(x), ivf_pq.encoder(expected)(x))
    monkeypatch.setattr(cuvs_train, "require_cuvs", lambda: like_cuvs(True))
    with pytest.raises(OptionError, match=r"pq_centers of shape \(8, 256, 2\)"):
        cuvs_train.train(x, 20, 8, "cpu")
    with pytest.raises(OptionError, match="eight bits need 9,984"):
        cuvs_train.train(x[:5000], 20, 8, "cpu")


@pytest.mark.parametrize("k", [1, 4, 50])
def test_best_against_a_sort(k):
    draw = np.random.default_rng(k)
    scores = draw.integers(0, 6, (7, 30)).astype(np.float32)  # full of ties
    ids = np.array([draw.permutation(30) for _ in range(7)])
    scores[2, :25], ids[2, :25] = -np.inf, -1
    top, which = nearest.best(scores, ids, k)
    for q in range(7):
        pairs = sorted((-s, i) for s, i in zip(scores[q], ids[q], strict=True) if i >= 0)[:k]
        assert which[q].tolist() == [i for _, i in pairs] + [-1] * (k - len(pairs))
        assert top[q].tolist() == [-s for s, _ in pairs] + [-np.inf] * (k - len(pairs))


def test_recall_counts_what_is_asked_for():
    truth = np.array([[1, 2, 3], [4, -1, -1]])
    assert nearest.recall(truth, np.array([[3, 9, 1], [-1, 5, 6]])) == 0.5
    assert np.isnan(nearest.recall(truth[:0], truth[:0]))


def test_the_work_pickles():
    wanted = Queries(queries(2), np.arange(2), 100)
    work = verb._Work(index_files.IndexFolder("out"), wanted, "cpu", 3)
    assert pickle.loads(pickle.dumps(work)).lanes == 3

"""``build_index``: bound to its embeddings, complete, resumable, and with the stated recall."""

import errno
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
from support.shards import npy, space

import laion_dask as ld
from laion_dask.errors import (
    EmbeddingsError,
    ExportError,
    IndexFileError,
    MissingExtraError,
    OptionError,
    PairingError,
)
from laion_dask.io.embeddings import fingerprint
from laion_dask.retrieval.index import brute_force, cuvs_train, ivf_pq, ivf_pq_files
from laion_dask.retrieval.index import build as verb
from laion_dask.retrieval.index import folder as index_files
from laion_dask.retrieval.index import manifest as index_manifest
from laion_dask.retrieval.index.fill import Queries

DIM = 16


def clustered(n: int, seed: int = 0) -> np.ndarray:
    """Float16 unit vectors around twenty centers."""
    draw = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(20, DIM))
    found = centres[draw.integers(20, size=n)] + 0.5 * draw.normal(size=(n, DIM))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four files, one of them empty, with five rows without a direction."""
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
    """An index of three groups; read-only."""
    return ld.build_index(emb, tmp_path_factory.mktemp("index") / "out", group_rows=500)


@pytest.fixture
def copied(built, tmp_path):
    """A copy of the same index that may be modified."""
    return Path(shutil.copytree(built.path, tmp_path / "copy"))


#: A fast build for tests in which recall does not matter.
QUICK = {"group_rows": 500, "recall_queries": 3, "sample": 160, "progress": False}


@pytest.fixture(scope="module")
def quick(emb, tmp_path_factory):
    """An index of three groups from a fast build; read-only."""
    return ld.build_index(emb, tmp_path_factory.mktemp("quick") / "out", **QUICK)


@pytest.fixture
def broken(quick, tmp_path):
    """A copy of the same index that may be damaged."""
    return Path(shutil.copytree(quick.path, tmp_path / "copy"))


def digest(folder) -> dict:
    """Map each file's name to a hash of its content."""
    files = sorted(p for p in Path(folder).rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def everything(emb) -> list[tuple[int, int, np.ndarray]]:
    """(shard, row, float64 unit vector) of every row that has a direction."""
    found = []
    for shard, file in enumerate(emb.files):
        for row, x in enumerate(emb.read(shard, np.arange(file.n_rows)).astype(float)):
            length = np.sqrt((x * x).sum())
            if np.isfinite(length) and length > 0:
                found.append((shard, row, x / length))
    return found


def exact_neighbors(emb, query, k) -> list[tuple[int, int]]:
    """The k nearest rows, from a plain loop."""
    scored = [(-float(x @ query), shard, row) for shard, row, x in everything(emb)]
    return [(shard, row) for _, shard, row in sorted(scored)[:k]]


def rescored(emb, query, shard, row, k) -> list[tuple[int, int]]:
    """Candidates ordered by their exact scores."""
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
    with pytest.raises(PairingError, match=r"built from img_emb_2\.npy \(501 rows\), which is not"):
        built.check(ld.open_embeddings(tmp_path / "e", model=model))


def test_one_altered_row_anywhere_is_refused(model, tmp_path):
    x = clustered(3000)
    path = npy(tmp_path / "e_0.npy", x)
    index = ld.build_index(ld.open_embeddings(path, model=model), tmp_path / "out", progress=False)
    for row in (0, 1, 23, 1500, 2998, 2999):
        y = x.copy()
        y[row] = -y[row]
        os.utime(npy(tmp_path / "e_0.npy", y), (row, row))
        with pytest.raises(PairingError, match=r"e_0\.npy is not the file.*other rows"):
            index.check(ld.open_embeddings(path, model=model))
    os.utime(npy(tmp_path / "e_0.npy", x), (9, 9))
    index.check(ld.open_embeddings(path, model=model))


def files_of_every_format(folder, model, data):
    """Write the same rows to every kind of file and open them."""
    np.savez(folder / "a.npz", l14=data)
    np.savez_compressed(folder / "b.npz", l14=data)
    column = pa.FixedSizeListArray.from_arrays(data.astype(np.float32).ravel(), DIM)
    pq.write_table(pa.table({"v": column}), folder / "c.parquet", row_group_size=40)
    npy(folder / "d.npy", data)
    files = sorted(folder.iterdir())
    for file in files:
        os.utime(file, (int(data.sum() * 1000) % 10_000, 1))
    return [ld.open_embeddings(file, model=model).files[0] for file in files]


def test_every_kind_of_file_is_identified_by_its_content(model, tmp_path, monkeypatch):
    x = clustered(200)
    y = np.where(np.arange(200)[:, None] == 57, -x, x)
    differs = {}
    for limit in (2**28, 0):
        monkeypatch.setattr(fingerprint, "BLOCK_BYTES", 2**16 if limit else 300)
        digests = []
        for data in (x, y):
            fingerprint._known.clear()
            files = files_of_every_format(tmp_path, model, data)
            digests.append([f["sha256"] for f in fingerprint.identities(files, limit)])
        differs[limit] = [one != other for one, other in zip(*digests, strict=True)]
    assert differs[2**28] == [True] * 4
    assert differs[0][:2] == [True] * 2  # the last 300 bytes of an .npz include a member's checksum


def test_what_a_digest_by_blocks_covers(model, tmp_path, monkeypatch):
    monkeypatch.setattr(fingerprint, "BLOCK_BYTES", 64)
    x = clustered(3000)
    path = Path(npy(tmp_path / "e_0.npy", x))
    whole, size = path.read_bytes(), path.stat().st_size
    file = ld.open_embeddings(path, model=model).files[0]
    expected = fingerprint.identity(file, size - 1)
    starts = [(size - 64) * i // 15 for i in range(16)]
    for at in (
        *starts[1:],
        starts[7] + 63,
        starts[7] + 64,
        starts[7] - 1,
        size - 1,
        size // 3 + 99,
    ):
        data = bytearray(whole)
        data[at] ^= 1
        path.write_bytes(data)
        fingerprint._known.clear()
        covered = any(start <= at < start + 64 for start in starts)
        assert (fingerprint.identity(file, size - 1) != expected) == covered
        assert fingerprint.identity(file, size) != expected
    path.write_bytes(whole[:-1])
    with pytest.raises(EmbeddingsError, match="can no longer be read as when it was opened"):
        fingerprint.identity(file, 0)


@pytest.mark.parametrize(
    ("sizes", "limit"),
    [
        ([], 0),
        ([2**28], 2**28),
        ([2**28 + 1], 0),
        ([2**28 + 1, 5, 7], 7),
        ([2**28] * 16, 2**28),
        ([2**28] * 17, 0),
        ([2**28] * 15 + [2**27] * 2 + [1], 2**27),
        ([2**28] * 15 + [2**27] * 2, 2**28),
    ],
)
def test_which_files_are_hashed_whole(sizes, limit):
    assert fingerprint.whole_up_to(sizes) == limit
    assert fingerprint.whole_up_to(sizes[::-1]) == limit
    assert sum(s for s in sizes if s <= limit) <= 2**32


# -- search with it ---------------------------------------------------------------------------


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
        lambda m: {**m, "format": "laion_dask index 1"},
        lambda m: {**m, "groups": [{**m["groups"][0], "name": "../../etc/passwd"}]},
        lambda m: {**m, "trained": {**m["trained"], "sha256": "0"}},
        lambda m: {**m, "counts": {"read": -1, "indexed": 0, "unscored": 0}},
        lambda m: {**m, "index": {**m["index"], "nprobe": 0}},
        lambda m: {**m, "embeddings": [{"name": "x"}]},
        lambda m: {k: v for k, v in m.items() if k != "recall"},
        lambda m: {**m, "groups": m["groups"][:-1]},
        lambda m: {**m, "groups": m["groups"] + m["groups"][-1:]},
        lambda m: {**m, "groups": m["groups"][::-1]},
        lambda m: {**m, "groups": [{**m["groups"][0], "indexed": 1}, *m["groups"][1:]]},
        lambda m: {**m, "counts": {"read": 1401, "indexed": 1400, "unscored": 1}},
        lambda m: {**m, "counts": {**m["counts"], "read": 1402}},
        lambda m: {**m, "embeddings": [{**m["embeddings"][0], "rows": 1}, *m["embeddings"][1:]]},
        lambda m: {**m, "embeddings": m["embeddings"][:-1]},
    ],
)
def test_a_damaged_manifest_is_refused(copied, damage):
    path = copied / "index.json"
    damaged = damage(json.loads(path.read_text()))
    path.write_bytes(damaged if isinstance(damaged, bytes) else json.dumps(damaged).encode())
    with pytest.raises(IndexFileError, match=r"index\.json is (damaged|not the manifest)"):
        ld.open_index(copied)


def test_a_manifest_that_agrees_with_itself_alone(copied, emb):
    path = copied / "index.json"
    manifest = json.loads(path.read_text())
    first, second = manifest["groups"][:2]
    first["indexed"], second["indexed"] = first["indexed"] + 1, second["indexed"] - 1
    path.write_text(json.dumps(manifest))
    index = ld.open_index(copied)
    with pytest.raises(IndexFileError, match=f"{first['name']} is not a file of this index.*rows"):
        index.candidates(queries(1), 5)
    index._starts = index._starts // 2
    with pytest.raises(IndexFileError, match=r"hold row \d+; index\.json says .* 700 rows"):
        index._located(np.array([[-1, 700]]))
    path.write_text("{")
    with pytest.raises(IndexFileError, match="remove the folder and rebuild it"):
        ld.build_index(emb, copied, group_rows=500)


def test_no_index_and_one_built_anew(copied, tmp_path, emb):
    with pytest.raises(IndexFileError, match="it is not an index"):
        ld.open_index(tmp_path / "nothing")
    travelling = pickle.dumps(ld.open_index(copied))
    shutil.rmtree(copied)
    ld.build_index(emb, copied, seed=3)
    with pytest.raises(IndexFileError, match="rebuilt after"):
        pickle.loads(travelling)


def kill(monkeypatch, emb, out, at: int) -> None:
    """Start a build that is interrupted when it renames its file number ``at``."""
    real, names = os.replace, []

    def replace(a, b):
        names.append(b)
        if len(names) > at:
            raise KeyboardInterrupt
        real(a, b)

    with monkeypatch.context() as patch:
        patch.setattr(index_files.os, "replace", replace)
        with pytest.raises(KeyboardInterrupt), dask.config.set(scheduler="synchronous"):
            ld.build_index(emb, out, **QUICK)


def test_killed_anywhere_it_resumes_to_the_same_bytes(emb, quick, tmp_path, monkeypatch):
    expected = digest(quick.path)
    for at in range(1 + 2 + 2 * 3 + 1):  # plan, trained, groups, manifest
        out = tmp_path / f"out{at}"
        kill(monkeypatch, emb, out, at)
        assert not list(out.rglob("*.partial")) and not (out / "index.json").exists()
        if out.exists():
            (out / ".left.partial").write_bytes(b"what a killed process leaves")
        with pytest.raises(IndexFileError, match="it is not an index"):
            ld.open_index(out)
        ld.build_index(emb, out, **QUICK)
        assert digest(out) == expected


def flip(path: Path, share: float) -> None:
    """Flip one bit of the byte at this fraction of the file; the size stays the same."""
    data = bytearray(path.read_bytes())
    data[int(share * (len(data) - 1))] ^= 1
    path.write_bytes(data)


DAMAGE = {
    "cut": lambda p: p.write_bytes(p.read_bytes()[: p.stat().st_size // 2]),
    "emptied": lambda p: p.write_bytes(b""),
    "start": lambda p: flip(p, 0),
    "middle": lambda p: flip(p, 0.5),
    "gone": lambda p: p.unlink(),
}


@pytest.fixture(scope="module")
def halted(emb, tmp_path_factory):
    """A build that was killed before it wrote its manifest; read-only."""
    out = tmp_path_factory.mktemp("halted") / "out"
    with pytest.MonkeyPatch.context() as patch:
        kill(patch, emb, out, 9)
    assert len(list(out.rglob("group-*"))) == 6 and not (out / "index.json").exists()
    return out


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize(
    "name",
    ["trained.faiss", ".index_building/trained.json", "group-00001*", ".index_building/*-00001*"],
)
def test_what_is_damaged_is_not_resumed_from(emb, quick, halted, tmp_path, name, damage):
    out = Path(shutil.copytree(halted, tmp_path / "out"))
    DAMAGE[damage](next(out.glob(name)))
    ld.build_index(emb, out, **QUICK)
    assert digest(out) == digest(quick.path)


def test_groups_are_not_taken_over_from_other_centroids(emb, quick, halted, tmp_path):
    out = Path(shutil.copytree(halted, tmp_path / "out"))
    other = ld.build_index(emb, tmp_path / "other", **QUICK, seed=1)
    shutil.copy(other.path / "trained.faiss", out)
    entry = json.dumps(other.manifest["trained"])
    (out / ".index_building" / "trained.json").write_text(entry)
    index = ld.build_index(emb, out, **QUICK)
    assert len({*digest(out)} & {*digest(quick.path)}) == 2  # trained.faiss and index.json, by name
    every = index.with_nprobe(index.manifest["index"]["nlist"]).candidates(queries(1), 1394)
    assert {*zip(*(a[0].tolist() for a in every), strict=True)} == {
        (s, r) for s, r, _ in everything(emb)
    }


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["group-00001*", "trained.faiss"])
def test_a_damaged_index_is_mended(emb, quick, broken, monkeypatch, name, damage):
    DAMAGE[damage](next(broken.glob(name)))
    made, real = [], index_files.IndexFolder.write_group

    def write_group(self, number, *rest):
        made.append(number)
        real(self, number, *rest)

    monkeypatch.setattr(index_files.IndexFolder, "write_group", write_group)
    index = ld.build_index(emb, broken, **QUICK)
    assert digest(broken) == digest(quick.path)
    assert made == ([1] if name.startswith("group") else [])
    for a, b in zip(index.candidates(queries(2), 9), quick.candidates(queries(2), 9), strict=True):
        np.testing.assert_array_equal(a, b)


def test_mending_that_is_killed_goes_on(emb, quick, broken, tmp_path, monkeypatch):
    for file in ("trained.faiss", "group-00000*", "group-00002*"):
        next(broken.glob(file)).unlink()
    for at in range(10):  # list of existing files, files, receipts, and the restored manifest
        out = shutil.copytree(broken, tmp_path / f"out{at}")
        kill(monkeypatch, emb, out, at)
        ld.build_index(emb, out, **QUICK)
        assert digest(out) == digest(quick.path)
    ld.build_index(emb, broken, **QUICK)
    flip(next(broken.glob("group-00001*")), 0.5)
    kill(monkeypatch, emb, broken, 4)
    (broken / ".index_building" / "index.json").write_text("{")
    ld.build_index(emb, broken, **QUICK)
    assert digest(broken) == digest(quick.path)


def test_what_is_mended_otherwise_is_built_anew(emb, quick, broken, tmp_path):
    manifest = json.loads((broken / "index.json").read_text())
    other = ld.build_index(emb, tmp_path / "other", **QUICK, seed=1)
    shutil.copy(other.path / "trained.faiss", broken)  # as if another machine rounded differently
    manifest["trained"] = index_manifest.entry_of(broken / "trained.faiss")
    (broken / "index.json").write_text(json.dumps(manifest))
    next(broken.glob("group-00000*")).unlink()
    index = ld.build_index(emb, broken, **QUICK)
    assert index.manifest["trained"] == manifest["trained"]
    assert index.manifest["groups"][0] != manifest["groups"][0]
    assert index.manifest["counts"] == quick.manifest["counts"]
    assert {p.name for p in broken.iterdir()} == {
        "index.json",
        "trained.faiss",
        *(g["name"] for g in index.manifest["groups"]),
    }
    index.candidates(queries(1), 5)


def test_lists_that_were_mapped_before_are_not_searched_after(emb, quick, broken):
    index = ld.open_index(broken)
    expected = index.candidates(queries(2), 20)
    for group in broken.glob("group-*"):
        data = np.memmap(group, np.uint8, "r+")
        data[len(data) // 2 :] = 0  # in place, under the memory map
        data.flush()
        os.utime(group, (1, 1))
    with pytest.raises(IndexFileError, match="was altered"):
        index.candidates(queries(2), 20)
    ld.build_index(emb, broken, **QUICK)
    np.testing.assert_array_equal(index.candidates(queries(2), 20), expected)


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


# -- small, empty and rejected ----------------------------------------------------------------


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
        ({"nlist": 0}, "nlist is 0. Expected a whole number from 1 on"),
        ({"nlist": 500}, "nlist is 500, which needs a sample of 19,500 rows"),
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
        with pytest.raises(EmbeddingsError, match="The queries have shape"):
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


# -- kernels ----------------------------------------------------------------------------------


@pytest.fixture
def few_steps(monkeypatch):
    """Fast training, for tests in which quality does not matter."""
    monkeypatch.setattr(ivf_pq, "STEPS", 2)
    monkeypatch.setattr(ivf_pq, "CODEBOOK_STEPS", 2)


def test_torch_encodes_as_faiss_does(few_steps):
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
    """The part of cuVS 26.10 that `cuvs_train` calls, implemented with faiss on the CPU."""
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


def test_what_cuvs_trains_is_checked_and_becomes_the_same_index(few_steps, monkeypatch):
    x = queries(10_000, seed=1)
    monkeypatch.setattr(cuvs_train, "require_cuvs", lambda: like_cuvs(False))
    made, expected = cuvs_train.train(x, 20, 8, "cpu"), ivf_pq.train(x, 20, 8, 0, lambda: None)
    np.testing.assert_array_equal(ivf_pq.encoder(made)(x), ivf_pq.encoder(expected)(x))
    monkeypatch.setattr(cuvs_train, "require_cuvs", lambda: like_cuvs(True))
    with pytest.raises(OptionError, match=r"pq_centers of shape \(8, 256, 2\)"):
        cuvs_train.train(x, 20, 8, "cpu")
    with pytest.raises(OptionError, match="8-bit codes need 9,984"):
        cuvs_train.train(x[:5000], 20, 8, "cpu")


@pytest.mark.parametrize("k", [1, 4, 50])
def test_best_against_a_sort(k):
    draw = np.random.default_rng(k)
    scores = draw.integers(0, 6, (7, 30)).astype(np.float32)  # many ties
    ids = np.array([draw.permutation(30) for _ in range(7)])
    scores[2, :25], ids[2, :25] = -np.inf, -1
    top, which = brute_force.best(scores, ids, k)
    for q in range(7):
        pairs = sorted((-s, i) for s, i in zip(scores[q], ids[q], strict=True) if i >= 0)[:k]
        assert which[q].tolist() == [i for _, i in pairs] + [-1] * (k - len(pairs))
        assert top[q].tolist() == [-s for s, _ in pairs] + [-np.inf] * (k - len(pairs))


def test_recall_counts_what_is_asked_for():
    truth = np.array([[1, 2, 3], [4, -1, -1]])
    assert brute_force.recall(truth, np.array([[3, 9, 1], [-1, 5, 6]])) == 0.5
    assert np.isnan(brute_force.recall(truth[:0], truth[:0]))


def test_the_work_pickles():
    wanted = Queries(queries(2), np.arange(2), 100)
    work = verb._Work(index_files.IndexFolder("out"), {}, wanted, "cpu", 3)
    assert pickle.loads(pickle.dumps(work)).lanes == 3


def test_a_disk_that_fills_at_a_group_names_the_group_and_leaves_no_part_of_it(tmp_path):
    def write(path: str) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    out = index_files.IndexFolder(tmp_path)
    with pytest.raises(ExportError, match=r"group-00003 could not be written: No space left"):
        out.write_group(3, {"sha256": "0"}, write, {}, ([], []))
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_is_an_error_of_the_system(tmp_path):
    import resource

    faiss = pytest.importorskip("faiss")
    draw = np.random.default_rng(0)
    trained = faiss.IndexIVFPQ(faiss.IndexFlatIP(32), 32, 4, 4, 8, faiss.METRIC_INNER_PRODUCT)
    trained.train(draw.normal(size=(11_000, 32)).astype(np.float32))
    group = ivf_pq.group_of(trained)
    ivf_pq.add(group, np.zeros((5000, 4 + 1), np.uint8), np.arange(5000))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        for write, what in (
            (ivf_pq_files.write_trained, trained),
            (ivf_pq_files.write_lists, group),
        ):
            with pytest.raises(OSError, match="File too large"):
                write(what, tmp_path / "full")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with pytest.raises(OSError, match="No such file"):
        ivf_pq_files.write_trained(trained, tmp_path / "none" / "x")

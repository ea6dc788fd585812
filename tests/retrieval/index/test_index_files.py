"""The files of an index: damaged ones are refused by name, and a full disk is reported."""

import errno
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.clustered_vectors import queries

import laion_dask as ld
from laion_dask.errors import ExportError, IndexFileError
from laion_dask.retrieval.index import folder as index_files
from laion_dask.retrieval.index import ivf_pq, ivf_pq_files


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

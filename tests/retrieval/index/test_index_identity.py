"""An index is bound to the content of its embeddings, not to their paths."""

import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.clustered_vectors import DIM, clustered, queries
from support.shards import npy

import laion_dask as ld
from laion_dask.errors import EmbeddingsError, PairingError
from laion_dask.io.embeddings import fingerprint


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
        (change, "img_emb_2.npy is not the file.*holds different rows"),
        (lambda x: clustered(len(x), 77), "img_emb_2.npy is not the file.*holds different rows"),
        (lambda x: x[:-1], "img_emb_2.npy .*had 501 rows, but has 500 now"),
        (lambda x: x.astype(np.float32), "had float16 dtype, but has float32 now"),
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
        with pytest.raises(PairingError, match=r"e_0\.npy is not the file.*different rows"):
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
    with pytest.raises(EmbeddingsError, match="has changed or can no longer be read"):
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
    assert fingerprint.full_hash_limit(sizes) == limit
    assert fingerprint.full_hash_limit(sizes[::-1]) == limit
    assert sum(s for s in sizes if s <= limit) <= 2**32

"""Damaged, hostile and mistaken embedding files are refused by name, and nothing is unpickled."""

import io
import pickle
import struct
import zipfile

import numpy as np
import pytest
from support.shards import npy, vectors

import laion_dask as ld
from laion_dask.errors import EmbeddingsError, ShardNotFoundError


def with_header(header: str, body: bytes = b"", version=(1, 0)) -> bytes:
    size = struct.pack("<H" if version == (1, 0) else "<I", len(header))
    return b"\x93NUMPY" + bytes(version) + size + header.encode() + body


@pytest.mark.parametrize(
    "array, says",
    [
        (np.zeros((3, 8)), "float64; expected float16 or float32"),
        (np.zeros((3, 8), int), "int64; expected float16 or float32"),
        (np.zeros((3, 8), ">f4"), ">f4; expected float16 or float32, little-endian"),
        (np.zeros((3, 8), "c8"), "complex64; expected"),
        (np.zeros(24, "f4"), r"shape \(24,\); expected \(rows, dim\)"),
        (np.zeros((3, 8, 1), "f4"), r"shape \(3, 8, 1\); expected"),
        (np.zeros((3, 0), "f4"), r"shape \(3, 0\); expected"),
        (np.float32(1), r"shape \(\); expected"),
        (np.asfortranarray(vectors(3)), "column by column"),
        (np.zeros(3, [("a", "f4")]), "expected"),
    ],
)
def test_arrays_of_the_wrong_kind(tmp_path, model, array, says):
    path = npy(tmp_path / "bad_0.npy", array)
    with pytest.raises(EmbeddingsError, match=says) as caught:
        ld.open_embeddings(path, model=model)
    assert path in str(caught.value)
    np.savez(tmp_path / "bad_0.npz", x=array)
    with pytest.raises(EmbeddingsError, match=says) as caught:
        ld.open_embeddings(tmp_path / "bad_0.npz", model=model)
    assert "bad_0.npz" in str(caught.value)


class Planted:
    """An object that creates a file when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.mark.parametrize("save", ["npy", "npz", "packed", "raw"])
def test_nothing_is_ever_unpickled(tmp_path, model, save):
    trap = tmp_path / "pwned"
    array = np.array([[Planted(str(trap))] * 8], dtype=object)
    path = tmp_path / ("x_0.npy" if save in ("npy", "raw") else "x_0.npz")
    if save == "npy":
        np.save(path, array, allow_pickle=True)
    elif save == "raw":
        path.write_bytes(pickle.dumps(Planted(str(trap))))
    else:
        {"npz": np.savez, "packed": np.savez_compressed}[save](path, x=array)
    with pytest.raises(EmbeddingsError, match=r"x_0\.np"):
        ld.open_embeddings(path, model=model)
    assert not trap.exists()


def test_a_pickle_swapped_in_after_opening_stays_unread(tmp_path, model):
    trap = tmp_path / "pwned"
    path = tmp_path / "x_0.npz"
    np.savez_compressed(path, x=vectors(1))
    emb = ld.open_embeddings(path, model=model)
    np.savez_compressed(path, x=np.array([[Planted(str(trap))] * 8], dtype=object))
    with pytest.raises(EmbeddingsError):
        emb.read(0, [0])
    assert not trap.exists()


F4 = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 8), }\n"


@pytest.mark.parametrize(
    "content, says",
    [
        (b"", "0 bytes"),
        (b"\x93NUM", "cannot be read"),
        (b"no array at all, only text", "cannot be read"),
        (with_header(F4, b"\0" * 63), r"header says 2 rows, but it holds 1"),
        (with_header(F4), r"header says 2 rows, but it holds 0"),
        (with_header(F4.replace("2, 8", "-2, 8"), b"\0" * 64), r"shape \(-2, 8\)"),
        (with_header(F4.replace("2, 8", "2, -8"), b"\0" * 64), r"shape \(2, -8\)"),
        (with_header(F4.replace("(2, 8)", "(2, 8"), b"\0" * 64), "cannot be read"),
        (with_header("(((((((((" * 20), "cannot be read"),
        (with_header("{'descr': 'f" + "'" * 7), "cannot be read"),
        (with_header(F4, b"\0" * 64, version=(9, 0)), "cannot be read"),
        (with_header(F4.replace("<f4", "|O"), b"\0" * 64), "Python objects"),
        (b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31) + b"{", "cannot be read"),
    ],
)
def test_damaged_npy(tmp_path, model, content, says):
    path = tmp_path / "bad_0.npy"
    path.write_bytes(content)
    with pytest.raises(EmbeddingsError, match=says) as caught:
        ld.open_embeddings(path, model=model)
    assert str(path) in str(caught.value)


def test_damaged_npz(tmp_path, model):
    data = io.BytesIO()
    np.savez_compressed(data, x=vectors(50))
    whole, path = data.getvalue(), tmp_path / "bad_0.npz"
    for content in (whole[:100], whole[:-30], b"PK\x03\x04" + whole[4:60], b"PK"):
        path.write_bytes(content)
        with pytest.raises(EmbeddingsError, match=r"bad_0\.npz"):
            ld.open_embeddings(path, model=model)
    encrypted = bytearray(whole)
    encrypted[6] |= 1
    encrypted[whole.rindex(b"PK\x01\x02") + 8] |= 1
    unknown = bytearray(whole)
    unknown[whole.rindex(b"PK\x01\x02") + 10] = 99
    for content in (encrypted, unknown):
        path.write_bytes(content)
        with pytest.raises(EmbeddingsError, match=r"bad_0\.npz"):
            ld.open_embeddings(path, model=model)
    draw = np.random.default_rng(0)
    for _ in range(300):  # no crash and no other exception
        damaged = bytearray(whole)
        for at in draw.integers(0, len(whole), 3):
            damaged[at] = draw.integers(0, 256)
        path.write_bytes(damaged)
        try:
            emb = ld.open_embeddings(path, model=model)
            emb.read(0, range(len(emb)))
        except EmbeddingsError:
            pass


def test_an_npz_without_arrays(tmp_path, model):
    for members in ([], ["readme.txt"]):
        with zipfile.ZipFile(tmp_path / "a_0.npz", "w") as archive:
            for name in members:
                archive.writestr(name, "hello")
        with pytest.raises(EmbeddingsError, match=r"a_0\.npz"):
            ld.open_embeddings(tmp_path / "a_0.npz", model=model)


def test_damaged_parquet(tmp_path, model):
    (tmp_path / "a_0.parquet").write_bytes(b"")
    with pytest.raises(EmbeddingsError, match="0 bytes"):
        ld.open_embeddings(tmp_path / "a_0.parquet", model=model)
    (tmp_path / "a_0.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(EmbeddingsError, match="truncated"):
        ld.open_embeddings(tmp_path / "a_0.parquet", model=model)


def test_widths(tmp_path, model):
    npy(tmp_path / "e_0.npy", vectors(3, 8))
    npy(tmp_path / "e_1.npy", vectors(3, 9))
    with pytest.raises(EmbeddingsError, match=r"e_0\.npy has 8 dim.*e_1\.npy has 9"):
        ld.open_embeddings(tmp_path, model=model)
    with pytest.raises(EmbeddingsError, match=r"e_0\.npy has 8 dim.*ViT-B-32 has 512"):
        ld.open_embeddings(tmp_path / "e_0.npy", model="ViT-B-32")


def test_missing_paths(tmp_path, model):
    for path in (tmp_path / "nope.npy", tmp_path / "*.npy", tmp_path / "nowhere"):
        with pytest.raises(ShardNotFoundError):
            ld.open_embeddings(path, model=model)

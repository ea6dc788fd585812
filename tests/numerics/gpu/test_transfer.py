"""Transfer of embeddings to the GPU: blocks in order, two slots, errors raised in place."""

import os
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.failing_memory import Full
from support.searches import opened
from support.shards import collection, vectors

import laion_dask as ld
from laion_dask import backend, gpu_packages
from laion_dask.errors import DeviceMemoryError, EmbeddingsError
from laion_dask.numerics.gpu import transfer
from laion_dask.numerics.gpu.transfer import prefetch, prefetch_to_device


class Slot:
    """A slot in main memory that checks that sending and freeing alternate."""

    made = 0

    def __init__(self, n_bytes):
        self.n_bytes, self._held = n_bytes, torch.empty(n_bytes, dtype=torch.uint8)
        self._is_free = True
        Slot.made += 1

    def send(self, n, read):
        here = np.empty(n, np.uint8)
        read(here)
        assert self._is_free
        self._is_free = False
        self._held[:n] = torch.from_numpy(here)

    def load(self, n, read):
        assert self._is_free
        self._is_free = False
        read(self._held[:n])

    def rows(self, n, like):
        dim = like.shape[1]
        held = self._held[: n * dim * like.itemsize]
        return held.view(getattr(torch, like.dtype.name)).view(n, dim)

    def wait(self):
        pass

    def free(self):
        self._is_free = True


class CuFile:
    """A stand-in for `kvikio.CuFile` in main memory."""

    opened, closed = [], []

    def __init__(self, path, flags="r"):
        assert flags == "r"
        self._path, self._file = path, os.open(path, os.O_RDONLY)
        CuFile.opened.append(path)

    def read(self, buf, size=None, file_offset=0, task_size=None):
        got = os.pread(self._file, size, file_offset)
        buf.numpy()[: len(got)] = np.frombuffer(got, np.uint8)
        return len(got)

    def close(self):
        os.close(self._file)
        CuFile.closed.append(self._path)


KVIKIO = SimpleNamespace(CuFile=CuFile)

WAYS = {
    "cpu": lambda emb, blocks: prefetch_to_device(emb, blocks, "cpu"),
    "slots": lambda emb, blocks: prefetch(emb, blocks, Slot),
    "kvikio": lambda emb, blocks: prefetch(emb, blocks, Slot, KVIKIO),
}


@pytest.fixture(params=[*WAYS, pytest.param("cuda", marks=pytest.mark.gpu)])
def read_blocks(request):
    if request.param == "cuda" and not backend.gpu_count():
        pytest.skip("no CUDA device that torch can use is on this machine")
    return WAYS.get(request.param, lambda emb, blocks: prefetch_to_device(emb, blocks, "cuda"))


def copied(stream):
    """Each block with a copy of its rows."""
    return [(block, x.cpu().numpy().copy()) for block, x in stream]


def example_blocks():
    return [
        (0, range(0, 17), "a"),
        (0, np.array([5, 3, 38, 3]), "b"),
        (1, range(0), "c"),
        (2, np.arange(4, 24), "d"),
        (3, range(30, -1, -1), "e"),
        (0, range(17, 40), "f"),
    ]


def test_blocks_come_in_order_with_their_rows(corpus, read_blocks):
    _, emb = opened(corpus)
    before = set(threading.enumerate())
    got = copied(read_blocks(emb, iter(example_blocks())))
    assert [block[2] for block, _ in got] == list("abcdef")
    for (shard, rows, _), x in got:
        assert x.dtype == corpus.images[0].dtype
        np.testing.assert_array_equal(x, corpus.images[shard][np.asarray(rows, int)])
    assert copied(read_blocks(emb, [])) == []
    assert set(threading.enumerate()) <= before


def test_two_slots_are_made_however_many_blocks_there_are(small):
    _, emb = opened(small)
    Slot.made = 0
    blocks = [(0, range(at, at + 4)) for at in range(0, 40, 4)] * 3
    assert len(copied(prefetch(emb, blocks, Slot))) == 30
    assert Slot.made == transfer.N_SLOTS


def test_the_next_block_is_read_while_the_caller_computes(small, monkeypatch):
    _, emb = opened(small)
    monkeypatch.setattr(transfer, "_PIECE", 32)  # one row each
    second = threading.Event()
    read = type(emb).read

    def watched(self, shard, rows):
        found = read(self, shard, rows)
        if shard == 2 and len(rows):
            second.set()
        return found

    monkeypatch.setattr(type(emb), "read", watched)
    stream = prefetch(emb, [(0, range(9)), (2, range(9)), (3, range(9))], Slot)
    next(stream)
    assert second.wait(60)
    stream.close()


def test_the_caller_may_stop_early(small, read_blocks):
    _, emb = opened(small)
    before = set(threading.enumerate())
    for _ in read_blocks(emb, ((0, range(9)) for _ in range(50))):
        break
    stream = read_blocks(emb, ((0, range(9)) for _ in range(50)))
    next(stream)
    stream.close()
    assert set(threading.enumerate()) <= before
    assert sorted(CuFile.opened) == sorted(CuFile.closed)


@pytest.mark.parametrize("wrong", [(0, range(30, 41)), (7, range(2)), (0, np.array([1.5]))])
def test_an_error_comes_at_its_place(small, read_blocks, wrong):
    _, emb = opened(small)
    stream = read_blocks(emb, [(0, range(9), 0), (2, range(9), 1), wrong, (0, range(9), 3)])
    assert [next(stream)[0][2] for _ in range(2)] == [0, 1]
    with pytest.raises(EmbeddingsError):
        next(stream)
    assert list(stream) == []


def test_an_error_of_the_blocks_comes_at_its_place(small, read_blocks):
    _, emb = opened(small)

    def blocks():
        yield 0, range(9)
        raise KeyError("of the caller")

    stream = read_blocks(emb, blocks())
    next(stream)
    with pytest.raises(KeyError, match="of the caller"):
        next(stream)


def test_a_file_that_changed_is_noticed(small, read_blocks):
    _, emb = opened(small)
    np.save(f"{small.img_emb}/img_emb_0.npy", vectors(41))
    with pytest.raises(EmbeddingsError, match="has changed"):
        copied(read_blocks(emb, [(0, range(9))]))
    np.save(f"{small.img_emb}/img_emb_2.npy", vectors(25, 16, "float16"))  # the same size
    with pytest.raises(EmbeddingsError, match="has changed"):
        copied(read_blocks(emb, [(2, range(9))]))


def test_a_file_that_is_gone_is_an_error(small, read_blocks):
    _, emb = opened(small)
    before = emb.identity(0)
    assert before == emb.identity(0) != emb.identity(2)
    os.utime(emb.files[0].path, (1, 1))
    assert emb.identity(0) != before
    os.remove(emb.files[0].path)
    for ask in (lambda: emb.identity(0), lambda: emb.span(0, range(3))):
        with pytest.raises(EmbeddingsError, match="can no longer be read"):
            ask()
    with pytest.raises(EmbeddingsError, match="can no longer be read"):
        copied(read_blocks(emb, [(0, range(9))]))


def test_a_file_that_ends_early_is_an_error(small):
    _, emb = opened(small)

    class Short(CuFile):
        def read(self, buf, size=None, file_offset=0, task_size=None):
            return size - 8

    with pytest.raises(EmbeddingsError, match="ended 8 bytes early"):
        copied(prefetch(emb, [(0, range(9))], Slot, SimpleNamespace(CuFile=Short)))


def test_files_that_are_not_mapped(tmp_path, read_blocks):
    x = vectors(50, 8, "float16")
    np.savez_compressed(tmp_path / "a.npz", img=x)
    np.savez(tmp_path / "b.npz", img=x)  # array bytes at arbitrary offsets
    emb = ld.open_embeddings(f"{tmp_path}/*.npz", model=collection(tmp_path / "c", (1,)).model)
    for shard in range(2):
        for rows in (range(3, 40), np.array([7, 7, 0])):
            ((_, got),) = copied(read_blocks(emb, [(shard, rows)]))
            np.testing.assert_array_equal(got, x[np.asarray(rows)])


def test_where_a_run_of_rows_lies(corpus):
    _, emb = opened(corpus)
    path, offset = emb.span(2, range(3, 9))
    with open(path, "rb") as file:
        file.seek(offset)
        got = np.frombuffer(file.read(6 * 8 * np.dtype(emb.dtype).itemsize), emb.dtype)
    np.testing.assert_array_equal(got.reshape(6, 8), corpus.images[2][3:9])
    assert emb.span(2, np.arange(3, 9)) == (path, offset)
    assert emb.span(2, np.array([3, 5])) is None and emb.span(2, range(0)) is None


@pytest.mark.parametrize("kvikio", [None, KVIKIO])
def test_a_block_without_room_comes_in_parts(tmp_path, monkeypatch, kvikio):
    monkeypatch.setattr(transfer, "MIN_BLOCK_ROWS", 4)
    c = collection(tmp_path, (40, 25))
    emb = ld.open_embeddings(c.img_emb, model=c.model)
    positions = np.arange(100, 140)
    blocks = [(0, range(40), positions, "a"), (1, np.arange(25), np.arange(25), "b")]
    with Full(12 * 32) as full:
        got = copied(prefetch(emb, blocks, Slot, kvikio))
    assert full.failures == 2
    assert [len(block[1]) for block, _ in got] == [10] * 4 + [10, 10, 5]
    assert [block[3] for block, _ in got] == list("aaaabbb")
    for (shard, rows, _, _), x in got:
        np.testing.assert_array_equal(x, c.images[shard][np.asarray(rows)])
    np.testing.assert_array_equal(np.concatenate([b[2] for b, _ in got[:4]]), positions)
    with Full(3 * 32), pytest.raises(DeviceMemoryError, match="the smallest that is tried"):
        copied(prefetch(emb, blocks, Slot, kvikio))
    assert len(copied(prefetch(emb, blocks, Slot, kvikio))) == 2


def test_kvikio_reads_on_several_threads_unless_told_otherwise(monkeypatch):
    settings = {"num_threads": 1}
    defaults = SimpleNamespace(get=settings.get, set=settings.__setitem__)
    for name, module in (("kvikio", KVIKIO), ("kvikio.defaults", defaults)):
        monkeypatch.setitem(sys.modules, name, module)
    for name in ("KVIKIO_NTHREADS", "KVIKIO_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    load = gpu_packages.kvikio.__wrapped__
    assert load() is KVIKIO and settings["num_threads"] == 8
    settings["num_threads"] = 16
    assert load() is KVIKIO and settings["num_threads"] == 16
    settings["num_threads"] = 2
    monkeypatch.setenv("KVIKIO_NTHREADS", "2")
    assert load() is KVIKIO and settings["num_threads"] == 2
    monkeypatch.setitem(sys.modules, "kvikio", None)
    assert load() is None

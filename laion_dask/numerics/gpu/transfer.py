"""Embeddings on their way to the card: read once, while it computes on the block before."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import numpy as np

from laion_dask import gpu_packages
from laion_dask.errors import EmbeddingsError
from laion_dask.numerics.gpu import memory

#: Blocks on the card at a time: one is computed on, the other is on its way.
SLOTS = 2
#: Blocks are made no smaller than this where the card has no room, in rows.
LEAST = 1024
#: Pieces of a block that are read at once, and their bytes: one thread copies from the page cache
#: at a fraction of what the bus to a card takes, and a piece stays in a core's cache.
_READERS, _PIECE = 8, 1 << 20


class StoredRows(Protocol):
    """Embeddings in files, read by shard and row; `laion_dask.Embeddings` is one.

    Attributes
    ----------
    dim : int
    dtype : NumPy dtype
    files : sequence
        By shard; ``is_mapped`` says whether a file's rows are read without unpacking.
    """

    dim: int
    dtype: np.dtype
    files: Sequence

    def read(self, shard: int, rows) -> np.ndarray:
        """Some rows of a shard, as (n, dim)."""

    def span(self, shard: int, rows) -> tuple[str, int] | None:
        """The file and byte offset of a run of rows; None where they are not laid out so."""

    def identity(self, shard: int) -> tuple:
        """What tells a shard's file from any other."""


def on_device(embeddings: StoredRows, blocks: Iterable[tuple], device: str) -> Iterator[tuple]:
    """Each block with its rows as a tensor on a device, in order.

    While the caller computes on one, the next is read into pinned memory and copied on a stream of
    its own; where kvikio is installed, a run of rows of a local file goes from the file straight
    to the card. On the CPU the tensor lies over what was read, which is not to be written to.

    Parameters
    ----------
    embeddings : StoredRows
    blocks : iterable of (shard, rows, ...)
        ``rows`` is an integer array or a range. It is asked for a block ahead.
    device : str
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``.

    Yields
    ------
    block : tuple
        As given. Where the card has no room for it, it comes in parts, none under `LEAST` rows
        but the last: ``rows`` and every array or range behind it, which are of the same length,
        are cut alike, and everything else is repeated. A caller that goes by ``len(rows)`` of what
        is yielded sees no difference.
    rows : (n, dim) tensor
        In the dtype of the file. Good until the next one is asked for, which is also when work on
        it must be queued, on the stream that is current then; keep a copy, not the tensor.

    Raises
    ------
    EmbeddingsError
        When a block cannot be read, after all blocks before it.
    DeviceMemoryError
        When the card has no room for `LEAST` rows.
    """
    import torch

    if torch.device(device).type == "cpu":
        for block in blocks:
            x = np.require(embeddings.read(*block[:2]), requirements=["A", "C"])
            yield block, torch.from_dlpack(x)
        return
    stream = torch.cuda.Stream(device)
    yield from ahead(
        embeddings, blocks, lambda n: _CudaSlot(n, device, stream), gpu_packages.kvikio()
    )


def ahead(embeddings: StoredRows, blocks: Iterable[tuple], make: Callable, kvikio=None) -> Iterator:
    """`on_device` with slots of any kind, and a ``kvikio`` or None.

    ``make(n_bytes)`` is a slot, see `_CudaSlot`; it is called in the caller's thread, and may run
    out of memory.
    """
    feed = _Feed(embeddings, blocks, make, kvikio)
    try:
        while feed.coming or feed.start():
            while feed.idle and feed.start():
                pass
            block, slot, reading = feed.coming.popleft()
            rows = reading.result()
            slot.wait()
            yield block, rows
            slot.free()
            feed.idle.append(slot)
    finally:
        feed.close()


class _Feed:
    """Blocks that are to come, those that are being read, and the slots.

    Attributes
    ----------
    idle : list of slots, or None for one that is not made yet
    coming : deque of (block, slot, future of its rows)
    """

    def __init__(self, embeddings: StoredRows, blocks: Iterable[tuple], make, kvikio) -> None:
        self._embeddings, self._blocks, self._make = embeddings, iter(blocks), make
        self._files = _Files(kvikio)
        self._rest: tuple | None = None
        self._most: int | None = None
        self._reader = ThreadPoolExecutor(1, "laion-dask-feed")
        self._readers = ThreadPoolExecutor(_READERS, "laion-dask-read")
        self.idle: list = [None] * SLOTS
        self.coming: deque = deque()
        self._ended = False

    def start(self) -> bool:
        """Start reading the next block; False when none is left. Errors come in their turn."""
        if self._ended:
            return False
        try:
            block = self._rest or next(self._blocks)
            self._rest = None
            like = self._embeddings.read(block[0], range(0))
            slot = self._room(len(block[1]), like.shape[1] * like.itemsize)
            if self._most is not None and len(block[1]) > self._most:
                block, self._rest = _cut(block, 0, self._most), _cut(block, self._most, None)
            reading = self._reader.submit(self._fill, slot, block, like)
        except StopIteration:
            self._ended = True
            return False
        except Exception as error:
            self._ended, block, slot, reading = True, None, None, Future()
            reading.set_exception(error)
        self.coming.append((block, slot, reading))
        return True

    def _room(self, n: int, width: int):
        """A slot for a block, or for as many of its rows as there is room for."""
        n = max(1, min(n, self._most or n))
        slot = self.idle.pop()
        if slot is not None and slot.n_bytes >= n * width:
            return slot
        slot, made = None, []  # its memory is free before there is more

        def make(start: int, stop: int) -> None:
            if not made:
                made.append(self._make((stop - start) * width))
                if stop - start < n:
                    self._most = stop - start

        memory.in_blocks(make, n, n, least=LEAST)
        return made[0]

    def _fill(self, slot, block: tuple, like: np.ndarray):
        """In a thread of its own: the rows of a block as a tensor in its slot."""
        shard, rows = block[:2]
        width = like.shape[1] * like.itemsize
        span = self._files.span(self._embeddings, shard, rows)
        if span is not None:
            slot.load(len(rows) * width, lambda to: self._files.read(to, *span))
        else:
            # What has to be unpacked or fetched is so once, not once a piece.
            whole = not self._embeddings.files[shard].is_mapped
            step = len(rows) if whole else _PIECE // width

            def read(to: np.ndarray) -> None:
                self._read(to.view(like.dtype).reshape(-1, like.shape[1]), block, max(1, step))

            slot.send(len(rows) * width, read)
        return slot.rows(len(rows), like)

    def _read(self, to: np.ndarray, block: tuple, step: int) -> None:
        shard, rows = block[:2]

        def read(at: int) -> None:
            to[at : at + step] = self._embeddings.read(shard, rows[at : at + step])

        for _ in self._readers.map(read, range(0, len(rows), step)):
            pass

    def close(self) -> None:
        """End the threads, and have nothing under way when the slots' memory is given back."""
        for pool in (self._reader, self._readers):
            pool.shutdown(wait=True, cancel_futures=True)
        for slot in (*self.idle, *(slot for _, slot, _ in self.coming)):
            if slot is not None:
                slot.wait()
        self._files.close()


class _Files:
    """Files that kvikio reads: the last one stays open."""

    def __init__(self, kvikio) -> None:
        self._kvikio, self._path, self._open = kvikio, None, None

    def span(self, embeddings: StoredRows, shard: int, rows) -> tuple[str, int] | None:
        """Where a run of rows starts, if this way can read it."""
        return embeddings.span(shard, rows) if self._kvikio is not None else None

    def read(self, to, path: str, offset: int) -> None:
        """Fill a tensor of bytes on the card with those of a file, from a position on."""
        if self._path != path:
            self.close()
            self._path, self._open = path, self._kvikio.CuFile(path, "r")
        got = self._open.read(to, len(to), offset)
        if got != len(to):
            raise EmbeddingsError(
                f"{path} ended {len(to) - got:,} bytes early while it was read. Open it again."
            )

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
        self._path = self._open = None


def _cut(block: tuple, start: int, stop: int | None) -> tuple:
    shard, *rest = block
    part = slice(start, stop)
    return shard, *(v[part] if isinstance(v, (np.ndarray, range)) else v for v in rest)


class _CudaSlot:
    """Room for a block on a CUDA device, used again and again, and pinned memory to fill it from.

    The order of work is kept by events alone, since an allocator of RMM does not know of
    ``record_stream``: a block is copied after the work on the one before it, and computed on
    after it was copied.

    Attributes
    ----------
    n_bytes : int
    """

    def __init__(self, n_bytes: int, device: str, stream) -> None:
        import torch

        self._torch, self._device, self._stream, self.n_bytes = torch, device, stream, n_bytes
        self._card = torch.empty(n_bytes, dtype=torch.uint8, device=device)
        self._host = None
        self._free, self._full = (torch.cuda.Event(blocking=True) for _ in range(2))
        self.free()  # what had this memory before may still be at work

    def send(self, n: int, read: Callable[[np.ndarray], None]) -> None:
        """Fill n bytes by ``read(array of uint8)``, which is in pinned memory, and a copy."""
        if self._host is None:
            self._host = self._torch.empty(self.n_bytes, dtype=self._torch.uint8, pin_memory=True)
        self._full.synchronize()  # the copy before has left the pinned memory
        read(self._host[:n].numpy())
        with self._torch.cuda.stream(self._stream):
            self._stream.wait_event(self._free)
            self._card[:n].copy_(self._host[:n], non_blocking=True)
            self._full.record(self._stream)

    def load(self, n: int, read: Callable) -> None:
        """Fill n bytes by ``read(tensor)``, which writes to the card and waits for it."""
        self._free.synchronize()
        read(self._card[:n])

    def rows(self, n: int, like: np.ndarray):
        """The first bytes as an (n, dim) tensor of an array's dtype and width."""
        dtype = getattr(self._torch, like.dtype.name)
        width = like.shape[1]
        return self._card[: n * width * like.itemsize].view(dtype).view(n, width)

    def wait(self) -> None:
        """Have the current stream wait until the block is there."""
        self._torch.cuda.current_stream(self._device).wait_event(self._full)

    def free(self) -> None:
        """Have the next block wait for all that is queued on the current stream."""
        self._free.record(self._torch.cuda.current_stream(self._device))

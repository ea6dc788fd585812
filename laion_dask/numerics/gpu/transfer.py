"""Prefetch embeddings to a GPU: a block is read while the GPU computes on the previous one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from laion_dask import gpu_packages
from laion_dask.errors import EmbeddingsError
from laion_dask.numerics.gpu import memory
from laion_dask.numerics.gpu.row_source import StoredRows

#: Blocks on the GPU at a time: one in use, one being filled.
N_SLOTS = 2
#: The smallest block to fall back to when GPU memory is short, in rows.
MIN_BLOCK_ROWS = 1024
#: Pieces of a block that are read concurrently, and their bytes: one thread copies from the page
#: cache at a fraction of the bus bandwidth, and a piece fits in a core's cache.
_READERS, _PIECE = 8, 1 << 20


def prefetch_to_device(
    embeddings: StoredRows, blocks: Iterable[tuple], device: str
) -> Generator[tuple]:
    """Yield each block with its rows as a tensor on a device, in order.

    While the caller computes on one block, the next is read into pinned memory and copied on a
    separate stream. With kvikio installed, a run of rows of a local file is read directly from the
    file to the GPU. On the CPU the tensor shares memory with the data read; do not write to it.

    Parameters
    ----------
    embeddings : StoredRows
    blocks : iterable of (shard, rows, ...)
        ``rows`` is an integer array or a range. Consumed one block ahead.
    device : str
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``.

    Yields
    ------
    block : tuple
        The given block. A block that does not fit in GPU memory is yielded in parts of at least
        `MIN_BLOCK_ROWS` rows, except the last: ``rows`` and all later arrays or ranges of the same
        length are sliced accordingly, and other items are repeated. A caller that uses
        ``len(rows)`` of the yielded block needs no special case.
    rows : (n, dim) tensor
        In the dtype of the file. Valid until the next block is requested: before that, queue all
        work on it, on the stream that is current at that time. Keep a copy, not the tensor.

    Raises
    ------
    EmbeddingsError
        When a block cannot be read; all previous blocks are yielded first.
    DeviceMemoryError
        When `MIN_BLOCK_ROWS` rows do not fit in GPU memory.
    """
    import torch

    if torch.device(device).type == "cpu":
        for block in blocks:
            x = np.require(embeddings.read(*block[:2]), requirements=["A", "C"])
            yield block, torch.from_dlpack(x)
        return
    stream = torch.cuda.Stream(device)
    yield from prefetch(
        embeddings, blocks, lambda n: _CudaSlot(n, device, stream), gpu_packages.kvikio()
    )


def prefetch(
    embeddings: StoredRows, blocks: Iterable[tuple], make: Callable, kvikio=None
) -> Generator[tuple]:
    """`prefetch_to_device` with a function that allocates slots, and ``kvikio`` or None.

    ``make(n_bytes)`` returns a slot, see `_CudaSlot`. It is called in the caller's thread, and may
    run out of memory.
    """
    prefetcher = _Prefetcher(embeddings, blocks, make, kvikio)
    try:
        while prefetcher.coming or prefetcher.start():
            while prefetcher.idle and prefetcher.start():
                pass
            block, slot, reading = prefetcher.coming.popleft()
            rows = reading.result()
            slot.wait()
            yield block, rows
            slot.free()
            prefetcher.idle.append(slot)
    finally:
        prefetcher.close()


class _Prefetcher:
    """Blocks to be read, blocks being read, and the slots.

    Attributes
    ----------
    idle : list of slots, None for one that is not allocated yet
    coming : deque of (block, slot, future of its rows)
    """

    def __init__(self, embeddings: StoredRows, blocks: Iterable[tuple], make, kvikio) -> None:
        self._embeddings, self._blocks, self._make = embeddings, iter(blocks), make
        self._files = _KvikioFiles(kvikio)
        self._remainder: tuple | None = None
        self._max_rows: int | None = None
        self._reader = ThreadPoolExecutor(1, "laion-dask-feed")
        self._readers = ThreadPoolExecutor(_READERS, "laion-dask-read")
        self.idle: list = [None] * N_SLOTS
        self.coming: deque = deque()
        self._ended = False

    def start(self) -> bool:
        """Start reading the next block; False if none is left. Errors are raised in order."""
        if self._ended:
            return False
        try:
            block = self._remainder or next(self._blocks)
            self._remainder = None
            like = self._embeddings.read(block[0], range(0))
            slot = self._slot_for(len(block[1]), like.shape[1] * like.itemsize)
            if self._max_rows is not None and len(block[1]) > self._max_rows:
                block, self._remainder = (
                    _slice(block, 0, self._max_rows),
                    _slice(block, self._max_rows, None),
                )
            reading = self._reader.submit(self._fill, slot, block, like)
        except StopIteration:
            self._ended = True
            return False
        except Exception as error:
            self._ended, block, slot, reading = True, None, None, Future()
            reading.set_exception(error)
        self.coming.append((block, slot, reading))
        return True

    def _slot_for(self, n: int, width: int):
        """A slot for a block, or for as many of its rows as fit in memory."""
        n = max(1, min(n, self._max_rows or n))
        slot = self.idle.pop()
        if slot is not None and slot.n_bytes >= n * width:
            return slot
        slot = None  # free its memory before allocating more
        slots: list = []

        def make(start: int, stop: int) -> None:
            if not slots:
                slots.append(self._make((stop - start) * width))
                if stop - start < n:
                    self._max_rows = stop - start

        memory.run_with_oom_backoff(make, n, n, min_size=MIN_BLOCK_ROWS)
        return slots[0]

    def _fill(self, slot, block: tuple, like: np.ndarray):
        """The rows of a block as a tensor in its slot; runs in the reader thread."""
        shard, rows = block[:2]
        width = like.shape[1] * like.itemsize
        span = self._files.span(self._embeddings, shard, rows)
        if span is not None:
            slot.load(len(rows) * width, lambda to: self._files.read(to, *span))
        else:
            # Unpack or download a file once, not once per piece.
            is_unmapped = not self._embeddings.files[shard].is_mapped
            step = len(rows) if is_unmapped else _PIECE // width

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
        """Stop the threads, and wait for all transfers before the slots are freed."""
        for pool in (self._reader, self._readers):
            pool.shutdown(wait=True, cancel_futures=True)
        for slot in (*self.idle, *(slot for _, slot, _ in self.coming)):
            if slot is not None:
                slot.wait()
        self._files.close()


class _KvikioFiles:
    """Files that are read by kvikio; the last one stays open."""

    def __init__(self, kvikio) -> None:
        self._kvikio, self._path = kvikio, ""
        self._open: Any = None  # a kvikio.CuFile

    def span(self, embeddings: StoredRows, shard: int, rows) -> tuple[str, int] | None:
        """The file and offset of a run of rows, if kvikio can read it."""
        return embeddings.span(shard, rows) if self._kvikio is not None else None

    def read(self, to, path: str, offset: int) -> None:
        """Fill a tensor of bytes on the GPU from a file, starting at an offset."""
        if self._path != path:
            self.close()
            self._path, self._open = path, self._kvikio.CuFile(path, "r")
        n_read = self._open.read(to, len(to), offset)
        if n_read != len(to):
            raise EmbeddingsError(
                f"{path} ended {len(to) - n_read:,} bytes early while being read. Open it again."
            )

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
        self._path, self._open = "", None


def _slice(block: tuple, start: int, stop: int | None) -> tuple:
    shard, *arrays = block
    selection = slice(start, stop)
    return shard, *(v[selection] if isinstance(v, (np.ndarray, range)) else v for v in arrays)


class _CudaSlot:
    """A reusable buffer for a block on a CUDA device, and pinned memory to fill it from.

    Work is only ordered by events, since RMM's allocator does not implement ``record_stream``: a
    block is copied after the work on the previous one, and used after it was copied.

    Attributes
    ----------
    n_bytes : int
    """

    def __init__(self, n_bytes: int, device: str, stream) -> None:
        import torch

        self._torch, self._device, self._stream, self.n_bytes = torch, device, stream, n_bytes
        self._buffer = torch.empty(n_bytes, dtype=torch.uint8, device=device)
        self._host: torch.Tensor | None = None
        self._free, self._full = (torch.cuda.Event(blocking=True) for _ in range(2))
        self.free()  # work on the previous contents of this memory may still be queued

    def send(self, n: int, read: Callable[[np.ndarray], None]) -> None:
        """Fill n bytes by ``read(array of uint8)`` into pinned memory and an asynchronous copy."""
        host = self._host
        if host is None:
            host = self._torch.empty(self.n_bytes, dtype=self._torch.uint8, pin_memory=True)
            self._host = host
        self._full.synchronize()  # until the previous copy has read the pinned memory
        read(host[:n].numpy())
        with self._torch.cuda.stream(self._stream):
            self._stream.wait_event(self._free)
            self._buffer[:n].copy_(host[:n], non_blocking=True)
            self._full.record(self._stream)

    def load(self, n: int, read: Callable) -> None:
        """Fill n bytes by ``read(tensor)``, which writes to the GPU synchronously."""
        self._free.synchronize()
        read(self._buffer[:n])

    def rows(self, n: int, like: np.ndarray):
        """The first bytes as an (n, dim) tensor of an array's dtype and width."""
        dtype = getattr(self._torch, like.dtype.name)
        width = like.shape[1]
        return self._buffer[: n * width * like.itemsize].view(dtype).view(n, width)

    def wait(self) -> None:
        """Make the current stream wait until the block has arrived."""
        self._torch.cuda.current_stream(self._device).wait_event(self._full)

    def free(self) -> None:
        """Make the next block wait for all work queued on the current stream."""
        self._free.record(self._torch.cuda.current_stream(self._device))

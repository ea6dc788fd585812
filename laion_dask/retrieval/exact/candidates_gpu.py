"""`select_candidates` on a GPU: rows, cosines and candidates stay there until few remain."""

from __future__ import annotations

import threading
from contextlib import closing

import numpy as np

from laion_dask.io.embeddings.row_ids import runs
from laion_dask.numerics.gpu import memory
from laion_dask.numerics.gpu.row_cache import PAD, DeviceRows, rows_on_device
from laion_dask.numerics.gpu.transfer import MIN_BLOCK_ROWS
from laion_dask.retrieval.exact.bounded_cosines_gpu import GpuBoundedCosines
from laion_dask.retrieval.exact.pairs import Candidates
from laion_dask.retrieval.exact.query_batch import (
    LOWEST,
    QUERIES_PER_BATCH,
    QueryBatch,
    join_batches,
)

#: Cosines held at a time (rows times queries), 512 MiB; and the most rows at a time.
MAX_COSINES, MAX_ROWS = 1 << 27, 1 << 22
#: Rows per group; more than on the CPU, since a GPU searches the rows of a group cheaply.
GROUP = PAD
#: Cosines of groups held per query batch before their rows are searched: 128 MiB.
MAX_MEMBERS = 1 << 25
#: Concurrent tasks on the GPU: while one waits for a result, the GPU computes for the other.
_turns = threading.BoundedSemaphore(2)


def select_candidates_on(
    device: str, partition, number: int, embeddings, vectors, k: int, floor, scratch, search: str
) -> Candidates:
    """As `select_candidates`, on a device.

    Parameters
    ----------
    device : str
    floor : (m,) float32 array
        Known lower bound of each query's k-th best cosine; -inf if unknown.
    scratch : ScratchPool
    search : str
        The id of the search, whose rows stay on the GPU while it runs.

    Raises
    ------
    DeviceMemoryError
        When the smallest block does not fit in GPU memory.
    """
    batches = []

    def make(start: int, stop: int) -> None:
        queries = slice(start * QUERIES_PER_BATCH, stop * QUERIES_PER_BATCH)
        bounded = GpuBoundedCosines(vectors[queries], embeddings.dtype, device)
        arguments = vectors[queries], number, k, embeddings, floor[queries], bounded, scratch
        batches.append(GpuQueryBatch(*arguments, device=device))

    memory.run_with_oom_backoff(
        make, -(-len(vectors) // QUERIES_PER_BATCH), 1, min_size=1, noun="batch of queries"
    )
    step = min(
        MAX_ROWS, max(MIN_BLOCK_ROWS, MAX_COSINES // max(1, min(QUERIES_PER_BATCH, len(vectors))))
    )
    searched, unscored = 0, 0
    with _turns:
        for shard, rows in runs(partition):
            with closing(rows_on_device(embeddings, shard, rows, device, search)) as device_runs:
                for run, start, stop, run_rows in device_runs:
                    for batch in batches:
                        batch.add_all(run, start, stop, step, shard, run_rows)
                    n_undefined = run.n_without_direction(start, stop)
                    searched, unscored = (
                        searched + stop - start - n_undefined,
                        unscored + n_undefined,
                    )
        return join_batches(batches, k, searched, unscored)


class GpuQueryBatch(QueryBatch):
    """A query batch whose rows and candidates are on a GPU."""

    def __init__(self, *arguments, device: str) -> None:
        import torch

        super().__init__(*arguments)
        self._torch, self._device = torch, device
        self._pending_blocks: list[tuple] = []
        self._n_pending = 0
        self._greatest = torch.full(self._best.shape, -np.inf, device=device)
        self._device_threshold = torch.from_numpy(self._threshold).to(device)

    def add_all(self, run: DeviceRows, start: int, stop: int, step: int, shard: int, rows) -> None:
        """Add a range of rows, in blocks that fit in memory; ``rows`` are their numbers."""

        def add_rows(low: int, high: int) -> None:
            self.add(run, start + low, start + high, shard, rows[low:high])

        memory.run_with_oom_backoff(add_rows, stop - start, step, min_size=MIN_BLOCK_ROWS)

    def add(
        self, run: DeviceRows, start: int, stop: int, shard: int, rows: np.ndarray | range
    ) -> None:
        """Add a block. The state does not change until all memory for it is allocated."""
        if self._n_pending > MAX_MEMBERS:
            self._fetch()
        torch, n, group = self._torch, stop - start, GROUP
        while group > 1 and n < 4 * self._k * group:
            group //= 2
        width = -(-n // group)
        scores = self._cosines.scores(run, start, stop, width * group)
        # Row i is in group i % width, which separates equal rows, as these are often adjacent.
        lines = scores.view(len(scores), group, width)
        tops = lines.amax(1)
        device_threshold, threshold = self._device_threshold, self._threshold
        greatest = torch.topk(torch.cat([self._greatest, tops], 1), self._k, sorted=False).values
        if (
            threshold == LOWEST
        ).any():  # some queries have fewer than k rows so far: use this block first
            device_threshold, threshold = self._raised(greatest)
        query, group_index = (tops >= device_threshold[:, None]).nonzero().T
        pending = lines[query, :, group_index], query, group_index, shard, rows
        if threshold is self._threshold:
            device_threshold, threshold = self._raised(greatest)
        self._greatest, self._device_threshold, self._threshold = (
            greatest,
            device_threshold,
            threshold,
        )
        self._pending_blocks.append(pending)
        self._n_pending += pending[0].numel()

    def _raised(self, greatest):
        """The threshold on the device and on the host, given the greatest cosines."""
        kth = greatest.amin(1).cpu().numpy()
        threshold = np.maximum(self._threshold, self._cosines.bound.threshold(kth))
        # This does not synchronize again: unpinned memory is staged before the call returns.
        return self._torch.from_numpy(threshold).to(self._device, non_blocking=True), threshold

    def _fetch(self) -> None:
        """Copy the candidates that still reach the threshold to main memory."""
        while self._pending_blocks:
            members, group_query, group_index, shard, rows = self._pending_blocks[-1]
            good = self._reaching(members, group_query, group_index, len(rows))
            self._n_pending -= self._pending_blocks.pop()[0].numel()
            for query, position, cosine in good:
                self._hold(query, position, cosine, shard, rows)

    def _reaching(self, members, query, group_index, n: int) -> list[tuple]:
        """(query, position in the block of n rows, cosine) of the rows that reach the threshold."""
        width, good = -(-n // members.shape[1]), []

        def select_range(start: int, stop: int) -> None:
            range_query = query[start:stop]
            at, member = (
                (members[start:stop] >= self._device_threshold[range_query, None]).nonzero().T
            )
            positions = self._torch.stack(
                [range_query[at], group_index[start:stop][at] + member * width]
            )
            cosine = members[start:stop][at, member].cpu().numpy()
            positions = positions.cpu().numpy()
            good.append((positions[0].astype(np.int32), positions[1], cosine))

        memory.run_with_oom_backoff(
            select_range, len(members), len(members), min_size=MIN_BLOCK_ROWS, noun="candidates"
        )
        return good

    def candidates(self, first: int):
        """As `QueryBatch.candidates`."""
        self._fetch()
        self._best = self._greatest.cpu().numpy()
        return super().candidates(first)

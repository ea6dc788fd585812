"""`choose` on the card: rows, cosines and candidates stay there, until few are left."""

from __future__ import annotations

import threading
from contextlib import closing

import numpy as np

from laion_dask.io.embeddings.row_ids import runs
from laion_dask.numerics.gpu import memory
from laion_dask.numerics.gpu.row_cache import PAD, Run, stretches
from laion_dask.numerics.gpu.transfer import LEAST as LEAST_ROWS
from laion_dask.retrieval.exact.bounded_cosines_gpu import OnCard
from laion_dask.retrieval.exact.pairs import Chosen
from laion_dask.retrieval.exact.query_batch import LEAST, QUERIES, Lot, chosen

#: Cosines that are held at a time, rows times queries: 512 MiB; and the most rows of these.
HELD, ROWS = 1 << 27, 1 << 22
#: Rows a group, as in `choose`: larger ones, since the card looks through their members for little.
GROUP = PAD
#: Cosines of groups that are held for each lot of queries before they are looked through: 128 MiB.
MEMBERS = 1 << 25
#: Tasks that use the card at once: while one waits for numbers, it works for the other.
_turns = threading.BoundedSemaphore(2)


def choose_on(
    device: str, part, number: int, embeddings, vectors, k: int, floor, space, search: str
) -> Chosen:
    """As `choose`, on a device.

    Parameters
    ----------
    device : str
    floor : (m,) float32 array
        What the k-th best cosine of each query is at least, as far as is known.
    space : Space
    search : str
        Names the search, whose rows stay on the card while it runs.

    Raises
    ------
    DeviceMemoryError
        When the card has no room for the smallest block.
    """
    lots = []

    def make(start: int, stop: int) -> None:
        some = slice(start * QUERIES, stop * QUERIES)
        rough = OnCard(vectors[some], embeddings.dtype, device)
        given = vectors[some], number, k, embeddings, floor[some], rough, space
        lots.append(CardLot(*given, device=device))

    memory.in_blocks(make, -(-len(vectors) // QUERIES), 1, least=1, what="lot of queries")
    step = min(ROWS, max(LEAST_ROWS, HELD // max(1, min(QUERIES, len(vectors)))))
    searched, unscored = 0, 0
    with _turns:
        for shard, rows in runs(part):
            with closing(stretches(embeddings, shard, rows, device, search)) as brought:
                for run, start, stop, here in brought:
                    for lot in lots:
                        lot.add_all(run, start, stop, step, shard, here)
                    bad = run.bad(start, stop)
                    searched, unscored = searched + stop - start - bad, unscored + bad
        return chosen(lots, k, searched, unscored)


class CardLot(Lot):
    """A lot whose rows and candidates are on the card."""

    def __init__(self, *given, device: str) -> None:
        import torch

        super().__init__(*given)
        self._torch, self._device = torch, device
        self._held: list[tuple] = []
        self._n_held = 0
        self._greatest = torch.full(self._best.shape, -np.inf, device=device)
        self._limit = torch.from_numpy(self._cut).to(device)

    def add_all(self, run: Run, start: int, stop: int, step: int, shard: int, rows) -> None:
        """Look at some rows, in blocks that fit beside them; ``rows`` are their numbers."""

        def some(low: int, high: int) -> None:
            self.add(run, start + low, start + high, shard, rows[low:high])

        memory.in_blocks(some, stop - start, step, least=LEAST_ROWS)

    def add(self, run: Run, start: int, stop: int, shard: int, rows: np.ndarray | range) -> None:
        """Look at a block. Nothing is changed until all memory for it has been had."""
        if self._n_held > MEMBERS:
            self._fetch()
        torch, n, group = self._torch, stop - start, GROUP
        while group > 1 and n < 4 * self._k * group:
            group //= 2
        width = -(-n // group)
        scores = self._rough.scores(run, start, stop, width * group)
        # Row i is in group i % width, so that equal rows, which often lie together, are apart.
        lines = scores.view(len(scores), group, width)
        tops = lines.amax(1)
        limit, cut = self._limit, self._cut
        greatest = torch.topk(torch.cat([self._greatest, tops], 1), self._k, sorted=False).values
        if (cut == LEAST).any():  # not yet k rows for every query: what is here counts at once
            limit, cut = self._raised(greatest)
        query, which = (tops >= limit[:, None]).nonzero().T
        held = lines[query, :, which], query, which, shard, rows
        if cut is self._cut:
            limit, cut = self._raised(greatest)
        self._greatest, self._limit, self._cut = greatest, limit, cut
        self._held.append(held)
        self._n_held += held[0].numel()

    def _raised(self, greatest):
        """The cut, on the card and here, once the greatest cosines are known."""
        kth = greatest.amin(1).cpu().numpy()
        cut = np.maximum(self._cut, self._rough.bound.cut(kth))
        # Not to wait once more: what is not pinned is copied elsewhere before this call returns.
        return self._torch.from_numpy(cut).to(self._device, non_blocking=True), cut

    def _fetch(self) -> None:
        """Bring what still reaches the cut to main memory."""
        while self._held:
            *held, shard, rows = self._held[-1]
            found = self._good(*held, len(rows))
            self._n_held -= self._held.pop()[0].numel()
            for each in found:
                self._keep(*each, shard, rows)

    def _good(self, members, query, which, n: int) -> list[tuple]:
        """(query, position in the block of n rows, rough cosine) of what reaches the cut."""
        width, good = -(-n // members.shape[1]), []

        def some(start: int, stop: int) -> None:
            here = query[start:stop]
            at, member = (members[start:stop] >= self._limit[here, None]).nonzero().T
            found = self._torch.stack([here[at], which[start:stop][at] + member * width])
            cosine = members[start:stop][at, member].cpu().numpy()
            found = found.cpu().numpy()
            good.append((found[0].astype(np.int32), found[1], cosine))

        memory.in_blocks(some, len(members), len(members), least=LEAST_ROWS, what="candidates")
        return good

    def candidates(self, first: int):
        """As `Lot.candidates`."""
        self._fetch()
        self._best = self._greatest.cpu().numpy()
        return super().candidates(first)

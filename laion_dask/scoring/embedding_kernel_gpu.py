"""Scores of one partition of a GPU frame: embeddings are copied once, scores stay on the GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from laion_dask.numerics.gpu.memory import retry_after_release, run_with_oom_backoff
from laion_dask.numerics.gpu.transfer import MIN_BLOCK_ROWS, prefetch_to_device

if TYPE_CHECKING:
    import torch

    from laion_dask.io.embeddings.embeddings import Embeddings

#: Rows copied to the GPU at a time: 96 MiB of float16 at 768 dimensions.
BLOCK = 1 << 16
#: Rows with squared lengths outside these bounds are recomputed in float64.
_MIN_SQUARE, _MAX_SQUARE = 1e-30, 1e30


def fill(
    n: int,
    n_columns: int,
    sets: Sequence[Embeddings],
    blocks: Iterable[tuple],
    score: Callable,
    device: str,
) -> list[torch.Tensor]:
    """Columns of float32 scores on a device, NaN for rows in no block.

    Parameters
    ----------
    n, n_columns : int
    sets : sequence of Embeddings
        Each row's vectors from all sets are passed together.
    blocks : iterable of (shard, rows, positions)
        As from `laion_dask.io.embeddings.row_ids.blocks`.
    score : callable
        ``score(*rows)`` of (k, dim) tensors, one for each of ``sets``, yields a (k,) tensor per
        column.
    device : str

    Returns
    -------
    list of (n,) float32 tensor

    Raises
    ------
    DeviceMemoryError
        When the smallest block does not fit; see `memory.run_with_oom_backoff`.
    """
    import torch

    out = retry_after_release(
        lambda: [torch.full((n,), torch.nan, device=device) for _ in range(n_columns)],
        f"{n_columns} columns of {n:,} scores",
    )
    combined = sets[0] if len(sets) == 1 else _Concatenated(sets)
    for (_, _, positions), x in prefetch_to_device(combined, blocks, device):
        start, last = int(positions[0]), int(positions[-1])
        run = last - start == len(positions) - 1
        where = None if run else torch.from_numpy(positions).to(device)
        matrices = x.split([e.dim for e in sets], dim=1)

        def score_rows(at: int, stop: int, matrices=matrices, start=start, where=where) -> None:
            target = slice(start + at, start + stop) if where is None else where[at:stop]
            for column, values in zip(out, score(*(g[at:stop] for g in matrices)), strict=True):
                column[target] = values

        run_with_oom_backoff(score_rows, len(x), len(x), min_size=MIN_BLOCK_ROWS)
    return out


class _Concatenated:
    """Several embeddings of the same rows as one, their vectors concatenated, for one prefetch."""

    def __init__(self, several: Sequence[Embeddings]) -> None:
        self._several = several
        self.dim = sum(e.dim for e in several)
        self.dtype = max(e.dtype for e in several)
        self.files = [
            max(files, key=lambda file: not file.is_mapped)
            for files in zip(*(e.files for e in several), strict=True)
        ]

    def read(self, shard: int, rows) -> np.ndarray:
        return np.concatenate([e.read(shard, rows) for e in self._several], axis=1)

    def span(self, shard: int, rows) -> None:
        """Always None: combined rows have no single backing file."""

    def identity(self, shard: int) -> tuple:
        """A key that distinguishes the rows' files from any other."""
        return tuple(e.identity(shard) for e in self._several)


def cosines(x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """The cosine of each row with a vector, or with the same row of another matrix.

    Computed per row in float32, except rows whose squared length does not fit in float32.

    Parameters
    ----------
    x : (n, dim) tensor
        float16 or float32.
    other : (dim,) or (n, dim) tensor
        A single vector must have length one.

    Returns
    -------
    (n,) float32 tensor
        In [-1, 1]; NaN if a vector has no direction.
    """
    import torch

    result, squares = _cosines(x.float(), other.float())
    half = x.dtype == torch.float16 and (other.ndim == 1 or other.dtype == torch.float16)
    if half or not len(result):  # squares of float16 are within the bounds: no need to synchronize
        return result.clamp_(-1, 1)
    is_out_of_range = ~((squares > _MIN_SQUARE) & (squares < _MAX_SQUARE)).all(dim=0)
    again = is_out_of_range.nonzero()[:, 0]
    if len(again):
        other_float64 = other.double() if other.ndim == 1 else other[again].double()
        result[again] = _cosines(x[again].double(), other_float64)[0].float()
    return result.clamp_(-1, 1)


def _cosines(x, other) -> tuple:
    """Cosines, and the squared lengths of both, (2, n)."""
    import torch

    dot, one, two = ((a * b).sum(dim=-1) for a, b in ((x, other), (x, x), (other, other)))
    squares = torch.stack([one, two.expand_as(one)])
    lengths = squares.sqrt()
    good = (torch.isfinite(lengths) & (lengths > 0)).all(dim=0)
    return torch.where(good, dot / lengths[0] / lengths[1], torch.nan), squares


def as_tensor(vector: np.ndarray, device: str) -> torch.Tensor:
    """A query on a device."""
    import torch

    return torch.from_numpy(vector).to(device)

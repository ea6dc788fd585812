"""Scores of one partition whose frame is on the card: embeddings go there once, scores stay."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from laion_dask.numerics.gpu.memory import in_blocks, made
from laion_dask.numerics.gpu.transfer import LEAST, on_device

if TYPE_CHECKING:
    import torch

    from laion_dask.io.embeddings.embeddings import Embeddings

#: Rows that are brought to the card at a time: 96 MiB of float16 at 768 dimensions.
BLOCK = 1 << 16
#: Squared lengths outside of these bounds are taken again in float64.
_LEAST, _MOST = 1e-30, 1e30


def fill(
    n: int,
    n_columns: int,
    several: Sequence[Embeddings],
    blocks: Iterable[tuple],
    score: Callable,
    device: str,
) -> list[torch.Tensor]:
    """Columns of float32 scores on a device, NaN where no block has a row.

    Parameters
    ----------
    n, n_columns : int
    several : sequence of Embeddings
        Each row's vectors in all of them are there together.
    blocks : iterable of (shard, rows, positions)
        As `laion_dask.io.embeddings.row_ids.blocks` gives them.
    score : callable
        ``score(*rows)`` of (k, dim) tensors, one for each of ``several``, yields a (k,) tensor a
        column.
    device : str

    Returns
    -------
    list of (n,) float32 tensor

    Raises
    ------
    DeviceMemoryError
        When the smallest block does not fit; see `memory.in_blocks`.
    """
    import torch

    out = made(
        lambda: [torch.full((n,), torch.nan, device=device) for _ in range(n_columns)],
        f"{n_columns} columns of {n:,} scores",
    )
    together = several[0] if len(several) == 1 else _Beside(several)
    for (_, _, positions), x in on_device(together, blocks, device):
        start, last = int(positions[0]), int(positions[-1])
        run = last - start == len(positions) - 1
        where = None if run else torch.from_numpy(positions).to(device)
        given = x.split([e.dim for e in several], dim=1)

        def some(at: int, stop: int, given=given, start=start, where=where) -> None:
            place = slice(start + at, start + stop) if where is None else where[at:stop]
            for column, values in zip(out, score(*(g[at:stop] for g in given)), strict=True):
                column[place] = values

        in_blocks(some, len(x), len(x), least=LEAST)
    return out


class _Beside:
    """Several embeddings of the same rows as one, their vectors end to end, for one feed."""

    def __init__(self, several: Sequence[Embeddings]) -> None:
        self._several = several
        self.files = [
            max(files, key=lambda file: not file.is_mapped)
            for files in zip(*(e.files for e in several), strict=True)
        ]

    def read(self, shard: int, rows) -> np.ndarray:
        return np.concatenate([e.read(shard, rows) for e in self._several], axis=1)

    def span(self, shard: int, rows) -> None:
        """They lie in no one file."""


def cosines(x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """The cosine of each row with a vector, or with its own row of another matrix.

    Each row alone and in float32, but for rows whose length float32 cannot square.

    Parameters
    ----------
    x : (n, dim) tensor
        float16 or float32.
    other : (dim,) or (n, dim) tensor
        One vector is of length one.

    Returns
    -------
    (n,) float32 tensor
        In [-1, 1]; NaN where one of both has no direction.
    """
    import torch

    found, squares = _cosines(x.float(), other.float())
    half = x.dtype == torch.float16 and (other.ndim == 1 or other.dtype == torch.float16)
    if half or not len(found):  # squares of float16 stay between the bounds: nothing to wait for
        return found.clamp_(-1, 1)
    odd = ~((squares > _LEAST) & (squares < _MOST)).all(dim=0)
    again = odd.nonzero()[:, 0]
    if len(again):
        wide = other.double() if other.ndim == 1 else other[again].double()
        found[again] = _cosines(x[again].double(), wide)[0].float()
    return found.clamp_(-1, 1)


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

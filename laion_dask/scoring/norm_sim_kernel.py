"""NormSim of one partition: norms of the cosines between rows and a target set, block by block."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from laion_dask.cost import EMBEDDINGS, Cost
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.numerics.normalization import unit
from laion_dask.numerics.torch_threads import spread
from laion_dask.runtime import cancellation
from laion_dask.scoring.embedding_kernel import fill_columns

if TYPE_CHECKING:
    import torch

#: Rows per product. The last block is padded with zeros, so that the product of a row does not
#: depend on the other rows.
_BLOCK = 512
#: Vectors of the target that are read and multiplied at a time.
_TARGET_BLOCK = 8192


@dataclass(frozen=True)
class NormSim:
    """The norm of the cosines of each row with a target set, as a column.

    Attributes
    ----------
    column : str
        The column that it computes.
    p : float
        2 or infinity.
    dim : int
    target : Embeddings or Target
        The target set.
    """

    column: str
    p: float
    dim: int
    target: Embeddings | Target

    def __len__(self) -> int:
        return len(self.target)

    def recipe(self) -> dict:
        """The manifest entry: the column, the norm, and the target set."""
        norm = "inf" if np.isinf(self.p) else self.p
        return {"norm_sim": self.column, "p": norm, "target": self.target.recipe()}

    @property
    def cost(self) -> Cost:
        """The cost of the products of one row; see `laion_dask.cost`."""
        products = len(self.target) if np.isinf(self.p) else self.dim
        flop = 2.0 * self.dim * products
        return Cost(("similarity",), reads=EMBEDDINGS, flop=flop, label=self.column)


@dataclass(frozen=True, eq=False)
class Target:
    """A target set in memory: (n, dim) float32, rows of length one."""

    vectors: np.ndarray

    def __len__(self) -> int:
        return len(self.vectors)

    def recipe(self) -> dict:
        """The manifest entry: the shape, and the digest of the bytes."""
        digest = hashlib.sha256(np.ascontiguousarray(self.vectors).tobytes()).hexdigest()
        return {"shape": list(self.vectors.shape), "sha256": digest}


def target_blocks(target: Embeddings | Target) -> Iterator[np.ndarray]:
    """The vectors of a target set with length one, float32; those without direction are skipped."""
    if isinstance(target, Target):
        for at in range(0, len(target), _TARGET_BLOCK):
            yield target.vectors[at : at + _TARGET_BLOCK]
        return
    for number, file in enumerate(target.files):
        yield from file_blocks(target, number, file.n_rows)


def file_blocks(target: Embeddings, number: int, n_rows: int) -> Iterator[np.ndarray]:
    """`target_blocks` of one file."""
    for at in range(0, n_rows, _TARGET_BLOCK):
        cancellation.check()
        vectors = unit(target.read(number, range(at, min(at + _TARGET_BLOCK, n_rows))))
        yield vectors[~np.isnan(vectors).any(axis=1)]


def gram_of_file(n_rows: int, number: int, target: Embeddings) -> np.ndarray:
    """The sum of outer products of the vectors of one file, (dim, dim) float64."""
    gram = np.zeros((target.dim, target.dim))
    for block in file_blocks(target, number, n_rows):
        gram += gram_of(block)
    return gram


def gram_of(vectors: np.ndarray) -> np.ndarray:
    """The sum of outer products of vectors, (dim, dim) float64."""
    wide = vectors.astype(np.float64)
    return wide.T @ wide


def total(grams: Sequence[np.ndarray]) -> np.ndarray:
    """The sum of Gram matrices, in order."""
    return np.sum(np.stack(grams), axis=0)


def euclidean(partition, embeddings: Embeddings, spec: NormSim, gram: np.ndarray):
    """The Euclidean norm of the cosines, from the Gram matrix of the target set.

    Returns
    -------
    DataFrame
        One column of float32; NaN for a row without a direction.
    """

    def score(x: np.ndarray):
        import torch

        matrix = torch.from_numpy(gram)
        yield _by_block(x, torch.float64, lambda rows: _quadratic(rows, matrix))

    def score_on_gpu(x):
        import torch

        yield _quadratic(_unit_tensor(x.double()), torch.from_numpy(gram).to(x.device)).float()

    return fill_columns(partition, [spec.column], [embeddings], score, score_on_gpu)


def largest(partition, embeddings: Embeddings, spec: NormSim):
    """The largest absolute cosine, from the products with all vectors of the target set.

    Returns
    -------
    DataFrame
        As `euclidean`.
    """

    def score(x: np.ndarray):
        import torch

        best = np.zeros(len(x))
        for block in target_blocks(spec.target):
            # Blocks of one size: the last digit of a product may depend on the size.
            padded = np.zeros((_TARGET_BLOCK, x.shape[1]), np.float32)
            padded[: len(block)] = block
            columns = torch.from_numpy(padded).T
            values = _by_block(x, torch.float32, lambda rows, c=columns: _largest(rows, c))
            best = np.maximum(best, values)  # NaN stays
        yield best

    def score_on_gpu(x):
        import torch

        rows = _unit_tensor(x.float())
        best = torch.zeros(len(x), device=x.device)
        for block in target_blocks(spec.target):
            columns = torch.from_numpy(block).to(x.device).T
            best = torch.maximum(best, _largest(rows, columns))
        yield best

    return fill_columns(partition, [spec.column], [embeddings], score, score_on_gpu)


def _quadratic(rows: torch.Tensor, gram: torch.Tensor) -> torch.Tensor:
    return ((rows @ gram) * rows).sum(dim=1).clamp_min(0).sqrt()


def _largest(rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    import torch

    if not columns.shape[1]:
        return torch.zeros(len(rows), dtype=rows.dtype, device=rows.device)
    return (rows @ columns).abs().amax(dim=1).clamp_max(1)  # rounding may exceed it


def _unit_tensor(x: torch.Tensor) -> torch.Tensor:
    import torch

    length = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return torch.where(torch.isfinite(length) & (length > 0), x / length, torch.nan)


def _by_block(x: np.ndarray, dtype: torch.dtype, function) -> np.ndarray:
    """A function of unit rows, applied to blocks of one size on torch's threads, (n,) float64."""
    import torch

    rows, out = unit(x), np.full(len(x), np.nan)
    known = np.flatnonzero(~np.isnan(rows).any(axis=1))

    def fill(at: int) -> None:
        chosen = known[at : at + _BLOCK]
        block = torch.zeros((_BLOCK, x.shape[1]), dtype=dtype)
        block[: len(chosen)] = torch.from_numpy(rows[chosen]).to(dtype)
        with torch.inference_mode():
            out[chosen] = function(block)[: len(chosen)].numpy()

    spread(fill, range(0, len(known), _BLOCK))
    return out

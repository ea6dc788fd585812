"""The work of clustering, as counted from the algorithm: what a plan multiplies by measured rates.

The rates are seconds per unit of one core: multiply-adds of int8 (``"cluster products"``), compared
pairs of a row and a centroid (``"cluster pairs"``), numbers of vectors that are read, rounded and
summed (``"cluster numbers"``), rows (``"cluster rows"``), and passes over the rows or the sample
(``"cluster passes"``), and the first use in a process (``"cluster start"``: compiled kernels are
loaded; later calls do not pay it). What is slower by a known factor counts so many units.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from laion_dask.cost import EMBEDDINGS, Cost, Work
from laion_dask.curation.clusters.chunks import CHUNK
from laion_dask.curation.clusters.lloyd import PER_CENTROID
from laion_dask.curation.clusters.seeding import FEWEST, ROWS

PRODUCTS, PAIRS, NUMBERS, ROW, PASSES, START = (
    "cluster products",
    "cluster pairs",
    "cluster numbers",
    "cluster rows",
    "cluster passes",
    "cluster start",
)
#: Bytes per centroid and dimension that a process holds: sums, float32, int8.
CENTROID_BYTES = 13
#: Pairs and numbers, in units: while first centroids are drawn, distances are added in float64, and
#: rows are read one by one; vectors that are kept are sorted and written.
_DRAWN_PAIR, _DRAWN_NUMBER, _WRITTEN_NUMBER = 16, 7, 2
#: Between duplicates, a compared pair, and a row, in units; and the rows of a block.
_SEARCHED_PAIR, _SEARCHED_ROW, _BLOCK = 1.7, 3, 1024


def training_work(n: int, dim: int, k: int, iterations: int, sample: int | None) -> list[Work]:
    """The work of `kmeans`: the sample, first centroids, iterations, and those over all rows.

    Parameters
    ----------
    n : int
        The number of rows.
    dim, k, iterations : int
    sample : int or None
        The expected number of its rows; by default 256 a centroid.
    """
    chunks = tasks_of(n)
    drawn = min(n, sample or PER_CENTROID * k)
    k = min(k, max(drawn, 1))
    first = min(drawn, max(FEWEST, ROWS * k))
    pairs = first / -(-k // 1024) * k * (2 + math.log(k))
    steps = drawn * (iterations - 1)
    return [
        Work(NUMBERS, drawn * dim + steps * dim / 8, chunks),
        Work(PRODUCTS, pairs * dim, 1),
        Work(PAIRS, pairs * _DRAWN_PAIR, 1),
        Work(NUMBERS, first * dim * _DRAWN_NUMBER, 1),
        Work(PRODUCTS, steps * k * dim, chunks),
        Work(PAIRS, steps * k, chunks),
        Work(PASSES, iterations + 1, 1),
        Work(START, 1, 1),
        Work(NUMBERS, n * dim, chunks),
        *nearest_work(n, dim, k, chunks),
    ]


def clustering_work(
    n: int, dim: int, k: int, iterations: int, sample: int | None = None, *, with_vectors=False
) -> list[Work]:
    """The work of training, and of assigning all rows."""
    assigned = assign_work(n, dim, k, with_vectors=with_vectors)
    return [*training_work(n, dim, k, iterations, sample), *assigned]


def cluster_cost(
    dim: int, k: int, work: Callable[[int], list[Work]], label: str, *notes: str, passes: int = 2
) -> Cost:
    """The cost of a verb that clusters, or that compares rows with k centroids.

    Its embeddings are read in two passes over all rows: the last iteration, and the assignment.
    """
    rates = tuple(each.rate for each in work(1))
    return Cost(
        rates,
        reads=EMBEDDINGS,
        flop=2.0 * dim * k * passes,
        label=label,
        queries=k,
        query_bytes=CENTROID_BYTES * dim,
        passes=passes,
        work=work,
        notes=notes,
    )


def assign_work(n: int, dim: int, k: int, *, with_vectors: bool) -> list[Work]:
    """The work of the exact last pass, which writes the rows by cluster."""
    chunks = tasks_of(n)
    numbers = n * dim * (1 + _WRITTEN_NUMBER * with_vectors)
    return [
        Work(NUMBERS, numbers, chunks),
        *nearest_work(n, dim, k, chunks),
        Work(ROW, n, chunks),
        Work(PASSES, 1, 1),
    ]


def search_work(n: int, dim: int, k: int, batches: int) -> list[Work]:
    """The work of comparing the rows of each cluster, as if all were equally large.

    A cluster of s rows is compared in blocks of 1,024: s * s / 2 pairs, and half a block a row.
    """
    size = n / k
    pairs = n * min(size, (size + _BLOCK) / 2)
    return [
        Work(NUMBERS, n * dim, batches),
        Work(PRODUCTS, pairs * dim, batches),
        Work(PAIRS, pairs * _SEARCHED_PAIR, batches),
        Work(ROW, n * _SEARCHED_ROW, batches),
        Work(PASSES, 1, 1),
    ]


def nearest_work(n: int, dim: int, k: int, tasks: int) -> list[Work]:
    """The work of comparing each row with each centroid."""
    return [Work(PRODUCTS, n * k * dim, tasks), Work(PAIRS, n * k, tasks)]


def tasks_of(n: int) -> int:
    """The tasks of a pass over so many rows."""
    return max(1, -(-n // CHUNK))

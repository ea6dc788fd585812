"""The negated CLIP loss of random batches of rows, batch by batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from laion_dask.backend import column_like
from laion_dask.cost import EMBEDDINGS, Cost
from laion_dask.curation.row_hash import row_hash
from laion_dask.curation.row_table import KEY, RowTable, row_keys, shard_and_row
from laion_dask.curation.row_writer import RowWriter, Written
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.io.storage import spill
from laion_dask.io.storage.spill import SpillFolder
from laion_dask.numerics.normalization import unit
from laion_dask.numerics.torch_threads import spread
from laion_dask.runtime import cancellation

#: The columns of a value, and of a spilled row.
VALUE, HASH = "value", "hash"
SCHEMA = pa.schema({VALUE: pa.float64()})
#: Images whose products with all captions of a batch are computed at a time.
_IMAGES = 256


@dataclass(frozen=True)
class NegClipLoss:
    """The negated CLIP loss of each row in random batches, as a column.

    Attributes
    ----------
    column : str
        The column that it computes.
    temperature : float
    batch : int
        The largest number of rows in a batch, on average.
    repeats : int
        The number of batches that each row is in.
    seed : int
    dim : int
    """

    column: str
    temperature: float
    batch: int
    repeats: int
    seed: int
    dim: int

    def recipe(self) -> dict:
        """The manifest entry: the column and the parameters."""
        return {
            "neg_clip_loss": self.column,
            "temperature": self.temperature,
            "batch": self.batch,
            "repeats": self.repeats,
            "seed": self.seed,
        }

    @property
    def cost(self) -> Cost:
        """The cost of the products of one row with its batches; see `laion_dask.cost`."""
        flop = 2.0 * self.dim * self.batch * self.repeats
        note = "neg_clip_loss: reads the embeddings of every row once for every repeat"
        return Cost(("clip_score",), reads=EMBEDDINGS, flop=flop, label=self.column, notes=(note,))


@dataclass(frozen=True, eq=False)
class Spilled:
    """The rows of all partitions in files, by repeat and bucket.

    Attributes
    ----------
    folder : SpillFolder
    numbers : list of int
        The numbers of the files.
    n_rows : int
        Number of rows.
    """

    folder: SpillFolder
    numbers: list[int]
    n_rows: int


def spill_rows(
    part, spec: NegClipLoss, n_buckets: int, folder: SpillFolder, partition_info=None
) -> tuple[int, int]:
    """Write the key and hash of each row once per repeat; return the file's number, and its rows.

    A bucket is a range of hashes.
    """
    keys, valid = row_keys(part)
    keys = keys[valid]
    shard, row = shard_and_row(keys)
    hashes = [row_hash(shard, row, spec.seed, repeat) for repeat in range(spec.repeats)]
    buckets = [
        repeat * n_buckets + range_of(values, n_buckets) for repeat, values in enumerate(hashes)
    ]
    columns = {KEY: np.tile(keys, spec.repeats), HASH: np.concatenate(hashes)}
    number = (partition_info or {}).get("number", 0)
    destinations = np.concatenate(buckets)
    spill.write_table(pa.table(columns), destinations, spec.repeats * n_buckets, number, folder)
    return number, len(keys)


def range_of(hashes: np.ndarray, n: int) -> np.ndarray:
    """The number of the range of each hash, of n equal ranges, (len,) int64."""
    high = hashes >> np.uint64(32)
    return ((high * np.uint64(n)) >> np.uint64(32)).astype(np.int64)


def gather_spilled(counted: Sequence[tuple[int, int]], folder: SpillFolder) -> Spilled:
    """The files of all partitions."""
    return Spilled(folder, [number for number, _ in counted], sum(n for _, n in counted))


def score_buckets(
    task: int,
    _number: int,
    repeat: int,
    n_buckets: int,
    spilled: Spilled,
    images: Embeddings,
    texts: Embeddings,
    spec: NegClipLoss,
    writer: RowWriter,
) -> Written:
    """Score the batches of one bucket of a repeat, and write the values of its rows.

    There are ceil(rows / batch) batches in a repeat, as ranges of hashes of nearly equal size, so
    they depend on the rows alone. A range of more than one bucket belongs to the first of them.
    """
    n_batches = max(1, -(-spilled.n_rows // spec.batch))
    keys, values = [np.empty(0, np.int64)], [np.empty(0)]
    for batch in _batches_of(task, n_buckets, n_batches):
        rows = _rows_of(batch, repeat, n_buckets, n_batches, spilled)
        keys.append(rows)
        values.append(_of_batch(rows, images, texts, spec))
    return writer.write(task, np.concatenate(keys), {VALUE: np.concatenate(values)})


def _batches_of(bucket: int, n_buckets: int, n_batches: int) -> range:
    """The batches whose range starts in a bucket."""
    return range(-(-bucket * n_batches // n_buckets), -(-(bucket + 1) * n_batches // n_buckets))


def _rows_of(
    batch: int, repeat: int, n_buckets: int, n_batches: int, spilled: Spilled
) -> np.ndarray:
    """The keys of the rows of a batch, in the order of their hashes."""
    first = batch * n_buckets // n_batches
    last = min(n_buckets - 1, (batch + 1) * n_buckets // n_batches)
    batches = [
        spill.read_batch(spilled.folder, number, repeat * n_buckets + bucket)
        for bucket in range(first, last + 1)
        for number in spilled.numbers
    ]
    table = pa.Table.from_batches(batches, pa.schema({KEY: pa.int64(), HASH: pa.uint64()}))
    keys, hashes = table[KEY].to_numpy(), table[HASH].to_numpy()
    here = range_of(hashes, n_batches) == batch
    keys, hashes = keys[here], hashes[here]
    return keys[np.lexsort((keys, hashes))]


def _of_batch(
    keys: np.ndarray, images: Embeddings, texts: Embeddings, spec: NegClipLoss
) -> np.ndarray:
    """The values of a batch, (n,) float64; NaN for rows without both embeddings."""
    x, y = (_vectors(keys, embeddings) for embeddings in (images, texts))
    known = ~(np.isnan(x).any(axis=1) | np.isnan(y).any(axis=1))
    values = np.full(len(keys), np.nan)
    if known.any():
        values[known] = neg_clip_loss_of(x[known], y[known], spec.temperature)
    return values


def _vectors(keys: np.ndarray, embeddings: Embeddings) -> np.ndarray:
    """The vectors of rows with length one, (n, dim) float32, read shard by shard."""
    shard, row = shard_and_row(keys)
    x = np.empty((len(keys), embeddings.dim), np.float32)
    for number in np.unique(shard).tolist():
        cancellation.check()
        at = np.flatnonzero(shard == number)
        at = at[np.argsort(row[at])]
        x[at] = unit(embeddings.read(number, row[at]))
    return x


def neg_clip_loss_of(x: np.ndarray, y: np.ndarray, temperature: float) -> np.ndarray:
    """The negated loss of each pair of a batch, times the temperature, (n,) float64.

    ``s_ii - t/2 * (log sum_j exp(s_ij / t) + log sum_j exp(s_ji / t))`` for cosines s and the
    temperature t, with j = i in both sums (Wang et al. 2024, section 3.1; in their code,
    ``cal_new_clip_score`` of ``baselines/vas2.py``).

    Parameters
    ----------
    x, y : (n, dim) float32 array
        Unit rows: images and their captions.
    temperature : float
    """
    import torch

    n, t = len(x), temperature
    captions = torch.from_numpy(y).T
    starts = range(0, n, _IMAGES)
    own, of_image = np.empty(n), np.empty(n)
    partial = [(np.empty(0), np.empty(0))] * len(starts)

    def fill(number: int) -> None:
        at = starts[number]
        rows = slice(at, min(at + _IMAGES, n))
        with torch.inference_mode():
            s = torch.from_numpy(x[rows]) @ captions
            own[rows] = s.diagonal(at).numpy()
            of_image[rows] = t * torch.logsumexp(s.double() / t, dim=1).numpy()
            top = s.amax(dim=0)
            sums = ((s - top).double() / t).exp_().sum(dim=0)
            partial[number] = (top.double().numpy(), sums.numpy())

    spread(fill, range(len(starts)))
    top = np.max([top for top, _ in partial], axis=0)
    total = np.zeros(n)
    for block_top, sums in partial:  # in order, so the sum does not depend on threads
        total += sums * np.exp((block_top - top) / t)
    of_caption = top + t * np.log(total)
    return own - (of_image + of_caption) / 2


def averaged(part, *tables_and_spec):
    """The mean of each row's values over all repeats, float32; NaN without embeddings."""
    *tables, _ = tables_and_spec
    keys, valid = row_keys(part)
    total = np.zeros(len(keys))
    for table in tables:
        total = total + _values(table, np.where(valid, keys, -1))
    mean = (total / len(tables)).astype(np.float32)
    column = tables_and_spec[-1].column
    if isinstance(part, pd.DataFrame):
        return pd.DataFrame({column: mean}, index=part.index)
    return part[[]].assign(**{column: column_like(mean, part)})


def _values(table: RowTable, keys: np.ndarray) -> np.ndarray:
    values = table.lookup(keys)[VALUE].combine_chunks()
    return values.fill_null(float("nan")).to_numpy(zero_copy_only=False)

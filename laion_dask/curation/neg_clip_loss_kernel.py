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
from laion_dask.io.storage.spill import SpilledFiles, SpillFolder
from laion_dask.numerics.normalization import unit
from laion_dask.numerics.torch_threads import spread
from laion_dask.runtime import cancellation

#: The columns of a value, and of a row on disk.
VALUE, HASH = "value", "hash"
SCHEMA = pa.schema({VALUE: pa.float64()})
_ROW = np.dtype([(KEY, np.int64), (HASH, np.uint64)])
#: Images whose products with all captions of a batch are computed at a time.
_IMAGES = 64
#: Blocks of images whose sums for all captions are in memory.
_BLOCKS = 32


@dataclass(frozen=True)
class NegClipLoss:
    """The negated CLIP loss of each row in random batches, as a column.

    Attributes
    ----------
    column : str
        The column that it computes.
    temperature : float
    batch : int
        Number of rows in a batch.
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
    files : SpilledFiles
    starts : (repeats, buckets + 1) int64 array
        Number of rows of a repeat before each bucket; at the end, of all rows.
    """

    files: SpilledFiles
    starts: np.ndarray


def spill_rows(
    part, spec: NegClipLoss, n_buckets: int, folder: SpillFolder, partition_info=None
) -> int:
    """Write the key and hash of each row once per repeat; return the file's number.

    A bucket is a range of hashes.
    """
    keys, valid = row_keys(part)
    keys = keys[valid]
    shard, row = shard_and_row(keys)
    records = np.empty((spec.repeats, len(keys)), _ROW)
    buckets = np.empty(records.shape, np.int64)
    for repeat in range(spec.repeats):
        hashes = row_hash(shard, row, spec.seed, repeat)
        records[repeat][KEY], records[repeat][HASH] = keys, hashes
        buckets[repeat] = repeat * n_buckets + _range_of(hashes, n_buckets)
    number: int = (partition_info or {}).get("number", 0)
    n = spec.repeats * n_buckets
    return spill.write_records(records.ravel(), buckets.ravel(), n, number, folder)


def _range_of(hashes: np.ndarray, n: int) -> np.ndarray:
    """The number of the range of each hash, of n equal ranges, (len,) int64."""
    high = hashes >> np.uint64(32)
    return ((high * np.uint64(n)) >> np.uint64(32)).astype(np.int64)


def gather_spilled(
    numbers: Sequence[int], spec: NegClipLoss, n_buckets: int, folder: SpillFolder
) -> Spilled:
    """The files of all partitions, and the number of rows in each bucket."""
    files = SpilledFiles(folder, list(numbers))
    counts = spill.count_records(files, spec.repeats * n_buckets).reshape(spec.repeats, n_buckets)
    return Spilled(files, np.pad(np.cumsum(counts, axis=1), ((0, 0), (1, 0))))


def score_buckets(
    task: int,
    _number: int,
    repeat: int,
    spilled: Spilled,
    images: Embeddings,
    texts: Embeddings,
    spec: NegClipLoss,
    writer: RowWriter,
) -> Written:
    """Score the batches of a repeat that start in one bucket, and write the values of their rows.

    In the order of hashes, each ``spec.batch`` rows are a batch. The rest at the end is scored in
    the batch of the last ``spec.batch`` rows, of which the others have a batch already.
    """
    starts = spilled.starts[repeat].tolist()
    n_rows, size = starts[-1], spec.batch
    batches = range(-(-starts[task] // size), -(-starts[task + 1] // size))
    keys, values = [np.empty(0, np.int64)], [np.empty(0)]
    if batches:
        first = max(0, min(batches[0] * size, n_rows - size))
        ordered = _ordered(first, min(batches.stop * size, n_rows), repeat, spilled)
    for batch in batches:
        start, stop = batch * size, min((batch + 1) * size, n_rows)
        filled = max(0, stop - size)  # start, unless the batch is the rest
        scored = _of_batch(ordered[filled - first : stop - first], images, texts, spec)
        keys.append(ordered[start - first : stop - first])
        values.append(scored[start - filled :])
    return writer.write(task, np.concatenate(keys), {VALUE: np.concatenate(values)})


def _ordered(first: int, stop: int, repeat: int, spilled: Spilled) -> np.ndarray:
    """The keys of the rows of a repeat from one position to another, in the order of hashes."""
    starts = spilled.starts[repeat]
    n_buckets = len(starts) - 1
    buckets = range(
        int(np.searchsorted(starts, first, side="right")) - 1,
        int(np.searchsorted(starts, stop, side="left")),
    )
    found = []
    for bucket in buckets:
        cancellation.check()
        destination, n = repeat * n_buckets + bucket, spilled.starts.shape[0] * n_buckets
        rows = spill.read_records(spilled.files, destination, n, _ROW)
        found.append(rows[KEY][np.lexsort((rows[KEY], rows[HASH]))])
    offset = int(starts[buckets.start])
    return np.concatenate(found)[first - offset : stop - offset]


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
    own, of_image = np.empty(n), np.empty(n)
    top, total = np.full(n, -np.inf), np.zeros(n)  # of captions: total * exp(top / t)
    partial = {}

    def fill(at: int) -> None:
        rows = slice(at, min(at + _IMAGES, n))
        with torch.inference_mode():
            s = torch.from_numpy(x[rows]) @ captions
            own[rows] = s.diagonal(at).numpy()
            largest = s.amax(dim=1, keepdim=True).double()
            wide = s.double()
            sums = wide.sub_(largest).div_(t).exp_().sum(dim=1)
            of_image[rows] = largest[:, 0].add_(sums.log_().mul_(t)).numpy()
            largest = s.amax(dim=0).double()
            sums = wide.copy_(s).sub_(largest).div_(t).exp_().sum(dim=0)
            partial[at] = largest.numpy(), sums.numpy()

    starts = range(0, n, _IMAGES)
    for first in range(0, len(starts), _BLOCKS):
        blocks = starts[first : first + _BLOCKS]
        spread(fill, blocks)
        for at in blocks:  # in order, so the sum does not depend on threads
            largest, sums = partial.pop(at)
            before, top = top, np.maximum(top, largest)
            total = total * np.exp((before - top) / t) + sums * np.exp((largest - top) / t)
    return own - (of_image + top + t * np.log(total)) / 2


def averaged(part, *given):
    """The mean of each row's values over all repeats, float32; NaN without embeddings.

    Parameters
    ----------
    part : DataFrame
    *given : RowTable, ..., Embeddings, Embeddings, NegClipLoss
        A table for every repeat; and, for a plan, the embeddings and parameters they are made of.
    """
    *tables, _, _, spec = given
    keys, valid = row_keys(part)
    total = np.zeros(len(keys))
    for table in tables:
        total = total + _values(table, np.where(valid, keys, -1))
    mean = (total / len(tables)).astype(np.float32)
    if isinstance(part, pd.DataFrame):
        return pd.DataFrame({spec.column: mean}, index=part.index)
    return part[[]].assign(**{spec.column: column_like(mean, part)})


def _values(table: RowTable, keys: np.ndarray) -> np.ndarray:
    values = table.lookup(keys)[VALUE].combine_chunks()
    return values.fill_null(float("nan")).to_numpy(zero_copy_only=False)

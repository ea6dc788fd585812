"""Soft-cap sampling: rounds of draws without replacement, whose scores are on disk."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from laion_dask.backend import frame_from_arrow, is_cudf
from laion_dask.curation.row_hash import mix, row_hash
from laion_dask.curation.row_table import (
    KEY,
    RowTable,
    distinct_row_keys,
    row_keys,
    shard_and_row,
)
from laion_dask.curation.row_writer import RowWriter, Written
from laion_dask.io.storage import spill
from laion_dask.io.storage.spill import SpillFolder
from laion_dask.runtime import cancellation
from laion_dask.scoring.mixture import score_values

REPEATS, KEEP, SCORE = "repeats", "keep", "score"
SCHEMA = pa.schema({REPEATS: pa.int64()})
#: Rows that are drawn from at a time.
_BLOCK = 1 << 20
_FILES = {"key": np.int64, "score": np.float64, "hash": np.uint64, "repeats": np.int64}


@dataclass(frozen=True)
class SoftCap:
    """The parameters of soft-cap sampling.

    Attributes
    ----------
    column : str
        The column of scores.
    n : int
        Number of draws.
    penalty : float
        What a draw subtracts from the score of a row.
    per_round : int
        Number of draws without replacement in a round.
    seed : int
    """

    column: str
    n: int
    penalty: float
    per_round: int
    seed: int

    def __str__(self) -> str:
        return (
            f"soft_cap({self.column!r}, {self.n}, penalty={self.penalty:g}, "
            f"per_round={self.per_round}, seed={self.seed})"
        )

    def recipe(self) -> dict:
        """The manifest entry: the parameters."""
        return {
            "soft_cap": self.column,
            "n": self.n,
            "penalty": self.penalty,
            "per_round": self.per_round,
            "seed": self.seed,
        }


@dataclass(frozen=True, eq=False)
class Drawn:
    """Rows and their repeats, in files of a folder."""

    folder: SpillFolder
    n_rows: int

    def open(self, name: str, mode: str = "r") -> np.ndarray:
        """One of the arrays of the rows, mapped from its file."""
        if not self.n_rows:
            return np.empty(0, _FILES[name])
        path = os.path.join(self.folder.path, name)
        return np.memmap(path, _FILES[name], mode, shape=(self.n_rows,))  # type: ignore[call-overload]


def spill_scores(part, column: str, folder: SpillFolder, partition_info=None) -> tuple[int, int]:
    """Write the keys and scores of the rows that have both; return the file's number, and rows."""
    keys, valid = row_keys(part)
    scores = score_values(part, [column])[:, 0]
    known = valid & ~np.isnan(scores) & (scores < np.inf)
    number = (partition_info or {}).get("number", 0)
    table = pa.table({KEY: keys[known], SCORE: scores[known]})
    spill.write_table(table, np.zeros(len(table), np.int64), 1, number, folder)
    return number, len(table)


def draw(
    counted: Sequence[tuple[int, int]], source: SpillFolder, target: SpillFolder, spec: SoftCap
) -> Drawn:
    """Draw rows until there are n draws; their number is in the file of repeats.

    In each round, the ``per_round`` rows with the largest ``score - penalty * repeats + g`` are
    drawn, for independent standard Gumbel variables g from a hash of (seed, round, shard, row).
    This is the distribution of draws one after another, without replacement, with probabilities
    proportional to ``exp(score - penalty * repeats)`` (Yellott 1977; Kool et al. 2019).
    """
    drawn = _collected(counted, source, target, spec.seed)
    scores, hashes, keys = (drawn.open(name) for name in ("score", "hash", "key"))
    repeats = drawn.open("repeats", "r+")
    possible = sum(
        int(np.count_nonzero(scores[at : at + _BLOCK] > -np.inf))
        for at in range(0, len(scores), _BLOCK)
    )
    left, number = spec.n if possible else 0, 0
    while left > 0:
        take = min(spec.per_round, left, possible)
        chosen = _round(scores, hashes, keys, repeats, number, take, spec.penalty)
        repeats[chosen] += 1
        left, number = left - take, number + 1
    return drawn


def _collected(
    counted: Sequence[tuple[int, int]], source: SpillFolder, target: SpillFolder, seed: int
) -> Drawn:
    """The rows of all partitions as files, with their hashes and without repeats."""
    drawn = Drawn(target, sum(n for _, n in counted))
    if not drawn.n_rows:
        return drawn
    with target.file(0, "wb"):
        pass  # creates the folder
    files = {name: drawn.open(name, "w+") for name in _FILES}
    start = 0
    for number, n in counted:
        cancellation.check()
        batch = spill.read_batch(source, number, 0)
        rows = slice(start, start + n)
        files["key"][rows], files["score"][rows] = (
            batch.column(name).to_numpy() for name in (KEY, SCORE)
        )
        files["hash"][rows] = row_hash(*shard_and_row(files["key"][rows]), seed)
        start += n
    for file in files.values():
        file.flush()  # type: ignore[attr-defined]
    return drawn


def _round(
    scores: np.ndarray,
    hashes: np.ndarray,
    keys: np.ndarray,
    repeats: np.ndarray,
    number: int,
    take: int,
    penalty: float,
) -> np.ndarray:
    """The positions of the rows of one round, (take,) int64."""
    values, positions = np.empty(0), np.empty(0, np.int64)
    least = -np.inf
    for at in range(0, len(scores), _BLOCK):
        cancellation.check()
        rows = slice(at, at + _BLOCK)
        perturbed = scores[rows] - penalty * repeats[rows] + gumbel(hashes[rows], number)
        candidates = np.flatnonzero(perturbed >= least)
        candidates = candidates[perturbed[candidates] > -np.inf]
        values = np.concatenate([values, perturbed[candidates]])
        positions = np.concatenate([positions, candidates + at])
        if len(values) > take:
            best = _largest(values, keys[positions], take)
            values, positions = values[best], positions[best]
            least = values.min()
    return positions


def gumbel(hashes: np.ndarray, number: int) -> np.ndarray:
    """Standard Gumbel variables of a round from the hashes of rows, (n,) float64."""
    mixed = mix(np.asarray(hashes) ^ mix(np.uint64(number)))
    uniform = ((mixed >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    result: np.ndarray = -np.log(-np.log(uniform))
    return result


def _largest(values: np.ndarray, keys: np.ndarray, n: int) -> np.ndarray:
    """The positions of the n largest values; of equal ones, of the smallest keys."""
    limit = np.partition(values, len(values) - n)[len(values) - n]
    above, equal = np.flatnonzero(values > limit), np.flatnonzero(values == limit)
    equal = equal[np.argsort(keys[equal], kind="stable")]
    return np.concatenate([above, equal[: n - len(above)]])


def write_repeats(
    number: int, _position: int, n_tasks: int, drawn: Drawn, writer: RowWriter
) -> Written:
    """Write the repeats of one share of the rows."""
    start, stop = (drawn.n_rows * k // n_tasks for k in (number, number + 1))
    keys, repeats = (np.array(drawn.open(name)[start:stop]) for name in ("key", "repeats"))
    return writer.write(number, keys, {REPEATS: repeats})


def decisions(part, table: RowTable, _spec: SoftCap):
    """Whether each row was drawn, null without a score, and its repeats, int64."""
    found = table.lookup(distinct_row_keys(part))[REPEATS].combine_chunks()
    repeats = found.fill_null(0).to_numpy()
    kept = pa.array(repeats > 0, mask=~found.is_valid().to_numpy(zero_copy_only=False))
    result = frame_from_arrow(
        pa.table({KEEP: kept, REPEATS: repeats}), "cudf" if is_cudf(part) else "pandas"
    )
    result[REPEATS] = result[REPEATS].astype("int64")
    result.index = part.index
    return result


def decisions_meta(meta) -> pd.DataFrame:
    """The meta of `decisions`."""
    columns = {KEEP: pa.array([], pa.bool_()), REPEATS: pa.array([], pa.int64())}
    result = frame_from_arrow(pa.table(columns), "cudf" if is_cudf(meta) else "pandas")
    result[REPEATS] = result[REPEATS].astype("int64")
    result.index = meta.index[:0]
    return result

"""Keep the rows that another data set has, by a key: the way to a release that was cleaned."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import dask.dataframe as dd
import numpy as np

from laion_dask.backend import Frame
from laion_dask.cost import Cost, PlannedFrame
from laion_dask.curation.bucket_pass import HASH, Spilled, bucket_count, spilled
from laion_dask.curation.duplicates.exact import KEEP, LOW, SCHEMA, Rule, records_of
from laion_dask.curation.exclude import Listed
from laion_dask.curation.key import Key
from laion_dask.curation.row_table import KEY, look_up, look_up_meta, shards_per_block
from laion_dask.curation.row_writer import RowWriter, Written
from laion_dask.errors import OptionError
from laion_dask.frame.exploded import refuse_exploded
from laion_dask.frame.provenance import Provenance
from laion_dask.frame.selection import select_rows
from laion_dask.joins.arguments import scores_table
from laion_dask.runtime import graph
from laion_dask.schema import PROVENANCE

_FIRST = Rule("first")


def against_relaion(
    frame: dd.DataFrame,
    ref: str | os.PathLike | Sequence | dd.DataFrame,
    by: str | Sequence[str] = "hash",
) -> dd.DataFrame:
    """The rows that a release of Re-LAION has, by LAION's hash. Lazy.

    Re-LAION-5B is LAION-5B without the samples of its removal lists, which are not published. A
    subset of LAION-5B is cleaned exactly by keeping the rows that are in Re-LAION. LAION's hash is
    computed from ``url`` and ``text``, on either side, where there is no column ``hash``.

    Works for reference data of any size: the keys of both sides go to Dask's
    ``temporary_directory``, 24 bytes a row, and meet bucket by bucket.

    Parameters
    ----------
    frame : dask DataFrame
    ref : str, path, several of them, or dask DataFrame
        Parquet shards of the release, or a frame of them. Keys may repeat.
    by : str or sequence of str
        The key; see `dedup`. Values are compared by hashes of 128 bits, integers exactly.

    Returns
    -------
    dask DataFrame
        The rows in both. `rows`, `funnel` and `excluded` count rows that are not in the reference
        as dropped, and rows without a key as unscored.

    Raises
    ------
    OptionError, ColumnError, ProvenanceError, ShardNotFoundError
        Immediately, when an argument or a column does not fit.
    ProvenanceError, SpillError
        During the computation, when the frame has a row twice, or the disk is full.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/shards")
    >>> frame.laion.against_relaion("demo-corpus/embedded/metadata").laion.rows().rejected
    0
    """
    refuse_exploded(frame, "against_relaion")
    provenance = Provenance.of(frame)
    provenance.check_row_identity()
    table, reference = scores_table(ref)
    own, other = Key.of(frame, by), Key.of(table, by)
    if own.types != other.types:
        raise OptionError(
            f"The key {by!r} holds {', '.join(own.types)} in the frame and "
            f"{', '.join(other.types)} in the reference. Convert one of them, or compare by "
            "another key."
        )
    writer = RowWriter.create(SCHEMA, shards_per_block(provenance))
    n = max(bucket_count(provenance), bucket_count(reference))
    sides = [
        spilled(side[[*dict.fromkeys([*key.reads(side.columns), *PROVENANCE])]], records_of,
                _FIRST.dtype, n, key, _FIRST)
        for side, key in ((frame, own), (table, other))
    ]  # fmt: skip
    decided = writer.lazily(graph.tasks(_members, list(range(n)), *sides, writer), n)
    meta = look_up_meta(frame._meta, SCHEMA, [KEEP])
    keep = graph.map_columns(frame, _keep, decided, reads=list(PROVENANCE), meta=meta)[KEEP]
    return select_rows(frame, keep, f"against_relaion(by={by!r})")


def against_relaion_cost(frame: PlannedFrame) -> Cost:
    """The cost of `against_relaion`, as that of a join through the disk."""
    note = "against_relaion: the rate is that of a join on disk; omits the bytes of the reference"
    return Cost(("join on disk",), notes=(note,))


def _members(
    bucket: int, _number: int, own: Spilled, reference: Spilled, writer: RowWriter
) -> Written:
    records, listed = own.bucket(bucket), Listed.of(_halves(reference.bucket(bucket)))
    keep: Mapping[str, np.ndarray] = {KEEP: listed.has(_halves(records))}
    return writer.write(bucket, np.ascontiguousarray(records[KEY]), keep)


def _halves(records: np.ndarray) -> np.ndarray:
    return np.column_stack([records[HASH], records[LOW]])


def _keep(part: Frame, table) -> Frame:
    return look_up(part, table, [KEEP])

"""Keep the rows that a person chose one by one."""

from __future__ import annotations

import os
from dataclasses import dataclass

import dask.dataframe as dd
import numpy as np

from laion_dask.backend import Frame
from laion_dask.cost import Cost, PlannedFrame
from laion_dask.curation.row_table import in_sorted, keys_of, row_keys
from laion_dask.curation.smallest import KEEP, decided
from laion_dask.curation.tags import ListRecord, Tags
from laion_dask.curation.tags_file import read_tags
from laion_dask.errors import must_be
from laion_dask.formatting import counted
from laion_dask.frame.provenance import Provenance
from laion_dask.frame.selection import select_rows
from laion_dask.runtime import graph
from laion_dask.schema import PROVENANCE


@dataclass(frozen=True, eq=False)
class Chosen:
    """The rows of a set in the numbering of a frame.

    Attributes
    ----------
    keys : (n,) int64 array
        Ascending; see `row_keys`.
    lists : tuple of ListRecord
        What the manifest of an export has of the set.
    """

    keys: np.ndarray
    lists: tuple[ListRecord, ...]

    def mask(self, part: Frame) -> tuple[np.ndarray, np.ndarray]:
        """Masks of a partition's rows: in the set, and with a known shard and row."""
        keys, valid = row_keys(part)
        return in_sorted(keys, self.keys) & valid, valid

    def __dask_tokenize__(self) -> tuple[object, ...]:
        return ("laion_dask.Chosen", self.lists, self.keys.tobytes())


def tagged(frame: dd.DataFrame, rows: str | os.PathLike[str] | Tags) -> dd.DataFrame:
    """The rows of a set that a person chose. Lazy.

    The file is read immediately, and each of its shards is found by the digest of its footer: in a
    data set that was moved, renamed or extended, these are the same rows. A shard that is missing
    or has changed is an error, never another row.

    Parameters
    ----------
    frame : dask DataFrame
        Must have ``shard`` and ``row``.
    rows : path, or Tags
        What `write_tags` wrote, or what it or `read_tags` returned.

    Returns
    -------
    dask DataFrame
        `rows`, `funnel` and `excluded` count all other rows as dropped. A row that an earlier
        filter left out stays out, and the rule in the funnel says how many of the set's rows are in
        partitions that the frame does not read.

    Raises
    ------
    OptionError
        Immediately, when the file is not one of tags, or the data set lacks a shard or has another
        version of it; names what differs.
    ProvenanceError
        Immediately, when the frame does not lead back to `read_shards`.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> best = frame.nlargest(10, "similarity").compute()
    >>> written = ld.write_tags("best.json", frame, best, name="best")
    >>> frame.laion.tagged("best.json").laion.rows().kept
    10
    """
    must_be("rows", rows, (str, os.PathLike, Tags), "a file that ld.write_tags wrote")
    provenance = Provenance.of(frame)
    provenance.check_row_identity()
    tags = rows if isinstance(rows, Tags) else read_tags(rows)
    keys = tags.keys(provenance)
    chosen = graph.share(Chosen(keys, (tags.record,)))
    meta = decided(frame._meta, np.empty(0, bool), np.empty(0, bool))
    keep = graph.map_columns(frame, _decisions, chosen, reads=list(PROVENANCE), meta=meta)[KEEP]
    n_outside = len(keys) - _n_read(provenance, keys)
    outside = f", {n_outside:,} of them not read" if n_outside else ""
    rule = f"tagged({tags.name!r}, {counted(len(keys), 'row')}{outside}, sha256 {tags.sha256[:16]})"
    return select_rows(frame, keep, rule)


def tagged_cost(frame: PlannedFrame, rows: object = None) -> Cost:
    """The cost of `tagged`."""
    return Cost(("where",), columns=(), notes=("tagged: the rate is that of a filter",))


def _n_read(provenance: Provenance, keys: np.ndarray) -> int:
    """The number of rows, by their keys, that the partitions of a frame read."""
    n = 0
    for partition in provenance.partitions:
        for piece in partition.pieces:
            ends = keys_of(np.array(piece.shard.index), np.array([piece.start, piece.stop]))
            first, last = np.searchsorted(keys, ends)
            n += int(last - first)
    return n


def _decisions(part: Frame, chosen: Chosen) -> Frame:
    """Whether each row of a partition is in a set; null for a row without shard and row."""
    keep, valid = chosen.mask(part)
    return decided(part, keep, ~valid)

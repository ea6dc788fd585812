"""Drop the rows that a list names: removal lists of URLs, uids or digests."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa

from laion_dask.backend import Frame, frame_from_arrow, frame_to_arrow
from laion_dask.cost import Cost, PlannedFrame
from laion_dask.curation.key import Key
from laion_dask.curation.removal_list import digests_of, read_list
from laion_dask.curation.smallest import KEEP, decided
from laion_dask.errors import OptionError, one_of
from laion_dask.frame.selection import select_rows
from laion_dask.runtime import graph

#: Columns of hexadecimal digits, which are compared in lower case.
_DIGESTS = ("md5", "sha1", "sha256", "sha512", "image_md5", "uid")
_HASHES = ("md5", "sha1", "sha256", "sha512")


@dataclass(frozen=True, eq=False)
class Listed:
    """The entries of a list, as hashes of 128 bits, which do not tell what they are made of.

    Attributes
    ----------
    high, low : (n,) uint64 arrays
        Sorted.
    """

    high: np.ndarray
    low: np.ndarray

    @classmethod
    def of(cls, hashes: np.ndarray) -> Listed:
        """The distinct hashes of entries, (n, 2) uint64."""
        ordered = hashes[np.lexsort((hashes[:, 1], hashes[:, 0]))]
        new = np.ones(len(ordered), bool)
        new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
        return cls(*np.ascontiguousarray(ordered[new].T))

    def has(self, hashes: np.ndarray) -> np.ndarray:
        """Mask of the hashes, (n, 2) uint64, that are in the list."""
        found = np.zeros(len(hashes), bool)
        if not len(self.high):
            return found
        high, low = hashes[:, 0], hashes[:, 1]
        at = np.searchsorted(self.high, high)
        last = len(self.high) - 1
        candidates = np.flatnonzero(self.high[np.minimum(at, last)] == high)
        while len(candidates):  # entries of equal first halves follow each other
            here = np.minimum(at[candidates], last)
            same = (self.high[here] == high[candidates]) & (at[candidates] <= last)
            candidates, here = candidates[same], here[same]
            found[candidates] |= self.low[here] == low[candidates]
            candidates = candidates[~found[candidates]]
            at[candidates] += 1
        return found


def exclude(
    frame: dd.DataFrame,
    list: str | os.PathLike | Sequence[str | int],
    by: str = "url",
    *,
    hashed: str | None = None,
    column: str | None = None,
    missing: str = "unscored",
) -> dd.DataFrame:
    """The rows that are not in a list, such as a removal list. Lazy.

    The list is read immediately, and kept as hashes of 128 bits, 16 bytes an entry. Neither the
    frame nor the manifest of an export has the entries in plain text: the manifest has their
    number, and a digest of the list.

    Parameters
    ----------
    frame : dask DataFrame
    list : str, path or sequence
        The entries, or a file of them: ``.parquet`` or ``.csv`` with the column ``by``, ``.npy``
        (DataComp's uids, two uint64 each), or text with one entry a line. May be compressed
        (``.gz``) and in any store.
    by : str
        The column to compare: ``"url"``, ``"normalized_url"``, ``"uid"``, ``"hash"`` (LAION's,
        computed from ``url`` and ``text`` where it is absent), ``"md5"`` or another. Columns of
        hexadecimal digits (``uid``, ``md5``, ``sha256``) are compared in lower case.
    hashed : {"md5", "sha1", "sha256", "sha512"}, optional
        The entries are hexadecimal digests of the values of ``by``, in UTF-8, such as the lists of
        hashed URLs that organizations for child safety share.
    column : str, optional
        The column of the list, if it is not named like ``by``.
    missing : {"unscored", "keep"}
        What becomes of rows whose value is null: by default they cannot be checked, so they are
        unscored, never kept.

    Returns
    -------
    dask DataFrame
        `rows`, `funnel` and `excluded` count the rows of the list as dropped.

    Raises
    ------
    OptionError, ColumnError
        Immediately, when an argument does not fit, or the list cannot be read.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> removed = frame["url"].head(3).tolist()
    >>> frame.laion.exclude(removed, by="url").laion.rows().dropped >= 3
    True
    """
    return without_listed(frame, list, by, hashed, column, missing, "exclude")


def without_listed(
    frame: dd.DataFrame,
    entries: str | os.PathLike | Sequence[str | int],
    by: str,
    hashed: str | None,
    column: str | None,
    missing: str,
    verb: str,
) -> dd.DataFrame:
    """The rows that are not in a list, by a rule that names a verb; see `exclude`. Lazy."""
    if missing not in ("unscored", "keep"):
        raise one_of("missing", missing, ["unscored", "keep"])
    if hashed is not None and hashed not in _HASHES:
        raise one_of("hashed", hashed, _HASHES)
    if not isinstance(by, str):
        raise OptionError(f"by is {by!r}. Expected the name of a column, such as 'url'.")
    spec = _Spec(Key.of(frame, by), hashed, missing == "keep")
    values = read_list(entries, column or by, column is not None)
    listed = Listed.of(spec.entries(frame, values))
    reads = spec.key.reads(frame.columns)
    meta = decided(frame._meta, np.empty(0, bool), np.empty(0, bool))
    shared = graph.share(listed)
    keep = graph.map_columns(frame, _not_listed, spec, shared, reads=reads, meta=meta)[KEEP]
    digest = hashlib.sha256(np.column_stack([listed.high, listed.low]).tobytes()).hexdigest()
    text = f"{verb}({len(listed.high)} entries of sha256 {digest[:16]}, by={by!r}"
    text += f", hashed={hashed!r}" if hashed else ""
    return select_rows(frame, keep, text + (", missing='keep')" if missing == "keep" else ")"))


def exclude_cost(frame: PlannedFrame, list: object = None, by: str = "url") -> Cost:
    """The cost of `exclude`.

    Raises
    ------
    OptionError, ColumnError
        As for `exclude`.
    """
    columns = tuple(Key.of(frame.frame, by).reads(frame.columns))
    return Cost(("join",), columns=columns, notes=("exclude: the rate is that of a join",))


@dataclass(frozen=True)
class _Spec:
    """How values are compared with a list."""

    key: Key
    hashed: str | None
    keep_missing: bool

    def hashes(self, part: Frame) -> tuple[np.ndarray, np.ndarray]:
        """The hash of each row's value, (n, 2) uint64, and which rows have one."""
        (name,) = self.key.names
        if self.hashed is not None:
            table = frame_to_arrow(part.reset_index(drop=True))
            return Key((name,), ("text",)).hashes(
                frame_from_arrow(
                    pa.table({name: digests_of(self.key.values(table), self.hashed)}), "pandas"
                )
            )
        if name in _DIGESTS and self.key.types == ("text",):
            part = part.assign(**{name: part[name].str.lower()})
        return self.key.hashes(part)

    def entries(self, frame: dd.DataFrame, values: pa.ChunkedArray) -> np.ndarray:
        """The hashes of a list's entries, (n, 2) uint64; nulls are left out."""
        (name,) = self.key.names
        if self.hashed is not None or (name in _DIGESTS and self.key.types == ("text",)):
            values = pa.chunked_array(
                [[str(v).lower() for v in values.to_pylist() if v is not None]], pa.large_string()
            )
        if name == "normalized_url" and name not in frame.columns and self.hashed is None:
            name = "url"
        type_ = "text" if self.hashed is not None else self.key.types[0]
        values = _as_type(values, type_, name)
        part = pd.DataFrame({name: values.to_pandas(types_mapper=pd.ArrowDtype)})
        names = self.key.names if self.hashed is None else (name,)
        hashes, valid = Key(names, (type_,)).hashes(part)
        return hashes[valid]


def _as_type(values: pa.ChunkedArray, type_: str, name: str) -> pa.ChunkedArray:
    wanted = {"text": pa.large_string(), "bytes": pa.large_binary(), "float": pa.float64()}
    try:
        if type_ != "integer":
            return values.cast(wanted[type_])
        return values if pa.types.is_integer(values.type) else values.cast(pa.int64())
    except pa.ArrowException as error:
        raise OptionError(
            f"The list has an entry that is not like the column {name!r}, which holds {type_}: "
            f"its entries are {values.type}. Expected values of that column."
        ) from error


def _not_listed(part: Frame, spec: _Spec, listed: Listed) -> Frame:
    hashes, valid = spec.hashes(part)
    keep = ~listed.has(hashes)
    return decided(part, keep | ~valid, np.zeros(len(part), bool) if spec.keep_missing else ~valid)

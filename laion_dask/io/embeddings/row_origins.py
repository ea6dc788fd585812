"""The origins of the rows of an export's part: its columns ``shard`` and ``row``."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from laion_dask.errors import PairingError, ShardError
from laion_dask.io.embeddings.file_state import state_of
from laion_dask.io.parquet.footer import ARROW_ERRORS, check_unchanged, groups_of
from laion_dask.io.storage.local_file import file_system, open_bytes
from laion_dask.schema import PROVENANCE

#: Maximum bytes of these columns that a process caches.
_MAX_BYTES = 1 << 27


@dataclass(frozen=True)
class Origins:
    """The origins of the rows of a part.

    Attributes
    ----------
    shards : (n,) int32 array
    rows : (n,) int64 array
        uint32 if the numbers fit.
    """

    shards: np.ndarray
    rows: np.ndarray

    @property
    def n_bytes(self) -> int:
        return self.shards.nbytes + self.rows.nbytes


class _OriginCache:
    """Cached origins; the most recently used are kept, within `_MAX_BYTES`."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._cached: dict[tuple, Origins] = {}

    def get(self, path: str, footer_sha256: str) -> Origins:
        key = path, footer_sha256, state_of(path)
        with self._guard:
            origins = self._cached.pop(key, None)
            if origins is not None:
                self._cached[key] = origins
                return origins
        origins = _read_origins(path, footer_sha256)
        with self._guard:
            self._cached[key] = origins
            size = sum(each.n_bytes for each in self._cached.values())
            while size > _MAX_BYTES:
                size -= self._cached.pop(next(iter(self._cached))).n_bytes
        return origins


_origins = _OriginCache()


def origins_of(path: str, footer_sha256: str) -> Origins:
    """The origins of the rows of a part. Eager; the most recently used parts are cached.

    Raises
    ------
    PairingError
        When the part is missing or has changed, or lacks the columns.
    """
    try:
        return _origins.get(path, footer_sha256)
    except PairingError:
        raise
    except (ShardError, *ARROW_ERRORS) as error:
        raise _unreadable(path, error) from error


def _read_origins(path: str, footer_sha256: str) -> Origins:
    check_unchanged(path, footer_sha256)
    with open_bytes(path) as source:
        table = pq.ParquetFile(source).read(list(PROVENANCE), use_threads=False)
    shards, rows = (_whole_numbers(table, name, path) for name in PROVENANCE)
    if rows.max(initial=0) < 1 << 32:
        rows = rows.astype(np.uint32)
    return Origins(shards.astype(np.int32), rows)


def _whole_numbers(table: pa.Table, name: str, path: str) -> np.ndarray:
    column = table[name] if name in table.column_names else None
    if column is None or not pa.types.is_integer(column.type) or column.null_count:
        raise _missing_columns_error(path)
    values = column.to_numpy().astype(np.int64, copy=False)
    if len(values) and not 0 <= values.min() <= values.max() < 1 << (31 if name == "shard" else 63):
        raise _missing_columns_error(path)
    return values


@lru_cache(maxsize=1 << 16)
def shard_range(path: str, footer_sha256: str) -> tuple[int, int]:
    """The smallest and the greatest shard number in a part; (0, -1) for none.

    Eager: reads the footer, or the column if the footer has no statistics.

    Raises
    ------
    PairingError
        When the part is missing or has changed, or lacks the columns ``shard`` and ``row``.
    """
    fs, inner = file_system(path)
    try:
        if not fs.isfile(inner):  # a pipe would block
            raise FileNotFoundError("the file does not exist")
        groups = groups_of(path, check_unchanged(path, footer_sha256))
    except PairingError:
        raise
    except (ShardError, *ARROW_ERRORS) as error:
        raise _unreadable(path, error) from error
    low, high = [], []
    for group in groups:
        chunks = {c.path_in_schema: c for c in map(group.column, range(group.num_columns))}
        if not set(PROVENANCE) <= set(chunks):
            raise _missing_columns_error(path)
        statistics = chunks["shard"].statistics
        if statistics is None or not statistics.has_min_max or not isinstance(statistics.min, int):
            shards = origins_of(path, footer_sha256).shards
            return (int(shards.min()), int(shards.max())) if len(shards) else (0, -1)
        if group.num_rows:
            low.append(statistics.min)
            high.append(statistics.max)
    return min(low, default=0), max(high, default=-1)


def _unreadable(path: str, error: Exception) -> PairingError:
    return PairingError(
        f"The origins of the rows of {path} cannot be read: {str(error).rstrip('.')}. Copy the "
        "whole export again, or call read_shards again if it was replaced."
    )


def _missing_columns_error(path: str) -> PairingError:
    return PairingError(
        f"{path} was exported without integer columns 'shard' and 'row', which identify the "
        "embeddings of its source. Keep both columns when you export, or score before."
    )

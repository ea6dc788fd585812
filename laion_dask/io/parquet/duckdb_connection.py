"""DuckDB as scan engine: one connection per process, one cursor per task, one thread each.

Dask schedules the tasks; additional threads in a scan would oversubscribe the machine. DuckDB never
downloads or loads an extension by itself.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

import duckdb
import fsspec
import numpy as np
import pyarrow as pa
from duckdb.func import ARROW, SPECIAL

from laion_dask.predicate.sql_functions import SqlFunction

_UNKNOWN_TIME = datetime.fromtimestamp(0, UTC)

_lock = threading.Lock()
_connections: dict[int, duckdb.DuckDBPyConnection] = {}
_registered: set[tuple[int, str]] = set()

_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "threads": 1,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "enable_external_file_cache": False,
    "temp_directory": "",
}


#: Read page by page instead of by row group: from a local disk this takes a fifth less CPU time and
#: half the memory. From a store, each page would be a separate request.
_PAGE_BY_PAGE = "SET {scope} disable_parquet_prefetching = {value}"


def _connect() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(":memory:", config=_SETTINGS)
    connection.execute("LOAD parquet")  # built in; its settings exist only once it is loaded
    connection.execute(_PAGE_BY_PAGE.format(scope="GLOBAL", value=True))
    return connection


def _connection(pid: int) -> duckdb.DuckDBPyConnection:
    """The connection of this process; called with the lock."""
    if pid not in _connections:
        _connections[pid] = _connect()
    return _connections[pid]


def _cursor(path: str) -> duckdb.DuckDBPyConnection:
    """A cursor that can read the path; registers fsspec's file system if necessary."""
    pid = os.getpid()
    with _lock:
        connection = _connection(pid)
        cursor = connection.cursor()
        protocol = fsspec.utils.get_protocol(path) if "://" in path else "file"
        if protocol not in ("file", "local"):
            if (pid, protocol) not in _registered:
                fs = _file_system(protocol)
                connection.register_filesystem(fs)
                first = fs.protocol if isinstance(fs.protocol, str) else fs.protocol[0]
                atexit.register(_remove, pid, connection.unregister_filesystem, first)
                names = (fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol
                _registered.update((pid, name) for name in (protocol, *names))
            cursor.execute(_PAGE_BY_PAGE.format(scope="SESSION", value=False))
        return cursor


def _file_system(protocol: str) -> fsspec.AbstractFileSystem:
    """A file system of its own for DuckDB, which asks every file for its time of modification.

    A web server need not know one. DuckDB would only use it for its cache, which is off; that a
    file is unchanged is checked by its footer.
    """
    fs = fsspec.filesystem(protocol, skip_instance_cache=True)
    fs.modified = lambda path: _UNKNOWN_TIME
    return fs


def literal_path(path: str) -> str:
    """Escape a path so that ``read_parquet`` matches only that path."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in path)


def query(
    sql: str,
    paths: Sequence[str],
    parameters: Mapping[str, str],
    functions: Sequence[SqlFunction] = (),
) -> pa.Table:
    """Run one query over one or more files of one file system.

    Parameters
    ----------
    sql : str
        Contains ``$paths`` for the files, and ``$name`` for each parameter.
    paths : sequence of str
        Rows are returned in this order, and by position in the file.
    parameters : mapping of str to str
    functions : sequence of SqlFunction
        Called in the query.

    Raises
    ------
    duckdb.Error
        Passed through; the caller adds the name of the shard.
    """
    _add(functions)
    with _cursor(paths[0]) as cursor:
        return _relation(cursor, sql, paths, parameters).to_arrow_table()


def query_in_batches(
    sql: str,
    paths: Sequence[str],
    parameters: Mapping[str, str],
    n_rows: int,
    functions: Sequence[SqlFunction] = (),
) -> Iterator[pa.Table]:
    """The result of `query`, at most about ``n_rows`` rows at a time; at least one table.

    Raises
    ------
    duckdb.Error, pyarrow.ArrowException, OSError
        Passed through.
    """
    _add(functions)
    with _cursor(paths[0]) as cursor:
        batches = _relation(cursor, sql, paths, parameters).to_arrow_reader(n_rows)
        yield batches.schema.empty_table()
        for batch in batches:
            yield pa.Table.from_batches([batch])


def _add(functions: Sequence[SqlFunction]) -> None:
    """Define the functions that this process does not have yet; verify that none has changed."""
    pid = os.getpid()
    for function in functions:
        loaded = function.load()
        with _lock:
            if (pid, function.name) in _registered:
                continue
            connection = _connection(pid)
            connection.create_function(
                function.name, loaded, [function.type], "BOOLEAN", type=ARROW,
                null_handling=SPECIAL,
            )  # fmt: skip
            _registered.add((pid, function.name))
            atexit.register(_remove, pid, connection.remove_function, function.name)


def _remove(pid: int, remove: Callable[[str], object], name: str) -> None:
    """Remove a function or a file system at exit; DuckDB would report it as leaked."""
    if pid == os.getpid():
        remove(name)


def _relation(
    cursor: duckdb.DuckDBPyConnection,
    sql: str,
    paths: Sequence[str],
    parameters: Mapping[str, str],
) -> duckdb.DuckDBPyRelation:
    literal = [literal_path(path) for path in paths]
    return cursor.sql(sql, params={"paths": literal, **parameters})


def free_memory() -> None:
    """Return the memory of finished queries to the operating system; DuckDB keeps it otherwise.

    It keeps up to 15 MB per thread, for ten seconds or until more is freed. Changing the limit of
    its memory, here to what it is, makes DuckDB empty its allocator. Takes some milliseconds.
    """
    with _lock:
        connection = _connections.get(os.getpid())
        if connection is not None:
            connection.execute("RESET memory_limit")


def key_hashes(columns: Sequence[pa.ChunkedArray]) -> np.ndarray:
    """A 64-bit hash of each row of the columns, the same in every process.

    Returns
    -------
    (n,) int64 array
        Equal for equal rows; different rows may collide.
    """
    names = [f"key_{i}" for i in range(len(columns))]
    table = pa.Table.from_arrays(list(columns), names=names)
    with _cursor("") as cursor:
        cursor.register("keys", table)
        hashes = cursor.sql(f"SELECT hash({', '.join(names)}) AS hash FROM keys").to_arrow_table()
    return hashes["hash"].to_numpy().view(np.int64)

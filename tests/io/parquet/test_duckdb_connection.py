"""The memory that DuckDB keeps between queries."""

from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq

from laion_dask.io.parquet import duckdb_connection

_SQL = "SELECT sum(number) AS total FROM read_parquet($paths) WHERE number >= $least"


def test_a_file_system_with_several_names_is_registered_once():
    for path in ("http://127.0.0.1/a.parquet", "https://127.0.0.1/a.parquet"):
        duckdb_connection._cursor(path).close()


def test_memory_is_freed_while_queries_run(tmp_path, monkeypatch):
    path = str(tmp_path / "numbers.parquet")
    pq.write_table(pa.table({"number": range(50_000)}), path)

    def total(number: int) -> int:
        if number % 3 == 0:
            duckdb_connection.free_memory()
        return duckdb_connection.query(_SQL, [path], {"least": "40000"})["total"][0].as_py()

    with ThreadPoolExecutor(4) as pool:
        totals = set(pool.map(total, range(24)))
    assert totals == {sum(range(40_000, 50_000))}
    monkeypatch.setattr(duckdb_connection, "_connections", {})
    duckdb_connection.free_memory()  # there is no connection yet
    assert duckdb_connection._connections == {}

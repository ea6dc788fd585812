"""Fixtures that the tests of scores share."""

from __future__ import annotations

import pytest

from laion_dask.io.parquet import duckdb_connection


@pytest.fixture
def queries(monkeypatch) -> list[str]:
    """The SQL of every query that a scan runs during the test, in order."""
    ran: list[str] = []
    plain = duckdb_connection.query

    def recorded(sql, path, parameters):
        ran.append(sql)
        return plain(sql, path, parameters)

    monkeypatch.setattr(duckdb_connection, "query", recorded)
    return ran

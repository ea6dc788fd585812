"""``text.matches('…')``: RE2, which needs time linear in the text, found anywhere in it.

Frames are searched by DuckDB too: Arrow's RE2 is of another version, whose tables of Unicode, and
syntax of groups, differ from DuckDB's.
"""

from __future__ import annotations

import os
import re
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from laion_dask.backend import Column, is_cudf
from laion_dask.runtime.process_cache import ProcessCache

_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "threads": 1,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "temp_directory": "",
}
_connections = ProcessCache()
_REMEDY = "RE2 has no look-around and no backreferences, and repeats at most 1,000 times"


def _cursor() -> duckdb.DuckDBPyConnection:
    connection = _connections.get(os.getpid(), lambda: duckdb.connect(":memory:", config=_SETTINGS))
    cursor: duckdb.DuckDBPyConnection = connection.cursor()
    return cursor


def fault(pattern: str) -> str | None:
    """What is wrong with a pattern, with the position of the fault; None if it is valid."""
    if control := re.search("[\x01-\x08]", pattern):
        code = ord(control[0])
        written = r"\b" if code == 8 else rf"\{code}"
        return (
            f"has the control character {code}, which is what '{written}' is. Write the pattern "
            "as r'…', where backslashes stay as they are."
        )
    with _cursor() as cursor:
        try:
            cursor.execute("SELECT regexp_matches('', $pattern)", {"pattern": pattern})
            cursor.fetchall()
        except duckdb.Error as error:
            reason = str(error).partition("Error: ")[2].split("\n")[0].strip()
            position = _position(pattern, reason)
            return f"is not a regular expression of RE2: {reason}{position}. {_REMEDY}."
    return None


def _position(pattern: str, reason: str) -> str:
    """Where RE2's reason, which ends in the part of the pattern that it refers to, applies."""
    part = reason.partition(": ")[2]
    at = pattern.find(part) if part else -1
    return f" (at character {at + 1})" if at >= 0 else ""


def found(text: Column, pattern: str) -> np.ndarray:
    """Whether a pattern is found in each text of a series.

    Returns
    -------
    (n,) bool array
        False for null.
    """
    array: Any = text.to_arrow() if is_cudf(text) else pa.array(text, from_pandas=True)
    if pa.types.is_null(array.type):
        array = array.cast(pa.string())
    with _cursor() as cursor:
        cursor.register("texts", pa.table({"text": array}))
        query = "SELECT COALESCE(regexp_matches(text, $pattern), FALSE) AS found FROM texts"
        rows = cursor.sql(query, params={"pattern": pattern}).to_arrow_table()
    result: np.ndarray = rows["found"].to_numpy()
    return result

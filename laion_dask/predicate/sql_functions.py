"""Functions of a DuckDB connection that look values up in a list.

A join with a table of the values would build its hash table in every query, and may reorder rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from laion_dask.predicate.list_file import values_of
from laion_dask.predicate.nodes import ValueList
from laion_dask.predicate.value_sets import IntegerSet


@dataclass(frozen=True)
class SqlFunction:
    """A function of one argument that is true for the values of a list; false for null.

    Attributes
    ----------
    name : str
        The same for equal lists of the same values.
    type : {"VARCHAR", "BIGINT", "UBIGINT"}
        The type of its argument.
    values : ValueList
    """

    name: str
    type: str
    values: ValueList

    def load(self) -> Callable[[pa.ChunkedArray], pa.Array]:
        """The function of a column of arguments; reads the list if it has to be.

        Raises
        ------
        PredicateError
            When the list has changed.
        """
        contains = values_of(self.values).contains
        return lambda column: pa.array(contains(column))


def functions_of(values: ValueList) -> list[SqlFunction]:
    """The functions whose disjunction tests for membership in a list. Reads the list."""
    loaded = values_of(values)
    key = hashlib.sha256(repr(values).encode()).hexdigest()[:32]
    if not isinstance(loaded, IntegerSet):
        return [SqlFunction(f"laion_dask_in_{key}", "VARCHAR", values)]
    functions = [SqlFunction(f"laion_dask_in_{key}", "BIGINT", values)]
    if len(loaded.above):
        functions.append(SqlFunction(f"laion_dask_in_{key}_above", "UBIGINT", values))
    return functions

"""Row groups whose text or bytes have one value besides null, which DuckDB 2.0 reads as null.

It does so for ``x IS NULL`` if the column is not encoded with a dictionary.
"""

import itertools

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import laion_dask as ld

N = 3000
VALUE = ("en", "en", None)  # in the first row group, then only "de" and null
DICTIONARIES = {"plain": {"use_dictionary": False}, "dictionary": {}}
LENGTHS = {"use_dictionary": False, "column_encoding": {"v": "DELTA_LENGTH_BYTE_ARRAY"}}


@pytest.fixture(params=["plain", "dictionary", "lengths"])
def path(tmp_path, request):
    one = [VALUE[i % 3] for i in range(N)]
    two = ["de" if i % 5 else None for i in range(N)]
    values = one + two
    in_bytes = [None if v is None else v.encode() for v in values]
    pair = pa.array([None if v is None else {"a": v} for v in values])
    table = pa.table(
        {"v": values, "raw": pa.array(in_bytes, pa.binary()), "pair": pair, "x": range(2 * N)}
    )
    options = {**DICTIONARIES, "lengths": LENGTHS}[request.param]
    pq.write_table(table, tmp_path / "p.parquet", row_group_size=N, **options)
    return str(tmp_path / "p.parquet")


CASES = {
    "v is None": lambda v: v is None,
    "v is not None": lambda v: v is not None,
    "raw is None": lambda v: v is None,
    "pair is None": lambda v: v is None,
    "v == 'de'": lambda v: None if v is None else v == "de",
    "v != 'en'": lambda v: None if v is None else v != "en",
    "v in ('de', 'fr')": lambda v: None if v is None else v in ("de", "fr"),
    "v not in ('en',)": lambda v: None if v is None else v != "en",
    "v.contains('q')": lambda v: None if v is None else False,
    "not v.contains('d')": lambda v: None if v is None else "d" not in v,
    "v.len() == 2": lambda v: None if v is None else True,
    "v is None or v == 'de'": lambda v: v is None or v == "de",
}


@pytest.mark.parametrize("where", CASES)
def test_nulls_are_told_from_the_only_value(path, where):
    frame = ld.read_shards(path)
    values = pq.read_table(path)["v"].to_pylist()
    passes = [CASES[where](value) for value in values]
    kept = frame.laion.where(where)
    assert kept.compute()["row"].tolist() == list(itertools.compress(range(2 * N), passes))
    assert kept.compute()["v"].fillna("").tolist() == [
        value or "" for value, passed in zip(values, passes, strict=True) if passed
    ]
    rows = kept.laion.rows()
    assert (rows.read, rows.kept, rows.unscored) == (
        2 * N,
        sum(filter(None, passes)),
        passes.count(None),
    )

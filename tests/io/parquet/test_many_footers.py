"""Footers of many files, read in batches, are those that are read one by one."""

import os
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.footers import damaged_copies, footer_of
from support.shards import laion_table, write_shard

from laion_dask.errors import ShardError
from laion_dask.io.parquet import footer_tails, many_footers
from laion_dask.io.parquet.many_footers import read_footer, read_footers


@pytest.fixture(params=["parsed", "walked", "threads"], autouse=True)
def way(request, monkeypatch):
    """Each way to read footers, with small batches."""
    monkeypatch.setattr(many_footers, "_TRIAL", 3)
    monkeypatch.setattr(many_footers, "_BATCH", 5)
    monkeypatch.setattr(many_footers, "_MANY", 10**9 if request.param == "parsed" else 0)
    monkeypatch.setattr(many_footers, "_MANY_COMPILED", many_footers._MANY)
    monkeypatch.setattr(many_footers, "_SLOW", -1 if request.param == "threads" else 1e9)
    return request.param


def write_varied(folder) -> list[str]:
    """Files of several schemas, with no, one and several row groups, in a fixed order."""
    table = laion_table(30)
    reordered = table.select(table.column_names[::-1])
    with_index = table.to_pandas().iloc[::2]
    tables = [
        table,
        table.slice(3, 11),
        table.slice(0, 0),
        reordered,
        table.select(["URL", "TEXT"]),
        pa.Table.from_pandas(with_index),
        pa.Table.from_pandas(with_index.iloc[:7]),
        table.replace_schema_metadata({"key": "value"}),
        pa.table({"when": pa.array([1, 2], pa.timestamp("ns"))}),
    ]
    paths = []
    for i in range(40):
        path = folder / f"{i:03d}.parquet"
        pq.write_table(
            tables[i % len(tables)],
            path,
            row_group_size=7 + i,
            use_deprecated_int96_timestamps=i % 2 == 0,
        )
        paths.append(str(path))
    return paths


def check(paths) -> None:
    expected = [read_footer(path) for path in paths]
    found = read_footers(paths)
    assert found == expected
    for footer, other in zip(found, expected, strict=True):
        assert footer.schema.names == other.schema.names
        assert footer.schema.types == other.schema.types
        assert footer.int96 == other.int96


def failure(paths) -> str:
    """The error for the first file that fails, read one by one."""
    with pytest.raises(ShardError) as one:
        [read_footer(path) for path in paths]
    with pytest.raises(ShardError) as many:
        read_footers(paths)
    assert str(many.value) == str(one.value)
    return str(one.value)


def test_files_of_many_kinds(tmp_path):
    check(write_varied(tmp_path))


def test_equal_schemas_are_one_object(tmp_path, way):
    footers = read_footers(write_varied(tmp_path))
    distinct = {(tuple(f.schema.names), tuple(f.schema.types), f.int96) for f in footers}
    assert len({id(footer.schema) for footer in footers}) == len(distinct)


def test_a_schema_is_parsed_once(tmp_path, way, monkeypatch):
    parsed = []
    original = many_footers.parsed
    monkeypatch.setattr(many_footers, "parsed", lambda *a: parsed.append(a[0]) or original(*a))
    paths = [write_shard(tmp_path / f"{i}.parquet", laion_table(20 + i, i)) for i in range(20)]
    footers = read_footers(paths)
    assert [f.n_rows for f in footers] == list(range(20, 40))
    assert way == "threads" or len(parsed) == (1 if way == "walked" else 20)


def test_footers_longer_than_the_first_read(tmp_path, monkeypatch):
    monkeypatch.setattr(footer_tails, "_FIRST_READ", 16)
    check(write_varied(tmp_path))


def test_footers_parsed_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(many_footers, "_BYTES", 5000)
    check(write_varied(tmp_path))


def broken(path, kind: str) -> None:
    content = path.read_bytes()
    if kind == "missing":
        path.unlink()
    elif kind == "folder":
        path.unlink()
        path.mkdir()
    elif kind == "unreadable":
        path.unlink()
        os.symlink(path, path)  # a loop
    elif kind == "claims other rows":
        footer = footer_of(path)
        at = footer.index(b"\x16\x3c\x19")  # 30 rows, followed by the row groups
        start = len(content) - len(footer) + at
        path.write_bytes(content[:start] + b"\x16\x3e" + content[start + 2 :])
    else:
        path.write_bytes(
            {
                "empty": b"",
                "short": b"PAR1PAR1",
                "truncated": content[:-20],
                "pointer": b"version https://git-lfs.github.com/spec/v1\n" + b"x" * 100,
                "text": b"url,text\n" * 20,
                "long footer": content[:-8] + b"\xff\xff\xff\x7fPAR1",
                "zeros": content[:-200] + b"\0" * 192 + content[-8:],
            }[kind]
        )


KINDS = [
    *("missing", "folder", "unreadable", "claims other rows", "empty", "short", "truncated"),
    *("pointer", "text", "long footer", "zeros"),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("at", [1, 19])
def test_a_file_that_cannot_be_read(tmp_path, kind, at):
    table = laion_table(30)
    paths = [tmp_path / f"{i:02d}.parquet" for i in range(24)]
    for path in paths:
        pq.write_table(table, path)
    broken(paths[at], kind)
    broken(paths[at + 2], "empty")
    message = failure(list(map(str, paths)))
    assert paths[at].name in message


def test_damaged_footers(tmp_path, way):
    """Each damaged file has the same footer or error among intact ones as alone."""
    pq.write_table(laion_table(30), tmp_path / "intact.parquet", row_group_size=10)
    content = (tmp_path / "intact.parquet").read_bytes()
    footer = footer_of(tmp_path / "intact.parquet")
    others = [str(tmp_path / "intact.parquet")] * 2
    for i, copy in enumerate(damaged_copies(footer[:-8], 60, 5)):
        path = tmp_path / f"{i}.parquet"
        end = len(copy).to_bytes(4, "little") + b"PAR1"
        path.write_bytes(content[: -len(footer)] + copy + end)
        paths = [*others, str(path), *others]
        try:
            read_footer(str(path))
        except ShardError:
            failure(paths)
        else:
            check(paths)


def test_names_that_are_not_utf8(tmp_path):
    path = write_shard(tmp_path / "a.parquet", laion_table(5))
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.parquet")
    shutil.copy(path, odd)
    check([path, odd, path, odd])


def test_a_metadata_file_is_refused(tmp_path):
    table = laion_table(5)
    pq.write_table(table, tmp_path / "a.parquet", metadata_collector=(found := []))
    found[0].set_file_path("a.parquet")
    found[0].write_metadata_file(tmp_path / "_metadata")
    message = failure([str(tmp_path / "a.parquet"), str(tmp_path / "_metadata")])
    assert "row groups of other files" in message


def test_no_file():
    assert read_footers([]) == []


def test_progress_counts_files(tmp_path, monkeypatch):
    counts = []

    class Bar:
        def __init__(self, label, total, progress, unit):
            self.total, self.unit = total, unit

        def __enter__(self):
            return self

        def __exit__(self, *_):
            counts.append((self.total, self.unit))

        def update(self, n):
            counts.append(n)

    monkeypatch.setattr(many_footers, "verb_bar", Bar)
    paths = [write_shard(tmp_path / f"{i}.parquet", laion_table(3, i)) for i in range(12)]
    read_footers(paths)
    assert sum(counts[:-1]) == 12
    assert counts[-1] == (12, "file")


def test_an_interrupt_stops_reading(tmp_path, way, monkeypatch):
    """Batches that have not started are not read."""
    read = []
    original = many_footers._Reader.read

    def interrupted(self, paths):
        read.append(len(paths))
        if len(read) == 2:
            raise KeyboardInterrupt
        return original(self, paths)

    monkeypatch.setattr(many_footers._Reader, "read", interrupted)
    path = write_shard(tmp_path / "a.parquet", laion_table(3))
    with pytest.raises(KeyboardInterrupt):
        read_footers([path] * 1000)
    assert len(read) <= 2 + (2 * many_footers.THREADS if way == "threads" else 0)

"""Fragments that cannot be written or read, and columns whose type only some partitions know."""

import errno
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.carved_exports import carve, files_of, kept_by_hand, rows_of

import laion_dask as ld
from laion_dask.errors import ExportError, SchemaError
from laion_dask.exports import fragment
from laion_dask.exports.formats import parquet
from laion_dask.exports.formats.staged_files import StagingFolder
from laion_dask.exports.fragment import Slice, read_slices, write_fragment
from laion_dask.exports.part_schema import common_schema, part_schema


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("step", ["write", "read"])
def test_a_disk_that_fails_leaves_the_old_state(source, out, monkeypatch, step, old):
    def fails(*args, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if old:
        ld.read_shards(source).laion.export(out)
    before = files_of(out)
    with monkeypatch.context() as patch:
        patch.setattr(pa.ipc, {"write": "new_file", "read": "open_file"}[step], fails)
        with pytest.raises(ExportError, match=r"could not be .*No space left"):
            carve(source).laion.export(out)
    assert files_of(out) == before and out.exists() == old
    carve(source).laion.export(out)
    assert rows_of(out) == kept_by_hand(source)


def test_workers_without_a_common_folder_are_told(source, out, monkeypatch):
    monkeypatch.setattr(fragment, "_write", lambda *_: None)
    with pytest.raises(ExportError, match=r"out lacks .*Name a folder that all workers share"):
        carve(source).laion.export(out)
    assert not out.exists()


@pytest.mark.parametrize("mapped_bytes", [0, 1 << 30])
@pytest.mark.parametrize("batch_rows", [1, 3, 100])
def test_any_slices_are_read_in_order(tmp_path, monkeypatch, mapped_bytes, batch_rows):
    monkeypatch.setattr(fragment, "_MAPPED_BYTES", mapped_bytes)
    monkeypatch.setattr(fragment, "_BATCH_ROWS", batch_rows)
    table = pa.table({"a": list(range(10)), "b": [None, "x"] * 5})
    staging = StagingFolder(str(tmp_path))
    one, two = (write_fragment(table, n, staging, table.schema)[0] for n in range(2))
    slices = [Slice(one.name, 2, 7), Slice(two.name, 9, 10), Slice(one.name, 0, 1)]
    got = read_slices(slices, staging, table.schema)
    assert got["a"].to_pylist() == [2, 3, 4, 5, 6, 9, 0]
    assert got["b"].to_pylist() == [None, "x", None, "x", None, "x", None]
    assert [column.num_chunks for column in got.columns] == [1, 1]
    assert len(read_slices([], staging, table.schema)) == 0


def test_rows_are_not_in_arrows_default_pool(tmp_path):
    """Which takes pages of 2 MB for each thread."""
    table = pa.table({"shard": [0] * 9999, "row": range(9999), "text": ["caption"] * 9999})
    shuffled, staging = table.take(list(range(9998, -1, -1))), StagingFolder(str(tmp_path))
    default = pa.default_memory_pool()
    before = default.bytes_allocated()
    [written] = write_fragment(shuffled, 0, staging, table.schema)
    got = read_slices([Slice(written.name, 0, 9999)], staging, table.schema)
    if default.backend_name != "system":
        assert default.bytes_allocated() - before < 1000
    assert got.equals(table)


def test_a_file_system_without_memory_maps(tmp_path, monkeypatch):
    def refuse(*args, **options):
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    monkeypatch.setattr(fragment, "_MAPPED_BYTES", 0)
    monkeypatch.setattr(fragment.mmap, "mmap", refuse)
    table, staging = pa.table({"a": [1, 2, 3]}), StagingFolder(str(tmp_path))
    [written] = write_fragment(table, 0, staging, table.schema)
    assert read_slices([Slice(written.name, 1, 3)], staging, table.schema) == table.slice(1)


def test_a_fragment_that_is_not_whole_is_an_export_error(tmp_path):
    table, staging = pa.table({"a": [1, 2, 3]}), StagingFolder(str(tmp_path))
    [written] = write_fragment(table, 0, staging, table.schema)
    (tmp_path / written.name).write_bytes(b"ARROW1")
    with pytest.raises(ExportError, match="could not be read"):
        read_slices([Slice(written.name, 0, 3)], staging, table.schema)


def test_a_fragment_written_twice_has_two_names(tmp_path):
    table = pa.table({"a": [1]})
    arguments = table, 0, StagingFolder(str(tmp_path)), table.schema
    assert len({write_fragment(*arguments)[0].name for _ in range(2)}) == 2


def test_a_column_with_values_of_several_types(source, out):
    frame = carve(source, max_rows_per_partition=10)
    odd = frame["row"].map(_odd, meta=("odd", object))
    with pytest.raises(SchemaError, match=r"'odd' .*int64, .*string"):
        frame.assign(odd=odd).laion.export(out)
    assert not out.exists()


def _odd(row: int):
    return row if row < 10 else str(row)


def test_the_type_of_a_column_that_the_meta_does_not_know():
    unknown = pa.schema([("a", pa.null()), ("b", pa.int8())])

    def common(*types):
        return common_schema(unknown, [pa.schema([("a", t), ("b", pa.int8())]) for t in types])

    assert common().field("a").type == pa.null()
    assert common(pa.null(), pa.null()).field("a").type == pa.null()
    for types in ((pa.null(), pa.string()), (pa.string(), pa.null(), pa.string())):
        assert common(*types).field("a").type == pa.string()
    assert common(pa.int64(), pa.float64()) == common(pa.float64(), pa.int64())
    assert common(pa.int64(), pa.float64()).field("a").type == pa.float64()


def test_dictionaries_are_decoded_at_any_depth():
    word = pa.dictionary(pa.int32(), pa.string())
    nested = {
        "list": (pa.list_(word), pa.list_(pa.string())),
        "large": (pa.large_list(word), pa.large_list(pa.string())),
        "pair": (pa.list_(word, 2), pa.list_(pa.string(), 2)),
        "struct": (pa.struct([("x", word)]), pa.struct([("x", pa.string())])),
        "map": (pa.map_(pa.string(), word), pa.map_(pa.string(), pa.string())),
        "plain": (word, pa.string()),
    }
    schema = part_schema(pa.schema([(name, type_) for name, (type_, _) in nested.items()]))
    assert schema == pa.schema([(name, type_) for name, (_, type_) in nested.items()])


class _Group:
    """Stands in for a table of more text than fits in one chunk."""

    def __init__(self, rows: range) -> None:
        self.rows, self.columns = rows, [self]

    def __len__(self) -> int:
        return len(self.rows)

    def slice(self, start: int, stop: int | None = None) -> "_Group":
        return _Group(self.rows[start:stop])

    def combine_chunks(self, memory_pool: pa.MemoryPool) -> "_Group":
        if len(self) > 70:
            raise pa.ArrowInvalid("offset overflow while concatenating arrays")
        return self

    @property
    def num_chunks(self) -> int:
        return -(-len(self) // 30)


def test_row_groups_with_more_text_than_fits_in_a_chunk_are_halved():
    groups = list(parquet._halved(_Group(range(100))))
    assert [len(group) for group in groups] == [25, 25, 25, 25]
    assert [row for group in groups for row in group.rows] == list(range(100))


def test_slices_of_nested_nulls_are_whole(tmp_path):
    """Arrow's cast of a slice whose children are nulls gives arrays that end the process."""
    values = [{"a": i, "b": None} if i % 4 else None for i in range(18)]
    lists = [[None] * (i % 3) for i in range(18)]
    (tmp_path / "in").mkdir()
    table = pa.table({"url": [str(i) for i in range(18)], "pair": values, "many": lists})
    pq.write_table(table, tmp_path / "in" / "a_0.parquet")
    ld.read_shards(str(tmp_path / "in")).laion.export(tmp_path / "out", rows_per_part=5)
    found = pq.read_table(tmp_path / "out" / "shards").sort_by("row")
    assert found["pair"].to_pylist() == values and found["many"].to_pylist() == lists

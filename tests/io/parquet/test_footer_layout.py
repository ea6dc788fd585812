"""The compiled walk over footers, compared with `column_chunks` and pyarrow."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.footers import MAGIC, damaged_copies, footer_of, thrift_struct
from support.paths import SHARED
from support.shards import laion_table

from laion_dask.io.parquet import column_chunks
from laion_dask.io.parquet.column_chunks import Chunk
from laion_dask.io.parquet.footer import ARROW_ERRORS
from laion_dask.io.parquet.footer_layout import footer_layout, layout_of
from laion_dask.io.parquet.thrift import NotThrift

GZIP = 2


def chunks_of(layout, file=0) -> tuple[Chunk, ...]:
    extremes = layout.extremes()
    return tuple(
        Chunk(
            int(layout.group[i]),
            int(layout.first_row[i]),
            layout.paths[layout.path[i]],
            bool(layout.codec[i] == GZIP),
            int(layout.n_values[i]),
            int(layout.start[i]),
            None if layout.n_nulls[i] < 0 else int(layout.n_nulls[i]),
            extremes[i],
        )
        for i in range(layout.first_chunk[file], layout.first_chunk[file + 1])
    )


def expected(footer: bytes) -> tuple[Chunk, ...] | None:
    try:
        return column_chunks._read(footer)
    except NotThrift:
        return None


def check(footers: list[bytes]) -> int:
    """Compare a batch, and the same footers one by one; return how many are accepted."""
    together = footer_layout(footers)
    for i, footer in enumerate(footers):
        known = expected(footer)
        assert bool(together.accepted[i]) == (known is not None), footer
        assert chunks_of(together, i) == (known or ())
        alone = footer_layout([footer])
        if known is None:
            with pytest.raises(NotThrift):
                column_chunks._read_compiled(footer)
        else:
            assert column_chunks._read_compiled(footer) == known
        assert chunks_of(alone) == (known or ())
        assert bool(alone.accepted[0]) == bool(together.accepted[i])
        if together.plain[i]:
            check_plain(footer, together, i)
    return int(together.accepted.sum())


def check_plain(footer: bytes, layout, i: int) -> None:
    """Where pyarrow accepts the schema and the rest, it accepts the row groups, with these rows."""
    start, stop = layout.first_group[i], layout.first_group[i + 1]
    at, end = layout.schema_end[i] - layout.starts[i], layout.groups_end[i] - layout.starts[i]
    try:
        metadata = read_metadata(footer[:-8])
    except ARROW_ERRORS:
        with pytest.raises(ARROW_ERRORS):
            read_metadata(footer[:at] + b"\x16\x00\x19\x0c" + footer[end:-8])  # no row groups
        return
    rows = [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)]
    assert layout.group_rows[start:stop].tolist() == rows
    assert layout.n_rows[i] == metadata.num_rows


def read_metadata(struct: bytes) -> pq.FileMetaData:
    end = len(struct).to_bytes(4, "little") + MAGIC
    return pq.read_metadata(pa.BufferReader(MAGIC + struct + end))


@pytest.fixture(scope="module")
def varied(tmp_path_factory) -> list[bytes]:
    """Footers of files with nested columns, several codecs, no statistics, no rows."""
    folder = tmp_path_factory.mktemp("varied")
    table = laion_table(40)
    nested = pa.table(
        {
            "a": pa.array([[1, 2], None, []] * 5),
            "b": pa.array([{"x": 1, "y": "z"}] * 15),
            "c": pa.array([[("k", 1.5)]] * 15, pa.map_(pa.string(), pa.float64())),
        }
    )
    options = [
        (table, {"row_group_size": 10}),
        (table, {"row_group_size": 7, "compression": "gzip", "write_statistics": False}),
        (table, {"compression": "none", "use_dictionary": False, "write_page_index": True}),
        (table, {"write_page_checksum": True, "version": "1.0"}),
        (table.slice(0, 0), {}),
        (nested, {"row_group_size": 4}),
        (table, {"sorting_columns": [pq.SortingColumn(0)], "compression": "zstd"}),
    ]
    for number, (content, how) in enumerate(options):
        pq.write_table(content, folder / f"{number}.parquet", **how)
    return [footer_of(folder / f"{number}.parquet") for number in range(len(options))]


def test_files_of_pyarrow(varied):
    assert check(varied) == len(varied)
    layout = footer_layout(varied)
    assert layout.plain.tolist() == [True] * 6 + [False]  # sorting columns are not checked
    metadata = pq.read_metadata(pa.BufferReader(MAGIC + varied[0]))
    sizes = [
        metadata.row_group(g).column(c).total_compressed_size
        for g in range(metadata.num_row_groups)
        for c in range(metadata.num_columns)
    ]
    stop = layout.first_chunk[1]
    assert layout.size[:stop].tolist() == sizes
    assert layout.leaf[:stop].tolist() == list(range(9)) * 4
    assert not layout.in_other_file.any()
    assert layout.starts.tolist() == np.cumsum([0, *map(len, varied)]).tolist()


def test_files_of_other_writers():
    footers = [footer for path in sorted(SHARED.rglob("*.parquet")) if (footer := footer_of(path))]
    if not footers:
        pytest.skip("the shared files are absent")
    check(footers)


@pytest.mark.parametrize("number", range(7))
def test_damaged_footers(varied, number):
    accepted = check([varied[number], *damaged_copies(varied[number], 300, number)])
    assert 1 <= accepted < 301


def test_every_cut(varied):
    footer = varied[0]
    check([footer[:end] for end in range(0, len(footer), 7)])


def test_a_metadata_file_names_other_files(tmp_path):
    pq.write_table(laion_table(5), tmp_path / "a.parquet", metadata_collector=(found := []))
    found[0].set_file_path("a.parquet")
    found[0].write_metadata_file(tmp_path / "_metadata")
    footer = footer_of(tmp_path / "_metadata")
    assert check([footer]) == 1
    assert layout_of(footer).in_other_file.all()


@pytest.mark.parametrize(
    "footer",
    [
        b"",
        b"\x00",
        b"\x19" * 5000,  # lists of lists
        b"\x1c" * 5000,  # structs of structs
        b"\x49\xfc\xff\xff\xff\xff\x0f",  # 2 ** 32 row groups
        b"\x49\xfc" + b"\xff" * 10 + b"\x01",
        b"\x48\xff\xff\xff\xff\x0f",
        b"\x06" + b"\xff" * 9 + b"\x02" + b"\x00",  # a field number of 65 bits
        b"\x49\x0c\x00",  # no row groups
        b"\x49\x05\x00",
        b"\x48\x00\x00",
        b"\x49\x1c\x19\x0c\x26\x00\x00\x00",  # a row group without columns and rows
        b"\x49\x1c\x19\x0c\x26\x01\x00\x00",  # with -1 rows
        b"\x49\x1c\x26\x02\x00\x00",  # without columns, with a row
        b"\x49\x1c\x19\x0c\x26" + b"\xfe" + b"\xff" * 8 + b"\x01" + b"\x00\x00",  # 2 ** 63 - 1 rows
    ],
)
def test_bytes_that_are_hardly_a_footer(footer):
    check([footer, footer])


def test_numbers_at_the_end_of_the_bytes():
    """Nothing after a footer is read, though the next one follows."""
    whole = b"\x49\x1c\x19\x0c\x26\x00\x00\x00"
    layout = footer_layout([whole[:i] for i in range(len(whole) + 1)] + [whole])
    assert layout.accepted.tolist() == [False] * len(whole) + [True, True]


def test_many_columns(tmp_path):
    table = pa.table({f"column {i}": [i] for i in range(3000)})
    pq.write_table(table, tmp_path / "wide.parquet")
    footer = footer_of(tmp_path / "wide.parquet")
    assert check([footer]) == 1


def test_many_row_groups():
    """A footer with 100,000 row groups, made from one with a single row group."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"a": [1], "b": ["x"]}), sink)
    footer = footer_of_bytes(sink.getvalue().to_pybytes())
    layout = layout_of(footer)
    start, end = int(layout.schema_end[0]), int(layout.groups_end[0])
    at = footer.index(b"\x19\x1c", start)  # field 4, a list of one struct
    group = footer[at + 2 : end]
    n = 100_000
    varint = bytes([n & 127 | 128, n >> 7 & 127 | 128, n >> 14])
    large = footer[:at] + b"\x19\xfc" + varint + group * n + footer[end:]
    column_chunks.column_chunks.cache_clear()
    chunks = column_chunks.column_chunks(large)
    assert len(chunks) == 2 * n
    assert chunks[-1] == replace(chunks[1], group=n - 1, first_row=n - 1)
    layout = layout_of(large)
    assert len(layout.group) == 2 * n
    assert layout.group_rows.tolist() == [1] * n
    assert layout.first_row.tolist() == np.repeat(np.arange(n), 2).tolist()
    assert layout.paths == ((b"a",), (b"b",))
    assert layout.n_rows.tolist() == [1]  # as the footer claims


def footer_of_bytes(content: bytes) -> bytes:
    return content[-int.from_bytes(content[-8:-4], "little") - 8 :]


def test_an_encrypted_column_is_refused():
    footer = thrift_struct({4: [{1: [{2: 0, 8: {1: {}}}], 2: 0, 3: 5}]})
    assert expected(footer) is None
    with pytest.raises(NotThrift, match="encrypted"):
        layout_of(footer)
    assert not footer_layout([footer]).accepted[0]


def test_files_of_the_repository_are_refused_or_read():
    """Any bytes are walked to an answer."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    check([path.read_bytes()[:4000] for path in sources])

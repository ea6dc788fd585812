"""Pages with flipped bits: everything read from a damaged shard is correct or refused."""

from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import laion_dask as ld
from laion_dask.errors import LaionDaskError, ShardError
from laion_dask.io.parquet import thrift
from laion_dask.io.parquet.column_chunks import column_chunks
from laion_dask.io.parquet.page_checksums import _pages
from laion_dask.io.parquet.thrift import NotThrift
from laion_dask.io.storage.remote_file import StoreFile

N = 900


def table() -> pa.Table:
    rng = np.random.default_rng(0)
    return pa.table(
        {
            "URL": [f"http://a.com/{i}" for i in range(N)],
            "TEXT": [f"a caption {i % 7}" for i in range(N)],
            "similarity": rng.random(N),
            "hash": rng.integers(0, 2**62, N),
            "tags": [[f"t{i}", None] if i % 3 else None for i in range(N)],
            "a.b": pa.array([i % 2 == 0 for i in range(N)]),
        }
    )


def flipped(content: bytes, at: int, bit: int) -> bytes:
    data = bytearray(content)
    data[at] ^= 1 << bit
    return bytes(data)


def footer_of(content: bytes) -> bytes:
    return content[-8 - int.from_bytes(content[-8:-4], "little") :]


@pytest.mark.parametrize(
    ("codec", "crc", "version"),
    [
        ("GZIP", False, "1.0"),  # in version 2 GZIP's checksum omits the uncompressed levels
        *((codec, True, "1.0") for codec in ("GZIP", "NONE", "SNAPPY", "LZ4", "BROTLI", "ZSTD")),
        ("GZIP", True, "2.0"),
        ("SNAPPY", True, "2.0"),
    ],
)
def test_no_flipped_bit_becomes_a_value(tmp_path, codec, crc, version):
    path = str(tmp_path / "a.parquet")
    options = {"compression": codec, "write_page_checksum": crc, "data_page_version": version}
    pq.write_table(table(), path, row_group_size=400, **options)
    with open(path, "rb") as file:
        content = file.read()
    right = ld.read_shards(path).compute()
    assert len(right) == N and right["a.b"].sum() == N // 2
    with fsspec.open(path) as file:  # only the data after a header has a checksum
        file = StoreFile(file, path)
        pages = [page for c in column_chunks(footer_of(content)) for page in _pages(file, c)]
    rng, refused = np.random.default_rng(1), 0
    for _ in range(36):
        page = pages[int(rng.integers(len(pages)))]
        at = page.start + int(rng.integers(page.size))
        with open(path, "wb") as file:
            file.write(flipped(content, at, int(rng.integers(8))))
        try:
            frame = ld.read_shards(path)
            pd.testing.assert_frame_equal(frame.compute(), right)
            assert len(frame.laion.where("similarity >= 0")) == N
        except LaionDaskError as error:
            assert "a.parquet" in str(error)
            refused += 1
    assert refused > 30  # the others hit bytes that no value depends on, such as GZIP's timestamp


@pytest.mark.parametrize("codec", ["GZIP", "SNAPPY"])
def test_the_column_is_named_and_the_others_are_read(tmp_path, codec):
    path = str(tmp_path / "a.parquet")
    pq.write_table(table(), path, compression=codec, write_page_checksum=codec != "GZIP")
    chunk = pq.read_metadata(path).row_group(0).column(3)
    assert chunk.path_in_schema == "hash"
    with open(path, "r+b") as file:
        # The last bytes of a chunk are page data or, with GZIP, the checksum itself.
        file.seek(min(chunk.dictionary_page_offset or 2**60, chunk.data_page_offset))
        file.seek(chunk.total_compressed_size - 6, 1)
        file.write(b"\x5a\xa5")
    with pytest.raises(ShardError, match=r"a.parquet is damaged: a page of column 'hash' in row g"):
        ld.read_shards(path).compute()
    with pytest.raises(ShardError, match="'hash'"):
        ld.read_shards(path, where="hash > 0", columns=["url"]).compute()
    frame = ld.read_shards(path, columns=["url", "similarity"])
    assert len(frame.laion.where("similarity >= 0").compute()) == N
    with ld.set_options(invalid_text="reject"), pytest.raises(ShardError, match=r"a\.parquet"):
        ld.read_shards(path).compute()


def test_a_store_hands_its_pages_over_once(tmp_path):
    """A remote shard with checksums is read and verified by a single reader."""
    store = fsspec.filesystem("memory")
    local = str(tmp_path / "a.parquet")
    for codec, crc in (("GZIP", False), ("SNAPPY", True), ("SNAPPY", False)):
        pq.write_table(table(), local, compression=codec, write_page_checksum=crc)
        store.put(local, "/checksums/a.parquet")
        frame = ld.read_shards("memory://checksums/a.parquet", where="similarity > 0.5")
        pd.testing.assert_frame_equal(
            frame.compute(), ld.read_shards(local, where="similarity > 0.5").compute()
        )
        chunk = pq.read_metadata(local).row_group(0).column(3)
        end = min(chunk.dictionary_page_offset or 2**60, chunk.data_page_offset)
        end += chunk.total_compressed_size
        if codec == "GZIP" or crc:
            store.pipe(
                "/checksums/a.parquet", flipped(store.cat("/checksums/a.parquet"), end - 6, 3)
            )
            with pytest.raises(ShardError, match=r"a\.parquet"):
                ld.read_shards("memory://checksums/a.parquet").compute()
    store.rm("/checksums", recursive=True)


def test_column_chunks_are_those_of_pyarrow(tmp_path):
    path = str(tmp_path / "a.parquet")
    pq.write_table(table(), path, row_group_size=250, compression={"URL": "GZIP"})
    chunks = column_chunks(footer_of(Path(path).read_bytes()))
    metadata = pq.read_metadata(path)
    assert len(chunks) == metadata.num_row_groups * metadata.num_columns
    for i, chunk in enumerate(chunks):
        theirs = metadata.row_group(chunk.group).column(i % metadata.num_columns)
        assert b".".join(chunk.path).decode() == theirs.path_in_schema
        assert chunk.first_row == chunk.group * 250 and chunk.n_values == theirs.num_values
        assert chunk.is_gzip == (theirs.compression == "GZIP")
        offsets = (theirs.dictionary_page_offset, theirs.data_page_offset)
        assert chunk.start == min(offset for offset in offsets if offset)


def test_a_large_footer_goes_to_the_reader_that_checks(tmp_path, monkeypatch):
    path = str(tmp_path / "a.parquet")
    pq.write_table(table(), path, compression="GZIP")
    right = ld.read_shards(path, where="similarity > 0.5").compute()
    monkeypatch.setattr("laion_dask.io.parquet.scan_piece._LARGE_FOOTER", 10)
    pd.testing.assert_frame_equal(
        ld.read_shards(path, where="similarity > 0.5 and row >= 0").compute(), right
    )


@pytest.mark.parametrize(
    "content",
    [b"", b"\x15", b"\x18\xff\xff\xff\xff\x0f", b"\x19\xfc\xff\xff\xff\x7f", b"\x1c" * 100,
     b"\x1d\x00", b"\x15" + b"\xff" * 20],
)  # fmt: skip
def test_what_is_no_struct_is_refused(content):
    with pytest.raises(NotThrift):
        thrift.read_struct(content)

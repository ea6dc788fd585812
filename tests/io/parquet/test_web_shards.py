"""Rows of shards on a web server, which does not tell when they were modified."""

import pandas as pd
import pytest
from support.file_server import serving
from support.shards import laion_table, write_files, write_shard

import laion_dask as ld
from laion_dask.errors import ShardError

pytestmark = pytest.mark.usefixtures("combined_shards")


@pytest.fixture
def server(tmp_path):
    with serving(tmp_path) as found:
        yield found


def test_rows_equal_those_of_the_local_files(tmp_path, server):
    names = write_files(tmp_path, 5)
    web = ld.read_shards([f"{server.url}/{name}" for name in names])
    local = ld.read_shards([str(tmp_path / name) for name in names])
    for where in (None, "width >= 256 and similarity > 0.3", "text is None"):
        pair = [f if where is None else f.laion.where(where) for f in (web, local)]
        pd.testing.assert_frame_equal(*(f.compute().reset_index(drop=True) for f in pair))
        assert pair[0].laion.rows() == pair[1].laion.rows()


def test_an_export(tmp_path, server):
    names = write_files(tmp_path, 5)
    done = ld.read_shards([f"{server.url}/{n}" for n in names]).laion.export(tmp_path / "out")
    assert done.rows.kept == sum(20 + i for i in range(len(names)))


def test_a_file_that_is_replaced_after_opening(tmp_path, server):
    names = write_files(tmp_path, 5)
    frame = ld.read_shards([f"{server.url}/{name}" for name in names])
    write_shard(tmp_path / names[3], laion_table(23, 77))
    with pytest.raises(ShardError, match=names[3]):
        frame.compute()


def test_a_server_without_ranges(tmp_path, server):
    names = write_files(tmp_path, 2)
    server.has_ranges = False
    frame = ld.read_shards([f"{server.url}/{name}" for name in names])
    with pytest.raises(ShardError, match=rf"{names[0]} cannot be read: .*range requests"):
        frame.compute()

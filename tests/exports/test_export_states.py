"""Readers of an export see either its old state or its new one."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from support.carved_exports import BESIDE, SIZES, carve, files_of, kept_by_hand, rows_of
from support.frames import both
from support.shards import laion_table, write_shard

import laion_dask as ld
from laion_dask.errors import ExportError, ShardError, ShardNotFoundError
from laion_dask.exports.formats.parquet import ParquetWriter

pytestmark = both


def test_an_export_is_replaced_as_a_whole(source, out):
    carve(source).laion.export(out)
    first = files_of(out)
    exported = ld.read_shards(source, where="width >= 1500").laion.export(out)
    second = files_of(out)
    parts = {f"shards/{p['file']}" for p in exported.manifest["parts"]}
    assert set(second) == {*BESIDE, *parts}
    assert not {n for n in first if n.startswith("shards")} & set(second)
    assert len(ld.read_shards(out)) == exported.rows.kept


def test_parts_that_are_not_listed_are_never_read(source, out):
    exported = carve(source).laion.export(out)
    write_shard(out / "shards" / "part-00099-deadbeef.parquet", laion_table(5))
    assert len(ld.read_shards(out)) == exported.rows.kept
    ld.read_shards(source, where="width >= 1500").laion.export(out)
    assert not (out / "shards" / "part-00099-deadbeef.parquet").exists()


def fail_at(monkeypatch, error, after: int):
    """Make the writer raise `error` after it has written `after` parts."""
    written, write = [], ParquetWriter.write

    def failing(self, part):
        if len(written) == after:
            raise error
        written.append(1)
        return write(self, part)

    monkeypatch.setattr(ParquetWriter, "write", failing)


@pytest.mark.parametrize("error", [RuntimeError("disk full"), KeyboardInterrupt()])
@pytest.mark.parametrize("old", [True, False])
def test_a_failing_writer_leaves_the_old_state(source, out, monkeypatch, old, error):
    import dask

    if old:
        ld.read_shards(source, where="width >= 1500").laion.export(out)
    before = files_of(out)
    fail_at(monkeypatch, error, 2)
    with dask.config.set(scheduler="sync"), pytest.raises(type(error)):
        carve(source).laion.export(out, rows_per_part=7)
    assert files_of(out) == before
    if not old:
        with pytest.raises(ShardNotFoundError):
            ld.read_shards(out)
    monkeypatch.undo()
    carve(source).laion.export(out)
    assert rows_of(out) == kept_by_hand(source)


def test_a_shard_that_turns_out_truncated(source, out):
    carve(source).laion.export(out)
    before = files_of(out)
    frame = carve(source)
    path = sorted(Path(source).glob("*"))[2]
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ShardError, match=r"metadata_0002\.parquet"):
        frame.laion.export(out)
    assert files_of(out) == before


INTERRUPTED = """
import sys, time
import laion_dask as ld
from laion_dask.exports.formats.parquet import ParquetWriter
write = ParquetWriter.write
def slow(self, part):
    files = write(self, part)
    sys.stdout.write("writing\\n")
    sys.stdout.flush()
    time.sleep(2)
    return files
ParquetWriter.write = slow
try:
    ld.read_shards(sys.argv[1]).laion.export(sys.argv[2], rows_per_part=10)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.only_pandas
def test_ctrl_c_leaves_nothing_staged(source, out):
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(INTERRUPTED), source, str(out)],
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        assert child.stdout.readline() == "writing\n"
        time.sleep(0.2)
        child.send_signal(signal.SIGINT)
        rest = child.stdout.read()
    assert "interrupted" in rest and child.returncode == 0
    assert not out.exists() or os.listdir(out) == []


def test_a_store_that_is_full_is_an_export_error(laion_shards, out, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    frame = ld.read_shards(laion_shards(3))
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ExportError, match=r"could not be written.*No space left"):
        frame.laion.export(out)


def test_a_recipe_that_lost_a_part_is_refused(source, out):
    ld.read_shards(source).laion.export(out)
    recipe = json.loads((out / "_recipe.json").read_text())
    for parts in (recipe["parts"][1:], []):
        (out / "_recipe.json").write_text(json.dumps({**recipe, "parts": parts}))
        for read in (ld.read_shards, ld.verify):
            with pytest.raises(ShardError, match=rf"rows, but counts {sum(SIZES):,} kept"):
                read(out)

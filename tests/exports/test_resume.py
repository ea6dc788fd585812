"""An export that was killed is finished by the next one of the same plan, with the same bytes."""

import os
import shutil
import signal
from pathlib import Path

import pytest
from support.carved_exports import files_of
from support.killed_exports import FRAMES, killed
from support.shards import laion_table, write_shard

import laion_dask as ld
from laion_dask.errors import ExportError
from laion_dask.exports import fragment
from laion_dask.exports.formats.parquet import ParquetWriter
from laion_dask.exports.plan import plan_of
from laion_dask.exports.state import STAGING
from laion_dask.frame.provenance import Provenance

pytestmark = [pytest.mark.usefixtures("no_fsync"), pytest.mark.only_pandas, pytest.mark.slow]
SHARDS = 6


#: The records after which an export is killed: those of partitions, then those of parts.
RECORDS = (0, 1, 4, SHARDS, SHARDS + 1, SHARDS + 4)
RENAMES = (0, 3, 8, 30)
AGAIN = (2, 1, 3, 0, 2, 1)


def write_source(folder: Path) -> str:
    for i in range(SHARDS):
        write_shard(folder / f"metadata_{i:04d}.parquet", laion_table(50, i))
    return str(folder)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_source(tmp_path_factory.mktemp("resume") / "in")


@pytest.fixture(scope="module")
def runs(source, tmp_path_factory):
    """Killed exports, by frame, step and number, all made by one process, and complete ones."""
    folder = tmp_path_factory.mktemp("killed")
    jobs = {("scanned", "rename", at): source for at in RENAMES}
    jobs |= {(frame, "create_once", at): source for frame in FRAMES for at in RECORDS}
    jobs["scanned", "create_once", 3] = write_source(folder / "changing")
    listed = [
        (source, frame, folder / f"{frame}-{step}-{at}", step, at)
        for (frame, step, at), source in jobs.items()
    ]
    listed += [(source, "scanned", folder / "again", "create_once", at) for at in AGAIN]
    statuses = killed(listed)
    assert statuses[len(RENAMES) :] == [-signal.SIGKILL] * (len(listed) - len(RENAMES))
    for frame in FRAMES:
        finish(source, frame, folder / f"clean-{frame}")
    return folder


@pytest.fixture
def work(monkeypatch):
    """The partitions that are read and the parts that are written, as they happen."""
    done = {"partitions": [], "parts": []}
    write_fragment, write = fragment._write, ParquetWriter.write

    def fragment_written(table, staging, name):
        done["partitions"].append(name)
        return write_fragment(table, staging, name)

    def part_written(self, part):
        done["parts"].append(part.number)
        return write(self, part)

    monkeypatch.setattr(fragment, "_write", fragment_written)
    monkeypatch.setattr(ParquetWriter, "write", part_written)
    return done


def stagings(out: Path) -> list[str]:
    return [name for name in os.listdir(out) if name.startswith(STAGING)] if out.exists() else []


def finish(source, frame, out):
    return FRAMES[frame](source).laion.export(out, rows_per_part=20)


def check(folder: Path, runs: Path, frame: str = "scanned") -> None:
    assert files_of(folder) == files_of(runs / f"clean-{frame}")
    assert stagings(folder) == []


@pytest.fixture
def after(runs, tmp_path):
    """A copy of a killed export."""
    return lambda name: Path(shutil.copytree(runs / name, tmp_path / name))


@pytest.mark.parametrize("frame", FRAMES)
def test_a_killed_export_is_finished_with_the_same_bytes(source, runs, after, work, frame):
    parts = len(list((runs / f"clean-{frame}" / "shards").iterdir()))
    assert parts > 4
    for at in RECORDS:
        out = after(f"{frame}-create_once-{at}")
        assert len(stagings(out)) == 1
        for kind in work.values():
            kind.clear()
        finish(source, frame, out)
        check(out, runs, frame)
        assert len(work["partitions"]) == SHARDS - min(at, SHARDS)
        assert len(work["parts"]) == parts - max(0, at - SHARDS)


def test_an_export_that_is_killed_again_and_again_is_finished(source, runs, after, work):
    out = after("again")
    finish(source, "scanned", out)
    check(out, runs)
    assert work["partitions"] == []


@pytest.mark.parametrize("at", RENAMES)
def test_a_kill_while_parts_are_moved_is_repaired(source, runs, after, at):
    out = after(f"scanned-rename-{at}")
    finish(source, "scanned", out)
    check(out, runs)


def test_a_part_that_was_damaged_is_written_again(source, runs, after, work):
    out = after(f"scanned-create_once-{SHARDS + 4}")
    (staging,) = stagings(out)
    part = sorted((out / staging).glob("0*.parquet"))[0]
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)
    finish(source, "scanned", out)
    check(out, runs)


@pytest.mark.parametrize("damage", [b"", b'{"number"', b"[]"])
def test_damaged_records_are_not_counted(source, runs, after, damage):
    out = after(f"scanned-create_once-{SHARDS + 1}")
    (staging,) = stagings(out)
    records = sorted((out / staging / "records").iterdir())
    for record in (records[0], records[-1]):
        record.write_bytes(damage)
    finish(source, "scanned", out)
    check(out, runs)


def test_another_export_does_not_use_the_records(source, after, work):
    out = after("scanned-create_once-4")
    other = ld.read_shards(source, where="width >= 301", max_rows_per_partition=50)
    exported = other.laion.export(out, rows_per_part=20)
    assert len(work["partitions"]) == SHARDS and stagings(out) == []
    assert exported.rows.kept == len(other) == len(ld.read_shards(out))


def test_a_shard_that_changed_between_the_runs_is_refused(runs, after):
    changing, out = runs / "changing", after("scanned-create_once-3")
    write_shard(changing / "metadata_0001.parquet", laion_table(50, 17))
    with pytest.raises(ExportError, match=r"metadata_0001\.parquet has changed since") as caught:
        finish(changing, "scanned", out)
    assert "laion-dask gc" in str(caught.value) and "\n" not in str(caught.value)
    assert len(stagings(out)) == 1
    write_shard(changing / "metadata_0001.parquet", laion_table(50, 1))
    finish(changing, "scanned", out)
    assert stagings(out) == []


def test_a_function_of_the_user_may_have_changed(source):
    def mine(part):
        return part

    def id_of(frame):
        return plan_of(Provenance.of(frame), ("parquet", {}), None, None, None).id

    frame = ld.read_shards(source)
    assert id_of(frame) == id_of(ld.read_shards(source)) != id_of(frame.laion.where("width > 1"))
    assert id_of(frame[frame["width"] > 5]) is not None
    assert id_of(frame.map_partitions(mine, meta=frame._meta)) is None
    assert id_of(frame.map_partitions(lambda part: part, meta=frame._meta)) is None

"""Exports into an S3 server, whose conditional requests decide which of several exports wins."""

import errno
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import fsspec
import pytest
from support.carved_exports import BESIDE, carve, kept_by_hand
from support.one_row_exports import NEW, OLD, by_glob, by_recipe, write

import laion_dask as ld
from laion_dask.errors import ExportConflictError, ExportError, ShardError
from laion_dask.exports.transaction import ExportTransaction
from laion_dask.io.storage import conditional_put
from laion_dask.io.storage.export_manifest import MANIFEST, PARTS, export_of


@pytest.fixture
def s3fs_class():
    return fsspec.get_filesystem_class("s3")


def intercept(monkeypatch, s3fs_class, instead) -> None:
    """``await instead(send, name, key)`` in place of each request."""
    call = s3fs_class._call_s3

    async def intercepted(self, name, *args, **options):
        async def send():
            return await call(self, name, *args, **options)

        return await instead(send, name, options.get("Key", ""))

    monkeypatch.setattr(s3fs_class, "_call_s3", intercepted)


def is_commit(name: str, key: str) -> bool:
    return name == "put_object" and key.endswith(MANIFEST)


def test_parts_are_written_in_their_place_and_never_copied(bucket, source, monkeypatch, s3fs_class):
    sent = []

    async def record(send, name, key):
        sent.append((name, key))
        return await send()

    intercept(monkeypatch, s3fs_class, record)
    exported = carve(source).laion.export(f"{bucket}/once", rows_per_part=7)
    names = [part["file"] for part in exported.manifest["parts"]]
    assert len(names) > 1 and all(map(export_of, names))
    assert any(is_commit(*one) for one in sent)
    assert not [name for name, _ in sent if "copy" in name]
    assert ld.verify(f"{bucket}/once").rows == len(kept_by_hand(source))
    assert len(ld.read_shards(f"{bucket}/once")) == exported.rows.kept
    fs, inner = fsspec.core.url_to_fs(f"{bucket}/once")
    assert sorted(fs.find(inner)) == sorted(
        [*(f"{inner}/{name}" for name in BESIDE), *(f"{inner}/{PARTS}/{name}" for name in names)]
    )


def test_readers_list_no_folder_of_parts(bucket, source, monkeypatch, s3fs_class):
    where = f"{bucket}/read"
    exported = carve(source).laion.export(where, rows_per_part=20)
    fs, inner = fsspec.core.url_to_fs(where)
    fs.pipe_file(f"{inner}/{PARTS}/stray.parquet", b"mine")
    call, sent = s3fs_class._call_s3, []

    async def record(self, name, *args, **options):
        sent.append((name, str(options.get("Prefix", ""))))
        return await call(self, name, *args, **options)

    monkeypatch.setattr(s3fs_class, "_call_s3", record)
    fs.invalidate_cache()
    assert len(ld.read_shards(where)) == ld.verify(where).rows == exported.rows.kept
    listed = [prefix.rstrip("/") for name, prefix in sent if "list" in name]
    assert sent and not [prefix for prefix in listed if prefix.endswith(f"/{PARTS}")]
    (name, *_) = (part["file"] for part in exported.manifest["parts"])
    fs.rm_file(f"{inner}/{PARTS}/{name}")
    with pytest.raises(ShardError, match=f"{name} does not exist"):
        ld.read_shards(where)


@pytest.mark.parametrize("old", [False, True])
def test_of_writers_into_a_bucket_one_wins_and_the_others_are_told(bucket, old):
    where, writers = f"{bucket}/race-{old}", 4
    if old:
        write(where, [99])
    meet = Barrier(writers).wait

    def one(writer):
        try:
            write(where, [writer, writer], meet)
        except ExportConflictError as error:
            assert "\n" not in str(error)
            return None
        return writer

    with ThreadPoolExecutor(writers) as pool:
        won = [w for w in pool.map(one, range(writers)) if w is not None]
    assert len(won) == 1
    assert by_recipe(where) == by_glob(where) == won * 2


def test_the_store_refuses_what_the_exporter_did_not_see(bucket, monkeypatch):
    """Between the last look at the folder and the request, another export commits."""
    where = f"{bucket}/late"
    write(where, OLD)
    condition = conditional_put._condition

    def another_first(fs, path, before):
        found = condition(fs, path, before)
        monkeypatch.undo()
        write(where, NEW)
        return found

    monkeypatch.setattr(conditional_put, "_condition", another_first)
    with pytest.raises(ExportConflictError, match="Nothing from this export was made visible"):
        write(where, [6])
    assert by_recipe(where) == by_glob(where) == NEW


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("error", [TimeoutError("no answer"), ConnectionError("reset")])
def test_a_lost_answer_is_read_again(bucket, s3fs_class, monkeypatch, late, error):
    where = f"{bucket}/lost-{late}-{type(error).__name__}"
    write(where, OLD)
    lost = []

    async def lose(send, name, key):
        if not is_commit(name, key) or lost:
            return await send()
        lost.append(key)
        if late:
            await send()
        raise error

    intercept(monkeypatch, s3fs_class, lose)
    write(where, NEW)
    assert lost and by_recipe(where) == by_glob(where) == NEW


def test_while_the_result_is_unknown_nothing_is_removed(bucket, s3fs_class, monkeypatch):
    where = f"{bucket}/unknown"
    write(where, OLD)
    delayed = []

    async def lose(send, name, key):
        if not is_commit(name, key):
            return await send()
        delayed.append(send)
        raise TimeoutError("no answer")

    with monkeypatch.context() as patch:
        intercept(patch, s3fs_class, lose)
        with pytest.raises(ExportError, match="may or may not have the new rows") as caught:
            write(where, NEW)
    assert "\n" not in str(caught.value)
    assert by_recipe(where) == OLD
    fs = fsspec.core.url_to_fs(where)[0]
    fsspec.asyn.sync(fs.loop, delayed[0])  # the request arrives after all
    assert by_recipe(where) == NEW
    write(where, [6])
    assert by_recipe(where) == by_glob(where) == [6]


def test_a_store_that_refuses_keeps_the_old_state(bucket, s3fs_class, monkeypatch):
    where = f"{bucket}/refused"
    write(where, OLD)

    async def refuse(send, name, key):
        if is_commit(name, key):
            raise PermissionError(errno.EACCES, "Access Denied")
        return await send()

    with monkeypatch.context() as patch:
        intercept(patch, s3fs_class, refuse)
        with pytest.raises(ExportError, match="Access Denied"):
            write(where, NEW)
    assert by_recipe(where) == by_glob(where) == OLD


def test_an_export_that_runs_keeps_its_parts_while_another_commits(bucket):
    where = f"{bucket}/beside"
    with ExportTransaction(where) as transaction:
        file = transaction.staging_folder.write("00000000.parquet", b"rows")
        write(where, NEW)
        fs = transaction.fs
        assert fs.exists(f"{transaction.folder}/{PARTS}/{file.staged}")
    assert by_recipe(where) == by_glob(where) == NEW

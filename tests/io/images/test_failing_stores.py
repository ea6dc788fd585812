"""Storage errors while reading images end the task; resuming it loses no row."""

from pathlib import Path

import pytest
from fsspec.implementations.local import LocalFileOpener
from support.small_clip import make_small_clip, picture, write_tar

from laion_dask.errors import ShardError
from laion_dask.inference.embed import embed
from laion_dask.io.images.images import find_shards
from laion_dask.io.images.parquet import ParquetShard
from laion_dask.io.images.shards import TarShard
from laion_dask.models import ClipModel

#: Errors that stores raise; the last is not an OSError, as with some web clients.
ERRORS = [TimeoutError("slow"), OSError(5, "Input/output error"), RuntimeError("payload")]
each_error = pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return ClipModel(*make_small_clip(tmp_path_factory.mktemp("clip"), name="tiny-stores"))


class Reads:
    """Counts reads of local files; read number ``fails_at`` raises ``error``."""

    def __init__(self, monkeypatch) -> None:
        self.n, self.fails_at, self.error = 0, None, None

        def read(file, *args):
            self.n += 1
            if self.n == self.fails_at:
                raise self.error
            return file.f.read(*args)

        monkeypatch.setattr(LocalFileOpener, "read", read, raising=False)

    def fail(self, at, error) -> None:
        self.n, self.fails_at, self.error = 0, at, error


@pytest.fixture
def reads(monkeypatch):
    return Reads(monkeypatch)


def check_every_read(shard, reads, error, at_least):
    """Check that an error in any single read is reported with the shard's name."""
    expected = list(shard.samples())
    assert expected and not any(sample.reason for sample in expected)
    n_reads = reads.n
    assert n_reads >= at_least
    for at in range(1, n_reads + 1):
        reads.fail(at, error)
        with pytest.raises(ShardError, match=f"{shard.name} cannot be read"):
            list(shard.samples())
    reads.fail(None, None)
    assert list(shard.samples()) == expected


@each_error
def test_no_read_of_a_tar_fails_unseen(tmp_path, reads, error):
    members = {}
    for i in range(4):
        members |= {f"{i}.png": picture(i), f"{i}.txt": b"a caption" * 100}
    path = write_tar(tmp_path / "a.tar", members)
    check_every_read(TarShard(str(path)), reads, error, at_least=16)


@each_error
def test_no_read_of_parquet_fails_unseen(write, reads, error):
    columns = {"image": [picture(i) for i in range(6)], "text": list("abcdef")}
    path = write("a.parquet", columns, row_group_size=2)
    check_every_read(ParquetShard(path), reads, error, at_least=6)


@each_error
def test_no_read_of_a_folder_fails_unseen(tmp_path, monkeypatch, error):
    if not isinstance(error, OSError):
        pytest.skip("a local folder raises OSError only")
    for i in range(2):
        (tmp_path / f"{i}.png").write_bytes(picture(i))
        (tmp_path / f"{i}.txt").write_text("caption")
    (shard,) = find_shards(tmp_path)
    real = Path.read_bytes
    for name in ("0.png", "1.txt"):

        def read(path, name=name):
            if path.name == name:
                raise error
            return real(path)

        monkeypatch.setattr(Path, "read_bytes", read)
        with pytest.raises(ShardError, match=f"{name} cannot be read"):
            list(shard.samples())
    monkeypatch.undo()
    assert len(list(shard.samples())) == 2


def test_a_failed_read_costs_no_row(model, tmp_path, reads):
    source = tmp_path / "in"
    source.mkdir()
    for name in ("a", "b"):
        members = {f"{i}.png": picture(i) for i in range(5)} | {"9.png": b"broken"}
        write_tar(source / f"{name}.tar", members)
    find_shards(source)[0].survey()
    n_looks = 2 * reads.n
    reads.fail(n_looks + 6, TimeoutError("slow"))
    with pytest.raises(ShardError, match=r"\.tar cannot be read: slow"):
        embed(source, tmp_path / "out", model, batch_size=2)
    assert not (tmp_path / "out" / "embed.json").exists()
    result = embed(source, tmp_path / "out", model, batch_size=2)
    assert (result.n_read, result.n_kept, result.n_rejected) == (12, 10, 2)
    whole = embed(source, tmp_path / "whole", model, batch_size=2)
    assert whole.manifest.read_bytes() == result.manifest.read_bytes()


def test_a_shard_that_changes_after_the_first_look_is_not_written(model, tmp_path, monkeypatch):
    path = write_tar(tmp_path / "a.tar", {f"{i}.png": picture(i) for i in range(4)})
    real = TarShard.survey

    def survey(shard):
        result = real(shard)
        write_tar(path, {"0.png": picture()})
        return result

    with monkeypatch.context() as patch:
        patch.setattr(TarShard, "survey", survey)
        with pytest.raises(ShardError, match="has 1 samples, but had 4"):
            embed(path, tmp_path / "out", model)
    assert not list((tmp_path / "out" / "metadata").iterdir())

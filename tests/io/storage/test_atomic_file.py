"""Atomic file writes: links and pipes are preserved, a full disk gives a one-line error."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest

from laion_dask.errors import ExportError
from laion_dask.io.storage.atomic_file import committed, partial, put
from laion_dask.reports.hit_list import write_table
from laion_dask.reports.page import write_page


def write(path) -> None:
    with committed(path) as file:
        file.write(b"new")


WRITERS = {
    "committed": write,
    "page": lambda path: write_page(path, "page", title="title"),
    "hits": lambda path: write_table(pd.DataFrame({"query": [1]}), path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_link_is_written_through(tmp_path, name):
    (tmp_path / "elsewhere").mkdir()
    real, link = tmp_path / "elsewhere" / "real.csv", tmp_path / "out.csv"
    real.write_bytes(b"old")
    link.symlink_to(real)
    WRITERS[name](link)
    assert link.is_symlink() and real.read_bytes() != b"old" and not real.is_symlink()
    assert os.listdir(tmp_path / "elsewhere") == ["real.csv"]
    real.unlink()
    WRITERS[name](link)  # the target does not exist yet
    assert link.is_symlink() and real.is_file()


@pytest.mark.parametrize("letter", "xé字🎈")
def test_a_name_as_long_as_the_file_system_takes(tmp_path, letter):
    name = letter * (255 // len(letter.encode()))
    write(tmp_path / name)
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("name", WRITERS)
def test_a_pipe_is_written_through_or_refused_where_nobody_reads(tmp_path, name):
    pipe = tmp_path / "out.csv"
    os.mkfifo(pipe)
    with pytest.raises(ExportError, match=r"out\.csv could not be written"):
        WRITERS[name](pipe)
    descriptor = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(descriptor, True)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(WRITERS[name], pipe)
        future.result(timeout=60)
        with open(descriptor, "rb") as reader:
            assert reader.read()
    assert pipe.is_fifo() and os.listdir(tmp_path) == ["out.csv"]


def test_folders_and_loops_are_refused(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "folder").mkdir()
    for name in ("loop", "folder", "missing/x"):
        with pytest.raises(ExportError, match=f"{name} could not be written"):
            write(tmp_path / name)
    assert (tmp_path / "loop").is_symlink()


def test_a_file_of_a_folder_that_is_a_link_is_written_through(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    with partial(tmp_path, "link") as file:
        file.write(b"new")
        put(file, tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_bytes() == b"new"


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_told_in_one_line_and_leaves_the_old_file(tmp_path, monkeypatch, name):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "out.csv").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ExportError, match=r"could not be written.*No space left") as caught:
        WRITERS[name](tmp_path / "out.csv")
    assert "\n" not in str(caught.value)
    assert (tmp_path / "out.csv").read_bytes() == b"old" and len(os.listdir(tmp_path)) == 1

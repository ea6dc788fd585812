"""Runs that are killed at any moment continue from their folder: the same bytes, less work."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.clustered_shards import clustered_shards
from support.clustered_vectors import DIM
from support.shards import npy, space

import laion_dask as ld
from laion_dask.curation.clusters import chunks, lloyd
from laion_dask.errors import OptionError

#: Runs a verb in one process after another, each of which is killed before it writes the file of a
#: given number; prints the files that each has written, and its status.
SCRIPT = """
import os, signal, sys
import dask, distributed, duckdb, llvmlite.binding, numba, torch  # once, before forks
import laion_dask as ld
from laion_dask.curation.clusters import assignment, chunks, lloyd, prune, stages
from laion_dask.curation.duplicates import dedup, semantic_pass
from laion_dask.io.parquet import read_shards

folder, verb = sys.argv[1:3]
chunks.CHUNK, lloyd._CHUNKS_PER_STEP, left = 70, 2, 0
write = stages.write_arrays

def counted(at, number, arrays):
    global left
    if "laion_dask-spill" in at.path:
        return write(at, number, arrays)
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    write(at, number, arrays)
    print(os.path.basename(at.path), number, flush=True)

def run(name):
    frame = ld.read_shards(folder + "/metadata").laion.dedup(["width", "height", "similarity"])
    model = ld.ClipModel(folder + "/space.json")
    emb = ld.open_embeddings(folder + "/img_emb", model=model, like=frame)
    options = {"iterations": 4, "seed": 3, "folder": f"{folder}/{name}"}
    if verb == "dedup":
        kept = frame.laion.dedup(emb, eps=0.06, n_clusters=9, memory_limit=4000, **options)
    else:
        kept = frame.laion.prune(emb, 0.4, n_clusters=9, **options)
    kept[["shard", "row"]].compute().to_csv(f"{folder}/{name}.result", index=False)

for module in (assignment, lloyd, semantic_pass):
    module.write_arrays = counted
dask.config.set(scheduler="sync", temporary_directory=folder + "/tmp")
for one in sys.argv[3:]:
    name, left = one.split(":")[0], int(one.split(":")[1])
    child = os.fork()
    if not child:
        try:
            run(name)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def written_by(folder: Path, verb: str, *runs: str) -> list[tuple[int, list[str]]]:
    """The status of each run, and the files that it has written."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), verb, *runs],
        capture_output=True,
        text=True,
        check=True,
    )
    found, files = [], []
    for line in done.stdout.splitlines():
        if " " in line:
            files.append(line)
        else:
            assert line in ("0", str(-signal.SIGKILL)), done.stderr
            found.append((int(line), files))
            files = []
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("resumed")
    clustered_shards(folder)
    return folder


@pytest.mark.parametrize("verb", ["dedup"])  # prune and kmeans have the same passes
def test_a_run_that_is_killed_continues(folder, verb):
    clean, again, end = f"{verb}-clean", f"{verb}-killed", 1000
    # killed in the sample, the iterations, their last one, and the assignment or the search
    runs = [f"{clean}:{end}", *(f"{again}:{n}" for n in (5, 8, end))]
    (_, files), *killed, finished = written_by(folder, verb, *runs)
    stages = {one.split()[0] for one in files}
    expected = {"sample", "iterations", "sums", "assigned", *(["duplicates"] * (verb == "dedup"))}
    assert stages == expected and len(files) == len(set(files)) > 14
    assert [(status, len(one)) for status, one in killed] == [(-9, n) for n in (5, 8)]
    assert finished[0] == 0
    assert [file for _, one in [*killed, finished] for file in one] == files  # none twice
    first, other = (folder / f"{name}.result" for name in (clean, again))
    assert first.read_bytes() == other.read_bytes()


def opened(folder: Path):
    frame = ld.read_shards(folder / "metadata")
    model = ld.ClipModel(folder / "space.json")
    return frame, ld.open_embeddings(folder / "img_emb", model=model, like=frame)


def test_a_folder_is_of_one_run(tmp_path):
    clustered_shards(tmp_path)
    frame, emb = opened(tmp_path)
    folder = tmp_path / "run"
    first = frame.laion.kmeans(emb, 5, folder=folder)
    again = frame.laion.kmeans(emb, 5, folder=str(folder))
    assert again.centroids.tobytes() == first.centroids.tobytes()
    few = frame.laion.dedup("text")  # another name in every process, and for every call
    options = {"n_clusters": 4, "folder": tmp_path / "few"}
    one = frame.laion.dedup("text").laion.prune(emb, 0.5, **options)
    assert len(one) == len(few.laion.prune(emb, 0.5, **options))
    for other, k in ((few, 5), (frame.laion.where("width > 200"), 5), (frame, 6)):
        with pytest.raises(OptionError, match="other rows, embeddings or arguments"):
            other.laion.kmeans(emb, k, folder=folder)
    path = tmp_path / "img_emb" / "img_emb_0000.npy"
    npy(path, np.load(path)[::-1])
    _, emb = opened(tmp_path)
    with pytest.raises(OptionError, match="other rows, embeddings or arguments"):
        frame.laion.kmeans(emb, 5, folder=folder)
    with pytest.raises(OptionError, match="is not empty"):
        frame.laion.kmeans(emb, 5, folder=tmp_path)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "plan.json.0123").write_text("{")  # killed while it was written
    assert len(frame.laion.kmeans(emb, 2, folder=tmp_path / "new").centroids) == 2


def test_the_steps_of_the_last_iteration_do_not_change_it(tmp_path, monkeypatch):
    frame, emb = clustered_shards(tmp_path)
    assert emb.dim == DIM and space(tmp_path, DIM)
    first = frame.laion.kmeans(emb, 6)
    monkeypatch.setattr(chunks, "CHUNK", 40)
    for least in (1, 3):
        monkeypatch.setattr(lloyd, "_CHUNKS_PER_STEP", least)
        other = frame.laion.kmeans(emb, 6, folder=tmp_path / f"run-{least}")
        assert other.centroids.tobytes() == first.centroids.tobytes()

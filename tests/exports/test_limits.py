"""A full disk, a folder that cannot be written to, no file handles: one line, nothing visible."""

import os
import subprocess
import sys

import pytest
from support.one_row_exports import NEW, OLD, by_glob, by_recipe, write
from support.paths import ROOT
from support.shards import laion_table, write_shard

pytestmark = pytest.mark.only_pandas

#: Each case in a fork: what was printed, and whether the folder shows any part.
LIMITED = """
import os, resource, sys
sys.path[:0] = sys.argv[1:3]
import dask
import laion_dask as ld
import laion_dask.exports.export
from laion_dask.exports import formats
formats.load("parquet")
source, *cases = sys.argv[3:]
frame = ld.read_shards(source, max_rows_per_partition=50)

def limit(kind, at):
    if kind == "bytes":
        resource.setrlimit(resource.RLIMIT_FSIZE, (at, at))
    if kind == "files":
        resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
        held = []
        try:
            while True:
                held.append(os.dup(0))
        except OSError:
            for descriptor in held[:at]:
                os.close(descriptor)

def child(kind, at, out):
    limit(kind, int(at))
    try:
        with dask.config.set(scheduler="sync"):
            frame.laion.export(out, rows_per_part=20)
        print("done")
    except ld.LaionDaskError as error:
        print(str(error))
    except BaseException as error:
        print("raw", repr(error))
    sys.stdout.flush()
    os._exit(0)

for case in cases:
    pid = os.fork()
    if not pid:
        child(*case.split(","))
    os.waitpid(pid, 0)
"""


def test_limits_are_told_in_one_line_and_leave_the_old_state(tmp_path):
    for i in range(3):
        write_shard(tmp_path / "in" / f"metadata_{i:04d}.parquet", laion_table(50, i))
    cases = [("bytes", at) for at in (100, 2_000, 4_000)]
    cases += [("files", 1), ("folder", 0)]
    folders = [str(tmp_path / f"{kind}-{at}") for kind, at in cases[:-1]] + ["/proc/laion"]
    for folder in folders[1:4]:
        write(folder, OLD)
    words = [f"{kind},{at},{out}" for (kind, at), out in zip(cases, folders, strict=True)]
    command = [sys.executable, "-c", LIMITED, str(ROOT / "tests"), str(ROOT), str(tmp_path / "in")]
    done = subprocess.run([*command, *words], capture_output=True, text=True, timeout=120)
    said = done.stdout.splitlines()
    assert len(said) == len(cases), done.stdout + done.stderr
    for line, part in zip(said, ("large", "large", "large", "many", "/proc"), strict=True):
        assert part in line and not line.startswith("raw"), line
    for folder in folders[1:4]:
        assert by_recipe(folder) == by_glob(folder) == OLD
        assert sorted(n for n in os.listdir(folder) if n[0] not in "._") == ["shards"]
        write(folder, NEW)
        assert by_recipe(folder) == by_glob(folder) == NEW
    assert not os.path.exists(folders[0]) or os.listdir(folders[0]) == []


def test_a_format_that_cannot_be_loaded_for_lack_of_handles_is_told_in_one_line(tmp_path):
    """The formats were listed while there were handles."""
    write_shard(tmp_path / "in" / "metadata_0000.parquet", laion_table(50, 0))
    code = LIMITED.replace('formats.load("parquet")\n', "").replace("rows_per_part=20", "'csv'")
    out = tmp_path / "out"
    words = [str(ROOT / "tests"), str(ROOT), str(tmp_path / "in"), f"files,0,{out}"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=120
    )
    (line,) = done.stdout.splitlines()
    assert "'csv' could not be loaded: Too many open files" in line, line
    assert not out.exists()

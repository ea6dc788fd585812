"""Damaged and hostile Parquet files raise our error or read as with pyarrow, and never crash."""

from __future__ import annotations

import json
import subprocess
import sys

READ_ALL = r"""
import json, math, sys, warnings
from pathlib import Path
import pyarrow as pa
import pyarrow.parquet as pq
from laion_dask.frame.provenance import Provenance
from laion_dask.errors import LaionDaskError
from laion_dask.io.parquet.read_shards import read_shards
from laion_dask.frame.where import where

warnings.simplefilter("error")


def plain(value):
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value


def ours(path):
    try:
        frame = read_shards(path, backend=sys.argv[2])
        scan, partitions = Provenance.of(frame).as_read
        names = [n for n, _ in scan.types if n not in ("shard", "row")]
        for partition in partitions:
            scan.counts(partition)
            scan(partition, names)
        tables = [scan.read(partition, names).table for partition in partitions]
        filtered = where(frame, "row >= 1 and row < 3")[["row"]].compute(scheduler="sync")
        rows = filtered["row"].to_numpy().tolist()
        assert rows == [r for r in (1, 2) if r < sum(map(len, tables))]
        read = {new: pa.concat_tables(tables)[new].to_pylist() for new in names}
        return read, partitions[0].pieces[0].shard
    except LaionDaskError as error:
        assert Path(path).name in str(error), error
        return None, None


for path in sorted(Path(sys.argv[1]).glob("*.parquet")):
    print(json.dumps({"file": path.name, "did": "start"}), flush=True)
    read, shard = ours(str(path))
    did = "refused"
    if read is not None:
        try:
            stored = pq.read_table(path, use_threads=False)
        except Exception as error:
            did = f"read, though pyarrow says {error}"
        else:
            did = "read as pyarrow does"
            for old, new, _ in shard.columns:
                if plain(stored[old].to_pylist()) != plain(read[new]):
                    did = f"wrong values in {old}"
    print(json.dumps({"file": path.name, "did": did}), flush=True)
"""


def test_every_malformed_file_is_refused_or_read_right(shared, frames):
    folder = shared / "data" / "malformed_parquet"
    files = sorted(p.name for p in folder.glob("*.parquet"))
    assert len(files) >= 70
    run = subprocess.run(
        [sys.executable, "-c", READ_ALL, str(folder), frames],
        capture_output=True,
        text=True,
        timeout=280,
    )
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    assert run.returncode == 0, (lines[-1:], run.stderr[-3000:])
    outcome = {line["file"]: line["did"] for line in lines}
    assert sorted(outcome) == files
    wrong = {f: did for f, did in outcome.items() if did not in ("refused", "read as pyarrow does")}
    assert not wrong
    assert "refused" in outcome.values() and "read as pyarrow does" in outcome.values()

"""The newest img2dataset runs the script of an export, in an environment of its own.

Its pins, such as pandas < 3, do not fit this package's. Queries the package index; skipped if that
is unreachable.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.file_server import serving
from support.shards import write_shard

import laion_dask as ld

pytestmark = [pytest.mark.network, pytest.mark.timeout(3000)]
WRONG = 2


@pytest.fixture(scope="module")
def programs(tmp_path_factory) -> Path:
    """The folder of programs of an environment with img2dataset."""
    home = tmp_path_factory.mktemp("newest") / "venv"
    subprocess.run([sys.executable, "-m", "venv", home], check=True)
    words = ["-m", "pip", "install", "--quiet", "--upgrade", "img2dataset>=1.42"]
    done = subprocess.run([home / "bin/python", *words], capture_output=True, text=True)
    if "Temporary failure" in done.stderr or "Failed to establish" in done.stderr:
        pytest.skip(f"the package index cannot be reached: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return home / "bin"


def picture(i: int) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (40, 30), (i * 60, 10, 200)).save(file, "JPEG")
    return file.getvalue()


@pytest.mark.parametrize("digest", ["md5", "sha256"])
def test_images_of_another_digest_are_refused(programs, tmp_path, digest):
    (tmp_path / "web").mkdir()
    digests = []
    for i in range(4):
        (tmp_path / "web" / f"{i}.jpg").write_bytes(picture(i))
        content = b"other" if i == WRONG else picture(i)
        digests.append(hashlib.new(digest, content).hexdigest().upper())
    with serving(tmp_path / "web") as server:
        columns = {
            "url": [f"{server.url}/{i}.jpg" for i in range(4)],
            "text": ["it's", 'a "quoted"', "=three", "four\nlines"],
            digest: digests,
            **{name: list("abcd") for name in ("key", "status", "error_message", "exif")},
            "width": [1, 2, 3, 4],
        }
        write_shard(tmp_path / "in" / "a.parquet", pa.table(columns))
        ld.read_shards(str(tmp_path / "in")).laion.export(tmp_path / "out", format="img2dataset")
        env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        env |= {"PATH": f"{programs}:{env['PATH']}", "IMAGES": str(tmp_path / "got")}
        env["NO_ALBUMENTATIONS_UPDATE"] = "1"
        command = ["sh", str(tmp_path / "out/img2dataset.sh"), "--processes_count=1"]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    (found,) = (tmp_path / "got").glob("*.parquet")
    rows = pq.read_table(found).sort_by("source_width").to_pylist()
    assert [row["status"] == "success" for row in rows] == [i != WRONG for i in range(4)]
    assert rows[WRONG]["error_message"] == "hash mismatch"
    assert [row["caption"] for row in rows] == columns["text"]
    for name in ("key", "status", "error_message", "exif", "width"):
        assert [row[f"source_{name}"] for row in rows] == columns[name]

"""`laion-dask explore` in a process of its own: it prints the address, serves, and ends cleanly."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from urllib.request import urlopen

import pytest
from support.command_line import run
from support.paths import ROOT
from support.shards import laion_table, write_shard

#: Background jobs ignore SIGINT, which Python then does not handle.
MAIN = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
    "from laion_dask.cli import main; main()"
)
PRINTED = r"Exploring 20 of (\d+) rows at (http://127\.0\.0\.1:\d+/) \(Ctrl-C ends it\)\n"


@pytest.fixture
def shard(tmp_path) -> str:
    return write_shard(tmp_path / "0.parquet", laion_table(60))


def test_it_prints_the_address_and_ctrl_c_ends_it(shard):
    words = ["explore", shard, "--sample", "20", "--where", "width > 10"]
    command = [sys.executable, "-c", MAIN, *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            line = process.stdout.readline()
            found = re.fullmatch(
                r"Exploring 20 of (\d+) rows at (http://127\.0\.0\.1:\d+/) \(Ctrl-C ends it\)\n",
                line,
            )
            assert found, line + (process.stderr.read() if process.poll() is not None else "")
            with urlopen(found[2]) as answer:
                assert answer.status == 200 and "Explorer" in answer.read().decode()
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
            assert "Traceback" not in process.stderr.read()
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sample", "0"], "sample"),
        (["--port", "99999999"], "port"),
        (["--where", "nothing > 1"], "nothing"),
        (["--embeddings", "missing/"], "missing"),
        (["--images", "missing/"], "missing"),
    ],
)
def test_wrong_arguments_end_it_before_it_serves(monkeypatch, capsys, shard, words, message):
    code, out, err = run(monkeypatch, capsys, "explore", shard, *words)
    assert code in (1, 2) and message in err and not out
    assert "Traceback" not in err

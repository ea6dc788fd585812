"""Failing commands: a one-line error that names the problem, an exit code, no traceback."""

from __future__ import annotations

import errno
import io
import os
import sys
import threading
from pathlib import Path

import pytest
import typer
from support.command_line import run

from laion_dask import cli
from laion_dask.cli.option_names import option_names
from laion_dask.io.parquet import read_shards
from laion_dask.runtime import progress

GROUP = typer.main.get_command(cli.app)
READING = [name for name in GROUP.commands if "join" in option_names(GROUP, name)]

#: Arguments that each command needs besides SOURCE; ``{out}`` is a new folder.
MORE = {
    "inspect": [],
    "explore": [],
    "statistics": ["--rate", "width > 3"],
    "audit": ["--where", "width > 3"],
    "datasheet": ["{out}.html"],
    "plan": ["--step", "export"],
    "search": ["--embeddings", "{source}", "--model", "demo", "--text", "a bird"],
    "score": ["{out}", "--embeddings", "{source}", "--model", "demo", "--text", "a bird"],
    "export": ["{out}"],
    "carve": ["{out}"],
}
#: Arguments before SOURCE.
BEFORE = {"carve": ["laion-high-resolution"]}


def refused(outcome: tuple[int, str, str], *codes: int) -> str:
    """Check that a run failed with one of the codes and one error line; return that line."""
    code, out, err = outcome
    assert code in codes, err
    assert not out and "Traceback" not in err
    assert err.startswith("laion-dask: ") and err.count("\n") == 1
    return err


@pytest.fixture
def sources(tmp_path, laion_shards):
    """Unreadable sources by name, and ``whole``, which is readable."""
    whole = Path(laion_shards(5)[0])
    empty, damaged, torn = (tmp_path / name for name in ("empty", "damaged", "torn"))
    for folder in (empty, damaged, torn):
        folder.mkdir()
    (damaged / "a.parquet").write_bytes(b"PAR1" + b"\0" * 40 + b"PAR1")
    (torn / "a.parquet").write_bytes(whole.read_bytes()[:-20])
    return {
        "missing": tmp_path / "missing",
        "empty": empty,
        "damaged": damaged,
        "torn": torn,
        "page": Path(__file__),
        "whole": whole,
    }


def words(command: str, source: Path, out: Path) -> list[str]:
    return [
        command,
        *BEFORE.get(command, []),
        str(source),
        *(w.format(source=source, out=out) for w in MORE[command]),
    ]


def test_the_walk_knows_every_command():
    assert set(READING) == set(MORE)
    assert set(GROUP.commands) - set(MORE) == {
        *("embed", "index", "verify", "gc", "models", "demo", "recipes", "replay"),
    }


@pytest.mark.parametrize("kind", ["missing", "empty", "damaged", "torn", "page"])
@pytest.mark.parametrize("command", [*READING, "embed", "index", "verify"])
def test_a_source_that_cannot_be_read(monkeypatch, capsys, sources, tmp_path, command, kind):
    source, out = sources[kind], tmp_path / "out"
    arguments = {
        "embed": [source, out],
        "index": [source, out, "--model", "demo"],
        "verify": [source],
    }
    line = [command, *arguments[command]] if command in arguments else words(command, source, out)
    error = refused(run(monkeypatch, capsys, *line), 1)
    assert source.name in error
    assert not out.exists() and not out.with_suffix(".html").exists()


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (["--columns", "widht"], "--columns has 'widht'. Did you mean 'width'?"),
        (["--rename", "widht=punsafe"], "--rename has 'widht'. Did you mean 'WIDTH'?"),
        (["--dialect", "coyo"], "--dialect is 'coyo'"),
        (["--on", "hash"], "--join"),
        (["--join", "{source}", "--on", "kye"], "kye"),
        (["--join", "{source}", "--how", "outer"], "--how is 'outer'"),
        (["--join", "{source}", "--duplicates", "last"], "--duplicates is 'last'"),
    ],
)
@pytest.mark.parametrize("command", READING)
def test_a_wrong_option_of_reading(monkeypatch, capsys, sources, tmp_path, command, wrong, error):
    source = sources["whole"]
    line = words(command, source, tmp_path / "out")
    line += [word.format(source=source) for word in wrong]
    assert error in refused(run(monkeypatch, capsys, *line), 2)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "command", [*(c for c in READING if c not in ("plan", "score", "search", "carve"))]
)
def test_a_filter_with_a_typing_error(monkeypatch, capsys, sources, tmp_path, command):
    for where in ("widht > 3", "width >", "width > 'a'"):
        line = [*words(command, sources["whole"], tmp_path / "out"), "--where", where]
        error = refused(run(monkeypatch, capsys, *line), 2)
        assert f"--where {where}" in error


def test_a_filter_of_another_option_is_called_by_its_name(monkeypatch, capsys, sources):
    source = sources["whole"]
    error = refused(run(monkeypatch, capsys, "statistics", source, "--rate", "widht > 3"), 2)
    assert "--rate widht > 3 names an unknown column 'widht'" in error
    error = refused(run(monkeypatch, capsys, "plan", source, "--step", "where:widht > 3"), 2)
    assert "--step where: widht > 3" in error


def test_a_model_is_called_as_the_command_calls_it(monkeypatch, capsys, sources, tmp_path):
    def of(model):
        line = ["embed", tmp_path, tmp_path / "out", "--model", model]
        return refused(run(monkeypatch, capsys, *line), 1, 2)

    assert "--model is 'ViT-L-15'" in of("ViT-L-15")
    assert "PRETRAINED in --model NAME:PRETRAINED" in of("ViT-L-14")
    assert "PRETRAINED in --model NAME:PRETRAINED is 'openia'" in of("ViT-L-14:openia")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads any file")
def test_a_folder_without_permission(monkeypatch, capsys, sources):
    folder = sources["torn"]
    folder.chmod(0)
    try:
        assert "torn" in refused(run(monkeypatch, capsys, "inspect", folder), 1)
    finally:
        folder.chmod(0o700)


class Unwritable(io.RawIOBase):
    """A standard output on which every write fails."""

    def __init__(self, number: int) -> None:
        self.number = number

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:
        raise OSError(self.number, os.strerror(self.number))

    def close(self) -> None:
        """Do nothing; the base class would flush."""


@pytest.mark.parametrize(
    "line",
    [
        ["inspect", "{source}"],
        ["inspect", "{source}", "--json"],
        ["statistics", "{source}", "--rate", "width > 3", "--columns", "width", "--out", "-"],
        ["export", "{source}", "{out}"],
        ["--help"],
        ["models"],
    ],
)
def test_an_output_that_cannot_be_written(monkeypatch, capsys, sources, tmp_path, line):
    line = [word.format(source=sources["whole"], out=tmp_path / "out") for word in line]
    for number in (errno.ENOSPC, errno.EPIPE):
        stream = io.TextIOWrapper(io.BufferedWriter(Unwritable(number)), encoding="utf-8")
        monkeypatch.setattr(sys, "stdout", stream)
        code, _, err = run(monkeypatch, capsys, *line)
        assert code == 1 and "Traceback" not in err
        if number == errno.ENOSPC:
            assert err.startswith("laion-dask: ") and os.strerror(number) in err


def test_a_target_below_a_file(monkeypatch, capsys, sources, tmp_path):
    source = sources["whole"]
    (tmp_path / "file").write_text("x")
    for target in (tmp_path / "file", tmp_path / "file" / "out"):
        assert "file" in refused(run(monkeypatch, capsys, "export", source, target), 1)
        line = ("inspect", source)
        line = ("datasheet", source, target / "page.html", "--columns", "width")
        assert "page.html" in refused(run(monkeypatch, capsys, *line), 1)
        line = ("audit", source, "--where", "width > 3", "--out", target / "a.csv")
        assert "a.csv" in refused(run(monkeypatch, capsys, *line), 1)


def test_an_output_that_knows_ascii_only(monkeypatch, capsys, write):
    source = write("a.parquet", {"größe鳥": [1, 2], "url": ["ä", "b"]})
    for terminal, shown in ((False, "größe鳥".encode()), (True, b"gr\xf6\xdfe\\u9ce5")):
        printed = io.BytesIO()
        stream = io.TextIOWrapper(printed, encoding="latin-1" if terminal else "ascii")
        stream.isatty = lambda terminal=terminal: terminal
        monkeypatch.setattr(sys, "stdout", stream)
        code, _, err = run(monkeypatch, capsys, "inspect", source)
        assert code == 0 and not err
        stream.flush()
        assert shown in printed.getvalue()


@pytest.mark.parametrize("columns", ["1", "20", "500"])
def test_any_width_of_a_terminal(monkeypatch, capsys, sources, columns):
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("NO_COLOR", "1")
    for line in (["search", "-h"], ["inspect", sources["whole"]], ["models"]):
        code, out, err = run(monkeypatch, capsys, *line)
        assert code == 0 and out and not err and "\x1b" not in out


def test_without_a_home(monkeypatch, capsys, sources):
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as for a user without a home
    error = refused(run(monkeypatch, capsys, "models", "--download", "all"), 1)
    assert "HOME" in error and not Path("~").exists()
    for line in (["inspect", sources["whole"]], ["models"]):
        code, out, err = run(monkeypatch, capsys, *line)
        assert code == 0 and out and not err


def test_an_address_that_is_not_there(monkeypatch, capsys):
    for address in ("https://127.0.0.1:1/a.parquet", "s3://no-such/a.parquet", "nix://a.parquet"):
        refused(run(monkeypatch, capsys, "inspect", address), 1, 2)


@pytest.mark.parametrize("command", ["inspect", "datasheet"])
def test_a_terminal_shows_that_a_command_is_at_work(
    monkeypatch, capsys, sources, tmp_path, command
):
    """Progress appears even before anything is counted, and is erased at the end."""
    seen = threading.Event()

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

        def write(self, text: str) -> int:
            if f"laion-dask {command} 00:" in text:
                seen.set()
            return super().write(text)

    class Quick(progress.ProgressBar):
        def __init__(self, **options):
            super().__init__(**{**options, "delay": 0.01})

    read = read_shards.read_shards

    def slow(*arguments, **options):
        assert seen.wait(60)
        return read(*arguments, **options)

    monkeypatch.setattr(progress, "ProgressBar", Quick)
    monkeypatch.setattr(read_shards, "read_shards", slow)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    words = [sources["whole"], *(word.format(out=tmp_path / "out") for word in MORE[command])]
    code, out, _ = run(monkeypatch, capsys, command, *words)
    assert code == 0 and out and not out.startswith("\r")
    assert terminal.getvalue().rsplit("\r", 2)[-2].strip() == ""

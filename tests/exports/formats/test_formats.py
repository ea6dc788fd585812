"""Export formats: one module per format, parts of several files, and a final index."""

import json
import textwrap
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import laion_dask as ld
from laion_dask.errors import ExportError, OptionError, ShardError
from laion_dask.exports import formats
from laion_dask.exports.formats.base import WrittenPart
from laion_dask.exports.formats.parquet import ParquetWriter
from laion_dask.exports.formats.staged_files import StagedFile
from laion_dask.io.storage.export_manifest import is_part_name

PAIRS = """
import json
from dataclasses import dataclass

from laion_dask.exports.formats.base import PartWriter
from laion_dask.exports.formats.parquet import ParquetWriter


@dataclass(frozen=True)
class Pairs(PartWriter):
    staging: object
    names: tuple

    def write(self, part):
        parquet = ParquetWriter(self.staging).write(part)
        captions = "\\n".join(part.table["text"].to_pylist()).encode()
        return [*parquet, self.staging.write(f"{part.stem}.captions.txt", captions)]

    def finish(self, parts):
        index = {"columns": self.names, "parts": [[p.rows, *p.final_names] for p in parts]}
        return [self.staging.write("index.json", json.dumps(index).encode())]


def open(staging, schema):
    return Pairs(staging, tuple(schema.names))
"""

TEXTS = """
from dataclasses import dataclass

from laion_dask.exports.formats.base import PartWriter


@dataclass(frozen=True)
class Texts(PartWriter):
    staging: object

    def write(self, part):
        return [self.staging.write(f"{part.stem}.txt", repr(part.table["url"]).encode())]


def open(staging, schema):
    return Texts(staging)
"""


@pytest.fixture(autouse=True)
def _new_formats(tmp_path, monkeypatch):
    """Add two formats, each in one file of the package."""
    folder = tmp_path / "formats"
    folder.mkdir()
    (folder / "pairs.py").write_text(textwrap.dedent(PAIRS))
    (folder / "texts.py").write_text(textwrap.dedent(TEXTS))
    monkeypatch.setattr(formats, "__path__", [*formats.__path__, str(folder)])


def test_every_module_is_a_format():
    assert {"pairs", "parquet", "texts"} < {*formats.names()}
    for name in formats.names():
        assert callable(formats.load(name).open)


def test_an_unknown_format_names_those_that_exist(laion_shards, tmp_path):
    with pytest.raises(OptionError, match=r"pairs.*parquet.*texts"):
        ld.read_shards(laion_shards(3)).laion.export(tmp_path / "out", format="parquets")
    with pytest.raises(OptionError, match="base"):  # the base module is not a format
        ld.read_shards(laion_shards(3)).laion.export(tmp_path / "out", format="base")


def test_a_part_of_several_files_and_an_index(laion_shards, tmp_path):
    frame, out = ld.read_shards(laion_shards(5, 7)), tmp_path / "out"
    for expected in (12, 12):  # the second export replaces the first
        exported = frame.laion.export(out, format="pairs")
        assert exported.rows.kept == len(ld.read_shards(out)) == ld.verify(out).rows == expected
    manifest = json.loads((out / "_recipe.json").read_text())
    (index,) = manifest["index"]
    content = json.loads((out / "shards" / index["file"]).read_text())
    for part, (rows, *names) in zip(manifest["parts"], content["parts"], strict=True):
        (captions,) = part["companions"]
        assert [part["file"], captions["file"]] == names and part["rows"] == rows
        written = (out / "shards" / captions["file"]).read_text().split("\n")
        assert written == pq.read_table(out / "shards" / part["file"])["text"].to_pylist()
    names = {path.name for path in (out / "shards").iterdir()}
    listed = {name for _, *names_ in content["parts"] for name in names_} | {index["file"]}
    assert names == listed and all(map(is_part_name, names))


@pytest.mark.parametrize("which", ["companions", "index"])
def test_every_file_of_a_part_is_verified(laion_shards, tmp_path, which):
    ld.read_shards(laion_shards(5)).laion.export(tmp_path / "out", format="pairs")
    manifest = json.loads((tmp_path / "out" / "_recipe.json").read_text())
    entry = {"index": manifest["index"][0], "companions": manifest["parts"][0]["companions"][0]}
    path = tmp_path / "out" / "shards" / entry[which]["file"]
    content = path.read_bytes()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    with pytest.raises(ShardError, match=f"{path.name} has sha256"):
        ld.verify(tmp_path / "out")
    path.unlink()
    with pytest.raises(ShardError, match=f"{path.name} does not exist"):
        ld.read_shards(tmp_path / "out")


def test_a_format_that_no_reader_knows_is_verified_and_refused(laion_shards, tmp_path):
    exported = ld.read_shards(laion_shards(5)).laion.export(tmp_path / "out", format="texts")
    assert "companions" not in exported.manifest["parts"][0] and "index" not in exported.manifest
    assert ld.verify(tmp_path / "out").rows == 5
    with pytest.raises(ShardError, match=r"is an export of files such as part-.*\.txt.*\.parquet"):
        ld.read_shards(tmp_path / "out")


def test_files_of_one_part_have_different_suffixes():
    digest = "0123456789abcdef"
    files = tuple(StagedFile(name, 1, digest) for name in ("00000007.0.tar", "00000007.1.tar"))
    part = WrittenPart(3, 10, files)
    assert part.final_names == ["part-00003-01234567.0.tar", "part-00003-01234567.1.tar"]
    assert all(map(is_part_name, part.final_names))


def test_two_files_of_one_name_are_an_error(laion_shards, tmp_path, monkeypatch):
    write = ParquetWriter.write
    monkeypatch.setattr(ParquetWriter, "write", lambda self, part: write(self, part) * 2)
    with pytest.raises(ExportError, match="two files with the same name"):
        ld.read_shards(laion_shards(3)).laion.export(tmp_path / "out")
    assert not Path(tmp_path / "out").exists()

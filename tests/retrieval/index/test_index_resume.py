"""A build that was killed is resumed, a damaged index is repaired, and a finished one is kept."""

import json
import os
import shutil
from pathlib import Path

import dask
import numpy as np
import pytest
from support.clustered_vectors import everything, queries
from support.digests import digest

import laion_dask as ld
from laion_dask.errors import ExportError, IndexFileError
from laion_dask.retrieval.index import build as verb
from laion_dask.retrieval.index import folder as index_files
from laion_dask.retrieval.index import manifest as index_manifest

#: A fast build for tests in which recall does not matter.
QUICK = {"group_rows": 500, "recall_queries": 3, "sample": 160, "progress": False}


@pytest.fixture(scope="module")
def quick(emb, tmp_path_factory):
    """An index of three groups from a fast build; read-only."""
    return ld.build_index(emb, tmp_path_factory.mktemp("quick") / "out", **QUICK)


@pytest.fixture
def broken(quick, tmp_path):
    """A copy of the same index that may be damaged."""
    return Path(shutil.copytree(quick.path, tmp_path / "copy"))


def kill(monkeypatch, emb, out, at: int) -> None:
    """Start a build that is interrupted when it renames its file number ``at``."""
    real, names = os.replace, []

    def replace(a, b):
        names.append(b)
        if len(names) > at:
            raise KeyboardInterrupt
        real(a, b)

    with monkeypatch.context() as patch:
        patch.setattr(index_files.os, "replace", replace)
        with pytest.raises(KeyboardInterrupt), dask.config.set(scheduler="synchronous"):
            ld.build_index(emb, out, **QUICK)


def test_killed_anywhere_it_resumes_to_the_same_bytes(emb, quick, tmp_path, monkeypatch):
    expected = digest(quick.path)
    for at in range(1 + 2 + 2 * 3 + 1):  # plan, trained, groups, manifest
        out = tmp_path / f"out{at}"
        kill(monkeypatch, emb, out, at)
        assert not list(out.rglob("*.partial")) and not (out / "index.json").exists()
        if out.exists():
            (out / ".left.partial").write_bytes(b"what a killed process leaves")
        with pytest.raises(IndexFileError, match="it is not an index"):
            ld.open_index(out)
        ld.build_index(emb, out, **QUICK)
        assert digest(out) == expected


def flip(path: Path, share: float) -> None:
    """Flip one bit of the byte at this fraction of the file; the size stays the same."""
    data = bytearray(path.read_bytes())
    data[int(share * (len(data) - 1))] ^= 1
    path.write_bytes(data)


DAMAGE = {
    "cut": lambda p: p.write_bytes(p.read_bytes()[: p.stat().st_size // 2]),
    "emptied": lambda p: p.write_bytes(b""),
    "start": lambda p: flip(p, 0),
    "middle": lambda p: flip(p, 0.5),
    "gone": lambda p: p.unlink(),
}


@pytest.fixture(scope="module")
def halted(emb, tmp_path_factory):
    """A build that was killed before it wrote its manifest; read-only."""
    out = tmp_path_factory.mktemp("halted") / "out"
    with pytest.MonkeyPatch.context() as patch:
        kill(patch, emb, out, 9)
    assert len(list(out.rglob("group-*"))) == 6 and not (out / "index.json").exists()
    return out


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize(
    "name",
    ["trained.faiss", ".index_building/trained.json", "group-00001*", ".index_building/*-00001*"],
)
def test_what_is_damaged_is_not_resumed_from(emb, quick, halted, tmp_path, name, damage):
    out = Path(shutil.copytree(halted, tmp_path / "out"))
    DAMAGE[damage](next(out.glob(name)))
    ld.build_index(emb, out, **QUICK)
    assert digest(out) == digest(quick.path)


def test_groups_are_not_taken_over_from_other_centroids(emb, quick, halted, tmp_path):
    out = Path(shutil.copytree(halted, tmp_path / "out"))
    other = ld.build_index(emb, tmp_path / "other", **QUICK, seed=1)
    shutil.copy(other.path / "trained.faiss", out)
    entry = json.dumps(other.manifest["trained"])
    (out / ".index_building" / "trained.json").write_text(entry)
    index = ld.build_index(emb, out, **QUICK)
    assert len({*digest(out)} & {*digest(quick.path)}) == 2  # trained.faiss and index.json, by name
    every = index.with_nprobe(index.manifest["index"]["nlist"]).candidates(queries(1), 1394)
    assert {*zip(*(a[0].tolist() for a in every), strict=True)} == {
        (s, r) for s, r, _ in everything(emb)
    }


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["group-00001*", "trained.faiss"])
def test_a_damaged_index_is_mended(emb, quick, broken, monkeypatch, name, damage):
    DAMAGE[damage](next(broken.glob(name)))
    made, real = [], index_files.IndexFolder.write_group

    def write_group(self, number, *rest):
        made.append(number)
        real(self, number, *rest)

    monkeypatch.setattr(index_files.IndexFolder, "write_group", write_group)
    index = ld.build_index(emb, broken, **QUICK)
    assert digest(broken) == digest(quick.path)
    assert made == ([1] if name.startswith("group") else [])
    for a, b in zip(index.candidates(queries(2), 9), quick.candidates(queries(2), 9), strict=True):
        np.testing.assert_array_equal(a, b)


def test_mending_that_is_killed_goes_on(emb, quick, broken, tmp_path, monkeypatch):
    for file in ("trained.faiss", "group-00000*", "group-00002*"):
        next(broken.glob(file)).unlink()
    for at in range(10):  # list of existing files, files, receipts, and the restored manifest
        out = shutil.copytree(broken, tmp_path / f"out{at}")
        kill(monkeypatch, emb, out, at)
        ld.build_index(emb, out, **QUICK)
        assert digest(out) == digest(quick.path)
    ld.build_index(emb, broken, **QUICK)
    flip(next(broken.glob("group-00001*")), 0.5)
    kill(monkeypatch, emb, broken, 4)
    (broken / ".index_building" / "index.json").write_text("{")
    ld.build_index(emb, broken, **QUICK)
    assert digest(broken) == digest(quick.path)


def test_what_is_mended_otherwise_is_built_anew(emb, quick, broken, tmp_path):
    manifest = json.loads((broken / "index.json").read_text())
    other = ld.build_index(emb, tmp_path / "other", **QUICK, seed=1)
    shutil.copy(other.path / "trained.faiss", broken)  # as if another machine rounded differently
    manifest["trained"] = index_manifest.entry_of(broken / "trained.faiss")
    (broken / "index.json").write_text(json.dumps(manifest))
    next(broken.glob("group-00000*")).unlink()
    index = ld.build_index(emb, broken, **QUICK)
    assert index.manifest["trained"] == manifest["trained"]
    assert index.manifest["groups"][0] != manifest["groups"][0]
    assert index.manifest["counts"] == quick.manifest["counts"]
    assert {p.name for p in broken.iterdir()} == {
        "index.json",
        "trained.faiss",
        *(g["name"] for g in index.manifest["groups"]),
    }
    index.candidates(queries(1), 5)


def test_lists_that_were_mapped_before_are_not_searched_after(emb, quick, broken):
    index = ld.open_index(broken)
    expected = index.candidates(queries(2), 20)
    for group in broken.glob("group-*"):
        data = np.memmap(group, np.uint8, "r+")
        data[len(data) // 2 :] = 0  # in place, under the memory map
        data.flush()
        os.utime(group, (1, 1))
    with pytest.raises(IndexFileError, match="was altered"):
        index.candidates(queries(2), 20)
    ld.build_index(emb, broken, **QUICK)
    np.testing.assert_array_equal(index.candidates(queries(2), 20), expected)


def test_a_finished_index_is_left_alone(emb, copied, monkeypatch):
    before = digest(copied)
    monkeypatch.setattr(verb, "draw", None)  # would fail if anything were computed
    assert str(ld.build_index(emb, copied, group_rows=500)) == str(ld.open_index(copied))
    assert digest(copied) == before


def test_another_build_is_refused(emb, model, folder, copied, tmp_path):
    before = digest(copied)
    with pytest.raises(ExportError, match="of other parameters"):
        ld.build_index(emb, copied, group_rows=400)
    other = ld.open_embeddings(folder / "img_emb_0.npy", model=model)
    with pytest.raises(ExportError, match="of other embeddings"):
        ld.build_index(other, copied, group_rows=500)
    assert digest(copied) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep me")
    with pytest.raises(ExportError, match=r"not empty \(notes\.txt\)"):
        ld.build_index(emb, tmp_path / "mine")
    with pytest.raises(ExportError, match="is a file"):
        ld.build_index(emb, tmp_path / "mine" / "notes.txt")
    assert digest(tmp_path / "mine").keys() == {"notes.txt"}

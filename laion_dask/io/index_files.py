"""The folder of an approximate index: what it holds, how it is committed, how it is believed.

::

    out/index.json                    the manifest, written last
    out/trained.faiss                 centroids and codebooks, shared by all groups
    out/group-00000-<sha8>.faiss      the inverted lists of a group of rows, in faiss's form

Every file is written under a temporary name, flushed and renamed. ``.index_building`` holds, while
a build is under way, what it is a build of and a receipt for each group that is complete; a later
call of the same build goes on from there. A file is read only when its size and sha256 are those
of the manifest; beyond that faiss's reader is native code, so open only indexes of people whom you
would trust with a library.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from laion_dask.errors import ExportError, IndexFileError
from laion_dask.io.atomic_file import PARTIAL, committed, json_bytes, partial, put, sweep
from laion_dask.models.weights import sha256_of

FORMAT = "laion_dask index 1"
MANIFEST = "index.json"
TRAINED = "trained.faiss"
_BUILDING = ".index_building"
_GROUP = re.compile(r"group-\d{5,}-[0-9a-f]{8}\.faiss")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_REMEDY = "Fetch the index again, or build it anew."

#: The parts of a plan that must agree for a folder to be resumed, in words.
_IDENTITY = {
    "format": "another format",
    "embeddings": "other embeddings",
    "model": "another model",
    "parameters": "other parameters",
}


@dataclass(frozen=True)
class GroupReceipt:
    """What is known of a group when its file is complete.

    Attributes
    ----------
    file : dict
        ``name``, ``bytes``, ``sha256``.
    indexed, unscored : int
        Rows of the group with and without a direction.
    scores, ids : (q, k) float32 and int64 arrays
        The group's rows nearest to each query of the recall measurement, exactly.
    """

    file: dict
    indexed: int
    unscored: int
    scores: np.ndarray
    ids: np.ndarray


class IndexFolder:
    """The output folder of one ``build_index``.

    Parameters
    ----------
    path : path
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)

    @property
    def trained(self) -> Path:
        """The file of centroids and codebooks."""
        return self.path / TRAINED

    def begin(self, plan: dict) -> bool:
        """Claim the folder for this plan, or find that it is this plan's; True when it is built.

        Raises
        ------
        ExportError
            When the folder holds something else, or the build of another plan.
        """
        built = (self.path / MANIFEST).is_file()
        begun = self.path / (MANIFEST if built else f"{_BUILDING}/plan.json")
        if begun.is_file():
            self._check_same(begun, plan)
        else:
            self._claim(plan)
        sweep(self.path)
        return built

    def _claim(self, plan: dict) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise ExportError(f"{self.path} is a file. Expected a folder, new or empty.")
        (self.path / _BUILDING).mkdir(parents=True, exist_ok=True)
        own = (_BUILDING,)
        others = [p.name for p in self.path.iterdir() if p.name not in own]
        others = [name for name in others if not name.endswith(PARTIAL)]
        if others:
            shutil.rmtree(self.path / _BUILDING)
            raise ExportError(
                f"{self.path} is not empty ({', '.join(sorted(others)[:3])}) and was not made by "
                "build_index. Name a new or an empty folder."
            )
        with committed(self.path / _BUILDING / "plan.json") as file:
            file.write(json_bytes(plan))

    def _check_same(self, begun: Path, plan: dict) -> None:
        found = _parsed(begun.read_bytes(), begun)
        other = [words for part, words in _IDENTITY.items() if found.get(part) != plan[part]]
        if other:
            raise ExportError(
                f"{self.path} holds the index, whole or begun, of {' and '.join(other)}. Expected "
                "the one that is to be built. Name another folder, or remove this one."
            )

    def receipt(self, number: int) -> GroupReceipt | None:
        """What is known of a group that is complete, or None."""
        path = self._receipt(number)
        if not path.is_file():
            return None
        with np.load(path, allow_pickle=False) as held:
            facts = json.loads(str(held["facts"]))
            found = GroupReceipt(**facts, scores=held["scores"], ids=held["ids"])
        file = self.path / found.file["name"]
        return found if file.is_file() and file.stat().st_size == found.file["bytes"] else None

    def _receipt(self, number: int) -> Path:
        return self.path / _BUILDING / f"group-{number:05d}.npz"

    def write_group(self, number: int, write, indexed: int, unscored: int, nearest) -> None:
        """Commit a group: its file, which ``write(path)`` makes, and then its receipt."""
        with partial(self.path, f"group-{number:05d}") as file:
            write(file.name)
            file.seek(0, os.SEEK_END)
            sha256 = sha256_of(file.name)
            entry = {"name": f"group-{number:05d}-{sha256[:8]}.faiss", "bytes": file.tell()}
            entry["sha256"] = sha256
            put(file, self.path / entry["name"])
        facts = {"file": entry, "indexed": indexed, "unscored": unscored}
        with committed(self._receipt(number)) as file:
            scores, ids = nearest
            np.savez(file, facts=np.array(json.dumps(facts)), scores=scores, ids=ids)

    def write_trained(self, write) -> None:
        """Commit the centroids and codebooks, which ``write(path)`` makes."""
        with committed(self.trained) as file:
            write(file.name)

    def finish(self, manifest: dict) -> None:
        """Write the manifest, and remove what no group of it is."""
        with committed(self.path / MANIFEST) as file:
            file.write(json_bytes(manifest))
        listed = {group["name"] for group in manifest["groups"]}
        for file in self.path.glob("group-*.faiss"):
            if _GROUP.fullmatch(file.name) and file.name not in listed:
                file.unlink()
        shutil.rmtree(self.path / _BUILDING, ignore_errors=True)

    def sweep(self) -> None:
        """Remove what a killed build left under temporary names."""
        sweep(self.path)


def entry_of(path: Path) -> dict:
    """A file as a manifest lists it."""
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": sha256_of(path)}


def read_manifest(folder: Path) -> tuple[dict, str]:
    """The manifest of an index and its sha256; every file that it lists has the size it says.

    Raises
    ------
    IndexFileError
        When there is none, it is damaged, or a file is missing or has another size.
    """
    path = folder / MANIFEST
    if not path.is_file():
        begun = " A build was begun there: build it again to go on." * (folder / _BUILDING).exists()
        raise IndexFileError(
            f"{folder} has no {MANIFEST}, so it is no index.{begun} Expected a folder that "
            "ld.build_index(...) has written."
        )
    data = path.read_bytes()
    manifest = _parsed(data, path)
    try:
        _check(manifest)
    except (LookupError, TypeError, ValueError) as error:
        raise IndexFileError(
            f"{path} is not the manifest of an index ({error!r}). {_REMEDY}"
        ) from error
    for entry in (manifest["trained"], *manifest["groups"]):
        file = folder / entry["name"]
        size = file.stat().st_size if file.is_file() else None
        if size != entry["bytes"]:
            has = "is missing" if size is None else f"has {size:,} bytes"
            raise IndexFileError(
                f"{file} {has}; the manifest says {entry['bytes']:,} bytes. {_REMEDY}"
            )
    return manifest, hashlib.sha256(data).hexdigest()


def checked(folder: Path, entry: dict) -> Path:
    """The path of a listed file, its digest compared once a process while it does not change.

    Raises
    ------
    IndexFileError
        When it is missing or altered.
    """
    path = folder / entry["name"]
    try:
        found = sha256_of(path)
    except OSError as error:
        raise IndexFileError(f"{path} cannot be read: {error}. {_REMEDY}") from error
    if found != entry["sha256"]:
        raise IndexFileError(
            f"{path} was altered: its sha256 is {found[:12]}…, the manifest says "
            f"{entry['sha256'][:12]}…. {_REMEDY}"
        )
    return path


def _parsed(data: bytes, path: Path) -> dict:
    try:
        found = json.loads(data)
        if not isinstance(found, dict):
            raise ValueError(f"it holds {type(found).__name__}")
    except (ValueError, RecursionError) as error:
        raise IndexFileError(f"{path} is damaged ({error}). {_REMEDY}") from error
    return found


def _check(manifest: dict) -> None:
    """Raise what Python raises where a manifest does not have what is read of it."""
    if manifest["format"] != FORMAT:
        raise ValueError(f"its format is {manifest['format']!r}, not {FORMAT!r}")
    for entry in (manifest["trained"], *manifest["groups"]):
        named = _GROUP.fullmatch(entry["name"]) or entry["name"] == TRAINED
        if not named or not _SHA256.fullmatch(entry["sha256"]) or _count(entry["bytes"]) < 1:
            raise ValueError(f"a file is listed as {str(entry)[:200]}")
    for file in manifest["embeddings"]:
        _count(file["rows"]), str(file["name"]), str(file["sha256"]), str(file["field"])
        if any(fact not in file for fact in ("dim", "dtype", "bytes")):
            raise ValueError("embeddings without dim, dtype or bytes")
    for name in ("read", "indexed", "unscored"):
        _count(manifest["counts"][name])
    for name in ("dim", "nlist", "m", "nbits", "nprobe"):
        if _count(manifest["index"][name]) < 1:
            raise ValueError(f"{name} is 0")
    for step in manifest["recall"]["steps"]:
        _count(step["nprobe"]), float(step["found"]), float(step["rescored"])
    if min(_count(manifest["recall"][name]) for name in ("k", "candidates")) < 1:
        raise ValueError("its recall is of nothing")
    _count(manifest["recall"]["queries"])


def _count(value) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r:.50} is no count")
    return value

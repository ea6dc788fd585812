"""The folder of an approximate index: its contents, and how they are committed and repaired.

::

    out/index.json                    the manifest, written last
    out/trained.faiss                 centroids and codebooks, shared by all groups
    out/group-00000-<sha8>.faiss      the inverted lists of a group of rows, in faiss's form

Every file is written under a temporary name, flushed and renamed. During a build,
``.index_building`` holds the build's plan and a receipt for each complete file; a later call with
the same plan resumes from there. A file counts as complete only while its size and sha256 match
its receipt, and a group only with the centroids that encoded it; unreadable or altered files count
as missing and are rebuilt. A finished index with a damaged file becomes an unfinished build, with
its manifest as the receipt of the intact files. If the rebuilt files are identical to the
originals, the manifest is restored unchanged.

Searches also read a file only when its size and sha256 match the manifest. Beyond that, faiss's
reader is native code, so open only indexes from people you would trust with a library.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from laion_dask.errors import ExportError, IndexFileError
from laion_dask.io.embeddings.file_state import DAMAGED
from laion_dask.io.storage.atomic_file import (
    PARTIAL,
    committed,
    json_bytes,
    partial,
    put,
    sweep,
    writing,
)
from laion_dask.retrieval.index.manifest import (
    BUILDING,
    GROUP,
    MANIFEST,
    TRAINED,
    check_manifest,
    entry_of,
    is_intact,
    parsed,
)

#: The parts of a plan that must agree for a build to be resumed, with their descriptions.
_IDENTITY = {
    "format": "a different format",
    "embeddings": "other embeddings",
    "model": "another model",
    "parameters": "other parameters",
}


@dataclass(frozen=True)
class GroupReceipt:
    """The record of a group whose file is complete.

    Attributes
    ----------
    entry : dict
        ``name``, ``bytes``, ``sha256``; ``indexed`` and ``unscored``, the numbers of rows with and
        without a direction.
    trained : str
        The sha256 of the centroids and codebooks that encoded it.
    scores, ids : (q, k) float32 and int64 arrays
        The group's exact nearest rows to each query of the recall measurement.
    """

    entry: dict
    trained: str
    scores: np.ndarray
    ids: np.ndarray


class IndexFolder:
    """The output folder of one call of ``build_index``.

    Parameters
    ----------
    path : path
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        self._building = self.path / BUILDING

    def begin(self, plan: dict) -> bool:
        """Claim the folder for this plan, or resume it; True if the index is already complete.

        Raises
        ------
        ExportError
            When the folder contains something else, or the build of another plan.
        IndexFileError
            When the folder's manifest or plan is damaged.
        """
        manifest, begun = self.path / MANIFEST, self._building / "plan.json"
        if manifest.is_file():
            existing = parsed(manifest.read_bytes(), manifest)
            self._check_same(existing, plan)
            check_manifest(existing, manifest)
            if all(is_intact(self.path, e) for e in (existing["trained"], *existing["groups"])):
                self._tidy(existing)
                return True
            self._reopen(existing, plan)
        elif begun.is_file():
            self._check_same(parsed(begun.read_bytes(), begun), plan)
        else:
            self._claim(plan)
        self.sweep()
        return False

    def _claim(self, plan: dict) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise ExportError(f"{self.path} is a file. Expected a new or empty folder.")
        with writing(self.path):
            self._building.mkdir(parents=True, exist_ok=True)
        foreign = [p.name for p in self.path.iterdir() if p.name != BUILDING]
        foreign = [name for name in foreign if not name.endswith(PARTIAL)]
        if foreign:
            shutil.rmtree(self._building)
            raise ExportError(
                f"{self.path} is not empty ({', '.join(sorted(foreign)[:3])}) and was not created "
                "by build_index. Choose a new or empty folder."
            )
        self._note("plan.json", plan)

    def _check_same(self, existing: dict, plan: dict) -> None:
        differing = [words for key, words in _IDENTITY.items() if existing.get(key) != plan[key]]
        if differing:
            raise ExportError(
                f"{self.path} holds a finished or unfinished index of {' and '.join(differing)}. "
                "Choose another folder, or remove this one."
            )

    def _reopen(self, manifest: dict, plan: dict) -> None:
        """Turn a finished index into an unfinished build that keeps its intact files."""
        shutil.rmtree(self._building, ignore_errors=True)
        with writing(self.path):
            self._building.mkdir()
        self._note("trained.json", manifest["trained"])
        self._note("plan.json", plan)
        os.replace(self.path / MANIFEST, self._building / MANIFEST)

    def _note(self, name: str, facts: dict) -> None:
        with committed(self._building / name) as file:
            file.write(json_bytes(facts))

    def _noted(self, name: str) -> dict | None:
        """The contents of a file of the build, or None when it is missing or damaged."""
        path = self._building / name
        try:
            return parsed(path.read_bytes(), path)
        except OSError:  # includes IndexFileError
            return None

    def trained(self) -> dict | None:
        """The entry of the centroids and codebooks, or None if they are not complete."""
        entry = self._noted("trained.json")
        is_complete = entry is not None and entry == self._entry_of_trained()
        return entry if is_complete else None

    def _entry_of_trained(self) -> dict | None:
        path = self.path / TRAINED
        return entry_of(path) if path.is_file() else None

    def write_trained(self, write) -> dict:
        """Commit the centroids and codebooks written by ``write(path)``; return their entry."""
        with committed(self.path / TRAINED) as file:
            write(file.name)
        entry = entry_of(self.path / TRAINED)
        self._note("trained.json", entry)
        return entry

    def receipt(self, number: int, trained: dict) -> GroupReceipt | None:
        """The receipt of a group if it is complete and encoded by ``trained``, else None."""
        try:
            path = self._receipt(number)
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
                facts = json.loads(str(archive["facts"]))
                receipt = GroupReceipt(**facts, scores=archive["scores"], ids=archive["ids"])
            same = receipt.trained == trained["sha256"]
            return receipt if same and is_intact(self.path, receipt.entry) else None
        except DAMAGED:
            return None

    def _receipt(self, number: int) -> Path:
        return self._building / f"group-{number:05d}.npz"

    def receipts(self, n_groups: int, trained: dict) -> list[GroupReceipt]:
        """The receipts of all groups.

        Raises
        ------
        IndexFileError
            When a group is not complete.
        """
        receipts = []
        for number in range(n_groups):
            receipt = self.receipt(number, trained)
            if receipt is None:
                raise IndexFileError(
                    f"Group {number} of {self.path} was removed or altered while the index was "
                    "built. Call build_index again with the same arguments to repair it."
                )
            receipts.append(receipt)
        return receipts

    def missing(self, n_groups: int, trained: dict) -> list[int]:
        """The numbers of the groups that are still to be built."""
        left = [n for n in range(n_groups) if self.receipt(n, trained) is None]
        was = self.manifest_under_repair(n_groups, trained)
        return [n for n in left if was is None or not is_intact(self.path, was["groups"][n])]

    def manifest_under_repair(self, n_groups: int, trained: dict) -> dict | None:
        """The manifest of the index under repair, or None.

        None also when a rebuilt file differs from the original, as on a machine with different
        rounding: then everything is rebuilt with the centroids of one machine.
        """
        previous = self._noted(MANIFEST) or {}
        try:
            check_manifest(previous, self._building / MANIFEST)
        except IndexFileError:
            return None
        if previous["trained"] != trained or len(previous["groups"]) != n_groups:
            return None
        receipts = (self.receipt(number, trained) for number in range(n_groups))
        pairs = zip(receipts, previous["groups"], strict=True)
        return previous if all(new is None or new.entry == old for new, old in pairs) else None

    def write_group(self, number: int, trained: dict, write, counts: dict, nearest) -> None:
        """Commit a group: its file, written by ``write(path)``, and then its receipt.

        Parameters
        ----------
        number : int
        trained : dict
            The entry of the centroids and codebooks that encoded it.
        write : callable
        counts : dict
            Numbers of ``indexed`` and ``unscored`` rows.
        nearest : (scores, ids)

        Raises
        ------
        ExportError
            When the file cannot be written, as on a full disk.
        """
        name = f"group-{number:05d}"
        with writing(self.path / name), partial(self.path, name) as file:
            write(file.name)
            entry = entry_of(Path(file.name))
            entry["name"] = f"{name}-{entry['sha256'][:8]}.faiss"
            put(file, self.path / entry["name"])
        facts = {"entry": {**entry, **counts}, "trained": trained["sha256"]}
        with committed(self._receipt(number)) as file:
            scores, ids = nearest
            np.savez(file, facts=np.array(json.dumps(facts)), scores=scores, ids=ids)

    def finish(self, manifest: dict) -> None:
        """Write the manifest, and remove files that it does not list."""
        with committed(self.path / MANIFEST) as file:
            file.write(json_bytes(manifest))
        self._tidy(manifest)

    def restore(self, manifest: dict) -> None:
        """Restore the manifest of a repaired index."""
        os.replace(self._building / MANIFEST, self.path / MANIFEST)
        self._tidy(manifest)

    def _tidy(self, manifest: dict) -> None:
        listed = {group["name"] for group in manifest["groups"]}
        for file in self.path.glob("group-*.faiss"):
            if GROUP.fullmatch(file.name) and file.name not in listed:
                file.unlink()
        shutil.rmtree(self._building, ignore_errors=True)
        self.sweep()

    def sweep(self) -> None:
        """Remove temporary files of an interrupted build."""
        sweep(self.path)

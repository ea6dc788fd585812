"""The folder of an approximate index: what it holds, how it is committed, resumed and mended.

::

    out/index.json                    the manifest, written last
    out/trained.faiss                 centroids and codebooks, shared by all groups
    out/group-00000-<sha8>.faiss      the inverted lists of a group of rows, in faiss's form

Every file is written under a temporary name, flushed and renamed. ``.index_building`` holds, while
a build is under way, what it is a build of and a receipt for each file that is complete; a later
call of the same build goes on from there. A file is taken for complete only while its size and
sha256 are those of its receipt, and a group only with the centroids that it was encoded by; what
is unreadable or altered counts as absent and is made anew. A finished index with a damaged file is
a build under way again, with its manifest as the receipt of what is whole: when the files come
out as they were, the manifest is put back as it was.

Elsewhere too a file is read only when its size and sha256 are those of the manifest; beyond that
faiss's reader is native code, so open only indexes of people whom you would trust with a library.
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
    entry : dict
        ``name``, ``bytes``, ``sha256``; ``indexed`` and ``unscored``, its rows with and without a
        direction.
    trained : str
        The sha256 of the centroids and codebooks that it was encoded by.
    scores, ids : (q, k) float32 and int64 arrays
        The group's rows nearest to each query of the recall measurement, exactly.
    """

    entry: dict
    trained: str
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
        self._building = self.path / BUILDING

    def begin(self, plan: dict) -> bool:
        """Claim the folder for this plan, or find that it is this plan's; True when it is built.

        Raises
        ------
        ExportError
            When the folder holds something else, or the build of another plan.
        IndexFileError
            When it holds a manifest or a plan that is damaged.
        """
        manifest, begun = self.path / MANIFEST, self._building / "plan.json"
        if manifest.is_file():
            found = parsed(manifest.read_bytes(), manifest)
            self._check_same(found, plan)
            check_manifest(found, manifest)
            if all(is_intact(self.path, e) for e in (found["trained"], *found["groups"])):
                self._tidy(found)
                return True
            self._reopen(found, plan)
        elif begun.is_file():
            self._check_same(parsed(begun.read_bytes(), begun), plan)
        else:
            self._claim(plan)
        self.sweep()
        return False

    def _claim(self, plan: dict) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise ExportError(f"{self.path} is a file. Expected a folder, new or empty.")
        with writing(self.path):
            self._building.mkdir(parents=True, exist_ok=True)
        others = [p.name for p in self.path.iterdir() if p.name != BUILDING]
        others = [name for name in others if not name.endswith(PARTIAL)]
        if others:
            shutil.rmtree(self._building)
            raise ExportError(
                f"{self.path} is not empty ({', '.join(sorted(others)[:3])}) and was not made by "
                "build_index. Name a new or an empty folder."
            )
        self._note("plan.json", plan)

    def _check_same(self, found: dict, plan: dict) -> None:
        other = [words for part, words in _IDENTITY.items() if found.get(part) != plan[part]]
        if other:
            raise ExportError(
                f"{self.path} holds the index, whole or begun, of {' and '.join(other)}. Expected "
                "the one that is to be built. Name another folder, or remove this one."
            )

    def _reopen(self, manifest: dict, plan: dict) -> None:
        """Make a finished index a build under way, which has all that is whole of it."""
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
        """What a file of the build holds, or None when it is absent or damaged."""
        path = self._building / name
        try:
            return parsed(path.read_bytes(), path)
        except OSError:  # which IndexFileError is, too
            return None

    def trained(self) -> dict | None:
        """The entry of the centroids and codebooks that are complete, or None."""
        found = self._noted("trained.json")
        whole = found is not None and found == self._entry_of_trained()
        return found if whole else None

    def _entry_of_trained(self) -> dict | None:
        path = self.path / TRAINED
        return entry_of(path) if path.is_file() else None

    def write_trained(self, write) -> dict:
        """Commit the centroids and codebooks, which ``write(path)`` makes; their entry."""
        with committed(self.path / TRAINED) as file:
            write(file.name)
        entry = entry_of(self.path / TRAINED)
        self._note("trained.json", entry)
        return entry

    def receipt(self, number: int, trained: dict) -> GroupReceipt | None:
        """What is known of a group that is complete and encoded by ``trained``, or None."""
        try:
            path = self._receipt(number)
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as held:
                facts = json.loads(str(held["facts"]))
                found = GroupReceipt(**facts, scores=held["scores"], ids=held["ids"])
            same = found.trained == trained["sha256"]
            return found if same and is_intact(self.path, found.entry) else None
        except DAMAGED:
            return None

    def _receipt(self, number: int) -> Path:
        return self._building / f"group-{number:05d}.npz"

    def receipts(self, n_groups: int, trained: dict) -> list[GroupReceipt]:
        """Those of all groups.

        Raises
        ------
        IndexFileError
            When one is not complete.
        """
        found = [self.receipt(number, trained) for number in range(n_groups)]
        if None in found:
            raise IndexFileError(
                f"Group {found.index(None)} of {self.path} was removed or altered while the index "
                "was built. Build it again as before, which makes anew what is damaged."
            )
        return found

    def missing(self, n_groups: int, trained: dict) -> list[int]:
        """The numbers of the groups that are still to be made."""
        left = [n for n in range(n_groups) if self.receipt(n, trained) is None]
        was = self.mended(n_groups, trained)
        return [n for n in left if was is None or not is_intact(self.path, was["groups"][n])]

    def mended(self, n_groups: int, trained: dict) -> dict | None:
        """The manifest of the index that is being mended, or None.

        None also when a file that was made anew is not what it was, as on a machine that rounds
        otherwise: then all is made anew, by one machine's centroids.
        """
        was = self._noted(MANIFEST)
        try:
            check_manifest(was or {}, self._building / MANIFEST)
        except IndexFileError:
            return None
        if was["trained"] != trained or len(was["groups"]) != n_groups:
            return None
        made = (self.receipt(number, trained) for number in range(n_groups))
        pairs = zip(made, was["groups"], strict=True)
        return was if all(new is None or new.entry == old for new, old in pairs) else None

    def write_group(self, number: int, trained: dict, write, counts: dict, nearest) -> None:
        """Commit a group: its file, which ``write(path)`` makes, and then its receipt.

        Parameters
        ----------
        number : int
        trained : dict
            The entry of what it was encoded by.
        write : callable
        counts : dict
            ``indexed`` and ``unscored`` rows.
        nearest : (scores, ids)

        Raises
        ------
        ExportError
            When it cannot be written, as on a full disk.
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
        """Write the manifest, and remove what no group of it is."""
        with committed(self.path / MANIFEST) as file:
            file.write(json_bytes(manifest))
        self._tidy(manifest)

    def restore(self, manifest: dict) -> None:
        """Put back the manifest of an index that is mended."""
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
        """Remove what a killed build left under temporary names."""
        sweep(self.path)

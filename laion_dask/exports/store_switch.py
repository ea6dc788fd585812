"""Switch to a new export in an object store: by one request, which replaces the manifest.

Parts are written once, under names that no other export can have. The manifest is replaced only if
it is the one that was there when the export began: the store checks that if it can, else under the
folder's lock. A reader that uses the manifest sees one state or the other. Once a new manifest may
be visible, none of the files that it lists is removed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress

import fsspec

from laion_dask.errors import ExportConflictError, ExportError
from laion_dask.exports.staging import unlisted_parts
from laion_dask.exports.state import ExportState, names_in
from laion_dask.io.storage.conditional_put import (
    ChangedError,
    UnknownResultError,
    replace_unchanged,
)
from laion_dask.io.storage.export_manifest import (
    MANIFEST,
    NEXT_MANIFEST,
    PARTS,
    UNFINISHED,
    export_of,
)
from laion_dask.io.storage.folder_lock import FolderLock, locked
from laion_dask.io.storage.local_file import failures


class StoreSwitch:
    """The last step of an export in an object store.

    Attributes
    ----------
    is_decided : bool
        Whether the new manifest is, or may become, visible.
    is_unknown : bool
        Whether the store has not answered the request that makes it visible.
    """

    def __init__(self, fs: fsspec.AbstractFileSystem, folder: str, path: str, staging: str) -> None:
        self.fs, self.folder, self.path, self.staging = fs, folder, path, staging
        self.is_decided = self.is_unknown = False

    @property
    def _parts(self) -> str:
        return f"{self.folder}/{PARTS}"

    def __call__(
        self,
        staged: Mapping[str, str],
        content: bytes,
        base: ExportState,
        check_unchanged: Callable[[], None],
        *,
        conditional: bool,
        documents: Mapping[str, bytes],
    ) -> None:
        """Make the new manifest visible, then its documents.

        Parameters
        ----------
        staged : mapping of str to str
            The staged name of each file, by its name in the folder of parts.
        content : bytes
            The new manifest.
        base : ExportState
            The state that it replaces.
        check_unchanged : callable
            Raises if the folder no longer has that state.
        conditional : bool
            Whether the store checks conditions; if not, the lock of the folder is held.
        documents : mapping of str to bytes
            The files to put beside the manifest.

        Raises
        ------
        ExportConflictError
            When another export changed the folder.
        ExportError
            When it is not known whether the new manifest is visible.
        """
        with self._lock(conditional) as lock:
            check_unchanged()
            for name, written in staged.items():
                if name != written:  # a name that the format gives
                    lock.renew()
                    self.fs.cp_file(f"{self.staging}/{written}", f"{self._parts}/{name}")
            lock.renew()
            self._put(content, base, conditional)
            for name, text in documents.items():
                self.fs.pipe_file(f"{self.folder}/{name}", text)
            with suppress(failures(self.fs)):  # the new state is visible; cleanup can wait
                for part in unlisted_parts(self.fs, self.folder, self.staging):
                    self.fs.rm_file(part)
                old = [*base.flat, *(base.documents - set(documents))]
                self.remove(self.folder, [*old, NEXT_MANIFEST, UNFINISHED])

    @contextmanager
    def _lock(self, conditional: bool) -> Iterator[FolderLock]:
        if conditional:
            yield FolderLock()
        else:
            with locked(self.fs, self.folder) as lock:
                yield lock

    def _put(self, content: bytes, base: ExportState, conditional: bool) -> None:
        before = base.manifests.get(MANIFEST)
        path = f"{self.folder}/{MANIFEST}"
        self.is_decided = self.is_unknown = True
        try:
            replace_unchanged(self.fs, path, content, before, conditional=conditional)
            self.is_unknown = False
        except ChangedError as error:
            self.is_decided = self.is_unknown = False
            raise ExportConflictError(
                f"{self.path} was written by another export since this export began. Nothing from "
                "this export was made visible. Export again, or name another folder."
            ) from error
        except UnknownResultError as error:
            raise ExportError(
                f"{self.path} may or may not have the new rows: the store did not answer when "
                f"{MANIFEST} was replaced ({error}). Nothing was removed. Verify the export once "
                "the store can be reached, and export again if it has the old rows."
            ) from error
        except Exception:
            self.is_decided = self.is_unknown = False
            raise

    def remove(self, folder: str, names: Iterable[str]) -> None:
        """Remove files, those that are already gone too."""
        for name in names:
            with suppress(FileNotFoundError):
                self.fs.rm_file(f"{folder}/{name}")

    def withdraw(self, export_id: str) -> None:
        """Remove the attempts of an export that was not committed."""
        self.fs.invalidate_cache()
        names = names_in(self.fs, self._parts)
        self.remove(self._parts, [name for name in names if export_of(name) == export_id])

"""The commit protocol of an export: readers see either the old or the new state, never a mixture.

Workers write parts to a hidden folder inside the target. When all parts are complete, the exporting
process locks the target, checks that it has not changed since the export began, and switches:

On a local file system, the new folder of parts replaces the old one atomically, so a reader never
sees a mixture, neither through the manifest nor through ``*.parquet``. Before the switch, the new
manifest is written beside the old one under another name; after it, the new manifest is renamed.

Object stores cannot rename. There, parts are copied to names that contain their digest, so they
never overwrite a part of another state. Then the manifest is replaced atomically, and the parts
that it no longer lists are deleted. A reader that uses the manifest sees one state or the other.

Once a new manifest may be visible, none of the files that it lists is removed, whichever step
fails. The next export removes the hidden folder of a killed export.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from laion_dask.errors import ExportConflictError, ExportError, LaionDaskError
from laion_dask.exports.formats.base import StagedFile, StagingFolder, WrittenPart
from laion_dask.exports.manifest import file_entries, staged_names
from laion_dask.exports.staging import clear_abandoned, open_stagings, remove_staging
from laion_dask.exports.state import STAGING, ExportState, export_state, names_in
from laion_dask.io.storage.atomic_file import reason, write_error
from laion_dask.io.storage.export_manifest import KIND, MANIFEST, NEXT_MANIFEST, PARTS, UNFINISHED
from laion_dask.io.storage.folder_lock import locked, owner
from laion_dask.io.storage.local_file import failures, write_durable
from laion_dask.io.storage.paths import filesystem
from laion_dask.io.storage.swap_folders import replace_folder, restore_folder, sync_folder

#: Number of attempts at the step that cannot be undone.
_ATTEMPTS = 3
_ASIDE = "replaced"


class ExportTransaction:
    """Context manager for an export into a folder, from the first staged part to the commit.

    Raises
    ------
    ExportError
        When the folder is a file, contains files that export did not write, or cannot be listed.
    """

    def __init__(self, path: str) -> None:
        self.fs, self.folder = filesystem(path)
        self.folder = self.folder.rstrip("/")
        self.path = path
        self.is_local = isinstance(self.fs, LocalFileSystem)
        self.staging = f"{self.folder}/{STAGING}{owner()}-{uuid.uuid4().hex[:12]}"
        self.fs.invalidate_cache()
        try:
            self._inspect()
        except ExportError:
            raise
        except failures(self.fs) as error:
            raise ExportError(
                f"{self.path} cannot be listed: {reason(error)}. Check that the folder and its "
                "contents can be read, or name another folder."
            ) from error

    def _inspect(self) -> None:
        """Record the contents of the folder, and restore what a killed export moved aside."""
        self.is_new = not self.fs.exists(self.folder)
        if not self.is_new and not self.fs.isdir(self.folder):
            raise ExportError(f"{self.path} is a file. Name a folder, new or empty.")
        if self.is_local:
            for name in names_in(self.fs, self.folder):
                if name.startswith(STAGING):
                    restore_folder(f"{self.folder}/{PARTS}", f"{self.folder}/{name}/{_ASIDE}")
        self._base = self._state()

    @property
    def address(self) -> str:
        """The folder as a local path, or as an address with its protocol."""
        return self.folder if self.is_local else self.fs.unstrip_protocol(self.folder)

    @property
    def _parts_folder(self) -> str:
        return f"{self.folder}/{PARTS}"

    def _state(self) -> ExportState:
        return export_state(self.fs, self.folder, self.path)

    # -- staging -------------------------------------------------------------------------------

    def __enter__(self) -> ExportTransaction:
        open_stagings.add(self.staging)
        try:
            self.fs.makedirs(self.staging, exist_ok=True)
            clear_abandoned(self.fs, self.folder)
        except failures(self.fs) as error:
            self.__exit__()
            raise ExportError(
                f"{self.path} cannot be created or written to: {reason(error)}. Name another "
                "folder."
            ) from error
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            if self.is_local:
                restore_folder(self._parts_folder, f"{self.staging}/{_ASIDE}")
            remove_staging(self.fs, self.staging)
            if self.is_new and self.is_local:
                with suppress(OSError):  # not empty after a commit
                    os.rmdir(self.folder)
        finally:
            open_stagings.discard(self.staging)

    @property
    def staging_folder(self) -> StagingFolder:
        """The folder that workers write their parts to."""
        url = self.staging if self.is_local else self.fs.unstrip_protocol(self.staging)
        return StagingFolder(url)

    # -- commit --------------------------------------------------------------------------------

    def commit(
        self, parts: Sequence[WrittenPart], index: Sequence[StagedFile], manifest: dict[str, Any]
    ) -> dict[str, Any]:
        """Make the new state visible.

        Parameters
        ----------
        parts : sequence of WrittenPart
            The parts, in order.
        index : sequence of StagedFile
            Files about the export as a whole.
        manifest : dict
            The manifest without the list of files.

        Returns
        -------
        dict
            The manifest as it was written.

        Raises
        ------
        ExportConflictError
            When another export changed the folder since this export began.
        ExportError
            When the folder cannot be written to; the old state remains.
        """
        complete = {"kind": KIND, **manifest, **file_entries(parts, index)}
        # A lone surrogate, from a file name that is not UTF-8, becomes a JSON escape.
        text = json.dumps(complete, indent=2, ensure_ascii=False) + "\n"
        content = text.encode("utf-8", "backslashreplace")
        staged = staged_names(parts, index)
        try:
            if self.is_local:
                self._switch_folder(staged, content)
            else:
                self._switch_manifest(staged, content)
        except FileNotFoundError as error:
            raise ExportError(
                f"{self.path} lacks parts that workers wrote, so it is not the same folder on "
                "every worker. Name a folder that all workers share."
            ) from error
        except LaionDaskError:
            raise
        except failures(self.fs) as error:
            raise write_error(self.path, error) from error
        return complete

    def _check_unchanged(self) -> None:
        try:
            now = self._state()
        except ExportError as error:
            raise ExportConflictError(
                f"{self.path} was changed since this export began: {error}"
            ) from error
        if now != self._base:
            raise ExportConflictError(
                f"{self.path} was written by another export since this export began. Nothing from "
                "this export was made visible. Export again, or name another folder."
            )

    def _switch_folder(self, staged: dict[str, str], content: bytes) -> None:
        """Replace the folder of parts atomically; for local file systems."""
        new = f"{self.staging}/{PARTS}"
        os.mkdir(new)
        for name, written in staged.items():
            os.rename(f"{self.staging}/{written}", f"{new}/{name}")
        sync_folder(new)
        write_durable(f"{self.staging}/{MANIFEST}", content)
        next_manifest = f"{self.folder}/{NEXT_MANIFEST}"
        with locked(self.fs, self.folder):
            self._check_unchanged()
            os.replace(f"{self.staging}/{MANIFEST}", next_manifest)
            sync_folder(self.folder)
            try:
                replace_folder(new, self._parts_folder, f"{self.staging}/{_ASIDE}")
                sync_folder(self.folder)
            finally:
                if names_in(self.fs, self._parts_folder) == sorted(staged):
                    self._name_manifest(next_manifest)
                else:
                    os.unlink(next_manifest)
            sync_folder(self.folder)
            with suppress(OSError):  # the new state is visible; the next export cleans up
                self._remove_flat()

    def _name_manifest(self, next_manifest: str) -> None:
        """Rename the manifest of the new parts, with retries."""
        for attempt in range(_ATTEMPTS):
            try:
                os.replace(next_manifest, f"{self.folder}/{MANIFEST}")
                return
            except OSError as error:
                if attempt == _ATTEMPTS - 1:
                    raise ExportError(
                        f"{self.path} holds the new rows, but their manifest could not be renamed "
                        f"from {NEXT_MANIFEST} to {MANIFEST} ({error}). Rename it, or export there "
                        "again; until then it is read under its current name."
                    ) from error

    def _switch_manifest(self, staged: dict[str, str], content: bytes) -> None:
        """Copy the parts beside the old ones, then replace the manifest; for object stores."""
        with locked(self.fs, self.folder) as lock:
            self._check_unchanged()
            copied = []
            try:
                if not self._base.manifests:
                    self.fs.pipe_file(f"{self.folder}/{UNFINISHED}", b"")
                for name, written in staged.items():
                    lock.renew()
                    copied.append(name)
                    self.fs.cp_file(f"{self.staging}/{written}", f"{self._parts_folder}/{name}")
                lock.renew()
            except BaseException:
                self._withdraw(copied)
                raise
            self._put_manifest(content, copied)
            with suppress(failures(self.fs)):  # the new state is visible; cleanup can wait
                self.fs.invalidate_cache()
                old = set(names_in(self.fs, self._parts_folder)) - set(staged)
                self._remove(self._parts_folder, old)
                self._remove_flat()

    def _put_manifest(self, content: bytes, copied: Sequence[str]) -> None:
        """Replace the manifest atomically.

        An interrupted request may still take effect, so the copied parts are removed only if the
        store rejected it.
        """
        path = f"{self.folder}/{MANIFEST}"
        try:
            self.fs.pipe_file(path, content)
        except Exception as error:
            with suppress(failures(self.fs)):
                if self.fs.cat_file(path) == content:
                    return
            if isinstance(error, OSError) and not isinstance(
                error, (TimeoutError, ConnectionError)
            ):
                self._withdraw(copied)
            raise

    def _withdraw(self, copied: Iterable[str]) -> None:
        """Remove the copied parts if the old manifest is known to be still in force."""
        with suppress(failures(self.fs)):  # the next export removes the rest
            if self._state().manifests == self._base.manifests:
                self._remove(self._parts_folder, set(copied) - set(self._base.parts))
                if not self._base.manifests:
                    self._remove(self.folder, [UNFINISHED])

    def _remove_flat(self) -> None:
        """Remove what an earlier release wrote beside the folder of parts, manifest last."""
        self._remove(self.folder, [*self._base.flat, UNFINISHED])

    def _remove(self, folder: str, names: Iterable[str]) -> None:
        for name in names:
            with suppress(FileNotFoundError):
                self.fs.rm_file(f"{folder}/{name}")

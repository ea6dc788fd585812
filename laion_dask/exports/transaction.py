"""The commit protocol of an export: readers see either the old or the new state, never a mixture.

Workers stage parts, in a hidden folder inside the target or, in an object store, which cannot
rename, in their place under names that no other export can have. When all parts are complete, the
exporting process checks that the target has not changed since the export began, and switches:
`laion_dask.exports.local_switch` replaces the folder of parts atomically, and
`laion_dask.exports.store_switch` the manifest.

Once a new manifest may be visible, none of the files that it lists is removed, whichever step
fails. The next export removes the files of a killed export.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from laion_dask.errors import ExportConflictError, ExportError, LaionDaskError
from laion_dask.exports.completeness import check_complete
from laion_dask.exports.formats.base import WrittenPart
from laion_dask.exports.formats.staged_files import StagedFile, StagingFolder
from laion_dask.exports.lease import Lease
from laion_dask.exports.local_switch import ASIDE, switch_folder
from laion_dask.exports.manifest import file_entries, staged_names
from laion_dask.exports.plan import NO_PLAN
from laion_dask.exports.records import Records
from laion_dask.exports.staging import (
    PLAN,
    adopt,
    clear_abandoned,
    export_id_of,
    open_stagings,
    remove_staging,
)
from laion_dask.exports.state import STAGING, ExportState, export_state, names_in
from laion_dask.exports.store_switch import StoreSwitch
from laion_dask.io.storage.atomic_file import reason, write_error
from laion_dask.io.storage.conditional_put import checks_conditions
from laion_dask.io.storage.create_once import create_once
from laion_dask.io.storage.export_manifest import KIND, NEXT_PARTS, PARTS, UNFINISHED
from laion_dask.io.storage.folder_lock import owner
from laion_dask.io.storage.local_file import failures
from laion_dask.io.storage.paths import filesystem
from laion_dask.io.storage.swap_folders import restore_folder


class ExportTransaction:
    """Context manager for an export into a folder, from the first staged part to the commit.

    Raises
    ------
    ExportError
        When the folder is a file, contains files that export did not write, or cannot be listed.
    """

    def __init__(self, path: str) -> None:
        if not path:
            raise ExportError("The path is empty. Name a folder, new or empty, or an address.")
        self.fs, self.folder = filesystem(path)
        self.folder = self.folder.rstrip("/")
        self.path = path
        self.is_local = isinstance(self.fs, LocalFileSystem)
        self.plan = NO_PLAN
        self._conditional = False
        self._lease: Lease | None = None
        self.fs.invalidate_cache()
        try:
            self.staging = f"{self.folder}/{STAGING}{owner()}-{uuid.uuid4().hex[:12]}"
            self._in_store = StoreSwitch(self.fs, self.folder, path, self.staging)
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
                    restore_folder(f"{self.folder}/{PARTS}", f"{self.folder}/{name}/{ASIDE}")
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
            lease = self._adopt()
            self.fs.makedirs(self.staging, exist_ok=True)
            if self.is_local:
                self._begin()
            else:
                self._begin_in_store()
            lease.start()
            clear_abandoned(self.fs, self.folder)
        except ExportError:
            self.__exit__()
            raise
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

    def _adopt(self) -> Lease:
        """Continue a killed export of the same plan, if there is one."""
        adopted = adopt(self.fs, self.folder, self.plan) if self.plan.id is not None else None
        if adopted is not None:
            open_stagings.discard(self.staging)
            self.staging = self._in_store.staging = adopted.staging
            open_stagings.add(self.staging)
        self._lease = adopted or Lease(self.fs, self.staging)
        return self._lease

    def _begin(self) -> None:
        """Write the plan; put back what a killed export had moved for its commit."""
        if self.plan is NO_PLAN:
            return
        new, records = f"{self.staging}/{PARTS}", Records(self.staging_folder)
        records.make_folder()
        create_once(self.fs, f"{self.staging}/{PLAN}", self.plan.to_bytes())
        if os.path.isdir(new):
            for name, staged in records.final_names().items():
                if os.path.exists(f"{new}/{name}"):
                    os.rename(f"{new}/{name}", f"{self.staging}/{staged}")
        for folder in (new, f"{self.staging}/{ASIDE}"):
            shutil.rmtree(folder, ignore_errors=True)

    def _begin_in_store(self) -> None:
        """Write the plan, which marks the staging folder, and mark a new target."""
        mark = f"{self.staging}/{PLAN}"
        create_once(self.fs, mark, self.plan.to_bytes())
        self._conditional = checks_conditions(self.fs, mark)
        if not self._base.manifests:
            self.fs.pipe_file(f"{self.folder}/{UNFINISHED}", b"")

    def __exit__(self, *exception: object) -> None:
        if self._lease is not None:
            self._lease.end()
            if not self._lease.look():  # what is in the folder is another export's
                open_stagings.discard(self.staging)
                return
        try:
            if not self.is_local and not self._in_store.is_decided:
                with suppress(failures(self.fs)):  # the next export removes the rest
                    self._withdraw()
            if self.is_local:
                restore_folder(self._parts_folder, f"{self.staging}/{ASIDE}")
            if not self._in_store.is_unknown:  # its parts are not removed while it is there
                remove_staging(self.fs, self.staging)
            if self.is_new and self.is_local:
                with suppress(OSError):  # not empty after a commit
                    os.rmdir(self.folder)
        finally:
            open_stagings.discard(self.staging)

    def _withdraw(self) -> None:
        """Remove what an export that was not committed left in a store."""
        self._in_store.withdraw(export_id_of(self.staging))
        others = [name for name in names_in(self.fs, self.folder) if name.startswith(STAGING)]
        if not self._base.manifests and all(self.staging.endswith(f"/{one}") for one in others):
            self._in_store.remove(self.folder, [UNFINISHED])

    @property
    def staging_folder(self) -> StagingFolder:
        """The folder that workers write their parts to."""
        if self.is_local:
            return StagingFolder(self.staging)
        url, parts = map(self.fs.unstrip_protocol, (self.staging, self._parts_folder))
        return StagingFolder(url, parts, export_id_of(self.staging))

    # -- commit --------------------------------------------------------------------------------

    def commit(
        self,
        parts: Sequence[WrittenPart],
        index: Sequence[StagedFile],
        manifest: dict[str, Any],
        documents: Mapping[str, bytes] | None = None,
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
        documents : mapping of str to bytes, optional
            The files to put beside the manifest.

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
        complete = {"kind": KIND, **manifest, **file_entries(parts, index, documents)}
        # A lone surrogate, from a file name that is not UTF-8, becomes a JSON escape.
        text = json.dumps(complete, indent=2, ensure_ascii=False) + "\n"
        content = text.encode("utf-8", "backslashreplace")
        staged = staged_names(parts, index)
        try:
            if self._lease is not None:
                self._lease.check(self.path)
            folders = [self.staging] if self.is_local else [self.staging, self._parts_folder]
            check_complete(self.fs, self.path, folders, parts, index, manifest)
            self._switch(staged, content, documents or {})
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

    def _switch(
        self, staged: dict[str, str], content: bytes, documents: Mapping[str, bytes]
    ) -> None:
        if not self.is_local:
            self._in_store(
                staged,
                content,
                self._base,
                self._check_unchanged,
                conditional=self._conditional,
                documents=documents,
            )
            return
        old = [*self._base.flat, *(self._base.documents - set(documents))]
        switch_folder(
            self.folder,
            self.path,
            self.staging,
            staged,
            content,
            self._check_unchanged,
            lambda: self._in_store.remove(self.folder, [*old, UNFINISHED, NEXT_PARTS]),
            documents,
        )

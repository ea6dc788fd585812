"""The commit protocol of an export: a reader sees the old state or the new one, never between.

Workers write parts into a hidden folder inside the target. When all are there, the process that
exports holds the target's claim, checks that nobody has changed the target since the export
began, and switches:

On a local file system the new folder of parts takes the place of the old one in one step, so that
neither by the recipe nor by ``*.parquet`` is a mixture ever seen. The new recipe lies beside it
before that, as the next one, and takes its name after it.

In a store, which renames nothing, parts are copied to names that end in their own digest, so that
they never overwrite a part of another state; then the recipe is replaced in one step; then the
parts that it no longer lists are deleted. Whoever reads by the recipe sees one state or the other.

Once a new recipe may be visible nothing that it lists is removed, whatever fails. What a killed
export leaves in its hidden folder is cleared by the next one.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress

from fsspec.implementations.local import LocalFileSystem

from laion_dask.errors import ExportConflictError, ExportError, LaionDaskError
from laion_dask.exports.staging import (
    clear_abandoned,
    open_stagings,
    remove_staging,
    write_durable,
)
from laion_dask.exports.state import STAGING, ExportState, export_state, names_in
from laion_dask.io.storage.atomic_file import reason, unwritten
from laion_dask.io.storage.export_manifest import KIND, NEXT_RECIPE, PARTS, RECIPE, UNFINISHED
from laion_dask.io.storage.folder_lock import claimed, owner
from laion_dask.io.storage.local_file import failures
from laion_dask.io.storage.paths import filesystem
from laion_dask.io.storage.swap_folders import replace_folder, restore_folder, sync_folder

#: How often a step is tried after which nothing can be undone.
_ATTEMPTS = 3
_ASIDE = "replaced"


class Target:
    """A folder that an export goes to.

    Raises
    ------
    ExportError
        When it is a file, holds anything that no export of ours put there, or cannot be looked at.
    """

    def __init__(self, path: str):
        self.fs, self.folder = filesystem(path)
        self.folder = self.folder.rstrip("/")
        self.path = path
        self.is_local = isinstance(self.fs, LocalFileSystem)
        self.staging = f"{self.folder}/{STAGING}{owner()}-{uuid.uuid4().hex[:12]}"
        self.fs.invalidate_cache()
        try:
            self._look()
        except ExportError:
            raise
        except failures(self.fs) as error:
            raise ExportError(
                f"{self.path} cannot be listed: {reason(error)}. Check that the folder and what "
                "lies in it can be read, or name another."
            ) from error

    def _look(self) -> None:
        """Note what is there, and put back what a killed export set aside."""
        self.is_new = not self.fs.exists(self.folder)
        if not self.is_new and not self.fs.isdir(self.folder):
            raise ExportError(f"{self.path} is a file. Name a folder, new or empty.")
        if self.is_local:
            for name in names_in(self.fs, self.folder):
                if name.startswith(STAGING):
                    restore_folder(f"{self.folder}/{PARTS}", f"{self.folder}/{name}/{_ASIDE}")
        self._base = self._state()

    # -- what is there -------------------------------------------------------------------------

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

    def __enter__(self) -> Target:
        open_stagings.add(self.staging)
        try:
            self.fs.makedirs(self.staging, exist_ok=True)
            clear_abandoned(self.fs, self.folder)
        except failures(self.fs) as error:
            self.__exit__()
            raise ExportError(
                f"{self.path} cannot be made or written to: {reason(error)}. Name another folder."
            ) from error
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception) -> None:
        try:
            if self.is_local:
                restore_folder(self._parts_folder, f"{self.staging}/{_ASIDE}")
            remove_staging(self.fs, self.staging)
            if self.is_new and self.is_local:
                with suppress(OSError):  # it is not empty once something was committed
                    os.rmdir(self.folder)
        finally:
            open_stagings.discard(self.staging)

    @property
    def staging_url(self) -> str:
        """Where workers write parts."""
        return self.staging if self.is_local else self.fs.unstrip_protocol(self.staging)

    # -- commit --------------------------------------------------------------------------------

    def commit(self, parts: Sequence[dict], recipe: dict) -> dict:
        """Make the new state visible.

        Parameters
        ----------
        parts : sequence of dict
            ``staged`` (the name in the staging folder), ``rows``, ``bytes``, ``sha256``; in order.
        recipe : dict
            What the recipe says beside its parts.

        Returns
        -------
        dict
            The recipe as it was written.

        Raises
        ------
        ExportConflictError
            When another export changed the folder since this one began.
        ExportError
            When the folder cannot be written to. The old state is in place then.
        """
        listed = [_listed(i, part) for i, part in enumerate(parts)]
        whole = {"kind": KIND, **recipe, "parts": listed}
        # A lone surrogate, as in a file name that is no UTF-8, becomes its JSON escape.
        text = json.dumps(whole, indent=2, ensure_ascii=False) + "\n"
        content = text.encode("utf-8", "backslashreplace")
        staged = {entry["file"]: part["staged"] for entry, part in zip(listed, parts, strict=True)}
        try:
            if self.is_local:
                self._switch_folder(staged, content)
            else:
                self._switch_recipe(staged, content)
        except FileNotFoundError as error:
            raise ExportError(
                f"{self.path} lacks parts that workers wrote: it is not one place for all of "
                "them. Name a folder that every worker shares."
            ) from error
        except LaionDaskError:
            raise
        except failures(self.fs) as error:
            raise unwritten(self.path, error) from error
        return whole

    def _check_unchanged(self) -> None:
        try:
            now = self._state()
        except ExportError as error:
            raise ExportConflictError(
                f"{self.path} was changed since this export began: {error}"
            ) from error
        if now != self._base:
            raise ExportConflictError(
                f"{self.path} was written by another export since this one began. Nothing of this "
                "one was made visible. Export again, or name another folder."
            )

    def _switch_folder(self, staged: dict[str, str], content: bytes) -> None:
        """On a local file system: the new folder takes the old one's place in one step."""
        new = f"{self.staging}/{PARTS}"
        os.mkdir(new)
        for name, written in staged.items():
            os.rename(f"{self.staging}/{written}", f"{new}/{name}")
        sync_folder(new)
        write_durable(f"{self.staging}/{RECIPE}", content)
        next_recipe = f"{self.folder}/{NEXT_RECIPE}"
        with claimed(self.fs, self.folder):
            self._check_unchanged()
            os.replace(f"{self.staging}/{RECIPE}", next_recipe)
            sync_folder(self.folder)
            try:
                replace_folder(new, self._parts_folder, f"{self.staging}/{_ASIDE}")
                sync_folder(self.folder)
            finally:
                if names_in(self.fs, self._parts_folder) == sorted(staged):
                    self._name_recipe(next_recipe)
                else:
                    os.unlink(next_recipe)
            sync_folder(self.folder)
            with suppress(OSError):  # the new state is in place; the next export clears the rest
                self._remove_flat()

    def _name_recipe(self, next_recipe: str) -> None:
        """Give the recipe of the parts that are in place its name; tried again where it fails."""
        for attempt in range(_ATTEMPTS):
            try:
                os.replace(next_recipe, f"{self.folder}/{RECIPE}")
                return
            except OSError as error:
                if attempt == _ATTEMPTS - 1:
                    raise ExportError(
                        f"{self.path} holds the new rows, whose recipe could not be renamed from "
                        f"{NEXT_RECIPE} to {RECIPE} ({error}). Rename it, or export there again; "
                        "until then it is read by that name."
                    ) from error

    def _switch_recipe(self, staged: dict[str, str], content: bytes) -> None:
        """In a store: parts are copied beside the old ones, and the recipe is replaced."""
        with claimed(self.fs, self.folder) as claim:
            self._check_unchanged()
            copied = []
            try:
                if not self._base.recipes:
                    self.fs.pipe_file(f"{self.folder}/{UNFINISHED}", b"")
                for name, written in staged.items():
                    claim.renew()
                    copied.append(name)
                    self.fs.cp_file(f"{self.staging}/{written}", f"{self._parts_folder}/{name}")
                claim.renew()
            except BaseException:
                self._withdraw(copied)
                raise
            self._put_recipe(content, copied)
            with suppress(failures(self.fs)):  # the new state is in place; the rest can wait
                self.fs.invalidate_cache()
                old = set(names_in(self.fs, self._parts_folder)) - set(staged)
                self._remove(self._parts_folder, old)
                self._remove_flat()

    def _put_recipe(self, content: bytes, copied: Sequence[str]) -> None:
        """Replace the recipe in one step.

        A request that was cut off may still take effect, so parts are withdrawn only where the
        store has refused it.
        """
        path = f"{self.folder}/{RECIPE}"
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
        """Remove what was copied, where the recipe in place is known to be the old one."""
        with suppress(failures(self.fs)):  # what stays is cleared by the next export
            if self._state().recipes == self._base.recipes:
                self._remove(self._parts_folder, set(copied) - set(self._base.parts))
                if not self._base.recipes:
                    self._remove(self.folder, [UNFINISHED])

    def _remove_flat(self) -> None:
        """Remove what a former state left beside the folder of parts, its recipe last."""
        self._remove(self.folder, [*self._base.flat, UNFINISHED])

    def _remove(self, folder: str, names: Iterable[str]) -> None:
        for name in names:
            with suppress(FileNotFoundError):
                self.fs.rm_file(f"{folder}/{name}")


def _listed(number: int, part: dict) -> dict:
    suffix = part["staged"].partition(".")[2]
    facts = {key: part[key] for key in ("rows", "bytes", "sha256")}
    return {"file": f"part-{number:05d}-{part['sha256'][:8]}.{suffix}", **facts}

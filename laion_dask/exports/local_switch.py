"""Switch to a new export on a local file system: its folder of parts replaces the old one.

The replacement is atomic, so a reader never sees a mixture, neither through the manifest nor
through ``*.parquet``. Before it, the new manifest is written beside the old one under another name,
with what identifies the new folder; after it, the new manifest is renamed. A reader in between
looks which folder is in place, so that it never takes the new manifest for that of the old files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress

from fsspec.implementations.local import LocalFileSystem

from laion_dask.errors import ExportError
from laion_dask.io.storage.export_manifest import (
    MANIFEST,
    NEXT_MANIFEST,
    NEXT_PARTS,
    PARTS,
    folder_mark,
    is_switched,
)
from laion_dask.io.storage.folder_lock import locked
from laion_dask.io.storage.local_file import write_durable
from laion_dask.io.storage.swap_folders import replace_folder, sync_folder

#: Number of attempts at the step that cannot be undone.
_ATTEMPTS = 3
#: The name, in the staging folder, of an old folder of parts that could not be exchanged.
ASIDE = "replaced"


def switch_folder(
    folder: str,
    path: str,
    staging: str,
    staged: Mapping[str, str],
    content: bytes,
    check_unchanged: Callable[[], None],
    remove_old: Callable[[], None],
    documents: Mapping[str, bytes],
) -> None:
    """Replace the documents, the folder of parts, then the manifest.

    Parameters
    ----------
    folder, path : str
        The export's folder, and how the user named it.
    staging : str
        Its staging folder.
    staged : mapping of str to str
        The staged name of each file, by its name in the folder of parts.
    content : bytes
        The new manifest.
    check_unchanged : callable
        Raises if the folder no longer has the state that it had when the export began.
    remove_old : callable
        Removes what the old state has beside the folder of parts, and the new one has not.
    documents : mapping of str to bytes
        The files to put beside the manifest.

    Raises
    ------
    ExportConflictError
        When another export changed the folder.
    """
    new, parts, next_manifest = (
        f"{staging}/{PARTS}",
        f"{folder}/{PARTS}",
        f"{folder}/{NEXT_MANIFEST}",
    )
    fs = LocalFileSystem()
    os.mkdir(new)
    for name, written in staged.items():
        if "/" in name:
            os.makedirs(os.path.dirname(f"{new}/{name}"), exist_ok=True)
        os.rename(f"{staging}/{written}", f"{new}/{name}")
    sync_folder(new)
    mark = folder_mark(new)
    for name, text in {**documents, NEXT_PARTS: mark, MANIFEST: content}.items():
        write_durable(f"{staging}/{name}", text)
    with locked(fs, folder):
        check_unchanged()
        if os.path.exists(next_manifest) and is_switched(fs, folder):  # of a killed export
            _name_manifest(folder, path)
        os.replace(f"{staging}/{NEXT_PARTS}", f"{folder}/{NEXT_PARTS}")
        os.replace(f"{staging}/{MANIFEST}", next_manifest)
        sync_folder(folder)
        is_done = False
        try:
            for name in documents:
                os.replace(f"{staging}/{name}", f"{folder}/{name}")
            replace_folder(new, parts, f"{staging}/{ASIDE}")
            is_done = True
            sync_folder(folder)
        finally:
            if is_done or is_switched(fs, folder):
                _name_manifest(folder, path)
            else:
                os.unlink(next_manifest)
                os.unlink(f"{folder}/{NEXT_PARTS}")
        sync_folder(folder)
        with suppress(OSError):  # the new state is visible; the next export cleans up
            remove_old()


def _name_manifest(folder: str, path: str) -> None:
    """Rename the manifest of the new parts, with retries."""
    for attempt in range(_ATTEMPTS):
        try:
            os.replace(f"{folder}/{NEXT_MANIFEST}", f"{folder}/{MANIFEST}")
            return
        except OSError as error:
            if attempt == _ATTEMPTS - 1:
                raise ExportError(
                    f"{path} holds the new rows, but their manifest could not be renamed from "
                    f"{NEXT_MANIFEST} to {MANIFEST} ({error}). Rename it, or export there again; "
                    "until then it is read under its current name."
                ) from error

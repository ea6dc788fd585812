"""The commit protocol of an export: a reader sees the old state or the new one, never between.

Parts are written into a hidden folder inside the target. When all are there they are renamed to
names that end in their own digest, so that they never overwrite a part of another state; then the
recipe, which lists them, is replaced in one step; then the parts that it no longer lists are
deleted. Whoever reads by the recipe sees one state or the other. A new folder has a marker while
parts are moved into it, so that parts which a crash leaves behind are neither read nor taken for
somebody else's: the next export clears them.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress

import fsspec
from fsspec.implementations.local import LocalFileSystem

from laion_dask.errors import ExportError
from laion_dask.io.paths import RECIPE, UNFINISHED, filesystem

#: What the recipe says it is, so that a folder can be told to be ours.
KIND = "laion_dask export, version 1"
_STAGING = ".laion_dask-staging-"
_PART = re.compile(r"part-\d{5,}-[0-9a-f]{8}\.\w+")


class Target:
    """A folder that an export goes to.

    Raises
    ------
    ExportError
        When it is a file, or holds anything that no export of ours put there.
    """

    def __init__(self, path: str):
        self.fs, self.folder = filesystem(path)
        self.folder = self.folder.rstrip("/")
        self.path = path
        self.is_new = True
        self.old_parts = self._old_parts()
        self.staging = f"{self.folder}/{_STAGING}{uuid.uuid4().hex}"

    def _old_parts(self) -> list[str]:
        if self.fs.isfile(self.folder):
            raise ExportError(f"{self.path} is a file. Name a folder, new or empty.")
        if not self.fs.exists(self.folder):
            return []
        names = [n.rstrip("/").rpartition("/")[2] for n in self.fs.ls(self.folder, detail=False)]
        names = [n for n in names if n and not n.startswith(_STAGING)]
        if RECIPE in names:
            with suppress(ValueError, LookupError, TypeError):
                recipe = json.loads(self.fs.cat_file(f"{self.folder}/{RECIPE}"))
                if recipe["kind"] == KIND:
                    listed = [part["file"] for part in recipe["parts"]]
                    self.is_new = False
                    return [n for n in names if n in listed or _PART.fullmatch(n)]
        if UNFINISHED in names:
            return [n for n in names if _PART.fullmatch(n) or n == UNFINISHED]
        if names:
            raise ExportError(
                f"{self.path} is not empty and was not written by export (it holds "
                f"{', '.join(sorted(names)[:5])}). Name a new folder."
            )
        return []

    def __enter__(self) -> Target:
        try:
            self.fs.makedirs(self.staging, exist_ok=True)
        except OSError as error:
            raise ExportError(
                f"{self.path} cannot be made or written to: {error}. Name another folder."
            ) from error
        return self

    def __exit__(self, *exception) -> None:
        for _ in range(3):  # a task that was not cancelled in time may still be writing
            with suppress(OSError):
                self.fs.rm(self.staging, recursive=True)

    @property
    def staging_url(self) -> str:
        """Where workers write parts."""
        return self.fs.unstrip_protocol(self.staging)

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
        """
        moved = []
        try:
            if self.is_new:
                self.fs.pipe_file(f"{self.folder}/{UNFINISHED}", b"")
            listed = [self._listed(i, part) for i, part in enumerate(parts)]
            for part, entry in zip(parts, listed, strict=True):
                moved.append(entry["file"])
                self._move(f"{self.staging}/{part['staged']}", f"{self.folder}/{entry['file']}")
            whole = {"kind": KIND, **recipe, "parts": listed}
            self._write_recipe(whole)
        except BaseException as error:
            self._remove(name for name in moved if name not in self.old_parts)
            if self.is_new:
                self._remove([UNFINISHED])
            if isinstance(error, FileNotFoundError):
                raise ExportError(
                    f"{self.path} lacks parts that workers wrote: it is not one place for all of "
                    "them. Name a folder that every worker shares."
                ) from error
            if isinstance(error, OSError):
                raise _unwritten(self.path, error) from error
            raise
        if self.is_new:
            self._remove([UNFINISHED])
        self._remove(name for name in self.old_parts if name not in moved)
        return whole

    def _listed(self, number: int, part: dict) -> dict:
        suffix = part["staged"].partition(".")[2]
        facts = {key: part[key] for key in ("rows", "bytes", "sha256")}
        return {"file": f"part-{number:05d}-{part['sha256'][:8]}.{suffix}", **facts}

    def _write_recipe(self, recipe: dict) -> None:
        text = json.dumps(recipe, indent=2, ensure_ascii=False) + "\n"
        # A lone surrogate, as in a file name that is no UTF-8, becomes its JSON escape.
        self.fs.pipe_file(f"{self.staging}/{RECIPE}", text.encode("utf-8", "backslashreplace"))
        self._move(f"{self.staging}/{RECIPE}", f"{self.folder}/{RECIPE}")

    def _remove(self, names: Iterable[str]) -> None:
        for name in names:
            with suppress(FileNotFoundError):
                self.fs.rm_file(f"{self.folder}/{name}")

    def _move(self, source: str, target: str) -> None:
        if isinstance(self.fs, LocalFileSystem):
            os.replace(source, target)
        else:
            self.fs.mv(source, target)


def _unwritten(where: str, error: OSError) -> ExportError:
    return ExportError(
        f"{where} could not be written: {error}. Make room there, or name another folder."
    )


def stage(url: str, content: bytes) -> dict:
    """Write one staged part; what is known of it then.

    Returns
    -------
    dict
        ``staged``, ``bytes``, ``sha256``.
    """
    fs, path = fsspec.core.url_to_fs(url)
    try:
        fs.pipe_file(path, content)
    except OSError as error:
        raise _unwritten(url, error) from error
    digest = hashlib.sha256(content).hexdigest()
    return {"staged": path.rpartition("/")[2], "bytes": len(content), "sha256": digest}

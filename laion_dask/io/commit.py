"""The commit protocol of an export: a reader sees the old state or the new one, never between.

Parts are written into a hidden folder inside the target. When all are there they are renamed to
names that end in their own digest, so that they never overwrite a part of another state; then the
recipe, which lists them, is replaced in one step; then the parts that it no longer lists are
deleted. Whoever reads by the recipe sees one state or the other.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Sequence
from contextlib import suppress

import fsspec
from fsspec.implementations.local import LocalFileSystem

from laion_dask.errors import ExportError
from laion_dask.io.paths import RECIPE

#: What the recipe says it is, so that a folder can be told to be ours.
KIND = "laion_dask export, version 1"
_STAGING = ".laion_dask-staging-"


class Target:
    """A folder that an export goes to.

    Raises
    ------
    ExportError
        When it is a file, or holds anything that no export of ours put there.
    """

    def __init__(self, path: str):
        self.fs, self.folder = fsspec.core.url_to_fs(path)
        self.folder = self.folder.rstrip("/")
        self.path = path
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
            with suppress(ValueError):
                recipe = json.loads(self.fs.cat_file(f"{self.folder}/{RECIPE}"))
                if recipe.get("kind") == KIND:
                    return [part["file"] for part in recipe["parts"]]
        if names:
            raise ExportError(
                f"{self.path} is not empty and was not written by export (it holds "
                f"{', '.join(sorted(names)[:5])}). Name a new folder."
            )
        return []

    def __enter__(self) -> Target:
        self.fs.makedirs(self.staging, exist_ok=True)
        return self

    def __exit__(self, *exception) -> None:
        with suppress(FileNotFoundError):
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
        listed = []
        for i, part in enumerate(parts):
            suffix = part["staged"].partition(".")[2]
            name = f"part-{i:05d}-{part['sha256'][:8]}.{suffix}"
            self._move(f"{self.staging}/{part['staged']}", f"{self.folder}/{name}")
            facts = {key: part[key] for key in ("rows", "bytes", "sha256")}
            listed.append({"file": name, **facts})
        whole = {"kind": KIND, **recipe, "parts": listed}
        text = json.dumps(whole, indent=2, ensure_ascii=False) + "\n"
        self.fs.pipe_file(f"{self.staging}/{RECIPE}", text.encode())
        self._move(f"{self.staging}/{RECIPE}", f"{self.folder}/{RECIPE}")
        new = {part["file"] for part in listed}
        for name in self.old_parts:
            if name not in new and "/" not in name and self.fs.exists(f"{self.folder}/{name}"):
                self.fs.rm_file(f"{self.folder}/{name}")
        return whole

    def _move(self, source: str, target: str) -> None:
        if isinstance(self.fs, LocalFileSystem):
            os.replace(source, target)
        else:
            self.fs.mv(source, target)


def stage(url: str, content: bytes) -> dict:
    """Write one staged part; what is known of it then.

    Returns
    -------
    dict
        ``staged``, ``bytes``, ``sha256``.
    """
    fs, path = fsspec.core.url_to_fs(url)
    fs.pipe_file(path, content)
    digest = hashlib.sha256(content).hexdigest()
    return {"staged": path.rpartition("/")[2], "bytes": len(content), "sha256": digest}

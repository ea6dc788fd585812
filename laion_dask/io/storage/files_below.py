"""The files in a folder and in the folders below it."""

from __future__ import annotations

from collections.abc import Mapping

import fsspec


def infos_below(
    fs: fsspec.AbstractFileSystem, folder: str, nested: bool = True
) -> dict[str, Mapping]:
    """The files and links in a folder, and below it, by their path relative to it."""
    infos: dict[str, Mapping] = {}
    unread = [""] if fs.isdir(folder) else []
    while unread:
        inside = unread.pop()
        for info in fs.ls(f"{folder}/{inside}".rstrip("/"), detail=True):
            name = inside + info["name"].rstrip("/").rpartition("/")[2]
            if nested and info["type"] == "directory" and not info.get("islink"):
                unread.append(f"{name}/")
            else:
                infos[name] = info
    return infos


def names_below(fs: fsspec.AbstractFileSystem, folder: str) -> list[str]:
    """The sorted paths of the files below a folder, relative to it."""
    return sorted(infos_below(fs, folder))

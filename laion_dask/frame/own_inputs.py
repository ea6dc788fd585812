"""Prevent writing over a frame's own shards, or into the folders that they were read from."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from laion_dask.errors import ExportError
from laion_dask.frame.provenance import Provenance
from laion_dask.frame.scans import partitions_of
from laion_dask.io.parquet.shard import shards_of
from laion_dask.io.storage.discovery import PARQUET
from laion_dask.io.storage.local_file import real_path, real_paths


def refuse_file_of_inputs(path: str | os.PathLike[str], provenance: Provenance) -> None:
    """Raise if writing a file would replace a shard of a frame, or add one to its folders.

    A Parquet file in a folder that was searched for shards would be read as a shard next time.

    Raises
    ------
    ExportError
        Immediately, before any data is read.
    """
    path, file = Path(path), real_path(str(path))
    for _shard, real in _files(provenance):
        if real == file:
            raise ExportError(
                f"{path} is a shard that this frame reads; writing would replace it. Name another "
                "file."
            )
    if path.suffix.lower() not in PARQUET:
        return
    for folder in _searched(provenance):
        if _is_within(file, _real(folder)):
            raise ExportError(
                f"{path} is in {folder}, which was searched for this frame's shards: it would be "
                "read as one of them next time. Name a file outside."
            )


def refuse_folder_of_inputs(path: str, address: str, provenance: Provenance) -> None:
    """Raise if an export to a folder would replace shards of a frame or be read as part of them.

    Parameters
    ----------
    path : str
        The folder, as the caller named it.
    address : str
        The same folder as a local path, or as an address with its protocol.
    provenance : Provenance
        The provenance of the frame.

    Raises
    ------
    ExportError
        Immediately, before any data is read.
    """
    folder = _real(address)
    for searched in _searched(provenance):
        if _is_within(f"{folder}/", _real(searched)):
            inner = searched.removeprefix("file://")
            raise ExportError(
                f"{path} is in {inner}, which was searched for this frame's shards: its parts "
                "would be read as shards next time. Name a folder outside, or select the shards "
                f"with a pattern, such as {inner}/*.parquet."
            )
    for shard, real in _files(provenance):
        if _is_within(real, folder):
            raise ExportError(
                f"{path} contains {shard}, which this frame reads; the export would replace its "
                "own input. Name another folder."
            )


def _files(provenance: Provenance) -> Iterable[tuple[str, str]]:
    """The shards that a frame reads, or joined tables, each with its canonical path."""
    shards = [s.path for step in provenance.scan_steps for s in shards_of(partitions_of(step))]
    shards += provenance.joined_files
    return zip(shards, real_paths(s.removeprefix("file://") for s in shards), strict=True)


def _searched(provenance: Provenance) -> Iterable[str]:
    """The folders that were searched recursively for a frame's shards."""
    for step in provenance.scan_steps:
        yield from step.func.searched


def _is_within(path: str, folder: str) -> bool:
    return path.startswith(f"{folder.rstrip('/')}/")


def _real(path: str) -> str:
    """The canonical path of a local file or folder; addresses are unchanged."""
    return real_path(path.removeprefix("file://"))

"""Nothing is written over, nor among, the shards that a frame reads."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from laion_dask.errors import ExportError
from laion_dask.frame.provenance import Provenance
from laion_dask.frame.scans import pieces_of
from laion_dask.io.storage.discovery import PARQUET
from laion_dask.io.storage.local_file import real_path


def refuse_file_of_inputs(path: str | os.PathLike, provenance: Provenance) -> None:
    """Raise if writing a file would replace a shard of a frame, or add one to its folders.

    A Parquet file in a folder in which shards were looked for would be one of them the next time.

    Raises
    ------
    ExportError
        Immediately, before any data is read.
    """
    path, file = Path(path), real_path(str(path))
    for shard in _files(provenance):
        if _real(shard) == file:
            raise ExportError(
                f"{path} is a shard that this frame reads; writing there would replace it. Name "
                "another file."
            )
    if path.suffix.lower() not in PARQUET:
        return
    for folder in _searched(provenance):
        if _is_within(file, _real(folder)):
            raise ExportError(
                f"{path} lies in {folder}, which this frame's shards were looked for in: the next "
                "reading would take it for one of them. Name a file outside."
            )


def refuse_folder_of_inputs(path: str, address: str, provenance: Provenance) -> None:
    """Raise if an export to a folder would replace shards of a frame, or add parts to them.

    Parameters
    ----------
    path : str
        The folder as the caller named it.
    address : str
        The same folder: a local path, or an address with its protocol.
    provenance : Provenance
        Of the frame.

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
                f"{path} lies in {inner}, which this frame's shards were looked for in: "
                "its parts would be found there too. Name a folder outside, or name the shards "
                f"by a pattern, such as {inner}/*.parquet."
            )
    for shard in _files(provenance):
        if _is_within(_real(shard), folder):
            raise ExportError(
                f"{path} holds {shard}, which this frame reads; writing there would replace "
                "its own input. Name another folder."
            )


def _files(provenance: Provenance) -> Iterable[str]:
    """The shards that a frame reads, and those of the tables that it was joined with."""
    for step in provenance.scan_steps:
        yield from (piece.shard.path for piece in pieces_of(step))
    yield from provenance.joined_files


def _searched(provenance: Provenance) -> Iterable[str]:
    """The folders in which a frame's shards were looked for, at any depth."""
    for step in provenance.scan_steps:
        yield from step.func.searched


def _is_within(path: str, folder: str) -> bool:
    return path.startswith(f"{folder.rstrip('/')}/")


def _real(path: str) -> str:
    """One spelling for every name of a local file or folder; an address is left as it is."""
    return real_path(path.removeprefix("file://"))

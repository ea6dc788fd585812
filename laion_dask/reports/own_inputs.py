"""A page or a table is never written over, nor among, the shards that it tells of."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import dask.dataframe as dd

from laion_dask.errors import ExportError
from laion_dask.frame.data_path import pieces_of
from laion_dask.frame.provenance import joined_files
from laion_dask.io.parquet.scan import Scan
from laion_dask.io.storage.discovery import PARQUET
from laion_dask.io.storage.local_file import real_path
from laion_dask.runtime.dask_expressions import (
    FromMap,
)


def refuse_own_inputs(path: str | os.PathLike, frame: dd.DataFrame) -> None:
    """Refuse, before anything is worked out, to write where a frame reads.

    That is a file that it reads, and a Parquet file in a folder in which its shards were looked
    for, where the next reading would take it for one.

    Raises
    ------
    ExportError
    """
    file = real_path(str(path))
    for step in frame.expr.find_operations(FromMap):
        if isinstance(step.func, Scan):
            _refuse(Path(path), file, [piece.shard.path for piece in pieces_of(step)])
            _refuse_among(Path(path), file, step.func.searched)
    _refuse(Path(path), file, joined_files(frame))


def _refuse(path: Path, file: str, read: Iterable[str]) -> None:
    if any(_real(one) == file for one in read):
        raise ExportError(
            f"{path} is a shard that this frame reads; writing there would replace it. Name "
            "another file."
        )


def _refuse_among(path: Path, file: str, searched: Iterable[str]) -> None:
    if path.suffix.lower() not in PARQUET:
        return
    for folder in searched:
        if file.startswith(f"{_real(folder).rstrip('/')}/"):
            raise ExportError(
                f"{path} lies in {folder}, which this frame's shards were looked for in: the next "
                "reading would take it for one of them. Name a file outside."
            )


def _real(path: str) -> str:
    return real_path(path.removeprefix("file://"))

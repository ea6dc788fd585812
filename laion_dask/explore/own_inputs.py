"""A page or a table is never written over, nor among, the shards that it tells of."""

from __future__ import annotations

import os
from pathlib import Path

import dask.dataframe as dd
from dask.dataframe.dask_expr.io.io import FromMap

from laion_dask.data_path import pieces_of
from laion_dask.errors import ExportError
from laion_dask.io.discovery import PARQUET
from laion_dask.io.local_file import real_path
from laion_dask.io.scan import Scan


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
            _refuse(Path(path), file, step)


def _refuse(path: Path, file: str, step: FromMap) -> None:
    for piece in pieces_of(step):
        if _real(piece.shard.path) == file:
            raise ExportError(
                f"{path} is a shard that this frame reads; writing there would replace it. Name "
                "another file."
            )
    if path.suffix.lower() not in PARQUET:
        return
    for folder in step.func.searched:
        if file.startswith(f"{_real(folder).rstrip('/')}/"):
            raise ExportError(
                f"{path} lies in {folder}, which this frame's shards were looked for in: the next "
                "reading would take it for one of them. Name a file outside."
            )


def _real(path: str) -> str:
    return real_path(path.removeprefix("file://"))

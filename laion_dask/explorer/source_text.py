"""The Python text of the frame and the embeddings that are explored.

Their variables in the running notebook, if there are any; else the calls that open them, if these
open the same; else a name, with a comment that says what it stands for.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import dask.dataframe as dd
import numpy as np

from laion_dask.errors import LaionDaskError
from laion_dask.explorer.chain import unused
from laion_dask.explorer.frame_digest import frame_digest
from laion_dask.frame.embeddings import open_embeddings
from laion_dask.frame.provenance import Provenance
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.io.embeddings.exported import stored_files
from laion_dask.io.parquet.read_shards import read_shards
from laion_dask.io.parquet.scan import Scan
from laion_dask.io.storage.export_manifest import MANIFESTS
from laion_dask.notebook_traceback import running_shell

#: The model in examples, because most published embeddings are from it.
EXAMPLE_MODEL = "ViT-L-14:openai"
#: Up to this many paths are listed; for more, only their folder.
_MAX_PATHS = 8


@dataclass(frozen=True)
class SourceText:
    """A Python expression, and what has to come before it.

    Attributes
    ----------
    expression : str
    comment : str
        What a name stands for that the notebook does not have; empty if it has it.
    is_call : bool
        Whether the expression opens files with ``ld``.
    """

    expression: str
    comment: str = ""
    is_call: bool = False


def variables() -> dict[str, Any]:
    """The variables of the running notebook or shell, without hidden ones; else none."""
    shell = running_shell()
    names = {} if shell is None else dict(shell.user_ns)
    return {name: value for name, value in names.items() if not name.startswith("_")}


def example_opening(frame: str) -> str:
    """Code that opens the embeddings of a frame; its folder and its model are examples."""
    return f'ld.open_embeddings("img_emb/", model="{EXAMPLE_MODEL}", like={frame})'


def name_of(value: object, names: dict[str, Any]) -> str | None:
    """The name of the variable that holds an object, or the same steps of a frame; or None.

    A frame that was changed in place, as by ``frame["width"] = …``, has other steps since.
    """
    return next(
        (name for name, one in names.items() if one is value or _has_steps(one, value)), None
    )


def _has_steps(one: object, other: object) -> bool:
    are_frames = isinstance(one, dd.DataFrame) and isinstance(other, dd.DataFrame)
    return are_frames and one._name == other._name  # type: ignore[attr-defined]


def text_of_frame(frame: dd.DataFrame, names: dict[str, Any]) -> SourceText:
    """The text of a frame."""
    name = name_of(frame, names)
    if name is not None:
        return SourceText(name)
    call = _read_call(frame)
    if call is not None:
        return SourceText(call, is_call=True)
    name = unused("frame", set(names))  # a variable of that name is another frame
    return SourceText(name, f"{name}: the frame that was explored, which no variable holds")


def text_of_embeddings(
    embeddings: Embeddings, frame: dd.DataFrame, frame_text: str, names: dict[str, Any]
) -> SourceText:
    """The text of embeddings; ``frame_text`` is that of the frame that they are paired with."""
    name = name_of(embeddings, names)
    if name is None:
        name = next((n for n, v in names.items() if _is_same(v, embeddings)), None)
    if name is not None:
        return SourceText(name)
    paths = _paths([file.path for file in stored_files(embeddings.files)])
    if paths is not None:
        model, field = embeddings.model.name, getattr(embeddings.files[0], "field", None)
        with suppress(LaionDaskError, OSError):
            opened = open_embeddings(paths, model=model, like=frame, field=field)
            if opened == embeddings:
                more = "" if field is None else f", field={field!r}"
                call = f"open_embeddings({paths!r}, model={model!r}, like={frame_text}{more})"
                return SourceText(f"ld.{call}", is_call=True)
    name = unused("embeddings", set(names))
    return SourceText(name, f"{name}: {embeddings!r}")


def _is_same(value: object, embeddings: Embeddings) -> bool:
    return isinstance(value, Embeddings) and value == embeddings


def _read_call(frame: dd.DataFrame) -> str | None:
    """A call of `read_shards` that reads the same frame, or None."""
    as_read = Provenance.of(frame).as_read
    if as_read is None:
        return None
    scan, _ = as_read
    shards = [shard.path for shard in Provenance.of(frame).shards]
    searched = [path.removeprefix("file://") for path in scan.searched]
    named = (searched[0] if len(searched) == 1 else searched) or _paths(shards)
    digest = frame_digest(frame)
    if digest is None:
        return None
    calls = (_call(frame, scan, paths, digest) for paths in (_export_of(shards), named) if paths)
    return next(filter(None, calls), None)


def _call(frame: dd.DataFrame, scan: Scan, paths: str | list[str], digest: str) -> str | None:
    """The call with some paths, if that frame, or some of its columns, has the digest."""
    where = None if scan.where is None else scan.where.text
    with suppress(LaionDaskError, OSError):
        again = read_shards(paths, where=where, backend=scan.backend)
        shown = f"{paths!r}" if where is None else f"{paths!r}, where={where!r}"
        if frame_digest(again) == digest:
            return f"ld.read_shards({shown})"
        columns = list(frame.columns)
        if set(columns) <= set(again.columns) and frame_digest(again[columns]) == digest:
            return f"ld.read_shards({shown})[{columns!r}]"
    return None


def _export_of(paths: Sequence[str]) -> str | None:
    """The folder of an export that has the files, or None."""
    folders = {os.path.dirname(os.path.dirname(path)) for path in paths}
    if len(folders) != 1:
        return None
    (folder,) = folders
    is_export = any(os.path.isfile(os.path.join(folder, name)) for name in MANIFESTS)
    return folder if is_export else None


def _paths(paths: Sequence[str]) -> str | list[str] | None:
    """A few paths, or the folder that has them all; None if that is no folder."""
    if not paths:
        return None
    if len(paths) == 1:
        return paths[0]
    if len(paths) <= _MAX_PATHS and len({os.path.dirname(path) for path in paths}) > 1:
        return list(paths)
    with suppress(ValueError):
        folder = os.path.commonpath(paths)
        if "://" not in paths[0]:
            return folder
    return None


def is_bits(query: Sequence[float], other: object) -> bool:
    """Whether a vector has the numbers of a query."""
    found = np.asarray(other, np.float64).ravel()
    return len(found) == len(query) and bool((found == np.array(query)).all())

"""A digest of everything that determines a frame's rows and values, if the graph shows it.

Frames with equal digests have equal rows, even in different processes: shards are identified by the
digests of their footers and by their files' sizes and times (in stores, ETags), embeddings by
sizes and times, filters by their text. A step with a function of the user's own, or with a result
that an earlier pass left in memory, is not identified; nor is a file in a store without ETags.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
from dask.base import tokenize
from dask.delayed import Delayed, DelayedLeaf

from laion_dask import _version
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.io.embeddings.exported import stored_files
from laion_dask.io.embeddings.file_state import state_of
from laion_dask.io.parquet.scan import Scan
from laion_dask.io.parquet.shard import ScanPartition, Shard, shards_of
from laion_dask.io.parquet.shard_version import shard_version
from laion_dask.runtime.dask_expressions import BaseExpr, _DelayedExpr

#: Packages whose functions are the same in every process of one version.
_KNOWN = frozenset({"laion_dask", "dask", "pandas", "numpy", "pyarrow", "operator", "builtins"})
_PLAIN = (str, bytes, int, float, bool, complex, type(None), np.generic, slice)


class _Unidentified(Exception):
    """The graph does not identify the content of something."""


def frame_digest(frame: dd.DataFrame) -> str | None:
    """The digest of a frame, as hexadecimal digits; None if something is not identified. Lazy."""
    known: dict[str, str] = {}
    try:
        described = _of_expression(frame.expr, known)
    except (_Unidentified, RecursionError, OSError):
        return None
    versions = (_version.__version__, pd.__version__, pa.__version__)
    return hashlib.sha256(repr((described, versions)).encode()).hexdigest()


def _of_expression(expr: BaseExpr, known: dict[str, str]) -> str:
    name = expr._name
    if name not in known:
        if isinstance(expr, _DelayedExpr):
            described = _of_delayed(expr.obj, known)
        else:
            described = repr([_of(operand, known) for operand in expr.operands])
        kind = f"{type(expr).__module__}.{type(expr).__qualname__}"
        text = f"{kind}({described})".encode("utf-8", "surrogateescape")
        known[name] = hashlib.sha256(text).hexdigest()
    return known[name]


def _of_delayed(value: Delayed, known: dict[str, str]) -> str:
    if not isinstance(value, DelayedLeaf):
        raise _Unidentified(value)
    return _of(value._obj, known)


def _of(value: Any, known: dict[str, str]) -> str:
    """A text that identifies an operand."""
    if isinstance(value, BaseExpr):
        return _of_expression(value, known)
    if isinstance(value, Delayed):
        return _of_delayed(value, known)
    if isinstance(value, _PLAIN):
        return f"{type(value).__name__}:{value!r}"
    if isinstance(value, (list, tuple)):
        return f"{type(value).__name__}[{', '.join(_of(one, known) for one in value)}]"
    if isinstance(value, Mapping):
        pairs = (f"{_of(key, known)}={_of(one, known)}" for key, one in value.items())
        return f"{type(value).__name__}{{{', '.join(pairs)}}}"
    if isinstance(value, (set, frozenset)):
        return f"set{sorted(_of(one, known) for one in value)}"
    if isinstance(value, (pd.DataFrame, pd.Series, pd.Index)) and not len(value):
        dtypes = value.dtypes.items() if isinstance(value, pd.DataFrame) else [value.dtype]
        return f"{type(value).__name__}:{[str(one) for one in dtypes]}"
    if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
        return _of_function(value)
    return _of_object(value, known)


def _of_function(function: Callable[..., Any]) -> str:
    module = getattr(function, "__module__", None) or ""
    name = function.__qualname__
    if module.split(".")[0] not in _KNOWN or "<" in name:
        raise _Unidentified(function)
    return f"{module}:{name}"


def _of_object(value: Any, known: dict[str, str]) -> str:
    if isinstance(value, Embeddings):
        states = [(file.path, state_of(file.path)) for file in stored_files(value.files)]
        return repr((value.__dask_tokenize__(), states))
    if isinstance(value, Scan):  # not the paths that were searched
        token = replace(value, searched=()).__dask_tokenize__()
        return f"Scan:{_of((token, value.half), known)}"
    if isinstance(value, ScanPartition):
        return repr((value.digest, [_file_version(shard, known) for shard in shards_of([value])]))
    kind = type(value)
    module = kind.__module__.split(".")[0]
    if hasattr(value, "__dask_tokenize__") and module == "laion_dask":
        return f"{kind.__qualname__}:{_of(value.__dask_tokenize__(), known)}"
    if is_dataclass(value) and module == "laion_dask":
        parts = [(one.name, _of(getattr(value, one.name), known)) for one in fields(value)]
        return f"{kind.__qualname__}{parts}"
    if module in ("numpy", "pandas", "pyarrow", "datetime", "decimal", "pathlib"):
        return f"{kind.__qualname__}:{tokenize(value, ensure_deterministic=True)}"
    raise _Unidentified(value)


def _file_version(shard: Shard, known: dict[str, str]) -> str:
    """The version of a shard's file, which is examined once."""
    key = f"file {shard.path}"
    if key not in known:
        version = shard_version(shard)
        if version is None:
            raise _Unidentified(shard.path)
        known[key] = version
    return known[key]

"""Small files of named arrays with a digest, in the format of safetensors.

Read and written without the package safetensors, which is in an extra. A file is untrusted input:
its size, header, shapes and digest are checked, and nothing in it is executed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from laion_dask.errors import ProjectionError
from laion_dask.io.storage.atomic_file import committed

#: The most bytes of a file and of its header.
_MAX_BYTES, _MAX_HEADER = 2**28, 2**16
_DTYPES: dict[str, np.dtype] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "I8": np.dtype("i1"),
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
#: The key of the digest among the metadata.
_DIGEST = "digest"


def digest_of(metadata: Mapping[str, str], tensors: Mapping[str, np.ndarray]) -> str:
    """The digest of the content, as ``sha256:`` and 64 hexadecimal digits."""
    facts = {name: [_NAMES[t.dtype], list(t.shape)] for name, t in sorted(tensors.items())}
    digest = hashlib.sha256(json.dumps([dict(sorted(metadata.items())), facts]).encode())
    for name in sorted(tensors):
        digest.update(np.ascontiguousarray(tensors[name]).tobytes())
    return f"sha256:{digest.hexdigest()}"


def write_tensors(
    path: str | os.PathLike[str], metadata: Mapping[str, str], tensors: Mapping[str, np.ndarray]
) -> None:
    """Write a file atomically. Eager.

    Raises
    ------
    ExportError
        When it cannot be written.
    """
    header: dict[str, Any] = {
        "__metadata__": {**metadata, _DIGEST: digest_of(metadata, tensors)},
    }
    at = 0
    for name, tensor in sorted(tensors.items()):
        header[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [at, at + tensor.nbytes],
        }
        at += tensor.nbytes
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    with committed(Path(path)) as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for name in sorted(tensors):
            file.write(np.ascontiguousarray(tensors[name]).tobytes())


def read_tensors(
    path: str | os.PathLike[str],
) -> tuple[dict[str, str], dict[str, np.ndarray], str]:
    """The metadata, the arrays and the digest of a file. Eager.

    Raises
    ------
    ProjectionError
        When the file is missing, too large, damaged, or its content is not that of its digest.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise _error(path, error.strerror or str(error)) from error
    try:
        metadata, tensors = _parsed(content)
        digest = metadata.pop(_DIGEST)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        reason = str(error) if type(error) is ValueError else "its header is damaged"
        raise _error(path, reason) from error
    if digest_of(metadata, tensors) != digest:
        raise _error(path, "its content does not have the digest that it states")
    return metadata, tensors, digest


def _parsed(content: bytes) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    if len(content) > _MAX_BYTES:
        raise ValueError(f"it has more than {_MAX_BYTES >> 20} MiB")
    n = int.from_bytes(content[:8], "little")
    if len(content) < 8 or not 2 <= n <= min(_MAX_HEADER, len(content) - 8):
        raise ValueError("it is not a file of safetensors, or truncated")
    header, data = json.loads(content[8 : 8 + n]), content[8 + n :]
    metadata = header.pop("__metadata__")
    if not all(isinstance(one, str) for pair in metadata.items() for one in pair):
        raise TypeError
    tensors, at = {}, 0
    for name, one in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        dtype, shape = _DTYPES[one["dtype"]], one["shape"]
        if not all(type(size) is int and 0 <= size <= _MAX_BYTES for size in shape):
            raise TypeError
        count = 1
        for size in shape:
            count *= size
        stop = at + count * dtype.itemsize
        if one["data_offsets"] != [at, stop] or stop > len(data):
            raise ValueError("its arrays are not of the sizes that its header states")
        tensors[name] = np.frombuffer(data, dtype, count, at).reshape(shape)
        at = stop
    if at != len(data):
        raise ValueError("it has bytes that belong to no array")
    return metadata, tensors


def _error(path: str | os.PathLike[str], reason: str) -> ProjectionError:
    return ProjectionError(
        f"The projection {os.fspath(path)} cannot be read: {reason}. Expected a file that "
        "Projection.save wrote; fit and save it again with ld.fit_projection(...)."
    )

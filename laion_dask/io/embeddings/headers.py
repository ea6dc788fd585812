"""Read the headers of embedding files: shape, dtype, and the offset of the data."""

from __future__ import annotations

import io
import json
import struct
import threading
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.lib import format as npy_format

from laion_dask.errors import EmbeddingsError, ShardError, argument, did_you_mean
from laion_dask.io.embeddings.file import EmbeddingFile
from laion_dask.io.embeddings.file_state import DAMAGED, storage_format
from laion_dask.io.parquet.footer import read_footer
from laion_dask.io.storage.discovery import PARQUET
from laion_dask.io.storage.local_file import open_bytes

SUFFIXES = (".npy", ".npz", *PARQUET, ".safetensors")
#: Version 3 differs from 2 in the encoding of field names, which embeddings do not have.
_HEADERS = {
    (1, 0): npy_format.read_array_header_1_0,
    (2, 0): npy_format.read_array_header_2_0,
    (3, 0): npy_format.read_array_header_2_0,
}
#: Maximum bytes of a header, which is NumPy's limit, and of the data before it.
_LONGEST, _BEFORE = 10_000, 12
#: NumPy parses a header as Python, which is not thread-safe: Python up to 3.11.7 and 3.12.1 may
#: raise SystemError (python/cpython issue 106905).
_parsing = threading.Lock()
#: NumPy's codecs. With others, reading a few bytes may unpack gigabytes.
_CODECS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
#: DEFLATE's greatest ratio is 1,032 (zlib's technical details), plus a constant.
_DEFLATES_TO = 1032
#: The largest compressed member that is read, since it is unpacked as a whole, in bytes.
_LARGEST_UNPACKED = 1 << 33
#: The supported dtypes of safetensors files, by their names in the format.
_SAFETENSORS: dict[str, np.dtype] = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4")}
#: Maximum bytes of a safetensors header, which is JSON.
_LONGEST_JSON = 1 << 24
_DTYPES = (np.dtype("<f2"), np.dtype("<f4"))
#: Value types of a list column; pandas writes lists of Python floats as float64, read as float32.
_VALUE_TYPES = (pa.float16(), pa.float32(), pa.float64())


def open_file(path: str, field: str | None) -> EmbeddingFile:
    """Read the header of one file.

    Raises
    ------
    EmbeddingsError
        When the file is empty, truncated, not float16 or float32, not two-dimensional, or holds
        objects.
    """
    stored = storage_format(path)
    try:
        if stored == "parquet":
            return _open_parquet(path, field)
        with open_bytes(path) as file:
            size = file.seek(0, 2)
            if size == 0:
                raise EmbeddingsError(f"{path} is empty: 0 bytes. Fetch the file again.")
            file.seek(0)
            if stored == "npz":
                return _open_npz(path, file, field)
            if stored == "safetensors":
                return _open_safetensors(path, file, field, size)
            shape, dtype, offset = _header(path, file)
            return _checked(path, None, shape, dtype, offset, size, size - offset)
    except DAMAGED as error:
        if isinstance(error, (EmbeddingsError, ShardError)):
            raise EmbeddingsError(str(error)) from None
        raise EmbeddingsError(
            f"{path} cannot be read as embeddings: {error}. Expected an array of float16 or "
            "float32 with one row per sample."
        ) from error


def _header(path: str, file) -> tuple[tuple[int, ...], np.dtype, int]:
    """Shape, dtype and the offset of the data of an ``.npy``."""
    head = io.BytesIO(file.read(_BEFORE + _LONGEST))
    version = npy_format.read_magic(head)
    if version not in _HEADERS:
        raise ValueError(f"it is of .npy version {version}")
    with _parsing:
        shape, fortran, dtype = _HEADERS[version](head, max_header_size=_LONGEST)
    if dtype.hasobject:
        raise EmbeddingsError(
            f"{path} holds Python objects, which are never loaded. Save it as float16 or float32."
        )
    if fortran and len(shape) == 2 and min(shape) > 1:
        raise EmbeddingsError(
            f"{path} is stored column by column. Save it again with np.ascontiguousarray."
        )
    return shape, dtype, head.tell()


def _checked(path, field, shape, dtype, offset, size, n_bytes) -> EmbeddingFile:
    where = f"{path}, member {field!r}," if field else path
    if len(shape) != 2 or shape[0] < 0 or shape[1] <= 0:
        raise EmbeddingsError(
            f"{where} has the shape {shape}; expected (rows, dim). Reshape it and save it again."
        )
    if dtype not in _DTYPES:
        raise EmbeddingsError(
            f"{where} has the dtype {_dtype_name(dtype)}; expected float16 or float32, "
            f"little-endian. {_how_to_convert(dtype)}"
        )
    n_stored = n_bytes // (shape[1] * dtype.itemsize)
    if n_stored < shape[0]:
        raise EmbeddingsError(
            f"{where} is truncated: its header says {shape[0]:,} rows, but it holds {n_stored:,}. "
            "Fetch the file again."
        )
    if field is None and n_bytes != shape[0] * shape[1] * dtype.itemsize:
        raise EmbeddingsError(
            f"{where} is too long: its header says {shape[0]:,} rows, but it has more bytes than "
            f"that ({n_bytes:,} bytes). Fetch the file again."
        )
    return EmbeddingFile(path, field, shape[0], shape[1], dtype.name, size, offset)


def _open_npz(path: str, file, field: str | None) -> EmbeddingFile:
    with zipfile.ZipFile(file) as archive:
        members = {i.filename.removesuffix(".npy"): i for i in archive.infolist()}
        if len(members) < len(archive.infolist()):
            raise EmbeddingsError(f"{path} has two members with the same name. Save it again.")
        chosen = field or (next(iter(members)) if len(members) == 1 else None)
        if chosen not in members:
            problem = f"no field was named{'' if field is None else f' {field!r}'}"
            raise EmbeddingsError(
                f"{path} holds several arrays and {problem}. Name one with {argument('field')}."
                f"{did_you_mean(field or '', members)}"
            )
        info = members[chosen]
        _check_member(path, info)
        with archive.open(info) as member:
            shape, dtype, header_size = _header(path, member)
        offset = None
        if info.compress_type == zipfile.ZIP_STORED:
            file.seek(info.header_offset + 26)
            name, extra = struct.unpack("<HH", file.read(4))
            offset = info.header_offset + 30 + name + extra + header_size
        size = file.seek(0, 2)
        n_data_bytes = info.file_size - header_size
        opened = _checked(path, chosen, shape, dtype, offset, size, n_data_bytes)
        if n_data_bytes != opened.n_rows * opened.dim * dtype.itemsize:
            raise EmbeddingsError(
                f"{path}, member {chosen!r}, has {n_data_bytes:,} bytes, but its header says "
                f"{shape} of {dtype}. It is damaged; fetch the file again."
            )
        return opened


def _check_member(path: str, info: zipfile.ZipInfo) -> None:
    """Raise for a member that NumPy did not write, or that claims an impossible size."""
    if info.compress_type not in _CODECS:
        names = zipfile.compressor_names  # type: ignore[attr-defined]  # not in the stub
        name = names.get(info.compress_type, info.compress_type)
        raise EmbeddingsError(
            f"{path}, member {info.filename!r}, is compressed with {name}, which NumPy does not "
            "write. Save it with np.savez or np.savez_compressed."
        )
    if info.compress_type == zipfile.ZIP_STORED:
        possible = info.file_size == info.compress_size
    else:
        possible = info.file_size <= info.compress_size * _DEFLATES_TO + _LONGEST
    if not possible:
        raise EmbeddingsError(
            f"{path}, member {info.filename!r}, claims to unpack from {info.compress_size:,} to "
            f"{info.file_size:,} bytes, which is impossible. It is damaged; fetch the file again."
        )
    if info.compress_type != zipfile.ZIP_STORED and info.file_size > _LARGEST_UNPACKED:
        raise EmbeddingsError(
            f"{path}, member {info.filename!r}, unpacks to {info.file_size:,} bytes; at most "
            f"{_LARGEST_UNPACKED:,} are unpacked in memory. Save it as .npy."
        )


def _open_safetensors(path: str, file, field: str | None, size: int) -> EmbeddingFile:
    """A tensor of a safetensors file: a header's length in 8 bytes, the header, the data."""
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if length > min(_LONGEST_JSON, size - 8):
        raise ValueError(f"its header claims {length:,} bytes")
    header = dict(json.loads(file.read(length)))
    tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
    chosen = field or (next(iter(tensors)) if len(tensors) == 1 else None)
    if chosen not in tensors:
        raise EmbeddingsError(
            f"{path} holds {len(tensors)} tensors"
            f"{'' if field is None else f', and none is called {field!r}'}. Name one with "
            f"{argument('field')}."
            f"{did_you_mean(field or '', tensors)}"
        )
    tensor = tensors[chosen]
    (start, stop), shape = tensor["data_offsets"], tuple(map(int, tensor["shape"]))
    dtype = _SAFETENSORS.get(tensor["dtype"], tensor["dtype"])
    if not 0 <= start <= stop <= size - 8 - length:
        raise ValueError(f"tensor {chosen!r} lies outside the file")
    opened = _checked(path, chosen, shape, dtype, 8 + length + start, size, stop - start)
    if stop - start != opened.n_rows * opened.dim * dtype.itemsize:
        raise ValueError(f"tensor {chosen!r} has {stop - start:,} bytes for the shape {shape}")
    return opened


def _dtype_name(dtype) -> str:
    """The usual name of a dtype; NumPy stores bfloat16 as two opaque bytes."""
    return "|V2 (bfloat16, as NumPy stores it)" if dtype == np.dtype("V2") else str(dtype)


def _how_to_convert(dtype) -> str:
    if (dtype[0] if isinstance(dtype, str) else dtype.kind.upper()) in "IU":
        return "These are quantized: restore them with scale and offset, and save them as float16."
    if isinstance(dtype, str) or dtype == np.dtype("V2"):
        return "Convert it with torch's tensor.float() before saving it."
    return "Convert it with array.astype('float32')."


def _open_parquet(path: str, field: str | None) -> EmbeddingFile:
    footer = read_footer(path)
    lists: list[str] = [f.name for f in footer.schema if _value_type(f.type) in _VALUE_TYPES]
    chosen = field or (lists[0] if len(lists) == 1 else None)
    if chosen not in lists:
        if unfit := _unfit(footer.schema, field, lists):
            raise EmbeddingsError(
                f"{path}, column {unfit.name!r}, has the type {unfit.type}; expected a list of "
                f"float16 or float32 in each row. {_how_to_list(unfit.type)}"
            )
        raise EmbeddingsError(
            f"{path} has {len(lists)} list columns of floating point"
            f"{'' if field is None else f', and none is called {field!r}'}. Name one with "
            f"{argument('field')}."
            f"{did_you_mean(field or '', lists)}"
        )
    type_ = footer.schema.field(chosen).type
    dtype = "float16" if _value_type(type_) == pa.float16() else "float32"
    dim = type_.list_size if pa.types.is_fixed_size_list(type_) else _first_length(path, chosen)
    return EmbeddingFile(path, chosen, footer.n_rows, dim, dtype, footer.size, None)


def _unfit(schema: pa.Schema, field: str | None, lists: list[str]) -> pa.Field | None:
    """The intended column if its type is not supported: the named one, or the only vectors."""
    if field is not None:
        return schema.field(field) if schema.names.count(field) == 1 else None
    vectors = [
        f for f in schema if isinstance(f.type, pa.FixedShapeTensorType) or _is_whole(f.type)
    ]
    return vectors[0] if len(vectors) == 1 and not lists else None


def _is_whole(type_: pa.DataType) -> bool:
    value = _value_type(type_)
    return value is not None and pa.types.is_integer(value)


def _how_to_list(type_: pa.DataType) -> str:
    if _is_whole(type_):
        return _how_to_convert(np.dtype("i1"))
    return "Write it as such a list, or the vectors as .npy."


def _value_type(type_: pa.DataType) -> pa.DataType | None:
    t = pa.types
    nested = t.is_list(type_) or t.is_large_list(type_) or t.is_fixed_size_list(type_)
    return type_.value_type if nested else None


def _first_length(path: str, field: str) -> int:
    with open_bytes(path) as source:
        for batch in pq.ParquetFile(source).iter_batches(1, columns=[field], use_threads=False):
            if batch.num_rows and batch[field][0].as_py():
                return len(batch[field][0])
    return 0

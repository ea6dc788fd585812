"""TensorFlow's tensor bundle: ``variables.index``, a table of entries, and one file of bytes.

The index is a LevelDB table (LevelDB, ``doc/table_format.md``) whose values are
``BundleEntryProto`` (TensorFlow, ``tensor_bundle.proto``). Malformed input raises a
``ValueError``.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from functools import cache

import numpy as np

from laion_dask.models.tf_saved_model import protobuf

_FOOTER = 48
_MAGIC = 0xDB4775248B80FB57
_TRAILER = 5  # one byte for the compression, four for the checksum

#: The supported tensor dtypes, by TensorFlow's number (``types.proto``).
DTYPES: dict[int, np.dtype] = {1: np.dtype("<f4"), 9: np.dtype("<i8")}


def tensors(index: bytes, data: bytes, names: list[str]) -> dict[str, np.ndarray]:
    """The named tensors of a bundle with one data file; their checksums are verified.

    Parameters
    ----------
    index, data : bytes
        ``variables.index`` and ``variables.data-00000-of-00001``.
    names : list of str
        Checkpoint keys.

    Returns
    -------
    dict of str to ndarray
        float32 or int64.

    Raises
    ------
    ValueError
        When a name is missing or the input is malformed.
    """
    entries = dict(_table(memoryview(index)))
    header = entries.get(b"")
    if header is None or protobuf.number(header, 1) != 1 or protobuf.number(header, 2) != 0:
        raise ValueError("the index does not describe one little-endian data file")
    arrays = {}
    for name in names:
        if name.encode() not in entries:
            raise ValueError(f"variable {name} is missing")
        arrays[name] = _tensor(entries[name.encode()], memoryview(data))
    return arrays


def shape_of(proto: memoryview) -> tuple[int, ...]:
    """The lengths in a ``TensorShapeProto``."""
    return tuple(protobuf.number(dim, 1) for dim in protobuf.every(proto, 2))


def as_array(raw: memoryview, dtype: int, shape: tuple[int, ...]) -> np.ndarray:
    """Raw bytes as an array of a dtype of ``DTYPES``."""
    if dtype not in DTYPES:
        raise ValueError(f"a tensor of type {dtype}")
    if len(raw) != math.prod(shape) * DTYPES[dtype].itemsize:
        raise ValueError(f"{len(raw)} bytes for a tensor of shape {shape}")
    return np.frombuffer(raw, DTYPES[dtype]).reshape(shape)


def _tensor(entry: memoryview, data: memoryview) -> np.ndarray:
    if protobuf.number(entry, 3) != 0 or protobuf.every(entry, 7):
        raise ValueError("a tensor in slices or in another data file")
    offset, size = protobuf.number(entry, 4), protobuf.number(entry, 5)
    if offset > len(data) or size > len(data) - offset:
        raise ValueError("a tensor extends past the end of the data")
    raw = data[offset : offset + size]
    if _masked_crc(raw) != int.from_bytes(protobuf.message(entry, 6), "little"):
        raise ValueError("a tensor's checksum is wrong")
    shapes = protobuf.every(entry, 2)
    return as_array(raw, protobuf.number(entry, 1), shape_of(shapes[-1]) if shapes else ())


def _table(table: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Keys and values of a LevelDB table."""
    if len(table) < _FOOTER or struct.unpack("<Q", table[-8:])[0] != _MAGIC:
        raise ValueError("the index is not a table")
    footer = table[-_FOOTER:]
    at = protobuf.varint(footer, 0)[1]
    at = protobuf.varint(footer, at)[1]  # skip the handle of the metaindex
    before = 0
    for _, handle in _entries(_block(table, *_extent(footer[at:]))):
        start, end = _extent(handle)
        if start < before:  # a block would be read twice, perhaps ten thousand times
            raise ValueError("blocks of the index overlap")
        yield from _entries(_block(table, start, end))
        before = end


def _extent(handle: memoryview) -> tuple[int, int]:
    """The start and end of the block that a handle refers to."""
    offset, at = protobuf.varint(handle, 0)
    return offset, offset + protobuf.varint(handle, at)[0]


def _block(table: memoryview, offset: int, end: int) -> memoryview:
    """A block; its checksum is verified."""
    if end < offset + 4 or end + _TRAILER > len(table):
        raise ValueError("a block extends past the end of the index")
    if table[end] != 0:
        raise ValueError("the index is compressed")
    if _masked_crc(table[offset : end + 1]) != int.from_bytes(table[end + 1 : end + 5], "little"):
        raise ValueError("the checksum of a block of the index is wrong")
    return table[offset:end]


def _entries(block: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Keys and values of a block; each key shares a prefix with the previous one."""
    restarts = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 - 4 * restarts
    at, key = 0, b""
    while at < end:
        shared, at = protobuf.varint(block, at)
        unshared, at = protobuf.varint(block, at)
        size, at = protobuf.varint(block, at)
        if shared > len(key) or unshared > end - at or size > end - at - unshared:
            raise ValueError("an entry extends past the end of its block")
        key = key[:shared] + bytes(block[at : at + unshared])
        yield key, block[at + unshared : at + unshared + size]
        at += unshared + size


@cache
def _crc_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


def _masked_crc(data: memoryview) -> int:
    """The CRC-32C (RFC 3720, appendix B.4) of bytes, rotated and shifted as in LevelDB."""
    table, crc = _crc_table(), 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 255] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF

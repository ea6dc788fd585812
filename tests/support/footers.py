"""Footers of Parquet files, intact and damaged."""

import random
from pathlib import Path

MAGIC = b"PAR1"


def footer_of(path) -> bytes:
    """The footer of a file with its length and the closing magic bytes; empty if it has none."""
    content = Path(path).read_bytes()
    length = int.from_bytes(content[-8:-4], "little") + 8
    return content[-length:] if content[-4:] == MAGIC and length <= len(content) else b""


def damaged_copies(footer: bytes, n: int, seed: int) -> list[bytes]:
    """Copies with flipped, cut, repeated or exchanged bytes, the same for every run."""
    draw = random.Random(seed)
    copies = []
    for _ in range(n):
        copy = bytearray(footer)
        for _ in range(draw.choice([1, 1, 2, 8])):
            at = draw.randrange(len(copy))
            kind = draw.randrange(5)
            if kind == 0:
                copy[at] ^= 1 << draw.randrange(8)
            elif kind == 1:
                copy[at] = draw.randrange(256)
            elif kind == 2:
                del copy[at : at + draw.randrange(1, 20)]
            elif kind == 3:
                copy[at:at] = copy[draw.randrange(len(copy)) :][: draw.randrange(1, 20)]
            else:
                copy[at:at] = b"\xff" * draw.randrange(1, 12)
            if not copy:
                copy = bytearray(b"\0")
        copies.append(bytes(copy))
    return copies


def thrift_struct(fields: dict) -> bytes:
    """Encode a struct in Thrift's compact protocol; integers become i64, dicts structs."""
    out, last = b"", 0
    for number, value in sorted(fields.items()):
        kind, content = _encoded(value)
        out += bytes([(number - last) << 4 | kind]) + content
        last = number
    return out + b"\0"


def _encoded(value) -> tuple[int, bytes]:
    if isinstance(value, dict):
        return 12, thrift_struct(value)
    if isinstance(value, bytes):
        return 8, _varint(len(value)) + value
    if isinstance(value, list):
        kinds, contents = zip(*map(_encoded, value), strict=True) if value else ((12,), ())
        return 9, bytes([0xF0 | kinds[0]]) + _varint(len(value)) + b"".join(contents)
    return 6, _varint(value * 2 if value >= 0 else -value * 2 - 1)


def _varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])

"""Validate UTF-8 on the CPU or the GPU; libcudf accepts any bytes as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

#: Bytes to validate at a time; intermediate results take ten times as much memory.
_BLOCK = 1 << 26
#: Maximum distance from the first to the last byte of a character.
_OVERLAP = 3


def is_valid(chars: torch.Tensor, starts: torch.Tensor) -> bool:
    """Whether every text in a buffer is valid UTF-8. Eager.

    Rejects overlong forms, surrogates and code points above U+10FFFF (Unicode 16, table 3-7).

    Parameters
    ----------
    chars : (n_bytes,) uint8 tensor
        The concatenated texts.
    starts : (n,) int64 tensor
        The start of each text; ``n_bytes`` for empty texts at the end.
    """
    if not len(chars) or int(chars.max()) < 0x80:
        return True
    starts = starts[starts < len(chars)]
    if bool(_continues(chars[starts]).any()):
        return False
    return all(_block_is_valid(chars, at) for at in range(0, len(chars), _BLOCK))


def _continues(chars):
    """Mask of continuation bytes, which are not the first byte of a character."""
    return (chars & 0xC0) == 0x80


def _block_is_valid(chars, at: int) -> bool:
    """Whether a block is valid after the preceding bytes; no text starts within a character."""
    import torch

    stop, overlap = min(len(chars), at + _BLOCK), min(at, _OVERLAP)
    block = chars[at - overlap : stop]
    is_expected = torch.zeros_like(block, dtype=torch.bool)
    for distance, first in enumerate((0xC0, 0xE0, 0xF0), start=1):
        is_expected[distance:] |= block[:-distance] >= first
        if stop == len(chars) and bool((block[-distance:] >= first).any()):
            return False  # the last text ends within a character
    continues = _continues(block)
    forbidden = (block == 0xC0) | (block == 0xC1) | (block >= 0xF5)
    first, second = block[:-1], block[1:]
    invalid = (first == 0xE0) & (second < 0xA0) | (first == 0xED) & (second > 0x9F)
    invalid |= (first == 0xF0) & (second < 0x90) | (first == 0xF4) & (second > 0x8F)
    return not bool((is_expected != continues)[overlap:].any() | forbidden.any() | invalid.any())

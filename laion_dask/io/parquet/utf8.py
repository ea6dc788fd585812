"""Whether text is UTF-8, on either device: libcudf takes any bytes for text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

#: Bytes that are looked at at a time; what is computed of them takes ten times as much.
_BLOCK = 1 << 26
#: Between the first byte of a character and the last are at most so many.
_BACK = 3


def is_valid(chars: torch.Tensor, starts: torch.Tensor) -> bool:
    """Whether every one of many texts is UTF-8 by itself. Eager.

    No overlong form, no surrogate, nothing above U+10FFFF (Unicode 16, table 3-7).

    Parameters
    ----------
    chars : (n_bytes,) uint8 tensor
        The texts end to end.
    starts : (n,) int64 tensor
        Where each begins; ``n_bytes`` where it is empty at the end.
    """
    if not len(chars) or int(chars.max()) < 0x80:
        return True
    starts = starts[starts < len(chars)]
    if bool(_continues(chars[starts]).any()):
        return False
    return all(_block_is_valid(chars, at) for at in range(0, len(chars), _BLOCK))


def _continues(chars):
    """Where a byte is not the first of a character."""
    return (chars & 0xC0) == 0x80


def _block_is_valid(chars, at: int) -> bool:
    """Whether the bytes of a block follow rightly on those before; no text begins amid one."""
    import torch

    stop, back = min(len(chars), at + _BLOCK), min(at, _BACK)
    block = chars[at - back : stop]
    due = torch.zeros_like(block, dtype=torch.bool)
    for far, first in enumerate((0xC0, 0xE0, 0xF0), start=1):
        due[far:] |= block[:-far] >= first
        if stop == len(chars) and bool((block[-far:] >= first).any()):
            return False  # the last text ends amid a character
    continues = _continues(block)
    never = (block == 0xC0) | (block == 0xC1) | (block >= 0xF5)
    first, second = block[:-1], block[1:]
    odd = (first == 0xE0) & (second < 0xA0) | (first == 0xED) & (second > 0x9F)
    odd |= (first == 0xF0) & (second < 0x90) | (first == 0xF4) & (second > 0x8F)
    return not bool((due != continues)[back:].any() | never.any() | odd.any())

"""What the card can do at most, measured: the yardstick of every figure beside it.

python benchmarks/gpu/ceilings.py
"""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass

import card
from timing import is_cuda, on_card

#: Bytes that are copied, many times the card's cache, and the side of the matrices.
COPIED, SENT, SIDE = 4 << 30, 1 << 30, 8192


@dataclass(frozen=True)
class Ceilings:
    """Measured rates of one card.

    Attributes
    ----------
    copy : float
        Bytes a second of a copy within the card's memory, read and written ones added.
    matmul : float
        Floating-point operations a second of a product of two bfloat16 matrices of random
        numbers, 8192 x 8192, added up in float32; a product and a sum are two.
    to_card : float
        Bytes a second from pinned host memory to the card.
    """

    copy: float
    matmul: float
    to_card: float

    def __str__(self) -> str:
        return (
            f"copy within the card {self.copy / 1e12:.2f} TB/s (read and written), bf16 product "
            f"{self.matmul / 1e12:.0f} TFLOP/s, pinned host memory to card "
            f"{self.to_card / 1e9:.1f} GB/s"
        )


def measure(
    device, *, copied: int = COPIED, sent: int = SENT, side: int = SIDE, repeats: int = 20
) -> Ceilings:
    """The medians of some runs each; the memory that they took is given back."""
    made = Ceilings(
        copy=copy_rate(device, copied, repeats),
        matmul=matmul_rate(device, side, repeats),
        to_card=to_card_rate(device, sent, repeats),
    )
    if is_cuda(device):
        import torch

        torch.cuda.empty_cache()
    return made


def copy_rate(device, n_bytes: int, repeats: int) -> float:
    """Bytes a second of a copy within the device's memory, read and written."""
    import torch

    source = torch.ones(n_bytes // 4, device=device)
    target = torch.empty_like(source)
    took = on_card(lambda: target.copy_(source), device, repeats=repeats)
    return 2 * source.nbytes / statistics.median(took)


def matmul_rate(device, side: int, repeats: int) -> float:
    """Operations a second of a bfloat16 product of random matrices.

    Random, because a card draws less power, and runs faster, on zeros.
    """
    import torch

    draw = torch.Generator(device).manual_seed(0)
    shape, kind = (side, side), {"device": device, "dtype": torch.bfloat16}
    a, b = (torch.randn(shape, generator=draw, **kind) for _ in range(2))
    out = torch.empty(shape, **kind)
    took = on_card(lambda: torch.mm(a, b, out=out), device, repeats=repeats)
    return 2 * side**3 / statistics.median(took)


def to_card_rate(device, n_bytes: int, repeats: int) -> float:
    """Bytes a second from pinned host memory."""
    import torch

    source = torch.ones(n_bytes // 4, pin_memory=is_cuda(device))
    target = torch.empty(n_bytes // 4, device=device)
    took = on_card(lambda: target.copy_(source, non_blocking=True), device, repeats=repeats)
    return source.nbytes / statistics.median(took)


if __name__ == "__main__":
    card.require()
    print(json.dumps({**card.about(), "ceilings": asdict(measure("cuda"))}, indent=1))

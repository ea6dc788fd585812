"""Measure the peak rates of the GPU, to which every other figure is compared.

python benchmarks/gpu/ceilings.py
"""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass

import environment
from timing import device_seconds, is_cuda

#: Bytes copied within GPU memory (far more than its cache) and sent from the host; the matrix size.
COPIED, SENT, SIDE = 4 << 30, 1 << 30, 8192


@dataclass(frozen=True)
class Ceilings:
    """Measured peak rates of one GPU.

    Attributes
    ----------
    copy : float
        Bytes per second of a copy within GPU memory, counting both reads and writes.
    matmul : float
        Floating-point operations per second of the product of two random bfloat16 matrices,
        8192 x 8192, accumulated in float32; a multiply-add counts as two operations.
    to_gpu : float
        Bytes per second from pinned host memory to the GPU.
    """

    copy: float
    matmul: float
    to_gpu: float

    def __str__(self) -> str:
        return (
            f"copy within GPU memory {self.copy / 1e12:.2f} TB/s (reads and writes), bf16 product "
            f"{self.matmul / 1e12:.0f} TFLOP/s, pinned host memory to GPU "
            f"{self.to_gpu / 1e9:.1f} GB/s"
        )


def measure(
    device, *, copied: int = COPIED, sent: int = SENT, side: int = SIDE, repeats: int = 20
) -> Ceilings:
    """Return the median of ``repeats`` runs for each rate, then release the GPU memory."""
    peak = Ceilings(
        copy=copy_rate(device, copied, repeats),
        matmul=matmul_rate(device, side, repeats),
        to_gpu=to_gpu_rate(device, sent, repeats),
    )
    if is_cuda(device):
        import torch

        torch.cuda.empty_cache()
    return peak


def copy_rate(device, n_bytes: int, repeats: int) -> float:
    """Bytes per second of a copy within device memory, counting both reads and writes."""
    import torch

    source = torch.ones(n_bytes // 4, device=device)
    target = torch.empty_like(source)
    took = device_seconds(lambda: target.copy_(source), device, repeats=repeats)
    return 2 * source.nbytes / statistics.median(took)


def matmul_rate(device, side: int, repeats: int) -> float:
    """Operations per second of a bfloat16 product of random matrices.

    Not zeros: with those a GPU draws less power and runs faster.
    """
    import torch

    draw = torch.Generator(device).manual_seed(0)
    shape, kind = (side, side), {"device": device, "dtype": torch.bfloat16}
    a, b = (torch.randn(shape, generator=draw, **kind) for _ in range(2))
    out = torch.empty(shape, **kind)
    took = device_seconds(lambda: torch.mm(a, b, out=out), device, repeats=repeats)
    return 2 * side**3 / statistics.median(took)


def to_gpu_rate(device, n_bytes: int, repeats: int) -> float:
    """Bytes per second from pinned host memory."""
    import torch

    source = torch.ones(n_bytes // 4, pin_memory=is_cuda(device))
    target = torch.empty(n_bytes // 4, device=device)
    took = device_seconds(lambda: target.copy_(source, non_blocking=True), device, repeats=repeats)
    return source.nbytes / statistics.median(took)


if __name__ == "__main__":
    environment.require()
    print(json.dumps({**environment.about(), "ceilings": asdict(measure("cuda"))}, indent=1))

"""Exact products of int8 matrices: whether this CPU has them, and which library is fastest."""

from __future__ import annotations

from functools import cache

#: CPU features with instructions that add four products of int8 to an int32, in
#: ``torch.cpu.get_capabilities()``.
_FEATURES = ("avx512_vnni", "amx_int8")


@cache
def multiplies_int8() -> bool:
    """Whether `product` is fast and exact on this CPU.

    Without these instructions, or if ``ONEDNN_MAX_CPU_ISA`` excludes them, oneDNN adds pairs of
    products in int16, which saturates (oneDNN, "Nuances of int8 computations"). A small product of
    extreme values shows it.
    """
    import torch

    if not any(torch.cpu.get_capabilities().get(name) for name in _FEATURES):
        return False
    values = torch.full((64, 64), 127, dtype=torch.int8)
    values[::3] = -127
    out = torch.empty(64, 64, dtype=torch.int32)
    try:
        product(values, values, out)
    except (AttributeError, RuntimeError):  # a torch without the operator
        return False
    return bool(torch.equal(out.double(), values.double() @ values.double().T))


@cache
def compiles_int8() -> bool:
    """Whether numba can compile AVX-512 VNNI for this CPU, and it is the fastest there is.

    AMX, which oneDNN uses, is several times as fast.
    """
    import torch

    return "+avx512vnni" in _features() and not torch.cpu.get_capabilities().get("amx_int8")


@cache
def widens_float16() -> bool:
    """Whether numba can compile the conversion of float16 to float32 for this CPU."""
    return "+f16c" in _features()


def _features() -> list[str]:
    """The CPU features for which numba compiles."""
    from numba.core.registry import cpu_target

    return cpu_target.target_context.codegen().magic_tuple()[2].split(",")


def product(left, right, out) -> None:
    """``left @ right.T`` into ``out``; exact below 133,000 columns.

    Parameters
    ----------
    left : (m, dim) int8 tensor
    right : (n, dim) int8 tensor
        Values from -127 to 127.
    out : (m, n) int32 tensor
        Contiguous.
    """
    import torch

    torch._int_mm(left, right.T, out=out)

"""Whether a device, or oneDNN on the CPU, multiplies bfloat16."""

from __future__ import annotations

from functools import cache

#: CPU features with bfloat16 in ``torch.cpu.get_capabilities()``, on x86 and on Arm.
_CPU_FEATURES = ("avx512_bf16", "amx_bf16", "bf16")
#: Features with which oneDNN computes bfloat16 in float32 on x86 (oneDNN, "Data Types": the
#: instruction set ``avx512_core``).
_ONEDNN_FEATURES = ("avx512_bw", "avx512_dq", "avx512_vl")


def has_bfloat16(device: str) -> bool:
    """Whether a torch device multiplies bfloat16 in hardware.

    That is a CPU with AVX512-BF16, AMX or Arm's BF16, or a CUDA device that does not emulate it.
    """
    import torch

    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    features = torch.cpu.get_capabilities() if device == "cpu" else {}
    return any(features.get(name) for name in _CPU_FEATURES)


@cache
def onednn_has_bfloat16() -> bool:
    """Whether oneDNN's fused layers accept bfloat16 on this CPU.

    They do where `has_bfloat16`, and on any CPU with AVX512, unless ``ONEDNN_MAX_CPU_ISA`` limits
    oneDNN to fewer instructions, which shows only in a call.
    """
    import torch

    features = torch.cpu.get_capabilities()
    if not has_bfloat16("cpu") and not all(features.get(name) for name in _ONEDNN_FEATURES):
        return False
    one = torch.ones(1, 1, dtype=torch.bfloat16)
    try:
        torch.ops.mkldnn._linear_pointwise(one, one, None, "none", [], "")
    except (AttributeError, RuntimeError):  # a torch without the operator; too few instructions
        return False
    return True

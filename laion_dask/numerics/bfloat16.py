"""Whether a device multiplies bfloat16 in hardware."""

from __future__ import annotations

#: CPU features with bfloat16 in ``torch.cpu.get_capabilities()``, on x86 and on Arm.
_CPU_FEATURES = ("avx512_bf16", "amx_bf16", "bf16")


def has_bfloat16(device: str) -> bool:
    """Whether a torch device multiplies bfloat16 in hardware.

    That is a CPU with AVX512-BF16, AMX or Arm's BF16, or a CUDA device that does not emulate it.
    """
    import torch

    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    features = torch.cpu.get_capabilities() if device == "cpu" else {}
    return any(features.get(name) for name in _CPU_FEATURES)

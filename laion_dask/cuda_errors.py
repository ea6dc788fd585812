"""Errors of CUDA and its libraries: memory is full, or the context is corrupted."""

from __future__ import annotations

import sys

from laion_dask.errors import DeviceLostError, DeviceMemoryError

#: What CUDA, cuBLAS, CuPy and RMM say when the card's memory is full.
_FULL = ("out of memory", "out_of_memory", "STATUS_ALLOC_FAILED", "cudaErrorMemoryAllocation")
#: Errors after which every call of the process to its card fails (CUDA Runtime API, ``cudaError``:
#: "this leaves the process in an inconsistent state").
_CORRUPTED = (
    "illegal memory access",
    "cudaErrorIllegalAddress",
    "device-side assert",
    "cudaErrorAssert",
    "unspecified launch failure",
    "cudaErrorLaunchFailure",
    "misaligned address",
    "cudaErrorMisalignedAddress",
    "illegal instruction",
    "cudaErrorIllegalInstruction",
    "invalid program counter",
    "cudaErrorInvalidPc",
    "hardware stack error",
    "cudaErrorHardwareStackError",
    "uncorrectable ECC error",
    "cudaErrorECCUncorrectable",
    "launch timed out",
    "cudaErrorLaunchTimeout",
    "context is destroyed",
    "cudaErrorContextIsDestroyed",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory is full, of torch, CuPy, RMM or NumPy."""
    if isinstance(error, DeviceMemoryError):
        return False  # no smaller block is left
    torch = sys.modules.get("torch")
    if isinstance(error, MemoryError) or (torch and isinstance(error, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _FULL)


def is_out_of_device_memory(error: BaseException) -> bool:
    """Whether an error says that a card's memory is full; a NumPy array's is the host's."""
    if not is_out_of_memory(error):
        return False
    of_torch = type(error).__module__.split(".")[0] in ("torch", "cupy")
    return of_torch or any(word in str(error) for word in (*_FULL, "CUDA"))


def is_context_corrupted(error: BaseException | str) -> bool:
    """Whether the process can no longer use its GPU after an error, and must be replaced."""
    if isinstance(error, DeviceLostError):
        return True
    if isinstance(error, BaseException) and not isinstance(error, RuntimeError):
        return False
    return "cuda" in str(error).lower() and any(word in str(error) for word in _CORRUPTED)


def corrupting_error(error: BaseException | None) -> BaseException | None:
    """The first error of a chain of causes after which the context is corrupted, or None."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if is_context_corrupted(error):
            return error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None

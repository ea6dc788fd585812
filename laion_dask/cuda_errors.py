"""Errors of CUDA and its libraries: out of memory, or a corrupted context."""

from __future__ import annotations

import sys

from laion_dask.errors import DeviceLostError, DeviceMemoryError

#: Messages of CUDA, cuBLAS, CuPy and RMM when GPU memory is full.
_FULL = ("out of memory", "out_of_memory", "STATUS_ALLOC_FAILED", "cudaErrorMemoryAllocation")
#: Errors after which every later CUDA call of the process fails (CUDA Runtime API, ``cudaError``:
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
    """Whether an error of torch, CuPy, RMM or NumPy means that memory is full."""
    if isinstance(error, DeviceMemoryError):
        return False  # the work cannot be split further
    torch = sys.modules.get("torch")
    if isinstance(error, MemoryError) or (torch and isinstance(error, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _FULL)


def is_out_of_device_memory(error: BaseException) -> bool:
    """Whether an error means that GPU memory is full; a NumPy array's memory is the host's."""
    if not is_out_of_memory(error):
        return False
    of_torch = type(error).__module__.split(".")[0] in ("torch", "cupy")
    return of_torch or any(word in str(error) for word in (*_FULL, "CUDA"))


def is_context_corrupted(error: BaseException | str) -> bool:
    """Whether a process can no longer use its GPU after this error and must be replaced."""
    if isinstance(error, DeviceLostError):
        return True
    if isinstance(error, BaseException) and not isinstance(error, RuntimeError):
        return False
    return "cuda" in str(error).lower() and any(word in str(error) for word in _CORRUPTED)


def corrupting_error(error: BaseException | None) -> BaseException | None:
    """The first error in a chain of causes that corrupts the CUDA context, or None."""
    visited: set[int] = set()
    while error is not None and id(error) not in visited:
        if is_context_corrupted(error):
            return error
        visited.add(id(error))
        error = error.__cause__ or error.__context__
    return None

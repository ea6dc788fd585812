"""When two CLIP models are the same, and which device one runs on."""

from __future__ import annotations

from pathlib import Path

from laion_dask.backend import gpu_count
from laion_dask.errors import OptionError, parameter
from laion_dask.models.clip_loading import is_path
from laion_dask.models.weights import sha256_of


def arch_identity(arch: str) -> str:
    """What an architecture is compared by: the digest of its configuration, or its name."""
    if arch.endswith(".json") and Path(arch).is_file():
        return sha256_of(arch)
    return arch.removesuffix("-quickgelu")


def weights_identity(tag: str) -> str:
    """What weights are compared by: the digest of their file, or their tag."""
    if is_path(tag) and Path(tag).is_file():
        return sha256_of(tag)
    return tag


def resolve_device(device: str | None) -> str:
    """The torch device of a model; by default a GPU where there is one.

    Raises
    ------
    OptionError
        When it is a CUDA device and none is visible.
    """
    if device is None:
        return "cuda" if gpu_count() else "cpu"
    if device.startswith("cuda") and not gpu_count():
        raise OptionError(
            f"{parameter('device')} is {device!r}, but no CUDA device is visible. Leave it out, or "
            "say 'cpu'."
        )
    return device

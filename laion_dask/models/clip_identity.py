"""The identity of CLIP models, and the device that one runs on."""

from __future__ import annotations

from pathlib import Path

from laion_dask.backend import gpu_count
from laion_dask.errors import OptionError, parameter
from laion_dask.models.clip_loading import is_path
from laion_dask.models.weights import sha256_of


def arch_identity(arch: str) -> str:
    """The key by which architectures are compared: the digest of a configuration, or a name."""
    if arch.endswith(".json") and Path(arch).is_file():
        return sha256_of(arch)
    return arch.removesuffix("-quickgelu")


def weights_identity(tag: str) -> str:
    """The key by which weights are compared: the digest of a file, or a tag."""
    if is_path(tag) and Path(tag).is_file():
        return sha256_of(tag)
    return tag


def resolve_device(device: str | None) -> str:
    """The torch device of a model; by default a GPU if one is visible.

    Raises
    ------
    OptionError
        For a CUDA device when none is visible.
    """
    if device is None:
        return "cuda" if gpu_count() else "cpu"
    if device.startswith("cuda") and not gpu_count():
        raise OptionError(
            f"{parameter('device')} is {device!r}, but no CUDA device is visible. Leave it out, or "
            "use 'cpu'."
        )
    return device

"""Weight files: which there are, where they are looked for, and how they are read.

A file counts only when its sha256 is the published one. Nothing is downloaded: a missing file is
an error that names the file, the folder and the publisher's address. Nothing that could run code
is loaded: safetensors, ``.npy`` without pickles, and ``torch.load(weights_only=True)``.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from laion_dask.errors import WeightsError, did_you_mean
from laion_dask.models.process_cache import ProcessCache

#: The environment variable that names a folder of weight files under their published names.
VARIABLE = "LAION_DASK_WEIGHTS"

_AESTHETIC = "https://github.com/LAION-AI/aesthetic-predictor/raw/main/"


@dataclass(frozen=True)
class PublishedFile:
    """A weight file as its publisher offers it.

    Attributes
    ----------
    name : str
        The published file name, under which it is looked for.
    address : str
        Where its publisher offers it.
    licence : str
        SPDX identifier.
    n_bytes : int
    sha256 : str
        Hexadecimal.
    """

    name: str
    address: str
    licence: str
    n_bytes: int
    sha256: str


def _aesthetic(name: str, n_bytes: int, sha256: str) -> PublishedFile:
    return PublishedFile(name, _AESTHETIC + name, "MIT", n_bytes, sha256)


#: Every published file that the package knows, by name. Sizes and digests of the files at the
#: root of the ``main`` branch of LAION-AI/aesthetic-predictor (2022).
REGISTRY: dict[str, PublishedFile] = {
    file.name: file
    for file in (
        _aesthetic(
            "sa_0_4_vit_l_14_linear.pth",
            4071,
            "2cd4e60f4f24ae3bcd57b847b13c1f3ba27edc28cc1a7f9ce74ee9f421243cba",
        ),
        _aesthetic(
            "sa_0_4_vit_b_32_linear.pth",
            3047,
            "c7b14cead230694acc7b9447974d3cad78003c72da032e402a303b6c2429e85f",
        ),
        _aesthetic(
            "sa_0_4_vit_b_16_linear.pth",
            3047,
            "8ad3923d7ecf019df20ecd2ab5542a3075fbba0278d239c0371345f3d7fcbde0",
        ),
        PublishedFile(
            "sac+logos+ava1-l14-linearMSE.pth",
            "https://github.com/christophschuhmann/improved-aesthetic-predictor/raw/main/"
            "sac%2Blogos%2Bava1-l14-linearMSE.pth",
            "Apache-2.0",
            3714759,
            "21dd590f3ccdc646f0d53120778b296013b096a035a2718c9cb0d511bff0f1e0",
        ),
    )
}


def folders() -> list[Path]:
    """Where weight files are looked for, in this order: the folder that the environment variable
    ``LAION_DASK_WEIGHTS`` names, then ``laion_dask/weights`` in the user's cache folder."""
    named = os.environ.get(VARIABLE)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return [*([Path(named)] if named else []), cache / "laion_dask" / "weights"]


def find(name: str) -> Path:
    """The path of a published weight file, its digest checked. Eager.

    Parameters
    ----------
    name : str
        A name of ``REGISTRY``.

    Raises
    ------
    WeightsError
        When the name is unknown, no folder has the file, or the file is not the published one.
    """
    if name not in REGISTRY:
        raise WeightsError(f"No weight file is known as {name!r}.{did_you_mean(name, REGISTRY)}")
    published = REGISTRY[name]
    for folder in folders():
        path = folder / name
        if path.is_file():
            return _checked(path, published)
    raise WeightsError(
        f"The weight file {name} ({published.n_bytes} bytes, {published.licence}) was not found in "
        f"{' or '.join(map(str, folders()))}. Fetch it from {published.address} into "
        f"{folders()[0]}, or set {VARIABLE} to the folder that has it."
    )


def _checked(path: Path, published: PublishedFile) -> Path:
    found = sha256_of(path)
    if found != published.sha256:
        raise WeightsError(
            f"{path} ({path.stat().st_size} bytes, sha256 {found[:12]}…) is not the published "
            f"{published.name} ({published.n_bytes} bytes, sha256 {published.sha256[:12]}…). It is "
            f"truncated or altered: fetch it again from {published.address}."
        )
    return path


_digests = ProcessCache()


def sha256_of(path: str | os.PathLike) -> str:
    """The hexadecimal sha256 of a file; computed once per process while it does not change."""
    path = Path(path).resolve()
    stat = path.stat()

    def digest() -> str:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    return _digests.get((path, stat.st_size, stat.st_mtime_ns), digest)


def read_tensors(path: str | os.PathLike) -> dict:
    """The tensors of a weight file, on the CPU, by name. Eager.

    Parameters
    ----------
    path : str or path
        ``.safetensors``; ``.npy`` (one tensor, named ``"array"``); ``.pt``, ``.pth`` or ``.bin``,
        read with ``weights_only=True``.

    Returns
    -------
    dict of str to torch.Tensor

    Raises
    ------
    WeightsError
        When the file is missing, damaged, of another kind, or holds anything but tensors.
    """
    path = Path(path)
    try:
        tensors = _read_by_kind(path)
    except WeightsError:
        raise
    except Exception as error:  # each of the three readers has its own exceptions
        raise WeightsError(
            f"{path} cannot be read as weights ({type(error).__name__}). Expected a file that "
            "holds tensors and nothing else; files with pickled code are never loaded. Fetch it "
            "again from its publisher, or convert it to safetensors."
        ) from error
    return _only_tensors(path, tensors)


def _read_by_kind(path: Path) -> dict:
    import torch

    match path.suffix:
        case ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        case ".npy":
            import numpy as np

            return {"array": torch.from_numpy(np.load(path, allow_pickle=False))}
        case ".pt" | ".pth" | ".bin":
            return torch.load(path, map_location="cpu", weights_only=True)
    raise WeightsError(
        f"{path} is of a kind that is not loaded. Expected .safetensors, .npy, .pt, .pth or .bin."
    )


def _only_tensors(path: Path, tensors) -> dict:
    import torch

    if not isinstance(tensors, dict) or not all(
        isinstance(t, torch.Tensor) for t in tensors.values()
    ):
        raise WeightsError(
            f"{path} holds {type(tensors).__name__}, not tensors by name. Save the model's "
            "state_dict() instead."
        )
    return dict(tensors)

"""Weight files: which there are, where they are looked for, and how they are read.

A file counts only when its sha256 is the published one, where one is published. It is looked for
in the folder that the environment variable ``LAION_DASK_WEIGHTS`` names, then in the user's cache;
only where the user allows it, by ``find(name, download=True)`` or ``set_options(download=True)``,
is it fetched from its publisher into the cache. Elsewhere a missing file is an error that names the
file, the folder and the address. Nothing that could run code is loaded: safetensors, ``.npy``
without pickles, and ``torch.load(weights_only=True)`` of a torch that keeps that promise.
"""

from laion_dask.models.weights.lookup import (
    VARIABLE,
    download,
    find,
    find_one_of,
    folders,
    given_or_found,
    sha256_of,
    table,
)
from laion_dask.models.weights.reading import read_tensors
from laion_dask.models.weights.registry import (
    REGISTRY,
    PublishedFile,
    from_github,
    register,
    registry,
)

__all__ = [
    "REGISTRY",
    "VARIABLE",
    "PublishedFile",
    "download",
    "find",
    "find_one_of",
    "folders",
    "from_github",
    "given_or_found",
    "read_tensors",
    "register",
    "registry",
    "sha256_of",
    "table",
]

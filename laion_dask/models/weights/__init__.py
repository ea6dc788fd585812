"""Weight files: the published ones, where they are searched for, and how they are read.

A file with a published sha256 is only used if its digest matches. Files are searched for in the
folder named by the environment variable ``LAION_DASK_WEIGHTS``, then in the user's cache. A file is
downloaded from its publisher into the cache only if the user allows it, with
``find(name, download=True)`` or ``set_options(download=True)``. Otherwise a missing file raises an
error with the file, the folder and the address. Nothing that could run code is loaded, only
safetensors, ``.npy`` without pickles, and ``torch.load(weights_only=True)`` of a safe torch.
"""

from laion_dask.models.weights.lookup import (
    VARIABLE,
    download,
    find,
    find_one_of,
    folders,
    resolve_weights,
    sha256_of,
    table,
)
from laion_dask.models.weights.reading import read_tensors
from laion_dask.models.weights.registry import REGISTRY, PublishedFile

__all__ = [
    "REGISTRY",
    "VARIABLE",
    "PublishedFile",
    "download",
    "find",
    "find_one_of",
    "folders",
    "read_tensors",
    "resolve_weights",
    "sha256_of",
    "table",
]

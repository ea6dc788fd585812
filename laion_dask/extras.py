"""Optional packages: the extra that installs each, and the error raised when one is missing."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

from laion_dask.errors import MissingExtraError

#: The modules of each extra that this package imports.
MODULES = {
    "clip": ("torch", "torchvision", "open_clip", "timm", "safetensors", "sklearn"),
    "dedup": ("datasketch", "imagehash"),
    "explore": ("holoviews", "bokeh", "panel"),
    "index": ("faiss",),
    "lance": ("lance",),
    "multilingual": ("transformers",),
    "notebook": ("holoviews", "bokeh"),
    "s3": ("s3fs",),
    "toxicity": ("profanity_check",),
    "umap": ("umap",),
    "wordnet": ("nltk",),
}


def installation(extra: str) -> str:
    """The sentence that explains how to install an extra."""
    return f"Install it with: pip install 'laion_dask[{extra}]'"


@cache
def is_installed(module: str) -> bool:
    """Whether a top-level module can be imported; does not import it."""
    return find_spec(module) is not None


def require_extra(extra: str, feature: str) -> None:
    """Raise unless every module of an extra is installed; imports none of them.

    Parameters
    ----------
    extra : str
        A key of `MODULES`.
    feature : str
        The subject of the message, such as ``"Search by text"``.

    Raises
    ------
    MissingExtraError
        Names the first missing module, its extra and the pip command, in one line.
    """
    for module in MODULES[extra]:
        if not is_installed(module):
            raise MissingExtraError(
                f"{feature} needs {module}, which is in the extra {extra!r} and not installed. "
                f"{installation(extra)}"
            )

"""Projections that are kept in the user's cache folder, so that a second start is immediate.

A projection is a file named by its digest. A second, smaller file maps what it was fitted on to the
digest: the files of the embeddings with their sizes and times, the method, the rows and the seed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from contextlib import suppress
from pathlib import Path

from laion_dask.errors import ExportError, ProjectionError
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.io.embeddings.exported import stored_files
from laion_dask.io.embeddings.file_state import state_of
from laion_dask.io.storage.atomic_file import committed
from laion_dask.io.storage.user_cache import user_cache
from laion_dask.projections.fit import check_method, fit_projection
from laion_dask.projections.projection import Projection, open_projection

#: A change makes projections of earlier versions unused.
_VERSION = 1


def stored_projection(
    embeddings: Embeddings, method: str = "pca", *, n: int | None = None, seed: int = 0
) -> Projection:
    """What `fit_projection` returns, fitted once and then opened from the cache folder. Eager.

    Without a folder that can be written, it is fitted each time. Raises as `fit_projection`.
    """
    kept = kept_projection(embeddings, method, n=n, seed=seed)
    if kept is not None:
        return kept
    projection = fit_projection(embeddings, method, n=n, seed=seed)
    with suppress(ExportError, OSError):
        keep(projection)
        link = _link(embeddings, method, check_method(method, n), seed)
        with committed(link) as file:
            file.write(projection.digest.encode())
    return projection


def kept_projection(
    embeddings: Embeddings, method: str = "pca", *, n: int | None = None, seed: int = 0
) -> Projection | None:
    """The projection in the cache folder; None if it is missing or damaged. Eager."""
    try:
        digest = _link(embeddings, method, check_method(method, n), seed).read_text()
        return open_projection(path_of(digest), digest)
    except (OSError, ValueError):  # ProjectionError is a ValueError
        return None


def keep(projection: Projection) -> Path:
    """Write a projection to the cache folder, unless it is there; returns its path. Eager.

    Raises
    ------
    ExportError, OSError
        When it cannot be written.
    """
    path = path_of(projection.digest)
    try:
        open_projection(path, projection.digest)
    except ProjectionError:
        os.makedirs(path.parent, mode=0o700, exist_ok=True)
        projection.save(path)
    return path


def path_of(digest: str) -> Path:
    """Where the projection of a digest is kept.

    Raises
    ------
    ValueError
        When it is no digest.
    """
    if not re.fullmatch("sha256:[0-9a-f]{64}", digest):
        raise ValueError(f"{digest[:80]!r} is not the digest of a projection")
    return user_cache("projections") / f"{digest.removeprefix('sha256:')}.projection"


def embeddings_key(embeddings: Embeddings) -> str:
    """A key of the content of embeddings, as 64 hexadecimal digits, without reading them. Eager.

    From paths, sizes and modification times; the order of the files does not matter.
    """
    states = sorted((file.path, state_of(file.path)) for file in stored_files(embeddings.files))
    tokens = sorted(repr(file.token) for file in embeddings.files)
    facts = [_VERSION, states, tokens, embeddings.model.name, embeddings.dim]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _link(embeddings: Embeddings, method: str, n: int, seed: int) -> Path:
    """The file that has the digest of what was fitted."""
    facts = [_VERSION, embeddings_key(embeddings), method, n, seed]
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    return user_cache("projections") / f"{digest[:32]}.fitted"

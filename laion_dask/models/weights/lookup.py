"""Search for weight files, and verify them against the published digests."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from laion_dask.errors import OptionError, WeightsError, argument, must_be, parameter
from laion_dask.models.weights.fetching import fetch
from laion_dask.models.weights.registry import REGISTRY, PublishedFile, known
from laion_dask.options import get_option
from laion_dask.runtime.process_cache import ProcessCache

if TYPE_CHECKING:
    import pandas as pd

#: The environment variable that names a folder of weight files with their published names.
VARIABLE = "LAION_DASK_WEIGHTS"

_digests = ProcessCache()


def folders() -> list[Path]:
    """The folders searched for weight files, in order: the folder named by the environment variable
    ``LAION_DASK_WEIGHTS`` (``~`` is the home folder), then ``laion_dask/weights`` in the user's
    cache folder. Downloads go to the last."""
    named = os.environ.get(VARIABLE)
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    paths = [*([named] if named else []), os.path.join(cache, "laion_dask", "weights")]
    return [Path(os.path.expanduser(folder)) for folder in paths]  # "~" stays without a home


def find(name: str, *, download: bool | None = None) -> Path:
    """The path of a published weight file, after verifying its digest. Eager.

    A file without a published digest cannot be verified. It is only used from the folder that the
    user names in ``LAION_DASK_WEIGHTS``, and is never downloaded.

    Parameters
    ----------
    name : str
        A name in ``REGISTRY``.
    download : bool, optional
        Whether to download the file from its publisher into the cache if no folder has it, or if
        the cached copy is altered. By default as set with ``set_options(download=…)``, initially
        False.

    Raises
    ------
    WeightsError
        When the name is unknown, no folder has the file, the file is not the published one, or
        it cannot be downloaded.
    """
    must_be("download", download, (bool, type(None)), "True or False")
    published = known(name)
    allowed = get_option("download") if download is None else download
    *named, cache = folders()
    if published.sha256 is None:
        candidates = (folder / name for folder in named)
        if (path := next(filter(Path.is_file, candidates), None)) is None:
            raise _only_by_hand(published)
        return path
    for folder in named:
        if (folder / name).is_file():
            return _checked(folder / name, published, published.sha256)
    path = cache / name
    if path.is_file() and (not allowed or sha256_of(path) == published.sha256):
        return _checked(path, published, published.sha256)
    if allowed and published.can_be_fetched:
        if str(cache).startswith("~"):
            raise WeightsError(
                f"There is no home folder to store {name} in. Expected the variable HOME or "
                "XDG_CACHE_HOME. Set one of them, and run again."
            )
        return fetch(published, cache)
    raise _missing(published)


def resolve_weights(weights: str | os.PathLike | None, *names: str) -> str | os.PathLike:
    """The user's weight file, or the published one if none is given. Eager.

    Parameters
    ----------
    weights : path or None
    names : str
        Published files with the same purpose, the preferred first.

    Raises
    ------
    OptionError
        When ``weights`` is not a path, or empty, as from an unset shell variable.
    WeightsError
        As `find`.
    """
    if weights is None:
        return find_one_of(names)
    if not isinstance(weights, (str, os.PathLike)) or not os.fspath(weights):
        raise OptionError(
            f"{parameter('weights')} is {weights!r}. Expected the path of a weight file; leave it "
            f"out for the published {names[0]}."
        )
    return weights


def find_one_of(names: Sequence[str]) -> Path:
    """`find` for the first of these files that a folder has, else for the last. Eager.

    Parameters
    ----------
    names : sequence of str
        Files with the same purpose, the preferred first.
    """
    available = (n for n in names if any((folder / n).is_file() for folder in folders()))
    return find(next(available, names[-1]))


def download(name: str) -> Path:
    """`find`, with permission to download the file from its publisher. Eager.

    Raises
    ------
    WeightsError
        As `find`.
    """
    return find(name, download=True)


def table() -> pd.DataFrame:
    """All published weight files, and whether they are available locally. Eager.

    Returns
    -------
    pandas.DataFrame
        One row per file of ``REGISTRY``: ``name``, ``use``, ``publisher``, ``licence`` (SPDX),
        ``address`` (null if the file itself is not offered), ``bytes`` (Int64) and ``sha256``
        (null if unknown), and ``state``: ``"in <folder>"``, ``"missing"``, ``"altered: …"``, or
        ``"in <folder>, not verified"`` for a file without a digest.
    """
    import pandas as pd

    columns = ("name", "use", "publisher", "licence", "address", "n_bytes", "sha256")
    files = REGISTRY.values()
    rows = [[getattr(file, column) for column in columns] for file in files]
    frame = pd.DataFrame(rows, columns=columns).rename(columns={"n_bytes": "bytes"})
    states = [_state(file) for file in files]
    return frame.astype({"bytes": "Int64"}).assign(state=states)


def _state(published: PublishedFile) -> str:
    for folder in folders() if published.sha256 else folders()[:-1]:
        path = folder / published.name
        if path.is_file() and published.sha256 is None:
            return f"in {folder}, not verified"
        if path.is_file():
            digest = sha256_of(path)
            if digest == published.sha256:
                return f"in {folder}"
            size = path.stat().st_size
            return f"altered: {size} bytes, sha256 {digest[:12]}… in {folder}"
    return "missing"


def _checked(path: Path, published: PublishedFile, sha256: str) -> Path:
    actual = sha256_of(path)
    if actual != sha256:
        raise WeightsError(
            f"{path} ({path.stat().st_size} bytes, sha256 {actual[:12]}…) is not the published "
            f"{published.name} ({published.n_bytes} bytes, sha256 {sha256[:12]}…). It is "
            f"truncated or altered. {_how_to_get(published)}"
        )
    return path


def _missing(published: PublishedFile) -> WeightsError:
    return WeightsError(
        f"The weight file {published.name} ({published.n_bytes} bytes, {published.licence}) was "
        f"not found in {' or '.join(map(str, folders()))}. {_how_to_get(published)} Or "
        f"set {VARIABLE} to the folder that has it."
    )


def _how_to_get(published: PublishedFile) -> str:
    if published.address is None:
        return f"{published.instead} Put the file into {folders()[0]}."
    return (
        f"Download it from {published.address} into {folders()[0]}, or have it downloaded with "
        f"`laion-dask models --download {published.name}` or set_options(download=True)."
    )


def _only_by_hand(published: PublishedFile) -> WeightsError:
    return WeightsError(
        f"The digest of {published.name} is not known to this release, so a copy cannot be "
        "verified: it is never downloaded, and not used from the cache. Download it yourself from "
        f"{published.address}, and put it into the folder that {VARIABLE} names, or give its "
        f"path with {argument('weights')}."
    )


def sha256_of(path: str | os.PathLike) -> str:
    """The hexadecimal sha256 of a file; computed once per process while the file is unchanged."""
    path = Path(path).resolve()
    stat = path.stat()

    def digest() -> str:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    return _digests.get((path, stat.st_size, stat.st_mtime_ns, stat.st_ino), digest)

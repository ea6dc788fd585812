"""Published weight files and their publishers' statements; each head registers its own."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from urllib.parse import quote

from laion_dask.errors import WeightsError, did_you_mean


@dataclass(frozen=True)
class PublishedFile:
    """A weight file as offered by its publisher.

    Attributes
    ----------
    name : str
        The published file name, by which it is searched for.
    use : str
        Its purpose.
    publisher : str
        The page of the publisher.
    licence : str
        SPDX identifier; ``"NOASSERTION"`` if unknown.
    address : str or None
        The download address; ``None`` if the file is not offered in a supported format.
    n_bytes : int or None
    sha256 : str or None
        Hexadecimal. Without it a copy cannot be verified, so such a file is never downloaded: it is
        only used from a path or a folder that the user gives.
    instead : str
        Instructions for obtaining a file that has no address.
    """

    name: str
    use: str
    publisher: str
    licence: str
    address: str | None
    n_bytes: int | None
    sha256: str | None
    instead: str = ""

    @property
    def can_be_fetched(self) -> bool:
        """Whether `download` can download it."""
        return None not in (self.address, self.n_bytes, self.sha256)


#: Every published file known to the package, by name; filled by `register`.
REGISTRY: dict[str, PublishedFile] = {}
#: The modules of heads register their files when this package is imported.
_HEADS = "laion_dask.models.heads"


def register(*files: PublishedFile) -> None:
    """Add published files to ``REGISTRY``; called by the modules of heads."""
    REGISTRY.update({file.name: file for file in files})


def from_github(
    repository: str, licence: str, use: str, *files: tuple, folder: str = ""
) -> list[PublishedFile]:
    """Files in a folder of the ``main`` branch of a GitHub repository.

    Parameters
    ----------
    repository : str
        ``owner/name``.
    licence : str
        As stated by the repository.
    use : str
    *files : (name, bytes, sha256)
        The last two are None if they are not published.
    folder : str
        Ends with a slash.
    """
    page = f"https://github.com/{repository}"
    return [
        PublishedFile(
            name, use, page, licence, f"{page}/raw/main/{folder}{quote(name)}", n_bytes, sha256
        )
        for name, n_bytes, sha256 in files
    ]


def registry() -> dict[str, PublishedFile]:
    """``REGISTRY`` with the files of every head; imports the heads."""
    import_module(_HEADS)
    return REGISTRY


def known(name: str) -> PublishedFile:
    """The registered file with this name.

    Raises
    ------
    WeightsError
        When no weight file has that name.
    """
    files = REGISTRY if name in REGISTRY else registry()
    if name not in files:
        raise WeightsError(f"No weight file is known as {name!r}.{did_you_mean(name, files)}")
    return files[name]

"""Published weight files, with what their publishers state; each head registers its own."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from urllib.parse import quote

from laion_dask.errors import WeightsError, did_you_mean


@dataclass(frozen=True)
class PublishedFile:
    """A weight file as its publisher offers it.

    Attributes
    ----------
    name : str
        The published file name, under which it is looked for.
    use : str
        What it is for.
    publisher : str
        The page of who offers it.
    licence : str
        SPDX identifier; ``"NOASSERTION"`` where none is known.
    address : str or None
        Where the file itself can be fetched; ``None`` where it is not offered in a form that is
        read here.
    n_bytes : int or None
    sha256 : str or None
        Hexadecimal. Without it a copy cannot be told from an altered one, so such a file is never
        fetched: it is only taken from a path or a folder that the user gives.
    instead : str
        How to come by a file that has no address.
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
        """Whether `download` takes it."""
        return self.address is not None and self.sha256 is not None


#: Every published file that the package knows, by name: what `register` was called with.
REGISTRY: dict[str, PublishedFile] = {}
#: The modules of heads register the files that they read, when this package is imported.
_HEADS = "laion_dask.models.heads"


def register(*files: PublishedFile) -> None:
    """Add published files to ``REGISTRY``; the module of a head calls it."""
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
        As the repository states it.
    use : str
    *files : (name, bytes, sha256)
        The last two are None where they are not published.
    folder : str
        With a slash at its end.
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
    """The registered file of a name.

    Raises
    ------
    WeightsError
        When no weight file has that name.
    """
    files = REGISTRY if name in REGISTRY else registry()
    if name not in files:
        raise WeightsError(f"No weight file is known as {name!r}.{did_you_mean(name, files)}")
    return files[name]

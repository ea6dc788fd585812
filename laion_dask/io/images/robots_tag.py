"""The header X-Robots-Tag, by which the owner of an image says how it may be used."""

from __future__ import annotations

from collections.abc import Iterable

#: What forbids to use an image in any case: DeviantArt's directives of 2022.
_NO_AI = frozenset({"noai", "noimageai"})

#: What forbids it when said to everybody, or to us. These four are img2dataset's default list.
_NO_INDEX = frozenset({"noindex", "noimageindex", "none"})

#: Directives with a value of their own, whose colon names no agent.
_VALUED = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})

#: Our name in headers.
AGENT = "laion_dask"


def forbids(values: Iterable[str]) -> bool:
    """Whether headers ask not to use an image.

    ``noai`` and ``noimageai`` count for whichever agent they name; ``noindex``, ``noimageindex``
    and ``none`` only when they name no agent, or this one.

    Parameters
    ----------
    values : iterable of str
        The values of all headers X-Robots-Tag of a response, such as ``"otherbot: noindex, noai"``.

    Examples
    --------
    >>> forbids(["noarchive, NoAI"]), forbids(["otherbot: noindex"])
    (True, False)
    """
    for value in values:
        agent = ""
        for part in value.lower().split(","):
            name, colon, rest = part.partition(":")
            if colon and name.strip() not in _VALUED:
                agent, part = name.strip(), rest
            directive = part.strip()
            if directive in _NO_AI or (directive in _NO_INDEX and agent in ("", AGENT, "*")):
                return True
    return False

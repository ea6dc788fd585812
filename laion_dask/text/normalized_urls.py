"""URLs in their normal form, to compare them."""

from __future__ import annotations

import ada_url
import pyarrow as pa
import pyarrow.compute as pc

_HOST_DOT = r"^([a-z][a-z0-9+.\-]*://[^/?]*)\.(:\d+)?([/?]|$)"


def normalized_urls(urls: pa.ChunkedArray) -> pa.ChunkedArray:
    """Each URL in its normal form; null stays null.

    A URL is parsed and written again as the WHATWG URL standard says (by ``ada_url``): scheme and
    host in lower case, international names in Punycode, without the scheme's own port, ``.`` and
    ``..`` in paths resolved, characters that must be escaped escaped, spaces around it removed.
    Then the fragment (from ``#``) and a dot at the end of the host are removed. Nothing else
    changes: ``http`` and ``https``, ``www.``, the case and order of a path and a query, and a slash
    at the end tell URLs apart. Text that is no URL is compared as it stands.

    Parameters
    ----------
    urls : string array

    Returns
    -------
    large_string array

    Examples
    --------
    >>> import pyarrow as pa
    >>> urls = ["HTTP://Example.com.:80/a/../b?x=1#top", "http://example.com/b?x=1", "a b"]
    >>> normalized_urls(pa.chunked_array([urls])).to_pylist()
    ['http://example.com/b?x=1', 'http://example.com/b?x=1', 'a b']
    """
    coded = urls.cast(pa.large_string()).dictionary_encode().combine_chunks()
    coded = coded.chunk(0) if isinstance(coded, pa.ChunkedArray) else coded
    distinct = pa.array(
        [_normalized(url) for url in coded.dictionary.to_pylist()], pa.large_string()
    )
    plain = pc.replace_substring_regex(distinct, _HOST_DOT, r"\1\2\3")
    return pa.chunked_array([plain.take(coded.indices)])


def _normalized(url: str) -> str:
    try:
        return str(ada_url.normalize_url(url)).partition("#")[0]
    except ValueError:
        return url

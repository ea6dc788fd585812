"""Settings of the session, as a context manager. What they are when a frame is made, it keeps."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from laion_dask.errors import one_of

_CHOICES: dict[str, tuple] = {
    "backend": ("auto", "pandas", "cudf"),
    "invalid_text": ("raise", "reject"),
    "progress": (True, False),
    "download": (True, False),
}
_current = {"backend": "auto", "invalid_text": "raise", "progress": True, "download": False}


def get_option(name: str):
    """The value of an option now.

    Examples
    --------
    >>> import laion_dask as ld
    >>> ld.get_option("download")
    False
    """
    if name not in _current:
        raise one_of("option", name, _current)
    return _current[name]


def is_watched() -> bool:
    """Whether progress is wanted and somebody can see it: a terminal or a notebook."""
    return _current["progress"] and (sys.stderr.isatty() or "ipykernel" in sys.modules)


@contextmanager
def _restore(before: dict) -> Iterator[None]:
    try:
        yield
    finally:
        _current.update(before)


def set_options(**options):
    """Set options for the session, or for a ``with`` block.

    Parameters
    ----------
    backend : {"auto", "pandas", "cudf"}
        What `read_shards` makes where its own ``backend`` is ``"auto"``: frames of pandas, of cuDF,
        or (the default) of cuDF where its workers have CUDA devices and cuDF.
    invalid_text : {"raise", "reject"}
        What becomes of a row whose text is not valid UTF-8: an error that names shard, column and
        row (the default), or the row is left out and counted as rejected.
    progress : bool
        Whether verbs that take longer than two seconds show a progress bar, in a terminal or a
        notebook. Default True.
    download : bool
        Whether a published weight file that is nowhere on this machine may be fetched from its
        publisher, its size and digest checked. Default False: nothing is fetched unasked.

    Raises
    ------
    OptionError
        At once, for an option or a value that does not exist.

    Examples
    --------
    >>> import laion_dask as ld
    >>> with ld.set_options(invalid_text="reject"):
    ...     frame = ld.read_shards("shards/")  # doctest: +SKIP
    """
    for name, value in options.items():
        if name not in _CHOICES:
            raise one_of("option", name, _CHOICES)
        if value not in _CHOICES[name]:
            raise one_of(f"option {name}", value, map(str, _CHOICES[name]))
    before = {name: _current[name] for name in options}
    _current.update(options)
    return _restore(before)

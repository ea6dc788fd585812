"""Options of the session. A frame keeps the options in force when it was created."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from laion_dask.errors import one_of, unknown
from laion_dask.notebook_traceback import notebook_shell

_CHOICES: dict[str, tuple] = {
    "backend": ("auto", "pandas", "cudf"),
    "invalid_text": ("raise", "reject"),
    "progress": (True, False),
    "download": (True, False),
}
_current: dict[str, str | bool] = {
    "backend": "auto",
    "invalid_text": "raise",
    "progress": True,
    "download": False,
}


def get_option(name: str):
    """The current value of an option.

    Examples
    --------
    >>> import laion_dask as ld
    >>> ld.get_option("download")
    False
    """
    if name not in _current:
        raise unknown("option", name, _current)
    return _current[name]


def is_watched() -> bool:
    """Whether progress is enabled and visible: in a terminal or a notebook."""
    return bool(_current["progress"]) and (sys.stderr.isatty() or notebook_shell() is not None)


@contextmanager
def _restore(before: dict) -> Iterator[None]:
    try:
        yield
    finally:
        _current.update(before)


def set_options(**options):
    """Set options for the session or for a ``with`` block.

    Parameters
    ----------
    backend : {"auto", "pandas", "cudf"}
        The backend of the frames that `read_shards` creates when its own ``backend`` is ``"auto"``.
        The default, ``"auto"``, selects cuDF if the workers have CUDA devices and cuDF.
    invalid_text : {"raise", "reject"}
        How to handle rows whose text is not valid UTF-8: raise an error that names the shard,
        column and row (the default), or skip the row and count it as rejected.
    progress : bool
        Whether verbs that run longer than two seconds show a progress bar in a terminal or a
        notebook. Default True.
    download : bool
        Whether published weight files that are not on this machine may be downloaded from their
        publisher; size and digest are verified. Default False: nothing is downloaded.

    Raises
    ------
    OptionError
        Immediately, for an unknown option or an invalid value.

    Examples
    --------
    >>> import laion_dask as ld
    >>> with ld.set_options(invalid_text="reject"):
    ...     frame = ld.read_shards("demo-corpus/embedded/metadata")
    """
    for name, value in options.items():
        if name not in _CHOICES:
            raise unknown("option", name, _CHOICES)
        if value not in _CHOICES[name]:
            raise one_of(f"option {name}", value, map(str, _CHOICES[name]))
    before = {name: _current[name] for name in options}
    _current.update(options)
    return _restore(before)

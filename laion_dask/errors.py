"""Every exception of the package, and helpers that format messages and hints.

A message has three parts: what was given, what was expected, what to do next. Each class also
inherits the builtin that a caller would expect, so ``except KeyError`` works.
"""

from __future__ import annotations

import difflib
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from types import FrameType

from laion_dask.formatting import printable, printable_lines

#: A marked argument within a message, as written by `argument`: its name, and both spellings.
_ARGUMENT = re.compile("\x02(\\w+)\x1f([^\x1f\x03]*)\x1f([^\x1f\x03]*)\x03")


class _Message:
    """The message of an error or a warning, spelled for Python or for the command line."""

    args: tuple  # of `BaseException`
    #: The spelling of parameters in the command that was run, if set; see `laion_dask.cli`.
    called: dict[str, str]

    def __init__(self, *args: object) -> None:
        self._marked = str(args[0]) if args else ""
        super().__init__(*(_as_python(self._marked) if n == 0 else a for n, a in enumerate(args)))

    def __str__(self) -> str:
        # KeyError would print the repr of its argument, and OSError an errno that is not set.
        return printable_lines(str(self.args[0])) if self.args else ""

    @property
    def marked(self) -> str:
        """The message with its arguments still marked, for use inside another message."""
        return self._marked

    def worded(self, option_of: Callable[[str], str | None]) -> str:
        """The message with arguments spelled as ``option_of`` returns them, such as ``--columns``.

        Arguments for which it returns None are unchanged; see `argument`. Safe to print.
        """

        def option(match: re.Match) -> str:
            name = option_of(match[1])
            return match[2] if name is None else f"{name} {match[3]}".rstrip()

        return printable_lines(_ARGUMENT.sub(option, self._marked))


class LaionDaskError(_Message, Exception):
    """Base class of every error that this package raises deliberately.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> try:
    ...     frame.laion.where("widht > 256")
    ... except ld.LaionDaskError as error:
    ...     print(type(error).__name__)
    ColumnError
    """

    def _render_traceback_(self) -> list[str]:
        """The lines that IPython displays; IPython calls this method on exceptions."""
        from laion_dask.notebook_traceback import render

        return render(self)


class ShardNotFoundError(LaionDaskError, FileNotFoundError):
    """A path or pattern matches no file."""


class ShardError(LaionDaskError, OSError):
    """A shard exists but cannot be read: not Parquet, truncated, damaged, or not text."""


class SchemaError(LaionDaskError, TypeError):
    """Shards disagree on a column's type, or a column cannot be cast exactly to its type."""


class ColumnError(LaionDaskError, KeyError):
    """The frame does not have the requested column."""


class PredicateError(LaionDaskError, ValueError):
    """A ``where`` expression is not valid, or compares incompatible values."""


class ProvenanceError(LaionDaskError, ValueError):
    """A frame has lost the columns or the reader that identify the origin of its rows."""


class JoinError(LaionDaskError, ValueError):
    """A table cannot be joined: its keys are not unique, or are of a different type."""


class SpillError(LaionDaskError, OSError):
    """Rows cannot be spilled to disk: the temporary folder is full or not writable."""


class EmbeddingsError(LaionDaskError, ValueError):
    """An embedding file has the wrong dtype, rank, width or content."""


class PairingError(EmbeddingsError):
    """Embedding shards and metadata shards do not match: missing, extra, short or empty."""


class ModelMismatchError(LaionDaskError, ValueError):
    """Two objects belong to different CLIP models and cannot be compared."""


class WeightsError(LaionDaskError, OSError):
    """Model weights are missing, altered, or of a type that is never loaded."""


class ImageError(LaionDaskError, ValueError):
    """An image or image archive cannot be read within its limits."""


class ExportError(LaionDaskError, OSError):
    """A target folder is not writable, or contains files that this package did not write."""


class ExportConflictError(ExportError):
    """Another export changed the target folder since this export began, or is changing it now."""


class RecipeError(LaionDaskError, ValueError):
    """A recipe is not valid, lacks an input, or no longer gives the rows that it gave."""


class IndexFileError(LaionDaskError, OSError):
    """A file of an approximate index is missing, truncated or altered."""


class ProjectionError(LaionDaskError, ValueError):
    """A projection is missing, damaged, or not the one that is expected."""


class OptionError(LaionDaskError, ValueError):
    """An argument or option has an invalid value."""


class MissingExtraError(LaionDaskError, ImportError):
    """An optional dependency is required but not installed; the message names the extra."""


class DeviceMemoryError(MemoryError, LaionDaskError):  # this base order unpickles from a worker
    """GPU memory is too small even for the smallest batch."""

    __init__ = LaionDaskError.__init__  # MemoryError's comes first and takes no marked arguments


class DeviceLostError(LaionDaskError, RuntimeError):
    """A process can no longer use its GPU, after an error that CUDA does not recover from."""


class DiscoveryWarning(UserWarning):
    """Possible shards were skipped, or rows may be counted twice; the message says which."""


class QueryWarning(UserWarning):
    """A text query looks like the path or URL of an image."""


class BackendWarning(_Message, UserWarning):
    """A GPU is not used, or not at full speed; the message gives the reason."""


class FetchWarning(UserWarning):
    """Images are requested from the web, as this call asked."""


class ClusterWarning(UserWarning):
    """Tasks wait, because the cluster has no workers."""


def warn_caller(message: str, category: type[Warning]) -> None:
    """Issue a warning that points at the calling line outside this package."""
    depth = 2
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").startswith("laion_dask"):
        depth, frame = depth + 1, frame.f_back
    warnings.warn(message, category, stacklevel=depth)


def argument(name: str, value: object = None) -> str:
    """Mark an argument in an error message, so it can be spelled for Python or the command line.

    The message reads ``columns=['url']``; on the command line, `worded` turns it into
    ``--columns url``.

    Parameters
    ----------
    name : str
        Name of the parameter.
    value : str, bool, number, list or mapping of str, optional
        The value to pass.
    """
    if value is None:
        return f"\x02{name}\x1f{name}=\x1f\x03"
    if isinstance(value, Mapping):
        words = " ".join(f"{old}={new}" for old, new in value.items())
    elif isinstance(value, (list, tuple)):
        words = ",".join(map(str, value))
    else:
        words = "" if isinstance(value, bool) else str(value)
    return f"\x02{name}\x1f{name}={value!r}\x1f{printable(words)}\x03"


def parameter(name: str) -> str:
    """Mark a parameter as the subject of a sentence: ``pq_m``, or ``--pq-m`` on the command line.

    Text that is not an identifier is returned unchanged.
    """
    return f"\x02{name}\x1f{name}\x1f\x03" if name.isidentifier() else name


def _as_python(marked: str) -> str:
    return _ARGUMENT.sub(r"\2", marked)


def did_you_mean(name: str, known: Iterable[object]) -> str:
    """The hint for a wrong name: the nearest valid name, and all of them if there are few.

    Parameters
    ----------
    name : str
        The wrong name.
    known : iterable
        The valid names, such as the labels of an index.

    Returns
    -------
    str
        A sentence that starts with a space, or an empty string if ``known`` is empty.
    """
    known = sorted(set(map(str, known)))
    if not known:
        return ""
    lowered = {k.lower(): k for k in known}
    near = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.6)
    hint = f" Did you mean {lowered[near[0]]!r}?" if near else ""
    shown = ", ".join(known[:30]) + (", …" if len(known) > 30 else "")
    return f"{hint} Available: {shown}."


def no_column(name: str, known: Iterable[str], hint: str = "") -> ColumnError:
    """The error for a column that a frame does not have.

    Parameters
    ----------
    name : str
    known : iterable of str
        The columns of the frame.
    hint : str
        A sentence that explains how to get such a column.
    """
    end = f" {hint}" if hint else ""
    return ColumnError(f"The frame has no column {name!r}.{did_you_mean(name, known)}{end}")


def must_be(name: str, value: object, kind: type | tuple[type, ...], expected: str) -> None:
    """Raise unless a value has the expected type."""
    if not isinstance(value, kind):
        kind = type(value)
        package = kind.__module__.partition(".")[0]
        shown = f"a {kind.__name__}" + ("" if package == "builtins" else f" of {package}")
        if isinstance(value, (str, int, float, type(None))):
            shown = repr(value)
        raise OptionError(f"{parameter(name)} is {shown}. Expected {expected}.")


def unknown(what: str, name: str, known: Iterable[str]) -> OptionError:
    """The error for the name of something that does not exist, such as a verb."""
    return OptionError(f"Unknown {what} {name!r}.{did_you_mean(name, known)}")


def one_of(name: str, value: object, known: Iterable[str]) -> OptionError:
    """The error for a value that is not in a closed list."""
    return OptionError(f"{parameter(name)} is {value!r}.{did_you_mean(str(value), known)}")

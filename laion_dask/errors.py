"""Every exception of the package, and the helpers that word their hints.

A message has three parts: what was given, what was expected, what to do next. Each class also
inherits the builtin that a caller would expect, so ``except KeyError`` and friends keep working.
"""

from __future__ import annotations

import difflib
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping

from laion_dask.formatting import printable, printable_lines

#: An argument within a message, as `argument` writes it: its name, and its value for either door.
_ARGUMENT = re.compile("\x02(\\w+)\x1f([^\x1f\x03]*)\x1f([^\x1f\x03]*)\x03")


class _Message:
    """The message of an error or a warning, which either door can word for itself."""

    def __init__(self, *args):
        self._marked = str(args[0]) if args else ""
        super().__init__(*(_as_python(self._marked) if n == 0 else a for n, a in enumerate(args)))

    def __str__(self) -> str:
        # KeyError would print the repr of its argument, OSError an errno that is not there.
        return printable_lines(str(self.args[0])) if self.args else ""

    @property
    def marked(self) -> str:
        """The message with its arguments marked, for use inside another message."""
        return self._marked

    def worded(self, option_of: Callable[[str], str | None]) -> str:
        """The message with every argument called as ``option_of`` calls it, such as ``--columns``.

        See `argument`; one for which it gives None stays. The text is safe to print.
        """

        def option(found: re.Match) -> str:
            name = option_of(found[1])
            return found[2] if name is None else f"{name} {found[3]}".rstrip()

        return printable_lines(_ARGUMENT.sub(option, self._marked))


class LaionDaskError(_Message, Exception):
    """Base of every error that this package raises on purpose."""

    def _render_traceback_(self) -> list[str]:
        """The lines that IPython shows, which asks an exception for them by this name."""
        from laion_dask.notebook_traceback import render

        return render(self)


class ShardNotFoundError(LaionDaskError, FileNotFoundError):
    """A path or pattern names no file."""


class ShardError(LaionDaskError, OSError):
    """A shard is there but cannot be read: not Parquet, truncated, damaged, not text."""


class SchemaError(LaionDaskError, TypeError):
    """Shards disagree on a column's type, or a column cannot take its canonical type exactly."""


class ColumnError(LaionDaskError, KeyError):
    """A column is named that the frame does not have."""


class PredicateError(LaionDaskError, ValueError):
    """A ``where`` expression is not of the language, or compares what cannot be compared."""


class ProvenanceError(LaionDaskError, ValueError):
    """A frame has lost the columns or the reader that say where its rows came from."""


class JoinError(LaionDaskError, ValueError):
    """A table cannot be joined: a key occurs twice in it, or its keys are of another type."""


class SpillError(LaionDaskError, OSError):
    """Rows cannot wait on disk: the temporary folder is full, or cannot be written to."""


class EmbeddingsError(LaionDaskError, ValueError):
    """An embedding file has the wrong dtype, rank, width or content."""


class PairingError(EmbeddingsError):
    """Embedding shards and metadata shards do not pair: missing, extra, short or empty."""


class ModelMismatchError(LaionDaskError, ValueError):
    """Two things come from different CLIP models and cannot be compared."""


class WeightsError(LaionDaskError, OSError):
    """Model weights are missing, altered or of a kind that is never loaded."""


class ImageError(LaionDaskError, ValueError):
    """An image or an archive of images cannot be read within its limits."""


class ExportError(LaionDaskError, OSError):
    """A target folder cannot be written to, or belongs to somebody else."""


class ExportConflictError(ExportError):
    """Another export changed the target folder since this one began, or is changing it."""


class IndexFileError(LaionDaskError, OSError):
    """A file of an approximate index is missing, truncated, altered or damaged."""


class OptionError(LaionDaskError, ValueError):
    """An argument or option has a value that is not one of those it takes."""


class MissingExtraError(LaionDaskError, ImportError):
    """An optional dependency is needed and not installed; the message names the extra."""


class DeviceMemoryError(MemoryError, LaionDaskError):  # in this order a worker's can be unpickled
    """The card's memory does not hold the smallest block that work is cut into."""

    __init__ = LaionDaskError.__init__  # MemoryError's comes first, and knows no arguments


class DeviceLostError(LaionDaskError, RuntimeError):
    """A process can no longer use its card, after an error that CUDA does not recover from."""


class DiscoveryWarning(UserWarning):
    """Files were left out that may be shards, or rows may count twice; the message says which."""


class QueryWarning(UserWarning):
    """A text is searched that reads as the path or address of a picture; the message says which."""


class BackendWarning(_Message, UserWarning):
    """A card is not used, or not as fast as it could be; the message says why."""


def warn_caller(message: str, category: type[Warning]) -> None:
    """Warn at the line outside this package that led here."""
    depth, frame = 2, sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").startswith("laion_dask"):
        depth, frame = depth + 1, frame.f_back
    warnings.warn(message, category, stacklevel=depth)


def argument(name: str, value: object = None) -> str:
    """An argument, named in the message of an error: as Python has it, or as the command does.

    The message reads ``columns=['url']``; the command makes ``--columns url`` of it, by the
    error's ``worded``.

    Parameters
    ----------
    name : str
        Of the parameter.
    value : str, bool, number, list or mapping of str, optional
        What to give for it.
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


def parameter(what: str) -> str:
    """The name of a parameter, as the subject of a sentence: ``pq_m``, or the command's ``--pq-m``.

    What is no name stays as it is.
    """
    return f"\x02{what}\x1f{what}\x1f\x03" if what.isidentifier() else what


def _as_python(marked: str) -> str:
    return _ARGUMENT.sub(r"\2", marked)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The hint for a wrong name: the nearest right one, and all of them when they are few.

    Parameters
    ----------
    name : str
        What was given.
    known : iterable of str
        What would have been right.

    Returns
    -------
    str
        A sentence that starts with a space, or the empty string when nothing is known.
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
        A sentence that says how to get such a column.
    """
    end = f" {hint}" if hint else ""
    return ColumnError(f"The frame has no column {name!r}.{did_you_mean(name, known)}{end}")


def must_be(what: str, given: object, kind: type | tuple[type, ...], expected: str) -> None:
    """Refuse a value of another type, in the words of who passed it."""
    if not isinstance(given, kind):
        kind = type(given)
        package = kind.__module__.partition(".")[0]
        shown = f"a {kind.__name__}" + ("" if package == "builtins" else f" of {package}")
        if isinstance(given, (str, int, float, type(None))):
            shown = repr(given)
        raise OptionError(f"{parameter(what)} is {shown}. Expected {expected}.")


def one_of(what: str, given: object, known: Iterable[str]) -> OptionError:
    """The error for a value outside a closed list."""
    return OptionError(f"{parameter(what)} is {given!r}.{did_you_mean(str(given), known)}")

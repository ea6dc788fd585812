"""How IPython and Jupyter show an error of the package: the message first, then the user's lines.

The frames between the user's call and the line that refuses it say nothing about what to do, nor
do those that an interrupt met. An unexpected error, which is no `LaionDaskError`, is shown whole.
``%debug`` steps through all frames, ``%xmode Verbose`` shows them.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PACKAGE = Path(__file__).parent
#: Packages whose frames the user did not write, besides our own.
_OTHERS = ("IPython", "ipykernel", "dask", "distributed")


def render(error: BaseException) -> list[str]:
    """The error as lines of text: its kind and message, and the user's own frames."""
    shell = _shell()
    if shell is not None and getattr(shell.InteractiveTB, "mode", None) == "Verbose":
        return shell.InteractiveTB.structured_traceback(type(error), error, error.__traceback__)
    lines = [": ".join(filter(None, [type(error).__name__, str(error)])), ""]
    for frame in _users(error):
        lines.append(f"{_place(frame.filename, shell)}, line {frame.lineno}")
        lines += [f"    {line.strip()}" for line in (frame.line or "").splitlines()]
    return [*lines, "", "(%xmode Verbose shows every frame, %debug steps into them.)"]


@contextmanager
def brief_interrupts() -> Iterator[None]:
    """Inside it, an interrupt is shown as an error of the package is."""
    try:
        yield
    except KeyboardInterrupt as error:
        error._render_traceback_ = _render_handled
        raise


def _render_handled() -> list[str]:
    """The error that IPython handles now; one that held itself would stay, with all its frames."""
    return render(sys.exc_info()[1])


def _users(error: BaseException) -> list[traceback.FrameSummary]:
    """The frames from the cell up to the first one that is ours."""
    found: list[traceback.FrameSummary] = []
    for frame in traceback.extract_tb(error.__traceback__):
        path = Path(frame.filename)
        if _PACKAGE in path.parents:
            break
        if not any(name in path.parts for name in _OTHERS):
            found.append(frame)
    return found


def _place(filename: str, shell) -> str:
    """A file's name; of a cell its number."""
    number = getattr(getattr(shell, "compile", None), "_filename_map", {}).get(filename)
    return f"File {filename}" if number is None else f"Cell In[{number}]"


def _shell():
    """The running IPython shell, or None."""
    ipython = sys.modules.get("IPython")
    return None if ipython is None else ipython.get_ipython()

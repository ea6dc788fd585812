"""Display errors of this package in IPython and Jupyter: the message, then the user's own lines.

Frames inside the package, and frames that an interrupt hits, do not help the user fix the call and
are hidden. An unexpected error, which is not a `LaionDaskError`, is displayed in full. ``%debug``
steps through all frames; ``%xmode Verbose`` shows them.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PACKAGE = Path(__file__).parent
#: Other packages whose frames are hidden.
_OTHERS = ("IPython", "ipykernel", "dask", "distributed")


def render(error: BaseException) -> list[str]:
    """Format an error as lines of text: its type and message, and the user's own frames."""
    shell = running_shell()
    if shell is not None and getattr(shell.InteractiveTB, "mode", None) == "Verbose":
        return shell.InteractiveTB.structured_traceback(type(error), error, error.__traceback__)
    lines = [": ".join(filter(None, [type(error).__name__, str(error)])), ""]
    for frame in _user_frames(error):
        lines.append(f"{_place(frame.filename, shell)}, line {frame.lineno}")
        lines += [f"    {line.strip()}" for line in (frame.line or "").splitlines()]
    return [*lines, "", "(%xmode Verbose shows every frame, %debug steps into them.)"]


@contextmanager
def brief_interrupts() -> Iterator[None]:
    """Within this context, a KeyboardInterrupt is displayed like an error of this package."""
    try:
        yield
    except KeyboardInterrupt as error:
        shown_briefly(error)
        raise


def shown_briefly(error: BaseException) -> None:
    """Let IPython display an error that is not of this package like one that is."""
    vars(error)["_render_traceback_"] = _render_handled  # IPython calls it


def _render_handled() -> list[str]:
    """Render the error that IPython is handling; stored on itself, it would keep frames alive."""
    error = sys.exception()
    assert error is not None  # IPython calls this while it handles the error
    return render(error)


def _user_frames(error: BaseException) -> list[traceback.FrameSummary]:
    """The frames from the cell up to the first frame of this package."""
    frames: list[traceback.FrameSummary] = []
    for frame in traceback.extract_tb(error.__traceback__):
        path = Path(frame.filename)
        if _PACKAGE in path.parents:
            break
        if not any(name in path.parts for name in _OTHERS):
            frames.append(frame)
    return frames


def _place(filename: str, shell) -> str:
    """The name of a file, or the number of a cell."""
    number = getattr(getattr(shell, "compile", None), "_filename_map", {}).get(filename)
    return f"File {filename}" if number is None else f"Cell In[{number}]"


def running_shell():
    """The running IPython shell, or None."""
    ipython = sys.modules.get("IPython")
    return None if ipython is None else ipython.get_ipython()


def notebook_shell():
    """The IPython shell of a Jupyter kernel that runs this process, or None.

    Importing ``ipykernel`` does not make a process one.
    """
    shell = running_shell()
    return None if getattr(shell, "kernel", None) is None else shell

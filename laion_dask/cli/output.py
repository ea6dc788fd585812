"""Output of the command: escaped text, tables as JSON or CSV, and a status line."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any

import typer

from laion_dask.errors import ExportError, OptionError
from laion_dask.formatting import printable_lines
from laion_dask.options import is_watched

if TYPE_CHECKING:
    from laion_dask.runtime.progress import ProgressBar

_status: ProgressBar | None = None


@contextmanager
def status(activity: str) -> Iterator[None]:
    """Show an activity and its elapsed seconds in a terminal, after one second.

    Progress bars of verbs appear below it; imports and final steps have no bar of their own.
    """
    global _status
    if not is_watched():
        yield
        return
    from laion_dask.runtime.progress import ProgressBar

    with ProgressBar(desc=activity, bar_format="{desc} {elapsed}", delay=1, leave=False) as _status:
        try:
            yield
        finally:
            _status = None


def end_status() -> None:
    """End the status line before the command has ended: what follows shows progress itself."""
    global _status
    if _status is not None:
        _status.close()
        _status = None


@contextmanager
def status_hidden() -> Iterator[None]:
    """Hide the status line while something else is printed."""
    if _status is None:
        yield
        return
    with _status.get_lock():
        _status.clear(nolock=True)
        yield


def say(text: object, *, err: bool = False) -> None:
    """Print text with terminal control characters escaped."""
    with status_hidden():
        typer.echo(printable_lines(str(text)), err=err)


def print_error(text: object) -> None:
    """Print a line to standard error, prefixed with the name of the command."""
    say(f"laion-dask: {text}", err=True)


def say_json(values: object) -> None:
    """Print tables, counts and text as one JSON object, with null for NaN and missing values."""
    text = json.dumps(plain(values), indent=1, allow_nan=False)
    with status_hidden():
        typer.echo(text)


def plain(value: Any):
    """Convert a value to JSON types."""
    if hasattr(value, "to_dict") and hasattr(value, "columns"):
        counted = value.index.name is None and value.index.nlevels == 1
        value = (value if counted else value.reset_index()).astype(object)
        return [plain(row) for row in value.to_dict("records")]
    if is_dataclass(value):
        value = vars(value)
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return None if str(value) in ("<NA>", "NaT") else str(value)


def check_out(frame, out: object, made: object = None) -> None:
    """Raise early if ``out`` is an input of the frame, would become one, or has no folder.

    ``made`` is a folder that the command creates first.
    """
    if out is not None and str(out) != "-":
        folder = os.path.dirname(os.path.abspath(str(out)))
        is_made = made is not None and os.path.abspath(str(made)) == folder
        if "://" not in str(out) and not is_made and not os.path.isdir(folder):
            raise ExportError(
                f"{out} could not be written: there is no folder {folder}. Create it, or name "
                "another place."
            )
        from laion_dask.frame.own_inputs import refuse_file_of_inputs
        from laion_dask.frame.provenance import Provenance

        refuse_file_of_inputs(str(out), Provenance.of(frame))


def say_table(table, *, as_json: bool, out: str | None) -> None:
    """Print a table of statistics as text or JSON, or write it to ``out``."""
    if as_json and out is not None:
        raise OptionError("--json prints, and --out writes. Give one of them.")
    if out is not None:
        write(table, out)
    elif as_json:
        attributes = {name: table.attrs.get(name) for name in ("rows", "suppressed", "min_n")}
        say_json({"results": table, **attributes, "caveats": table.caveats})
    else:
        say(table)


def write(table, out: str) -> None:
    """Write a table to ``out`` and report it; ``-`` prints it as CSV."""
    import pandas as pd

    from laion_dask.backend import to_pandas
    from laion_dask.formatting import csv_text
    from laion_dask.reports.hit_list import write_table

    with status_hidden():
        if out == "-":
            sys.stdout.write(csv_text(pd.DataFrame(to_pandas(table))))
        else:
            say(write_table(table, out))

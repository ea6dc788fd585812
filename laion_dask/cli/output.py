"""What the command prints: text that steers no terminal, and tables as JSON or CSV."""

from __future__ import annotations

import json
import math
from dataclasses import is_dataclass

import typer

from laion_dask.errors import OptionError
from laion_dask.printable import printable_lines


def say(text: object, *, err: bool = False) -> None:
    """Print text, in which what would steer a terminal is written out."""
    typer.echo(printable_lines(str(text)), err=err)


def complain(text: object) -> None:
    """Print a line on the standard error output, under the name of the command."""
    say(f"laion-dask: {text}", err=True)


def say_json(found: object) -> None:
    """Print tables, counts and text as one JSON object; null for NaN and for what is missing."""
    typer.echo(json.dumps(plain(found), indent=1, allow_nan=False))


def plain(value: object):
    """The value in what JSON has."""
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


def say_table(table, *, as_json: bool, out: str | None) -> None:
    """Print a table of statistics, as text or JSON, or write it where ``out`` says."""
    from laion_dask.explore.hits import write_table

    if as_json and out is not None:
        raise OptionError("--json prints, and --out writes. Give one of them.")
    if out is not None:
        say_written(write_table(table, out))
    elif as_json:
        told = {name: table.attrs.get(name) for name in ("rows", "suppressed", "min_n")}
        say_json({"results": table, **told, "caveats": table.caveats})
    else:
        say(table)


def say_written(what: str) -> None:
    """Say what was written; nothing where it went to the standard output."""
    if what:
        say(what)

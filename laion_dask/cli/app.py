"""The application: options that stand before the command, and what an error ends in."""

from __future__ import annotations

import sys
import warnings
from importlib.metadata import version
from typing import Annotated

import typer

from laion_dask.cli.output import complain, say
from laion_dask.errors import ColumnError, LaionDaskError, OptionError, PredicateError
from laion_dask.options import set_options

app = typer.Typer(
    help="Understand, audit and carve web-scale image-text data sets.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

#: Parameters that no option of their own name stands for.
_OTHERWISE = {"paths": "SOURCE", "heads": "--head", "weights": "--head NAME=FILE"}


def _version(wanted: bool) -> None:
    if wanted:
        say(version("laion_dask"))
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    workers: Annotated[
        bool, typer.Option("--workers", help="Use local worker processes, GPU ones if visible.")
    ] = False,
    backend: Annotated[str, typer.Option(help="Frames of auto, pandas or cudf.")] = "auto",
    invalid_text: Annotated[
        str, typer.Option(help="Rows whose text is not UTF-8: raise an error, or reject them.")
    ] = "raise",
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    context.with_resource(set_options(invalid_text=invalid_text, backend=backend))
    if workers:
        from laion_dask.cluster import start_cluster

        start_cluster()


def option_names() -> dict[str, str]:
    """The option that stands for each parameter, of all commands."""
    group = typer.main.get_command(app)
    parameters = [p for command in (group, *group.commands.values()) for p in command.params]
    options = {p.name: max(p.opts, key=len) for p in parameters if p.param_type_name == "option"}
    return options | _OTHERWISE


def main() -> None:
    """Run the command; an error of the package ends it with one line and no traceback."""
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            app(prog_name="laion-dask")
        except (OptionError, PredicateError, ColumnError) as error:
            complain(error.worded(option_names().get))
            sys.exit(2)
        except LaionDaskError as error:
            complain(error.worded(option_names().get))
            sys.exit(1)


def _show_warning(message, category, filename, lineno, file=None, line=None) -> None:
    worded = getattr(message, "worded", None)
    complain(f"warning: {message if worded is None else worded(option_names().get)}")

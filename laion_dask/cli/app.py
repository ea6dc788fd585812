"""The application: options that stand before the command, and what an error ends in."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from laion_dask.errors import ColumnError, LaionDaskError, OptionError, PredicateError
from laion_dask.options import set_options

app = typer.Typer(
    help="Understand, audit and carve web-scale image-text data sets.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("laion_dask"))
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    workers: Annotated[
        bool, typer.Option("--workers", help="Use local worker processes, GPU ones if visible.")
    ] = False,
    invalid_text: Annotated[
        str, typer.Option(help="Rows whose text is not UTF-8: raise an error, or reject them.")
    ] = "raise",
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    context.with_resource(set_options(invalid_text=invalid_text))
    if workers:
        from laion_dask.cluster import start_cluster

        start_cluster()


def main() -> None:
    """Run the command; an error of the package ends it with one line and no traceback."""
    try:
        app()
    except (OptionError, PredicateError, ColumnError) as error:
        typer.echo(f"laion-dask: {error}", err=True)
        sys.exit(2)
    except LaionDaskError as error:
        typer.echo(f"laion-dask: {error}", err=True)
        sys.exit(1)

"""The application: global options, and how errors are reported."""

from __future__ import annotations

import sys
import warnings
from typing import Annotated

import typer
from typer.core import TyperGroup

from laion_dask._version import __version__
from laion_dask.cli.option_names import option_names
from laion_dask.cli.output import print_error, say, status
from laion_dask.errors import ColumnError, LaionDaskError, OptionError, PredicateError
from laion_dask.options import set_options


class Commands(TyperGroup):
    """The command group; an error of the package ends in one line that names command options."""

    def invoke(self, context):
        def with_option_names(message) -> str:
            names = option_names(self, context.invoked_subcommand)
            return message.worded((names | getattr(message, "called", {})).get)

        def show_warning(message, category, filename, lineno, file=None, line=None) -> None:
            worded = with_option_names(message) if hasattr(message, "worded") else message
            print_error(f"warning: {worded}")

        with warnings.catch_warnings():
            warnings.showwarning = show_warning
            try:
                return super().invoke(context)
            except LaionDaskError as error:
                print_error(with_option_names(error))
                kinds = (OptionError, PredicateError, ColumnError)
                wrong_call = isinstance(error, kinds) or isinstance(error.__cause__, kinds)
                context.exit(2 if wrong_call else 1)


app = typer.Typer(
    cls=Commands,
    help="Understand, audit and carve web-scale image-text data sets.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(is_requested: bool) -> None:
    if is_requested:
        say(__version__)
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    workers: Annotated[
        bool,
        typer.Option("--workers", help="Run on local worker processes, one per core or GPU."),
    ] = False,
    backend: Annotated[
        str,
        typer.Option(metavar="NAME", help="Library that holds the rows: auto, pandas or cudf."),
    ] = "auto",
    invalid_text: Annotated[
        str,
        typer.Option(
            metavar="raise|reject",
            help="What to do with rows whose text is not valid UTF-8: raise an error, or reject "
            "and count them.",
        ),
    ] = "raise",
    _: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    context.with_resource(set_options(invalid_text=invalid_text, backend=backend))
    if workers:
        from laion_dask.cluster import start_cluster

        with status("start worker processes"):
            client = start_cluster()
        kind = "GPU" if getattr(client, "gpu", False) else "CPU"
        started = f"{len(client.cluster.workers)} {kind} workers"
        say(f"{started}; dashboard at {client.dashboard_link}", err=True)  # stdout may be JSON
    context.with_resource(status(f"laion-dask {context.invoked_subcommand}"))


def main() -> None:
    """Run the command; errors end it with one line and no traceback."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # None if the stream is closed
            # Files and pipes are always UTF-8, like --out FILE.
            encoding = None if stream.isatty() else "utf-8"
            stream.reconfigure(encoding=encoding, errors="backslashreplace")
    try:
        try:
            app(prog_name="laion-dask")
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except OSError as error:
        _give_up_output()
        print_error(f"{error}. Check the disk, the folder and the permissions.")
        sys.exit(1)


def _give_up_output() -> None:
    """Discard unprinted output, or Python would try to flush it again at exit."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        sys.stdout = None

"""Commands that say what is in the data: inspect, report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from laion_dask.cli.app import app
from laion_dask.cli.options import Join, On, Source, Where, read


@app.command(epilog="Example: laion-dask inspect shards/")
def inspect(source: Source, join: Join = None, on: On = None, where: Where = None) -> None:
    """What shards hold: dialect, columns, rows, and a summary of every column."""
    from laion_dask.explore.inspect import describe
    from laion_dask.verbs.summary import summary

    frame = read(source, where, join, on)
    typer.echo(describe(frame))
    typer.echo(f"\n{summary(frame)}")


@app.command(name="report", epilog="Example: laion-dask report shards/ report.html")
def datasheet(
    source: Source,
    out: Annotated[Path, typer.Argument(help="The page to write.")] = Path("report.html"),
    join: Join = None,
    on: On = None,
    where: Where = None,
    title: Annotated[str, typer.Option(help="Of the page.")] = "Datasheet",
    min_n: Annotated[
        int, typer.Option(min=0, help="Leave out, and count, what rests on fewer rows.")
    ] = 30,
) -> None:
    """A datasheet: what is in the data, who is mentioned, and how sure we are, as one page."""
    from laion_dask.explore.datasheet import report

    frame = read(source, where, join, on)
    typer.echo(f"the datasheet: {report(frame, out, title=title, min_n=min_n)}")

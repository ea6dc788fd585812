"""Commands that say what is in the data: inspect, stats, audit, report, plan."""

from __future__ import annotations

from typing import Annotated

import typer

from laion_dask.cli.app import app
from laion_dask.cli.options import (
    By,
    Heads,
    Json,
    MinN,
    Model,
    OutTable,
    Where,
    groupings,
    reads_shards,
    wanted,
)
from laion_dask.cli.output import say, say_json, say_table


@app.command(epilog="Example: laion-dask inspect shards/")
@reads_shards
def inspect(read, where: Where = None, json: Json = False) -> None:
    """What shards hold: dialect, columns, rows, and a summary of every column."""
    from laion_dask.explore.inspect import describe, facts
    from laion_dask.verbs.summary import summary

    frame = read(where=where)
    if json:
        say_json({**facts(frame), "summary": vars(summary(frame))})
    else:
        say(describe(frame))
        say(f"\n{summary(frame)}")


@app.command(epilog="Example: laion-dask stats shards/ --rate 'punsafe > 0.5' --by language")
@reads_shards
def stats(
    read,
    rate: Annotated[
        list[str] | None,
        typer.Option(help="Share of rows for which this is true; repeatable."),
    ] = None,
    by: By = None,
    where: Where = None,
    min_n: MinN = 30,
    json: Json = False,
    out: OutTable = None,
) -> None:
    """Statistics with their intervals; all that the columns allow, without --rate and --by."""
    from laion_dask.measures.rates import rates
    from laion_dask.verbs.standard import standard_statistics
    from laion_dask.verbs.statistics import statistics

    frame = read(where=where)
    groups = groupings(frame, by) or None
    measures = [rates(one, by=groups) for one in rate or ([None] if groups else [])]
    table = statistics(frame, *(measures or standard_statistics(frame)), min_n=min_n)
    say_table(table, as_json=json, out=out)


@app.command(epilog="Example: laion-dask audit shards/ --where 'similarity > 0.3' --by language")
@reads_shards
def audit(
    read,
    where: Annotated[str, typer.Option(help="The filter to audit.")],
    by: By = None,
    min_n: MinN = 30,
    json: Json = False,
    out: OutTable = None,
) -> None:
    """Whom a filter excludes: the share of each group that it leaves out, with its interval."""
    from laion_dask.verbs.audit import audit, default_axes

    frame = read()
    axes = groupings(frame, by) or default_axes(frame)
    wanted(list(axes), "There is neither a language nor a text column. Give --by COLUMN.")
    say_table(audit(frame, where, axes, min_n=min_n), as_json=json, out=out)


@app.command(
    epilog="Example: laion-dask report shards/ report.html",
)
@reads_shards
def report(
    read,
    where: Where = None,
    title: Annotated[str, typer.Option(help="Of the page.")] = "Datasheet",
    min_n: MinN = 30,
) -> None:
    """A datasheet: what is in the data, who is mentioned, and how sure we are, as one page.

    The last argument is the page to write where it ends in .html; '-' prints it. By default
    report.html.
    """
    from tempfile import TemporaryDirectory

    from laion_dask.explore.datasheet import report

    out = "report.html"
    if read.source[-1] == "-" or read.source[-1].endswith((".html", ".htm")):
        out = read.source.pop()
    wanted(read.source, "There is no SOURCE. Give shards before the page.")
    frame = read(where=where)
    if out != "-":
        say(f"the datasheet: {report(frame, out, title=title, min_n=min_n)}")
        return
    with TemporaryDirectory() as folder:
        page = report(frame, f"{folder}/report.html", title=title, min_n=min_n)
        typer.echo(page.read_text(encoding="utf-8"))


@app.command(epilog="Example: laion-dask plan shards/ --step summary --step search:1000 --cores 64")
@reads_shards
def plan(
    read,
    step: Annotated[
        list[str] | None,
        typer.Option(
            help="where:EXPRESSION, similarity, search:QUERIES, summary, distributions:COLUMNS, "
            "export, or embed:MODEL; repeatable, in order."
        ),
    ] = None,
    head: Heads = None,
    embeddings: Annotated[str | None, typer.Option(help="Embeddings of SOURCE.")] = None,
    model: Model = "demo",
    cores: Annotated[int | None, typer.Option(min=1, help="Workers; by default as here.")] = None,
    card: Annotated[
        str | None, typer.Option(help="What the workers are, such as 'NVIDIA H200', or cpu.")
    ] = None,
    storage: Annotated[
        float | None, typer.Option(help="Bytes a second that the storage gives to all workers.")
    ] = None,
    rows: Annotated[int | None, typer.Option(min=1, help="Count for so many rows.")] = None,
    json: Json = False,
) -> None:
    """Rows, bytes, time and memory of a job before it runs, from footers and headers alone."""
    from laion_dask.explore.plan.job import plan
    from laion_dask.io.embeddings import open_embeddings
    from laion_dask.models.heads import by_name

    steps = [*map(_step, step or ()), *(by_name(name, model) for name in head or ())]
    wanted(steps, "There is nothing to plan. Give --step or --head, such as --step export.")
    frame = read()
    vectors = embeddings and open_embeddings(embeddings, model=model, like=frame)
    found = plan(frame, steps, embeddings=vectors, workers=cores, card=card, storage=storage)
    found = found if rows is None else found.scaled(rows=rows)
    if json:
        say_json({"rows": found.rows, "steps": found.table, "text": str(found)})
    else:
        say(found)


def _step(text: str) -> str | tuple:
    """A step of a plan: its name, or the name and an argument behind a colon."""
    name, colon, given = text.partition(":")
    if not colon:
        return name
    if given.isdecimal():
        return name, int(given)
    return name, given.split(",") if name == "distributions" else given

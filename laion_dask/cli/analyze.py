"""Commands that describe data: inspect, statistics, audit, datasheet, plan."""

from __future__ import annotations

from typing import Annotated

import typer

from laion_dask.cli.app import app
from laion_dask.cli.option_names import called
from laion_dask.cli.output import check_out, say, say_json, say_table, status_hidden
from laion_dask.cli.shared_options import (
    By,
    Field,
    Heads,
    Json,
    MinN,
    Model,
    OptionalVectors,
    OutTable,
    Where,
    groupings,
    reads_shards,
    require_any,
)
from laion_dask.verbs import VERBS


@app.command(epilog="Example: laion-dask inspect shards/")
@reads_shards
def inspect(read, where: Where = None, json: Json = False) -> None:
    """Show the dialect, columns and rows of shards, and a summary."""
    from laion_dask.aggregations.summary import summary
    from laion_dask.frame.inspect import facts, inspect_text

    frame = read(where=where)
    if json:
        say_json({**facts(frame), "summary": vars(summary(frame))})
    else:
        say(inspect_text(frame))
        say(f"\n{summary(frame)}")


@app.command(epilog="Example: laion-dask statistics shards/ --rate 'punsafe > 0.5' --by language")
@reads_shards
def statistics(
    read,
    rate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="EXPRESSION",
            help="Share of the rows for which this expression is true; repeatable.",
        ),
    ] = None,
    by: By = None,
    where: Where = None,
    min_n: MinN = 30,
    json: Json = False,
    out: OutTable = None,
) -> None:
    """Compute statistics with confidence intervals.

    Without --rate and --by, computes every statistic that the columns allow.
    """
    from laion_dask.aggregations.default_set import standard_statistics
    from laion_dask.aggregations.engine.statistics import statistics
    from laion_dask.aggregations.rates import rates

    frame = read(where=where)
    check_out(frame, out)
    groups = groupings(frame, by) or None
    expressions: list[str | None] = [*(rate or ())]
    if groups and not expressions:
        expressions = [None]
    measures = [rates(one, by=groups) for one in expressions]
    with called(where="--rate"):
        table = statistics(frame, *(measures or standard_statistics(frame)), min_n=min_n)
    say_table(table, as_json=json, out=out)


@app.command(epilog="Example: laion-dask audit shards/ --where 'similarity > 0.3' --by language")
@reads_shards
def audit(
    read,
    where: Annotated[str, typer.Option(metavar="EXPRESSION", help="Filter to audit.")],
    by: By = None,
    min_n: MinN = 30,
    json: Json = False,
    out: OutTable = None,
) -> None:
    """Show which groups a filter excludes: its exclusion rate by group.

    Without --by, groups are languages and the groups of people that captions mention.
    """
    from laion_dask.aggregations.audit import audit, default_axes

    frame = read()
    check_out(frame, out)
    axes = groupings(frame, by) or default_axes(frame)
    require_any(list(axes), "There is neither a language nor a text column; add --by COLUMN.")
    say_table(audit(frame, where, axes, min_n=min_n), as_json=json, out=out)


@app.command(epilog="Example: laion-dask datasheet shards/ datasheet.html")
@reads_shards
def datasheet(
    read,
    where: Where = None,
    title: Annotated[str, typer.Option(metavar="TEXT", help="Title of the page.")] = "Datasheet",
    min_n: MinN = 30,
) -> None:
    """Write a datasheet of the data as one HTML page.

    It covers the content, who is mentioned, and the uncertainty. If the last argument ends in
    .html, it is the page to write; '-' prints the page. The default is datasheet.html.
    """
    from tempfile import TemporaryDirectory

    from laion_dask.reports.datasheet import datasheet

    out = "datasheet.html"
    if read.source[-1] == "-" or read.source[-1].endswith((".html", ".htm")):
        out = read.source.pop()
    require_any(read.source, "SOURCE is missing; give shards before the page.")
    frame = read(where=where)
    if out != "-":
        say(f"the datasheet: {datasheet(frame, out, title=title, min_n=min_n)}")
        return
    with TemporaryDirectory() as folder:
        page = datasheet(frame, f"{folder}/datasheet.html", title=title, min_n=min_n)
        with status_hidden():
            typer.echo(page.read_text(encoding="utf-8"))


Steps = Annotated[
    list[str] | None,
    typer.Option(
        metavar="STEP",
        help="Step of the job, as VERB or VERB:ARGUMENT, such as where:EXPRESSION, "
        "search:QUERIES, distributions:COLUMNS or embed:MODEL; repeatable, in order. Verbs: "
        f"{', '.join(verb.name for verb in VERBS.values() if verb.cost)}.",
    ),
]


@app.command(epilog="Example: laion-dask plan shards/ --step summary --step search:1000 --cores 64")
@reads_shards
def plan(
    read,
    step: Steps = None,
    head: Heads = None,
    embeddings: OptionalVectors = None,
    model: Model = "demo",
    field: Field = None,
    cores: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Number of workers; by default, those of this machine."
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Device of each worker: cpu, or a GPU such as 'NVIDIA H200'."
        ),
    ] = None,
    storage: Annotated[
        float | None,
        typer.Option(metavar="BYTES", help="Storage bandwidth of all workers, in bytes/second."),
    ] = None,
    rates: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="JSON of measured rates, from benchmarks/rates.py."),
    ] = None,
    rows: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Scale the plan to this many rows.")
    ] = None,
    json: Json = False,
) -> None:
    """Estimate the rows, bytes, time and memory of a job before it runs.

    Reads only footers and headers.
    """
    from laion_dask.frame.embeddings import open_embeddings
    from laion_dask.models.heads import by_name
    from laion_dask.planning.plan import plan

    steps = [*map(_step, step or ()), *(by_name(name, model) for name in head or ())]
    require_any(steps, "There is nothing to plan; add --step or --head, such as --step export.")
    frame = read()
    vectors = None
    if embeddings:
        vectors = open_embeddings(embeddings, model=model, like=frame, field=field)
    estimate = plan(
        frame, steps, embeddings=vectors, workers=cores, device=device, storage=storage, rates=rates
    )
    estimate = estimate if rows is None else estimate.scaled(rows=rows)
    if json:
        notes = estimate.notes()
        text = str(estimate)
        say_json({"results": estimate.table, "rows": estimate.rows, "text": text, "notes": notes})
    else:
        say(estimate)


def _step(text: str) -> str | tuple:
    """Parse a step of a plan: a name, optionally followed by a colon and an argument."""
    name, colon, argument = text.partition(":")
    if not colon:
        return name
    if argument.isdecimal():
        return name, int(argument)
    return name, argument.split(",") if name == "distributions" else argument

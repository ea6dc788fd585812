"""Commands that write rows (score, export), check them (verify) or clean up after them (gc)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from laion_dask.cli.app import app
from laion_dask.cli.output import check_out, say
from laion_dask.cli.shared_options import (
    By,
    CardEntries,
    Field,
    Format,
    Heads,
    Model,
    NoStrict,
    Options,
    OutAddress,
    Report,
    RowsPerPart,
    Vectors,
    Where,
    groupings,
    named_values,
    reads_shards,
)
from laion_dask.errors import OptionError


@app.command(
    epilog="Example: laion-dask score meta/ scored/ --embeddings img_emb/ --model ViT-L-14:openai "
    "--head aesthetic --text 'a red bird'"
)
@reads_shards
def score(
    read,
    out: OutAddress,
    embeddings: Vectors,
    model: Model,
    head: Heads = None,
    text: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Add the similarity to this text.")
    ] = None,
    field: Field = None,
    to: Annotated[
        str, typer.Option(metavar="COLUMN", help="Column for the similarity to --text.")
    ] = "query_similarity",
    where: Where = None,
    format: Format = "parquet",
    option: Options = None,
    rows_per_part: RowsPerPart = None,
    card: CardEntries = None,
    no_strict: NoStrict = False,
    report: Report = None,
    by: By = None,
) -> None:
    """Add scores from embeddings, and export the rows.

    --text adds the column named by --to. Each --head adds a column with its name; demo_safety adds
    punsafe_demo. --where selects the rows to export, and may use these columns.
    """
    import laion_dask as ld

    frame = read()
    vectors = ld.open_embeddings(embeddings, model=model, like=frame, field=field)
    heads = [ld.heads.by_name(name, vectors.model) for name in head or ()]
    if not heads and not text:
        raise OptionError("Nothing to score with. Give --head or --text, or both.")
    if heads:
        frame = frame.laion.score(vectors, *heads)
    if text:
        frame = frame.laion.similarity(vectors, vectors.model.text(text), to=to)
    frame = frame if where is None else frame.laion.where(where)
    chosen = {**_options(option, card, format, vectors), "strict": not no_strict}
    write_subset(frame, out, format, rows_per_part, report, by, chosen)


@app.command(
    epilog="Example: laion-dask export shards/ carved/ --where 'similarity > 0.3 and width >= 256'"
)
@reads_shards
def export(
    read,
    out: OutAddress,
    where: Where = None,
    format: Format = "parquet",
    option: Options = None,
    rows_per_part: RowsPerPart = None,
    card: CardEntries = None,
    no_strict: NoStrict = False,
    report: Report = None,
    by: By = None,
) -> None:
    """Export the rows that --where keeps, with a recipe that accounts for every row.

    --option names an option of the format: names=laion for parquet, images=FOLDER, caption=COLUMN
    and decode=false for webdataset.
    """
    chosen = {**_options(option, card, format), "strict": not no_strict}
    write_subset(read(where=where), out, format, rows_per_part, report, by, chosen)


def _options(
    option: list[str] | None, card: list[str] | None, format: str, embeddings=None
) -> dict[str, Any]:
    """The keyword arguments of `export` from NAME=VALUE options."""
    from laion_dask.exports import formats

    words = {"true": True, "false": False}
    chosen: dict[str, Any] = {
        name: words.get(value, value) for name, value in named_values(option, "--option").items()
    }
    if embeddings is not None and format in formats.names():
        chosen |= {"embeddings": embeddings} if "embeddings" in formats.options_of(format) else {}
    if format in formats.names():
        formats.check_options(format, chosen)
    return {**chosen, "card": named_values(card, "--card") or None}


def write_subset(
    frame,
    out: str,
    format: str,
    rows_per_part: int | None,
    report: Path | None,
    by: list[str] | None,
    options: dict[str, Any] | None = None,
) -> None:
    """Write a frame and, if requested, the report that audits its filters."""
    from laion_dask.aggregations.audit import check_axes
    from laion_dask.exports.export import export
    from laion_dask.reports.report import write_report

    if by and report is None:
        raise OptionError("--by applies to --report; add --report page.html.")
    axes = groupings(frame, by) or None
    if axes:
        check_axes(frame, axes)
    check_out(frame, report, made=out)
    done = export(frame, out, format, rows_per_part=rows_per_part, **(options or {}))
    say(done)
    if report is not None:
        say(f"the report, with an audit of the filters, is {write_report(done, report, by=axes)}")


@app.command(epilog="Example: laion-dask verify subset/")
def verify(
    folder: Annotated[
        str, typer.Argument(metavar="FOLDER", help="Folder of an export.", show_default=False)
    ],
) -> None:
    """Check every part of an export against its recipe.

    Compares the size, rows and SHA-256 of each part with those in the recipe.
    """
    from laion_dask.exports.verify import verify as check

    say(check(folder))


@app.command(epilog="Example: laion-dask gc subset/ --dry-run")
def gc(
    folder: Annotated[
        str, typer.Argument(metavar="FOLDER", help="Folder of an export.", show_default=False)
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the files and their sizes, and remove none.")
    ] = False,
    release: Annotated[
        bool,
        typer.Option(
            "--release",
            help="Remove nothing: let the next export continue at once what one on another machine "
            "was writing. If that one is running, it stops.",
        ),
    ] = False,
) -> None:
    """Remove what killed exports left in a folder: files that no manifest names.

    Prints each file with its size. Files of an export that is running are kept: one on this
    machine, or one on another that has written within 15 minutes. A killed export can no longer be
    resumed.
    """
    from laion_dask.exports.garbage import collect_garbage, release_exports

    if release:
        n = release_exports(folder)
        say(f"{folder}: {n:,} exports released; the next export of the same rows continues them")
        return
    say(collect_garbage(folder, dry_run=dry_run))

"""The command ``laion-dask``: one-line forwards to the package, with progress and exit codes.

Exit codes: 0 done, 1 the data or the folder would not do (the message says why), 2 the command
was called wrongly, 130 cancelled.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
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

Source = Annotated[str, typer.Argument(help="A shard, folder, pattern or fsspec address.")]
Where = Annotated[str | None, typer.Option(help="Keep the rows for which this is true.")]
Model = Annotated[
    str, typer.Option(help="open_clip architecture, as NAME or NAME:PRETRAINED; or 'demo'.")
]
Vectors = Annotated[str, typer.Option(help="Embeddings of SOURCE: .npy, .npz or Parquet.")]
Heads = Annotated[
    list[str] | None,
    typer.Option(
        help="aesthetic, aesthetic_v2, demo_safety, inappropriate, nsfw, or one of these but "
        "demo_safety with its weights as NAME=FILE; repeatable."
    ),
]
Format = Annotated[str, typer.Option(help="What the parts are: parquet.")]
Report = Annotated[
    Path | None, typer.Option(help="A page to write: what was kept, and whom WHERE left out.")
]
By = Annotated[
    list[str] | None,
    typer.Option(
        help="Column to group the report's audit by; repeatable. By default language and "
        "the people that captions mention."
    ),
]


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


@app.command(epilog="Example: laion-dask inspect shards/")
def inspect(source: Source, where: Where = None) -> None:
    """What shards hold: dialect, columns, rows, and a summary of every column."""
    from laion_dask.explore.inspect import describe
    from laion_dask.io.shards import read_shards
    from laion_dask.verbs.summary import summary

    frame = read_shards(source, where=where)
    typer.echo(describe(frame))
    typer.echo(f"\n{summary(frame)}")


@app.command(epilog="Example: laion-dask embed images/ out/ --model ViT-B-32:openai")
def embed(
    source: Annotated[
        str, typer.Argument(help="Webdataset tars, Parquet with images, or a folder of images.")
    ],
    out: Annotated[Path, typer.Argument(help="Folder in clip-retrieval's layout.")],
    model: Model = "demo",
    head: Heads = None,
    precision: Annotated[
        str | None, typer.Option(help="float32 or bfloat16; by default the faster of them.")
    ] = None,
    image: Annotated[
        str | None, typer.Option(help="Parquet column of image bytes, if there are several.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images a forward pass.")] = 64,
) -> None:
    """Images to CLIP embeddings, shard by shard; run it again to resume.

    A head makes the column of its name; here it can also be watermark, which reads images.
    """
    from laion_dask.models.heads import by_name
    from laion_dask.verbs.embed import embed as run

    heads = [by_name(name, model) for name in head or ()]
    options = {"precision": precision, "image": image, "batch_size": batch_size}
    typer.echo(run(source, model, out, heads=heads, **options))


@app.command(
    epilog="Example: laion-dask score meta/ scored/ --embeddings img_emb/ --model ViT-L-14 "
    "--head aesthetic --text 'a red bird'"
)
def score(
    source: Source,
    out: Annotated[str, typer.Argument(help="Folder or address for the scored rows.")],
    embeddings: Vectors,
    model: Model,
    head: Heads = None,
    text: Annotated[str | None, typer.Option(help="Similarity to this text.")] = None,
    field: Annotated[str | None, typer.Option(help="Member or column of the vectors.")] = None,
    where: Where = None,
    format: Format = "parquet",
    report: Report = None,
    by: By = None,
) -> None:
    """Add scores from embeddings, and export the rows that WHERE keeps.

    --text makes the column query_similarity; a head makes the column of its name, demo_safety
    punsafe_demo. WHERE may use them.
    """
    import laion_dask as ld

    frame = ld.read_shards(source)
    vectors = ld.open_embeddings(embeddings, model=model, like=frame, field=field)
    heads = [ld.heads.by_name(name, vectors.model) for name in head or ()]
    if not heads and not text:
        raise OptionError("Nothing to score with. Give --head or --text, or both.")
    if heads:
        frame = frame.laion.score(vectors, *heads)
    if text:
        frame = frame.laion.similarity(vectors, vectors.model.text(text))
    frame = frame if where is None else frame.laion.where(where)
    _exported(frame, out, format, report, by)


@app.command(epilog="Example: laion-dask index img_emb/ my-index/ --model ViT-L-14")
def index(
    embeddings: Annotated[str, typer.Argument(help="Embeddings: .npy, .npz or Parquet.")],
    out: Annotated[Path, typer.Argument(help="A new folder, or the same command's before.")],
    model: Model,
    field: Annotated[str | None, typer.Option(help="Member or column of the vectors.")] = None,
    nlist: Annotated[int | None, typer.Option(min=1, help="Centroids.")] = None,
    pq_m: Annotated[int | None, typer.Option(min=1, help="Bytes of codes a row.")] = None,
    sample: Annotated[int | None, typer.Option(min=1, help="Rows to train on.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the sample.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, or cuda.")] = "cpu",
) -> None:
    """An approximate index (IVF-PQ) for search, with its recall; run it again to resume."""
    import laion_dask as ld

    vectors = ld.open_embeddings(embeddings, model=model, field=field)
    options = {"nlist": nlist, "pq_m": pq_m, "sample": sample, "seed": seed, "device": device}
    ld.build_index(vectors, out, **options)  # which prints what it has built


@app.command(
    epilog="Example: laion-dask search meta/ --embeddings img_emb/ --model ViT-L-14:openai "
    "--text 'a red bird' -k 20"
)
def search(
    source: Source,
    embeddings: Vectors,
    model: Model,
    text: Annotated[list[str] | None, typer.Option(help="What to look for.")] = None,
    image: Annotated[list[Path] | None, typer.Option(help="A picture to look for.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Results for each.")] = 20,
    field: Annotated[str | None, typer.Option(help="Member or column of the vectors.")] = None,
    where: Where = None,
    index: Annotated[
        Path | None, typer.Option(help="Folder of an index of these embeddings: approximate.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="A .parquet or .csv file to write.")] = None,
) -> None:
    """The rows nearest to texts and pictures, by their embeddings."""
    import laion_dask as ld
    from laion_dask.explore.hits import show_hits, write_hits

    frame = ld.read_shards(source)
    vectors = ld.open_embeddings(embeddings, model=model, like=frame, field=field)
    queries = [*(text or ()), *(image or ())]
    if not queries:
        raise OptionError("Nothing to look for. Give --text or --image.")
    opened = None if index is None else ld.open_index(index, vectors)
    found = frame.laion.search(vectors, queries, k, where=where, index=opened)
    typer.echo(show_hits(found, queries) if out is None else write_hits(found, out))
    if opened is None:
        typer.echo(ld.Rows(**found.attrs["rows"]))
    else:
        short = found.attrs["short"]
        typer.echo(
            f"by the index {index}; {short:,} of {len(queries):,} with fewer than {k:,} results"
        )


@app.command(
    epilog="Example: laion-dask export shards/ carved/ --where 'similarity > 0.3 and width >= 256'"
)
def export(
    source: Source,
    out: Annotated[str, typer.Argument(help="A new folder, or an earlier export; it is replaced.")],
    where: Where = None,
    format: Format = "parquet",
    report: Report = None,
    by: By = None,
) -> None:
    """Write the rows that WHERE keeps, with a recipe that accounts for every row."""
    from laion_dask.io.shards import read_shards

    _exported(read_shards(source, where=where), out, format, report, by)


def _exported(frame, out: str, format: str, report: Path | None, by: list[str] | None) -> None:
    """Write a frame, and the report that audits its filters where one is asked for."""
    from laion_dask.explore.report import write_report
    from laion_dask.verbs.audit import check_axes
    from laion_dask.verbs.export import export

    if by and report is None:
        raise OptionError("--by is of the report. Give --report page.html too.")
    if by:
        check_axes(frame, by)
    done = export(frame, out, format)
    typer.echo(done)
    if report is not None:
        typer.echo(f"the report, with whom it left out, in {write_report(done, report, by=by)}")


@app.command(name="report", epilog="Example: laion-dask report shards/ report.html")
def datasheet(
    source: Source,
    out: Annotated[Path, typer.Argument(help="The page to write.")] = Path("report.html"),
    where: Where = None,
    title: Annotated[str, typer.Option(help="Of the page.")] = "Datasheet",
    min_n: Annotated[
        int, typer.Option(min=0, help="Leave out, and count, what rests on fewer rows.")
    ] = 30,
) -> None:
    """A datasheet: what is in the data, who is mentioned, and how sure we are, as one page."""
    from laion_dask.explore.datasheet import report
    from laion_dask.io.shards import read_shards

    frame = read_shards(source, where=where)
    typer.echo(f"the datasheet: {report(frame, out, title=title, min_n=min_n)}")


@app.command(epilog="Example: laion-dask models --download sa_0_4_vit_l_14_linear.pth")
def models(
    download: Annotated[
        list[str] | None, typer.Option(help="Fetch this file from its publisher; 'all' for all.")
    ] = None,
) -> None:
    """The weight files that heads use: publisher, licence, size, and which are here."""
    from laion_dask.explore.weight_list import describe_weights
    from laion_dask.models import weights

    offered = [name for name, file in weights.REGISTRY.items() if file.can_be_fetched]
    for name in offered if "all" in (download or ()) else download or ():
        typer.echo(weights.download(name))
    if not download:
        typer.echo(describe_weights())


@app.command(epilog="Example: laion-dask demo demo-corpus/")
def demo(
    out: Annotated[Path, typer.Argument(help="Folder for the corpus and results.")] = Path(
        "demo-corpus"
    ),
    images: Annotated[
        int | None, typer.Option(min=100, help="How many images; 4000 where none are there yet.")
    ] = None,
) -> None:
    """The main job on a small corpus of our own: generate, embed, score, carve, report."""
    from laion_dask.demo.job import run

    typer.echo(run(out, n_images=images))


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

"""Commands over images and embeddings: embed, index, search."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from laion_dask.cli.app import app
from laion_dask.cli.options import (
    Field,
    Heads,
    Json,
    Model,
    OutFolder,
    OutTable,
    Vectors,
    Where,
    reads_shards,
    wanted,
)
from laion_dask.cli.output import say, say_json, say_written
from laion_dask.errors import OptionError


@app.command(epilog="Example: laion-dask embed images/ out/ --model ViT-B-32:openai")
def embed(
    source: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="Webdataset tars, Parquet with images, or a folder of images.",
        ),
    ],
    out: OutFolder,
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
    say(run(source if len(source) > 1 else source[0], out, model, heads=heads, **options))


@app.command(epilog="Example: laion-dask index img_emb/ my-index/ --model ViT-L-14")
def index(
    embeddings: Annotated[
        list[str],
        typer.Argument(metavar="EMBEDDINGS", help="Embeddings: .npy, .npz or Parquet."),
    ],
    out: OutFolder,
    model: Model,
    field: Field = None,
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
@reads_shards
def search(
    read,
    embeddings: Vectors,
    model: Model,
    text: Annotated[list[str] | None, typer.Option(help="What to look for.")] = None,
    image: Annotated[list[Path] | None, typer.Option(help="A picture to look for.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Results for each.")] = 20,
    field: Field = None,
    where: Where = None,
    index: Annotated[
        Path | None, typer.Option(help="Folder of an index of these embeddings: approximate.")
    ] = None,
    to: Annotated[str, typer.Option(help="Column of similarities.")] = "query_similarity",
    json: Json = False,
    out: OutTable = None,
) -> None:
    """The rows nearest to texts and pictures, by their embeddings."""
    import laion_dask as ld
    from laion_dask.explore.hits import show_hits, write_table

    frame = read()
    vectors = ld.open_embeddings(embeddings, model=model, like=frame, field=field)
    queries = wanted(
        [*(text or ()), *(image or ())], "Nothing to look for. Give --text or --image."
    )
    if json and out is not None:
        raise OptionError("--json prints, and --out writes. Give one of them.")
    opened = None if index is None else ld.open_index(index, vectors)
    found = frame.laion.search(vectors, queries, k, where=where, index=opened, to=to)
    account = ld.Rows(**found.attrs["rows"]) if opened is None else None
    if json:
        say_json({"queries": queries, "results": found, "rows": account and vars(account)})
        return
    if out is None:
        say(show_hits(found, queries))
    else:
        say_written(write_table(found, out))
    on_stderr = out == "-"
    if account is not None:
        say(account, err=on_stderr)
        return
    short, n = found.attrs["short"], len(queries)
    say(f"by the index {index}; {short:,} of {n:,} with fewer than {k:,} results", err=on_stderr)

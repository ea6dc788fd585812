"""Commands over images and embeddings: embed, index, search."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from laion_dask.cli.app import app
from laion_dask.cli.output import check_out, say, say_json, write
from laion_dask.cli.shared_options import (
    Field,
    Heads,
    Json,
    Model,
    OutFolder,
    OutTable,
    Vectors,
    Where,
    reads_shards,
    require_any,
)
from laion_dask.errors import OptionError


@app.command(epilog="Example: laion-dask embed images/ out/ --model ViT-B-32:openai")
def embed(
    source: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="Webdataset archives (.tar), Parquet files with images, image files, or folders "
            "of any of them.",
        ),
    ],
    out: OutFolder,
    model: Model = "demo",
    head: Heads = None,
    precision: Annotated[
        str | None,
        typer.Option(metavar="DTYPE", help="float32 or bfloat16; by default, the faster one."),
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="Parquet column with the images, if several contain bytes."
        ),
    ] = None,
    batch_size: Annotated[
        int, typer.Option(min=1, metavar="N", help="Images per forward pass.")
    ] = 64,
) -> None:
    """Embed images with CLIP, shard by shard; run again to resume.

    Each --head adds a column with its name. --head watermark, which needs images, works only here.
    """
    from laion_dask.inference.embed import embed as run
    from laion_dask.models.heads import by_name

    heads = [by_name(name, model) for name in head or ()]
    result = run(
        source if len(source) > 1 else source[0],
        out,
        model,
        heads=heads,
        precision=precision,
        image=image,
        batch_size=batch_size,
    )
    say(result)


@app.command(epilog="Example: laion-dask index img_emb/ my-index/ --model ViT-L-14:openai")
def index(
    embeddings: Annotated[
        list[str],
        typer.Argument(
            metavar="EMBEDDINGS", help="Embeddings: .npy, .npz or Parquet files, or their folder."
        ),
    ],
    out: OutFolder,
    model: Model,
    field: Field = None,
    nlist: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Number of centroids.")
    ] = None,
    pq_m: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Bytes of code per row.")
    ] = None,
    sample: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Number of rows to train on.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Seed of the sample.")] = 0,
    device: Annotated[str, typer.Option(metavar="NAME", help="cpu or cuda.")] = "cpu",
) -> None:
    """Build an approximate index (IVF-PQ) for search.

    Measures the recall of the index. Run again to resume.
    """
    import laion_dask as ld

    vectors = ld.open_embeddings(embeddings, model=model, field=field)
    built = ld.build_index(
        vectors, out, nlist=nlist, pq_m=pq_m, sample=sample, seed=seed, device=device
    )
    say(built)


@app.command(
    epilog="Example: laion-dask search meta/ --embeddings img_emb/ --model ViT-L-14:openai "
    "--text 'a red bird' -k 20"
)
@reads_shards
def search(
    read,
    embeddings: Vectors,
    model: Model,
    text: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="Text to search for; repeatable.")
    ] = None,
    image: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Image to search for; repeatable.")
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, metavar="N", help="Results per query.")] = 20,
    field: Field = None,
    where: Where = None,
    index: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Use this index of the embeddings; approximate."),
    ] = None,
    to: Annotated[
        str, typer.Option(metavar="COLUMN", help="Column for the similarities.")
    ] = "query_similarity",
    json: Json = False,
    out: OutTable = None,
) -> None:
    """Find the rows whose embeddings are nearest to texts or images."""
    import laion_dask as ld
    from laion_dask.reports.hit_list import show_hits

    frame = read()
    check_out(frame, out)
    vectors = ld.open_embeddings(embeddings, model=model, like=frame, field=field)
    queries = require_any(
        [*(text or ()), *(image or ())], "Nothing to look for. Give --text or --image."
    )
    if json and out is not None:
        raise OptionError("--json prints, and --out writes. Give one of them.")
    opened = None if index is None else ld.open_index(index, vectors)
    hits = frame.laion.search(vectors, queries, k, where=where, index=opened, to=to)
    account = ld.Rows(**hits.attrs["rows"]) if opened is None else None
    if json:
        say_json({"queries": queries, "results": hits, "rows": account and vars(account)})
        return
    if out is None:
        say(show_hits(hits, queries))
    else:
        write(hits, out)
    on_stderr = out == "-"
    if account is not None:
        say(account, err=on_stderr)
        return
    short, n = hits.attrs["short"], len(queries)
    say(
        f"searched the index {index}; {short:,} of {n:,} queries have fewer than {k:,} results",
        err=on_stderr,
    )

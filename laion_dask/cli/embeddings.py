"""Commands over images and embeddings: embed, index, search."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from laion_dask.cli.app import app
from laion_dask.cli.options import Heads, Join, Model, On, Source, Vectors, Where, read
from laion_dask.errors import OptionError


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
    join: Join = None,
    on: On = None,
    where: Where = None,
    index: Annotated[
        Path | None, typer.Option(help="Folder of an index of these embeddings: approximate.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="A .parquet or .csv file to write.")] = None,
) -> None:
    """The rows nearest to texts and pictures, by their embeddings."""
    import laion_dask as ld
    from laion_dask.explore.hits import show_hits, write_hits

    frame = read(source, None, join, on)
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

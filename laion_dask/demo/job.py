"""The main job on the demo corpus: generate, embed, score, carve, report."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from laion_dask.display.overview import Displayed
from laion_dask.errors import ExportError
from laion_dask.extras import require_extra
from laion_dask.inference.output_folder import MANIFEST, EmbedResult
from laion_dask.models import ClipModel

if TYPE_CHECKING:
    from laion_dask.exports.result import Export

#: The filter of the demo: the caption matches the image, and the image is neither unsafe (by its
#: metadata or by the demo's own head) nor watermarked.
KEEP = "clip_score > 0.4 and punsafe < 0.5 and punsafe_demo < 0.5 and pwatermark < 0.8"

#: Default number of images of a generated corpus.
N_IMAGES = 4000
#: Marks a folder as written by the demo.
_CLAIM = ".laion_dask-demo"


@dataclass(frozen=True)
class DemoCorpus(Displayed):
    """The paths of the demo corpus, laid out like a LAION release with embeddings.

    Attributes
    ----------
    metadata : Path
        Parquet shards, for `read_shards`.
    img_emb, text_emb : Path
        Embeddings of images and captions from ``ClipModel("demo")``, for `open_embeddings`.
    images : Path
        Webdataset archives, for `open_images` and `embed`.
    truth : Path
        The planted ground truth, one row per sample.
    embedded : EmbedResult
        The number of images that became rows, and of images that were rejected.

    Examples
    --------
    >>> import laion_dask as ld
    >>> corpus = ld.demo_corpus("demo-corpus")
    >>> frame = ld.read_shards(corpus.metadata)
    """

    metadata: Path
    img_emb: Path
    text_emb: Path
    images: Path
    truth: Path
    embedded: EmbedResult


def demo_corpus(
    out: str | os.PathLike = "demo-corpus",
    *,
    n_images: int | None = None,
    seed: int | None = None,
) -> DemoCorpus:
    """A small synthetic corpus with embeddings; generated unless it already exists. Eager.

    Parameters
    ----------
    out : path
        Receives ``shards/ images/ truth.parquet truth.json`` and ``embedded/``.
    n_images, seed : int, optional
        Size and seed of the corpus; 4000 and 0 if it is generated.

    Raises
    ------
    ExportError
        When the folder contains something else, or a corpus of a different size or seed, or when
        ``embedded/`` belongs to other images.

    Examples
    --------
    >>> import laion_dask as ld
    >>> corpus = ld.demo_corpus("demo-corpus")
    >>> frame = ld.read_shards(corpus.metadata)
    """
    out = Path(out)
    if (out / "truth.json").exists() and (out / "truth.parquet").exists():
        _check_arguments(out, n_images, seed)
    else:
        from laion_dask.demo.corpus import write_corpus

        require_extra("clip", "Making the demo corpus")
        _claim(out)
        n_images = N_IMAGES if n_images is None else n_images
        write_corpus(out, n_images=n_images, seed=seed or 0)
    embedded = _embedded(out) or _embed(out)
    assert embedded.text_emb is not None  # every image has a caption
    return DemoCorpus(
        embedded.metadata,
        embedded.img_emb,
        embedded.text_emb,
        out / "images",
        out / "truth.parquet",
        embedded,
    )


def _embed(out: Path) -> EmbedResult:
    from laion_dask.inference.embed import embed

    # In float32, so that the numbers are the same on every processor.
    return embed(
        out / "images", out / "embedded", ClipModel("demo"), precision="float32", clip_score=None
    )


def _embedded(out: Path) -> EmbedResult | None:
    """The existing embeddings; None unless their manifest is newer than the images and matches.

    `embed` itself would have to inspect every archive to find out the same.
    """
    manifest = out / "embedded" / MANIFEST
    if not manifest.exists():
        return None
    content, since = json.loads(manifest.read_text(encoding="utf-8")), manifest.stat().st_mtime
    images = {path.name: path.stat() for path in (out / "images").iterdir()}
    sizes = {source["name"]: source["n_bytes"] for source in content["sources"]}
    same = sizes == {name: stat.st_size for name, stat in images.items()}
    is_newer = any(stat.st_mtime > since for stat in images.values())
    if not same or is_newer or content["model"] != ClipModel("demo").recipe():
        return None
    return EmbedResult.of(out / "embedded", content)


def _check_arguments(out: Path, n_images: int | None, seed: int | None) -> None:
    """Raise if an existing corpus is not the requested one."""
    import pyarrow.parquet as pq

    n_there = pq.read_metadata(out / "truth.parquet").num_rows
    seed_there = json.loads((out / "truth.json").read_text())["seed"]
    if n_images not in (None, n_there) or seed not in (None, seed_there):
        raise ExportError(
            f"{out} contains a corpus of {n_there:,} images with seed {seed_there}, not the one "
            "requested. Name another folder, or remove that one."
        )


def _claim(out: Path) -> None:
    """Mark an empty folder as the demo's, or check its marker: an earlier run may be unfinished."""
    names = sorted(p.name for p in out.iterdir()) if out.is_dir() else []
    if names and _CLAIM not in names:
        raise ExportError(
            f"{out} contains {names[0]!r}, but no corpus generated by the demo. Name a folder that "
            "is new or empty."
        )
    out.mkdir(parents=True, exist_ok=True)
    (out / _CLAIM).touch()


@dataclass(frozen=True)
class Demo:
    """The files that the demo wrote."""

    corpus: DemoCorpus
    export: Export
    report: Path
    audit: Path

    def __str__(self) -> str:
        return "\n".join(
            [
                f"embedded  {self.corpus.embedded}",
                f"carved    {self.export.rows}",
                "",
                "Where to look:",
                f"  the carved subset   {self.export.path}",
                f"  how it was made     {Path(self.export.path) / '_recipe.json'}",
                f"  the report          {self.report}",
                f"  who was excluded    {self.audit}",
                "  the notebook        notebooks/00_explore.ipynb  (make lab)",
            ]
        )


def run(out: str | os.PathLike, *, n_images: int | None = None, seed: int | None = None) -> Demo:
    """Run the main job in a folder: corpus, scores, ``subset/``, two pages. Eager.

    ``report.html`` describes the corpus; ``subset.html`` describes what was kept and who was
    excluded.

    Parameters
    ----------
    out : path
    n_images, seed : int, optional
        As for `demo_corpus`.
    """
    from laion_dask.aggregations.summary import summary
    from laion_dask.exports.export import export
    from laion_dask.frame.embeddings import open_embeddings
    from laion_dask.frame.where import where
    from laion_dask.io.parquet.read_shards import read_shards
    from laion_dask.models.heads import demo_safety
    from laion_dask.reports.report import write_report
    from laion_dask.scoring.score import score, similarity

    out = Path(out)
    corpus = demo_corpus(out, n_images=n_images, seed=seed)
    frame = read_shards(corpus.metadata)
    images = open_embeddings(corpus.img_emb, model="demo", like=frame)
    texts = open_embeddings(corpus.text_emb, model="demo", like=frame)
    scored = score(similarity(frame, images, texts, to="clip_score"), images, demo_safety())
    subset = export(where(scored, KEEP), out / "subset")
    title = "The demo corpus, before it is carved"
    report = write_report(summary(scored), out / "report.html", title=title)
    title = "The demo corpus, carved: what was kept, and who was excluded"
    audited = write_report(subset, out / "subset.html", title=title)
    return Demo(corpus, subset, report, audited)

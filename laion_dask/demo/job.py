"""The main job on the demo corpus: generate, embed, score, carve, report."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from laion_dask.demo.corpus import write_corpus
from laion_dask.explore.report import write_report
from laion_dask.io.embeddings import open_embeddings
from laion_dask.io.shards import read_shards
from laion_dask.models import ClipModel
from laion_dask.models.heads import demo_safety
from laion_dask.verbs.embed import EmbedResult, embed
from laion_dask.verbs.export import Export, export
from laion_dask.verbs.score import score, similarity
from laion_dask.verbs.summary import summary
from laion_dask.verbs.where import where

#: What the demo keeps: a caption that fits its image, and an image that is neither marked unsafe,
#: nor found so by the demo's own head, nor watermarked.
KEEP = "clip_score > 0.5 and punsafe < 0.5 and punsafe_demo < 0.5 and pwatermark < 0.8"


@dataclass(frozen=True)
class Demo:
    """What the demo wrote, and where to look."""

    out: Path
    embedded: EmbedResult
    export: Export
    report: Path

    def __str__(self) -> str:
        return "\n".join(
            [
                f"embedded  {self.embedded}",
                f"carved    {self.export.rows}",
                "",
                "Where to look:",
                f"  the carved subset   {self.export.path}",
                f"  how it came about   {Path(self.export.path) / 'recipe.json'}",
                f"  the report          {self.report}",
                "  the notebook        notebooks/01_quickstart.ipynb  (make lab)",
            ]
        )


def run(out: str | os.PathLike, *, n_images: int = 4000, seed: int = 0) -> Demo:
    """Run the main job in a folder; what is there already is not done again. Eager.

    Parameters
    ----------
    out : path
        Gets ``shards/ images/ truth.parquet`` (the corpus), ``embedded/``, ``subset/`` and
        ``report.html``.
    n_images, seed : int
        Of the corpus.
    """
    out = Path(out)
    if not (out / "truth.json").exists():
        write_corpus(out, n_images=n_images, seed=seed)
    embedded = embed(out / "images", ClipModel("demo"), out / "embedded")
    frame = read_shards(embedded.metadata)
    images = open_embeddings(embedded.img_emb, model="demo", like=frame)
    texts = open_embeddings(embedded.text_emb, model="demo", like=frame)
    scored = score(similarity(frame, images, texts, to="clip_score"), images, demo_safety())
    subset = export(where(scored, KEEP), out / "subset", seed=seed)
    report = write_report(summary(scored), out / "report.html", title="The demo corpus")
    return Demo(out, embedded, subset, report)

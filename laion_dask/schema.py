"""The canonical columns of a frame; `laion_dask.dialects` maps each release's names to them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """A canonical column: its content, unit, range, and the source of the definition."""

    name: str
    kind: str  # "string", "int32", "int64", "float" or "key" (an identifier: string or integer)
    about: str
    unit: str = ""
    range: str = ""
    source: str = "LAION-5B (Schuhmann et al. 2022)"


CANONICAL: dict[str, Column] = {
    c.name: c
    for c in (
        Column("url", "string", "address of the image on the web; fetched only on request"),
        Column("text", "string", "caption: the image's alt text"),
        Column(
            "width",
            "int32",
            "width of the image; in img2dataset's output, of the image as stored",
            "pixel",
            ">= 0",
        ),
        Column("height", "int32", "height of the original image", "pixel", ">= 0"),
        Column(
            "similarity",
            "float",
            "cosine of CLIP embeddings of image and text, by a model that the file does not name "
            "(in LAION, DataComp and COYO, ViT-B/32; multilingual for captions not in English)",
            "cosine",
            "[-1, 1]",
        ),
        Column("language", "string", "language of the caption as published", "ISO 639-1 code"),
        Column("hash", "int64", "murmurhash3 of url and text; never passes through a float"),
        Column(
            "punsafe",
            "float",
            "probability that the image is not safe for work (CLIP-based-NSFW-Detector)",
            "probability",
            "[0, 1]",
        ),
        Column(
            "pwatermark",
            "float",
            "probability that the image has a watermark (LAION-5B-WatermarkDetection)",
            "probability",
            "[0, 1]",
        ),
        Column(
            "aesthetic",
            "float",
            "predicted mean rating of how much people like the image",
            "rating",
            "about [0, 10]",
            "LAION-Aesthetics (Schuhmann 2022)",
        ),
        Column(
            "uid",
            "key",
            "identifier of a sample; never passes through a float",
            source="DataComp (Gadre et al. 2023)",
        ),
    )
}

#: The columns that the reader adds to every frame: the shard, and the row within it.
PROVENANCE = ("shard", "row")

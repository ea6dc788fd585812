"""Five ways to detect the language of captions; each runs in its own process on one core.

``python language_ways.py WAY CAPTIONS COLUMN OUT`` prints one line of JSON: time and memory, with
imports and the model timed separately. Writes the labels of the captions and of the demo's planted
captions to ``OUT``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
from carve_ways import peak_bytes

PLANTED, SEED = 20_000, 0
Label = Callable[[list[str]], list[str]]


def py3langid_way() -> Label:
    """``classify`` of each caption, among all languages of the model."""
    from py3langid import langid

    model = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
    return lambda texts: [model.classify(text)[0] for text in texts]


def among_way() -> Label:
    """The same, among the languages of LAION's detector."""
    from py3langid import langid

    from laion_dask.text.language_detection import LANGUAGES

    model = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
    model.set_languages(LANGUAGES)
    return lambda texts: [model.classify(text)[0] for text in texts]


def pycld2_way() -> Label:
    """``detect`` of each caption as plain text; und if the result is unreliable."""
    import pycld2

    def label(text: str) -> str:
        try:
            is_reliable, _, languages = pycld2.detect(text.encode(), isPlainText=True)
        except pycld2.error:  # raised for control characters
            return "und"
        code = languages[0][1]
        return code.partition("-")[0] if is_reliable and code != "un" else "und"

    return lambda texts: [label(text) for text in texts]


def cld3_way() -> Label:
    """``FindLanguage`` of each caption; und if unreliable. The detector that LAION used."""
    import gcld3

    model = gcld3.NNetLanguageIdentifier(0, 1000)

    def label(text: str) -> str:
        result = model.FindLanguage(text)
        return result.language if result.is_reliable else "und"

    return lambda texts: [label(text) for text in texts]


def laion_dask_way() -> Label:
    """The function that ``df.laion.language()`` applies to a partition."""
    from laion_dask.scoring.language import language
    from laion_dask.text.language_detection import Detector, detect, model

    floors = language.__kwdefaults__
    detector = Detector("text", "language", floors["min_letters"], floors["min_confidence"])
    model()
    return lambda texts: detect(pa.chunked_array([pa.array(texts)]), detector).to_pylist()


WAYS = {
    "py3langid": py3langid_way,
    "py3langid, 92 languages": among_way,
    "pycld2": pycld2_way,
    "CLD3": cld3_way,
    "laion_dask": laion_dask_way,
}


def planted() -> list[str]:
    """Captions of the demo corpus, in seven languages."""
    from laion_dask.demo.planting import plan_rows

    return [row.text for row in plan_rows(PLANTED, SEED)]


def run(way: str, captions: str, column: str, out: str) -> dict:
    """Time one contender over the captions."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    texts = [text or "" for text in pq.read_table(captions, columns=[column])[column].to_pylist()]
    start = time.perf_counter()
    label = WAYS[way]()
    label(texts[:100])
    began = time.perf_counter()
    labels = label(texts)
    wall = time.perf_counter() - began
    peak = peak_bytes()
    with open(out, "w") as file:
        json.dump([labels, label(planted())], file)
    return {
        "rate": len(texts) / wall,
        "wall_s": wall,
        "peak_bytes": peak,
        "load_s": began - start,
    }


if __name__ == "__main__":
    print(json.dumps(run(*sys.argv[1:])))

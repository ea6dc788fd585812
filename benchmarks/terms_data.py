"""Captions with planted terms, and three sets of terms, for the contenders of `terms_ways`.

``python terms_data.py DATA ROWS`` generates them where they are missing, and prints their places as
one line of JSON.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np

P_PLANTED = 0.3
"""Share of the generated captions into which a term of the packaged lists is inserted."""

SEED = 0


def prepare(data: str, rows: int) -> dict:
    """Generate captions with planted terms, and three sets of terms, if missing."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from laion_dask.demo.synthetic_rows import BLOCK, draw_block
    from laion_dask.demo.zipf_text import vocabulary

    folder = Path(data)
    path = folder / f"terms-{rows}.parquet"
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(SEED)
    known = plain_terms()
    few = sorted(rng.choice(known, 60, replace=False).tolist())
    made = [word for word in vocabulary()[1000:] if word not in known]
    many = sorted({*known, *made[: 5000 - len(known)]})
    (folder / "terms-60.json").write_text(json.dumps(few))
    (folder / "terms-5000.json").write_text(json.dumps(many))
    most = half_a_million(many)
    (folder / "terms-500000.json").write_text(json.dumps(most))
    if not path.exists():
        blocks = [
            draw_block(SEED, "laion2B-en", b)["TEXT"].to_pylist() for b in range(-(-rows // BLOCK))
        ]
        captions = [c for block in blocks for c in block][:rows]
        draws = rng.random((rows, 5))
        captions = [planted(c, known, few, d) for c, d in zip(captions, draws, strict=True)]
        pq.write_table(pa.table({"text": pa.array(captions, pa.string())}), path)
    return {"path": str(path), "terms": {"60": len(few), "5000": len(many), "500000": len(most)}}


def half_a_million(many: list[str]) -> list[str]:
    """The 5,000 terms, words of the generated captions, invented words, and pairs of words."""
    from laion_dask.demo.zipf_text import vocabulary

    rng = np.random.default_rng(SEED + 1)
    words = vocabulary()
    syllables = [c + v for c in "bdfghklmnprstvz" for v in "aeiou"]
    terms = dict.fromkeys([*many, *words[1000:]])
    while len(terms) < 250_000:
        picks = rng.integers(len(syllables), size=rng.integers(3, 7))
        terms.setdefault("".join(syllables[i] for i in picks))
    while len(terms) < 500_000:
        first, second = rng.integers(len(words), size=2)
        terms.setdefault(f"{words[first]} {words[second]}")
    return sorted(terms)


def plain_terms() -> list[str]:
    """The unconditional terms of the packaged lists that consist of ASCII letters and spaces.

    pandas passes patterns to RE2, whose word boundaries only recognize ASCII letters.
    """
    from laion_dask.aggregations.grouping.terms import terms
    from laion_dask.text import term_lists

    groups = [group for name in term_lists().name for group in terms(name).terms.groups]
    unique = {term for _, members in groups for term in members}
    return sorted(t for t in unique if re.fullmatch(r"[a-z]+( [a-z]+)*", t))


def planted(caption: str, known: list[str], few: list[str], draw: np.ndarray) -> str:
    """The caption, in which a term is inserted with probability `P_PLANTED`.

    The term is in lower, title or upper case, followed by some punctuation. ``draw`` is five
    numbers in [0, 1).
    """
    if draw[0] >= P_PLANTED:
        return caption
    choices = few if draw[0] < P_PLANTED / 2 else known
    term = choices[int(draw[1] * len(choices))]
    term = (term, term.title(), term.upper())[int(draw[2] * 3)]
    term += ("", "", "", "'s", ",", ".", "s")[int(draw[3] * 7)]
    words = caption.split(" ")
    at = int(draw[4] * (len(words) + 1))
    return " ".join([*words[:at], term, *words[at:]])


if __name__ == "__main__":
    print(json.dumps(prepare(sys.argv[1], int(sys.argv[2]))))

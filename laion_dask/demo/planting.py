"""The plan of a demo corpus: image, caption and flaws of each row, with exact planted shares.

Shares of all rows are rounded to whole rows. Roles that would interfere are kept apart: no row has
more than one of duplicate, mismatched, hostile and broken. People are never mismatched, hostile or
duplicates, so that their captions carry only the planted skew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from laion_dask.demo.concepts import OCCUPATIONS, Picture, draw_pictures
from laion_dask.demo.picture_captions import caption

SHARES: dict[str, float] = {
    "is_watermarked": 0.061,
    "is_unsafe": 0.029,
    "is_mismatched": 0.05,
    "duplicate": 0.02,
    "near_duplicate": 0.02,
    "is_broken": 0.005,
    "is_hostile": 0.005,
    "person": 0.2,
    "null_language": 0.04,
    "null_punsafe": 0.005,
    "null_similarity": 0.0025,
    "nan_similarity": 0.0025,
}
"""Planted shares of all rows. The first two are those announced for LAION-2B-en."""

LANGUAGE_SHARES = {"de": 0.04, "fr": 0.03, "es": 0.03, "ru": 0.02, "ja": 0.02, "zh": 0.02}
"""Planted shares of rows with a caption in each language other than English."""

P_GENDERED = 0.7
"""Share of the captions of people in each occupation that contain "she" or "he"."""

P_SHE = {
    "doctor": 0.35, "nurse": 0.9, "teacher": 0.75, "cook": 0.6, "farmer": 0.25, "builder": 0.05,
    "firefighter": 0.1, "painter": 0.5, "pilot": 0.1, "scientist": 0.3, "mechanic": 0.05,
    "gardener": 0.5,
}  # fmt: skip
"""Planted share of "she" among the gendered captions of an occupation. Invented, not measured."""

_HOSTS = ("shop", "blog", "photos", "news", "art", "cdn", "forum", "wiki")
_N_DOMAINS, _ZIPF = 300, 1.1
_HOSTILE = (
    "<script>alert('caption')</script> {}",
    '{} <img src="x" onerror="alert(1)"><b>free</b>',
    "{}\x00 and what follows a NUL",
    "\u202e{}\u202c gpj.exe",
    "{} " + "very long caption " * 5600,
)
BROKEN_KINDS = ("truncated", "empty", "text")
NEAR_KINDS = ("recompressed", "resized", "shifted")


@dataclass
class Row:
    """One planned row. ``copy_of`` and ``near_copy_of`` are row numbers, or -1."""

    picture: Picture
    text: str
    language: str = "en"
    gender_word: str | None = None
    domain: str = ""
    mismatched: bool = False
    copy_of: int = -1
    near_copy_of: int = -1
    near_kind: str | None = None
    broken_kind: str | None = None
    hostile: bool = False
    null_language: bool = False
    null_punsafe: bool = False
    null_similarity: bool = False
    nan_similarity: bool = False


def count_of(share: float, n: int) -> int:
    """A share of ``n`` rows as a whole number, with halves rounded up."""
    return int(np.floor(share * n + 0.5))


class _Deck:
    """Row numbers in random order, each dealt once."""

    def __init__(self, rows: np.ndarray, rng: np.random.Generator) -> None:
        self._left = iter(rng.permutation(rows).tolist())

    def deal(self, share: float, n: int) -> list[int]:
        """Deal ``share`` of ``n`` rows that have not been dealt before."""
        return [next(self._left) for _ in range(count_of(share, n))]


def _blank_rows(n: int, seed: int, people: set[int]) -> list[Row]:
    objects = draw_pictures([seed, 1], n)
    workers = draw_pictures([seed, 2], n, p_person=1.0)
    rows, n_people = [], 0
    for i, (object_picture, worker) in enumerate(zip(objects, workers, strict=True)):
        picture = object_picture
        if i in people:
            picture = replace(worker, occupation=OCCUPATIONS[n_people % len(OCCUPATIONS)])
            n_people += 1
        rows.append(Row(picture, ""))
    return rows


def _plant_gender(rows: list[Row], people: list[int], rng: np.random.Generator) -> None:
    for job in OCCUPATIONS:
        of_job = [i for i in people if rows[i].picture.occupation == job]
        gendered = rng.permutation(of_job)[: count_of(P_GENDERED, len(of_job))]
        n_she = count_of(P_SHE[job], len(gendered))
        for rank, i in enumerate(gendered.tolist()):
            rows[i].gender_word = "she" if rank < n_she else "he"


def _plant_roles(rows: list[Row], deck: _Deck, rng: np.random.Generator) -> None:
    n = len(rows)
    for language, share in LANGUAGE_SHARES.items():
        for i in deck.deal(share, n):
            rows[i].language = language
    for i in deck.deal(SHARES["is_mismatched"], n):
        rows[i].mismatched = True
    for i in deck.deal(SHARES["is_hostile"], n):
        rows[i].hostile = True
    for k, i in enumerate(deck.deal(SHARES["is_broken"], n)):
        rows[i].broken_kind = BROKEN_KINDS[k % len(BROKEN_KINDS)]
    copies, near = deck.deal(SHARES["duplicate"], n), deck.deal(SHARES["near_duplicate"], n)
    sources = deck.deal(SHARES["duplicate"] + SHARES["near_duplicate"], n)
    for i, source in zip(copies, sources, strict=False):
        rows[i].copy_of = source
    for k, (i, source) in enumerate(zip(near, sources[::-1], strict=False)):
        rows[i].near_copy_of, rows[i].near_kind = source, NEAR_KINDS[k % len(NEAR_KINDS)]
    for i in copies + near:
        rows[i].picture = rows[max(rows[i].copy_of, rows[i].near_copy_of)].picture
    fixed = {*copies, *near, *sources}
    free = np.array([i for i, r in enumerate(rows) if i not in fixed and not r.broken_kind])
    for i in _Deck(free, rng).deal(SHARES["is_watermarked"], n):
        rows[i].picture = replace(rows[i].picture, watermarked=True)
    for i in _Deck(free, rng).deal(SHARES["is_unsafe"], n):
        rows[i].picture = replace(rows[i].picture, unsafe=True)


def _plant_nulls(rows: list[Row], rng: np.random.Generator) -> None:
    n = len(rows)
    everyone = _Deck(np.arange(n), rng)
    for name in ("null_similarity", "nan_similarity"):
        for i in everyone.deal(SHARES[name], n):
            setattr(rows[i], name, True)
    safe = np.array([i for i, r in enumerate(rows) if not r.picture.unsafe])
    for i in _Deck(safe, rng).deal(SHARES["null_punsafe"], n):
        rows[i].null_punsafe = True
    english = np.array([i for i, r in enumerate(rows) if r.language == "en"])
    for i in _Deck(english, rng).deal(SHARES["null_language"], n):
        rows[i].null_language = True


def _other_picture(picture: Picture, pictures: Iterator[Picture]) -> Picture:
    return next(
        other
        for other in pictures
        if other.object != picture.object and other.color != picture.color
    )


def _write_captions(rows: list[Row], seed: int, rng: np.random.Generator) -> None:
    other_pictures = draw_pictures([seed, 3], 20 * len(rows) + 100)
    for row in rows:
        described = _other_picture(row.picture, other_pictures) if row.mismatched else row.picture
        row.text = caption(described, rng, language=row.language, gender_word=row.gender_word).text
    for k, row in enumerate(r for r in rows if r.hostile):
        row.text = _HOSTILE[k % len(_HOSTILE)].format(row.text)
    for row in rows:
        if row.copy_of >= 0:
            row.text = rows[row.copy_of].text


def plan_rows(n: int, seed: int) -> list[Row]:
    """Plan the rows of a corpus in order; equal ``n`` and ``seed`` give equal rows. Eager."""
    rng = np.random.default_rng([seed, 4])
    people = np.sort(rng.permutation(n)[: count_of(SHARES["person"], n)]).tolist()
    rows = _blank_rows(n, seed, set(people))
    _plant_gender(rows, people, rng)
    object_rows = np.setdiff1d(np.arange(n), people)
    _plant_roles(rows, _Deck(object_rows, rng), rng)
    _plant_nulls(rows, rng)
    _write_captions(rows, seed, rng)
    weights = 1 / np.arange(1, _N_DOMAINS + 1) ** _ZIPF
    ranks = rng.choice(_N_DOMAINS, n, p=weights / weights.sum())
    for row, rank in zip(rows, ranks.tolist(), strict=True):
        row.domain = f"{_HOSTS[rank % len(_HOSTS)]}{rank + 1}.example"
    return rows


def planted(rows: list[Row]) -> dict[str, object]:
    """The requested shares and the resulting counts, ready for JSON. Eager."""
    counts = {
        "is_watermarked": sum(r.picture.watermarked for r in rows),
        "is_unsafe": sum(r.picture.unsafe for r in rows),
        "is_mismatched": sum(r.mismatched for r in rows),
        "duplicate": sum(r.copy_of >= 0 for r in rows),
        "near_duplicate": sum(r.near_copy_of >= 0 for r in rows),
        "is_broken": sum(r.broken_kind is not None for r in rows),
        "is_hostile": sum(r.hostile for r in rows),
        "person": sum(r.picture.occupation is not None for r in rows),
        "null_language": sum(r.null_language for r in rows),
        "null_punsafe": sum(r.null_punsafe for r in rows),
        "null_similarity": sum(r.null_similarity for r in rows),
        "nan_similarity": sum(r.nan_similarity for r in rows),
    }
    spoken = Counter(r.language for r in rows)
    gender_words = Counter((r.picture.occupation, r.gender_word) for r in rows)
    by_occupation = {
        job: {
            "p_she": P_SHE[job],
            "she": gender_words[job, "she"],
            "he": gender_words[job, "he"],
            "neither": gender_words[job, None],
        }
        for job in OCCUPATIONS
    }
    return {
        "n_rows": len(rows),
        "planted": {k: {"share": SHARES[k], "count": v} for k, v in counts.items()},
        "languages": {k: {"share": v, "count": spoken[k]} for k, v in LANGUAGE_SHARES.items()},
        "gender_words": {"p_gendered": P_GENDERED, "by_occupation": by_occupation},
    }

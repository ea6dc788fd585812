"""Labels of a map: the words that a loop finds, of captions that may be shown."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support.shards import laion_table

import laion_dask as ld
from laion_dask.explorer.caption_words import incidence, words_of
from laion_dask.explorer.region_labels import RegionLabels, places, surprise
from laion_dask.explorer.sample import draw_sample

TOPICS = ["bird", "car", "山", "हिन्दी"]
CENTERS = np.array([[-0.8, -0.8], [0.8, -0.7], [0.7, 0.8], [-0.7, 0.7]])


def corpus(n: int = 800, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    draw = np.random.default_rng(seed)
    topic = draw.integers(0, 4, n)
    points = CENTERS[topic] + draw.normal(size=(n, 2)) * 0.07
    filler = ["photo", "of", "the", "red", "blue", "with", "2023", "image"]
    captions = [
        " ".join([*draw.choice(filler, 5), TOPICS[t] if draw.random() < 0.6 else "thing"])
        for t in topic
    ]
    return points.astype(np.float32), captions


def test_each_region_has_the_word_of_its_topic():
    points, captions = corpus()
    labels = RegionLabels(points, captions)(-1.2, 1.2, -1.2, 1.2)
    assert {word for _, _, word in labels[:4]} == set(TOPICS)
    for x, y, word in labels:
        if word in TOPICS:
            near = int(((CENTERS - (x, y)) ** 2).sum(axis=1).argmin())
            assert TOPICS[near] == word and np.hypot(*(CENTERS[near] - (x, y))) < 0.05
    assert len({word for _, _, word in labels}) == len(labels) <= 12
    again = RegionLabels(points, captions)
    assert again(-1.2, 1.2, -1.2, 1.2) == labels
    assert len(again(-1.2, 1.2, -1.2, 1.2, n=2)) == 2


def test_views_without_rows_words_or_area():
    points, captions = corpus()
    labels = RegionLabels(points, captions)
    assert labels(5, 6, 5, 6) == [] == labels(0, 0, 0, 1) == labels(0, math.nan, 0, 1)
    assert RegionLabels(np.empty((0, 2)), [])(0, 1, 0, 1) == []
    assert RegionLabels(points, [None] * len(points))(-2, 2, -2, 2) == []
    nowhere = np.full_like(points, np.nan)
    assert RegionLabels(nowhere, captions)(-2, 2, -2, 2) == []
    one = RegionLabels(np.zeros((50, 2)), ["a small bird"] * 50)(-1, 1, -1, 1)
    assert [(x, y) for x, y, _ in one] == [(0, 0)] and one[0][2] in ("small", "bird")


@pytest.mark.parametrize(
    "caption, words",
    [
        ("The Red-Bird's NEST, 2023!", {"red", "bird", "nest"}),
        ("<script>alert('x')</script>", {"script", "alert"}),
        ("http://a.example/b?c=d\u202e evil", {"http", "example", "evil"}),
        ("w" * 21 + " " + "v" * 20, {"v" * 20}),
        ("e\u0301te\u0301 \u5c71 ab हिन्दी", {"\u00e9t\u00e9", "\u5c71", "हिन्दी"}),
        ("", set()),
        ("word " * 10**5, {"word"}),
        ("\ud800 lone surrogate", {"lone", "surrogate"}),
        ("a1b2 __init__ 007", {"a1b2", "init"}),
    ],
)
def test_words_are_words(caption, words):
    assert words_of(caption) == words


def test_words_of_at_least_three_captions_are_counted_once_each():
    captions = ["bird bird", "a bird", None, "bird nest", "nest", "", "owl"]
    words, caption, word = incidence(captions)
    assert words == ["bird"] and caption.tolist() == [0, 1, 3] and word.tolist() == [0, 0, 0]


def test_the_ratio_is_that_of_its_definition():
    def by_definition(a, n, b, m):
        def log(k, n, p):
            return (k * math.log(p) if k else 0) + ((n - k) * math.log(1 - p) if n - k else 0)

        pooled = (a + b) / (n + m)
        return 2 * (log(a, n, a / n) + log(b, m, b / m) - log(a, n, pooled) - log(b, m, pooled))

    inside, outside = np.array([20, 5, 3, 20, 50]), np.array([10, 0, 0, 900, 950])
    found = surprise(inside, 50, outside, 950)
    assert found[0] == pytest.approx(by_definition(20, 50, 10, 950))
    assert found[1] == pytest.approx(by_definition(5, 50, 0, 950))
    assert found[2:].tolist() == [0, 0, 0]  # too rare, as frequent elsewhere, everywhere


def test_places_are_dense_and_apart():
    draw = np.random.default_rng(1)
    at = np.concatenate([draw.normal(0.2, 0.02, (300, 2)), draw.normal(0.8, 0.02, (100, 2))])
    first, second, *_ = places(at.clip(0, 1))
    assert np.hypot(*(first - 0.2)) < 0.06 and np.hypot(*(second - 0.2)) > 0.14
    assert places(np.empty((0, 2))) == []


def test_captions_of_unsafe_and_unscored_rows_are_not_used(write):
    frame = ld.read_shards(write("a.parquet", laion_table(400, 0)))
    sample = draw_sample(frame, 400)
    punsafe = sample.columns["punsafe"].values
    points = np.zeros((400, 2), np.float32)
    points[::7] = np.nan
    labels = RegionLabels.of_sample(sample, points)
    safe = sum(bool(value < 0.5) for value in punsafe[np.isfinite(points[:, 0])])
    assert len(labels._points) == safe > 50
    assert labels(-1, 1, -1, 1)
    assert RegionLabels.of_sample(sample, points, "missing")(-1, 1, -1, 1) == []

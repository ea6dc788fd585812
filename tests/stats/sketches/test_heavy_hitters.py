"""Counts of very many labels: exact while they fit, then a sketch with guaranteed bounds."""

from __future__ import annotations

import pickle
from collections import Counter
from math import e

import numpy as np
import pyarrow as pa
import pytest

from laion_dask.stats.sketches import heavy_hitters
from laion_dask.stats.sketches.heavy_hitters import HeavyHitters


def of(labels, capacity=10) -> HeavyHitters:
    found = Counter(labels)
    return HeavyHitters.of(
        pa.array(list(found), pa.large_string()), np.array([*found.values()], np.int64), capacity
    )


def listed(state: HeavyHitters, most=None) -> list[tuple]:
    labels, low, high = state.heavy(most)
    return list(zip(labels.to_pylist(), low.tolist(), high.tolist(), strict=True))


@pytest.fixture
def narrow(monkeypatch):
    """Shrink the sketch to 64 counters per row, so that labels collide."""
    monkeypatch.setattr(heavy_hitters, "WIDTH", 64)
    monkeypatch.setattr(heavy_hitters, "ERROR", e / 64)


def zipf(n_labels=3000, n=40_000, seed=0) -> list[str]:
    draw = np.random.default_rng(seed)
    p = 1 / np.arange(1, n_labels + 1) ** 1.1
    return [f"d{i}.com" for i in draw.choice(n_labels, n, p=p / p.sum())]


def in_parts(labels, cuts, capacity) -> list[HeavyHitters]:
    return [of(part, capacity) for part in np.split(np.array(labels, object), cuts)]


def test_exact_while_labels_fit():
    labels = zipf(200, 5000)
    expected = sorted(Counter(labels).items(), key=lambda item: (-item[1], item[0]))
    for cuts in ([], [0, 10, 10, 4000], range(500, 5000, 500)):
        state = HeavyHitters.merged(in_parts(labels, list(cuts), 200))
        assert state.is_exact and state.error == state.unseen == 0 and state.n == 5000
        assert listed(state) == [(label, n, n) for label, n in expected]
        assert listed(state, 7) == [(label, n, n) for label, n in expected[:7]]
        assert state.distinct() == (len(expected), 0.0)
    assert listed(state, 0) == [] and listed(of([])) == []


def test_ties_go_by_the_label_also_at_the_cut():
    state = of(["b", "a", "é", "B", "c", "c"], 10)
    assert [label for label, *_ in listed(state)] == ["c", "B", "a", "b", "é"]
    assert [label for label, *_ in listed(state, 3)] == ["c", "B", "a"]


def test_zeros_are_no_labels():
    state = HeavyHitters.of(pa.array(["a", "b"]), np.array([0, 2]))
    assert listed(state) == [("b", 2, 2)] and state.n == 2


@pytest.mark.parametrize("capacity", [1, 40, 400])
def test_bounds_hold_against_a_count_of_everything(narrow, capacity):
    labels = zipf()
    exact, state = Counter(labels), of(labels, capacity)
    assert not state.is_exact and state.n == len(labels)
    assert len(state.labels) <= capacity
    wrong = 0
    for label, low, high in listed(state):
        assert exact[label] <= high and low >= 1  # an estimate is never too low
        wrong += exact[label] < low
    assert wrong == 0
    names = {label for label, *_ in listed(state)}
    for label, n in exact.items():
        assert label in names or n < state.unseen  # no larger label is missing
    # Misra and Gries: weights are too low by at most n / (candidates + 1).
    weights = dict(zip(state.labels.to_pylist(), state.counts.tolist(), strict=True))
    short = state.n / (state.candidates + 1)
    for label, n in exact.items():
        assert n - short <= weights.get(label, 0) <= n


def test_the_answer_does_not_depend_on_parts_or_order(monkeypatch):
    monkeypatch.setattr(heavy_hitters, "WIDTH", 1024)
    monkeypatch.setattr(heavy_hitters, "ERROR", e / 1024)
    labels = zipf(seed=1)
    draw = np.random.default_rng(2)
    in_one_part = listed(of(labels, 60))
    assert len(in_one_part) > 3
    for trial in range(12):
        cuts = np.sort(draw.integers(0, len(labels), trial))
        states = in_parts(labels, cuts, 60)
        draw.shuffle(states)
        while len(states) > 1:  # a random merge tree
            k = int(draw.integers(2, 5))
            states = [HeavyHitters.merged(states[:k]), *states[k:]]
            draw.shuffle(states)
        assert listed(states[0]) == in_one_part and states[0].n == len(labels)
        np.testing.assert_array_equal(states[0].sketch, of(labels, 60).sketch)
        np.testing.assert_array_equal(states[0].smallest, of(labels, 60).smallest)


def test_a_label_is_kept_though_it_comes_last(narrow):
    """Endless new labels around a frequent one: the decrementing counter must not lose it."""
    noise = [f"n{i}" for i in range(20_000)]
    heavy = ["x"] * 9_000
    for labels in (noise + heavy, heavy + noise):
        state = HeavyHitters.merged(in_parts(labels, range(100, len(labels), 100), 20))
        assert listed(state)[0][0] == "x" and listed(state)[0][1] <= 9_000 <= listed(state)[0][2]


def test_estimates_fail_as_seldom_as_is_said(narrow):
    """A count-min estimate is off by more than e n / width for one label in e^depth."""
    exact = Counter(zipf(20_000, 60_000, seed=3))
    state = of(exact.elements(), 1)
    labels = pa.array(list(exact), pa.large_string())
    off = state._estimates(labels) - np.array([*exact.values()])
    assert (off >= 0).all() and (off > state.error).mean() <= heavy_hitters.FAILURE


def test_the_number_of_labels_within_its_error():
    names = [f"h{i}.net" for i in range(60_000)]
    half = [of(names[:40_000], 100), of(names[20_000:], 100)]
    number, error = HeavyHitters.merged(half).distinct()
    assert abs(number / 60_000 - 1) < 4 * error < 0.04
    few = of(names[:500], 100)
    assert few.distinct() == (500, 0.0)  # fewer than the number of hashes kept: exact


def test_hashes_are_the_same_everywhere():
    """They are fixed; otherwise states of two processes could not be merged."""
    found = heavy_hitters.text_hashes(
        pa.array(["", "a.com", "b\u00fccher.de", "a\x00b"], pa.large_string())
    )
    assert found.tolist() == HASHES
    assert len(heavy_hitters._KEY) == 16
    assert len(heavy_hitters._ODD) == heavy_hitters.DEPTH
    for odd in heavy_hitters._ODD:
        cells = heavy_hitters._cells(found, odd)
        assert odd % 2 == 1 and ((cells >= 0) & (cells < heavy_hitters.WIDTH)).all()


#: pandas' SipHash with our key, recorded when the sketch was written.
HASHES = [
    11566632299031782843, 2498708718023693983, 771371331189454719, 12097660121154904251,
]  # fmt: skip


def test_states_are_small_and_travel(narrow):
    state = of(zipf(), 50)
    again = pickle.loads(pickle.dumps(state))
    assert listed(again) == listed(state)
    assert heavy_hitters.DEPTH * 2**18 * 8 < 16e6


def test_hostile_labels_are_text():
    labels = ["\x00", "\x00\x00", "\u202e", "a" * 100_000, "=1+1", "", "\U0001f600"]
    state = of(labels * 2, 3)
    assert {label for label, *_ in listed(of(labels, 10))} == set(labels)
    assert state.n == 14 and state.distinct() == (7, 0.0)

"""WEAT against two other implementations, SciPy, a brute-force loop and closed-form cases."""

import itertools
import math
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.stats import permutation_test
from support.shards import cosine, space

from laion_dask.aggregations.association import association
from laion_dask.errors import ModelMismatchError, OptionError
from laion_dask.models import ClipModel, Vectors
from laion_dask.stats import WEAT_TESTS, weat
from laion_dask.stats.association import association as how_tested
from laion_dask.stats.table import Table


def wave(n, phase, lean=0.0, dim=12):
    """Deterministic vectors, the same on every platform; no random generator is involved."""
    i, j = np.arange(1.0, n + 1)[:, None], np.arange(1.0, dim + 1)
    result = np.sin(phase + 1.7 * i * j + i * i)
    result[:, 0] += lean
    return result


def sets(n_x, n_y, n_a, n_b):
    return wave(n_x, 0.1, 0.6), wave(n_y, 2.0), wave(n_a, 3.0, 2.0), wave(n_b, 4.0)


def drawn(seed, *sizes, dim=8):
    draw = np.random.default_rng(seed)
    return [draw.normal(size=(n, dim)) for n in sizes]


def by_the_book(x, y, a, b):
    """Effect size d, and p per alternative, by plain loops over every partition."""

    def s(w):
        return sum(cosine(w, v) for v in a) / len(a) - sum(cosine(w, v) for v in b) / len(b)

    s_x, s_y = [s(w) for w in x], [s(w) for w in y]
    both = s_x + s_y
    mean = sum(both) / len(both)
    std = math.sqrt(sum((v - mean) ** 2 for v in both) / (len(both) - 1))
    mine = sum(s_x) / len(x) - sum(s_y) / len(y)
    result = []
    for chosen in itertools.combinations(range(len(both)), len(x)):
        one = sum(both[i] for i in chosen)
        result.append(one / len(x) - (sum(both) - one) / len(y))
    share = {
        "greater": sum(t >= mine - 1e-12 for t in result) / len(result),
        "less": sum(t <= mine + 1e-12 for t in result) / len(result),
        "two-sided": sum(abs(t) >= abs(mine) - 1e-12 for t in result) / len(result),
    }
    return mine / std, share


# By (n_x, n_y, n_a, n_b): d and the exact p from sent-bias (the code of May et al. 2019,
# github.com/W4ngatang/sent-bias, sentbias/weat.py at 037f5d9, which iEAT's authors reused), then
# the effect size from wefe 1.0.1, which uses ddof=0 and computes in float32. Both ran on the
# vectors of `sets`.
PEERS = {
    (4, 4, 3, 5): (0.015380977913700897, 0.5, 0.01644268234906597),
    (6, 6, 5, 5): (1.0539252134619483, 0.03463203463203463, 1.100788975445698),
    (7, 7, 8, 3): (0.8466969005342141, 0.057692307692307696, 0.8786588683422979),
    (5, 5, 1, 1): (0.289756677419635, 0.34523809523809523, 0.30543029311833897),
}


@pytest.mark.parametrize("sizes", PEERS)
def test_against_two_peers(sizes):
    d, p, d_population = PEERS[sizes]
    result = weat(*sets(*sizes))
    assert result == pytest.approx((d, p), rel=1e-11)
    n = sizes[0] + sizes[1]
    assert result[0] * math.sqrt(n / (n - 1)) == pytest.approx(d_population, rel=3e-5)
    assert all(type(number) is float for number in result)


@pytest.mark.parametrize(
    "sizes", [(4, 4, 3, 3), (3, 5, 2, 4), (6, 2, 1, 1), (1, 1, 1, 1), (1, 7, 2, 3)]
)
def test_against_a_loop(sizes):
    for seed in range(5):
        vectors = drawn(seed, *sizes)
        d, p = by_the_book(*vectors)
        for alternative, expected in p.items():
            result = weat(*vectors, alternative=alternative)
            assert result == pytest.approx((d, expected), rel=1e-10)


def test_p_against_scipy():
    x, y, a, b = drawn(3, 6, 7, 4, 5)
    s_x, s_y = (
        np.array(
            [np.mean([cosine(w, v) for v in a]) - np.mean([cosine(w, v) for v in b]) for w in side]
        )
        for side in (x, y)
    )
    for alternative in ("greater", "less"):
        theirs = permutation_test(
            (s_x, s_y),
            lambda one, two: one.mean() - two.mean(),
            permutation_type="independent",
            alternative=alternative,
            n_resamples=np.inf,
        )
        assert weat(x, y, a, b, alternative=alternative)[1] == pytest.approx(theirs.pvalue)


@pytest.mark.parametrize(("n_x", "n_y"), [(1, 1), (2, 2), (7, 7), (3, 6), (25, 25)])
def test_separated_sets_give_the_maximum(n_x, n_y):
    a, b = np.eye(3)[:1], np.eye(3)[1:2]
    d, p = weat(np.repeat(a, n_x, 0), np.repeat(b, n_y, 0), a, b)
    n = n_x + n_y
    assert d == pytest.approx(math.sqrt(n * (n - 1) / (n_x * n_y)), rel=1e-14)
    if n_x == n_y:
        assert d == pytest.approx(2 * math.sqrt((2 * n_x - 1) / (2 * n_x)), rel=1e-14)
    if math.comb(n, n_x) <= 10_000:
        assert p == pytest.approx(1 / math.comb(n, n_x))
    else:
        assert p == 1 / 10_001
    # No other sets exceed this maximum.
    for seed in range(20):
        assert abs(weat(*drawn(seed, n_x, n_y, 3, 4))[0]) <= d * (1 + 1e-12)


def test_identical_sets_give_zero():
    x, _, a, b = drawn(1, 6, 6, 5, 5)
    for other in (x, x[::-1], 3 * x, x[[2, 0, 1, 5, 4, 3]]):
        assert weat(x, other, a, b)[0] == 0
        assert weat(x, other, a, b, alternative="two-sided") == (0, 1)
    x, y, a, _ = drawn(2, 6, 5, 4, 4)
    for other in (a, a[::-1], 7.3 * a):  # identical attributes distinguish nothing
        for alternative in ("greater", "less", "two-sided"):
            assert weat(x, y, a, other, alternative=alternative) == (0, 1)
    one = np.ones((3, 4))
    assert weat(one, one, *drawn(3, 2, 2, dim=4)) == (0, 1)
    assert weat(np.ones((30, 4)), 5 * np.ones((30, 4)), *drawn(3, 2, 2, dim=4)) == (0, 1)


def test_symmetries():
    x, y, a, b = drawn(4, 6, 6, 5, 3)
    d, p = weat(x, y, a, b)
    assert weat(y, x, a, b) == pytest.approx((-d, weat(x, y, a, b, alternative="less")[1]))
    assert weat(x, y, b, a) == pytest.approx((-d, weat(x, y, a, b, alternative="less")[1]))
    assert weat(y, x, b, a) == pytest.approx((d, p))
    scaled = (
        rows * np.random.default_rng(0).uniform(1e-200, 1e200, (len(rows), 1))
        for rows in (x, y, a, b)
    )
    assert weat(*scaled) == pytest.approx((d, p), rel=1e-9)  # vector lengths do not matter


def test_many_partitions_are_drawn():
    x, y, a, b = drawn(5, 9, 9, 6, 6)  # 48,620 partitions
    result = how_tested(x, y, a, b)
    assert (result.partitions, result.exact) == (10_000, False)
    exact = weat(x, y, a, b, n_permutations=48_620)[1]
    assert how_tested(x, y, a, b, n_permutations=48_620).exact
    # p is (1 + hits) / (1 + permutations): a multiple of 1/10,001 and never zero.
    assert result.p * 10_001 == pytest.approx(round(result.p * 10_001)) and result.p > 0
    slack = 4 * math.sqrt(exact * (1 - exact) / 10_000)
    for seed in range(5):
        assert abs(weat(x, y, a, b, seed=seed)[1] - exact) < slack
    assert weat(x, y, a, b, n_permutations=99)[1] * 100 == pytest.approx(
        round(weat(x, y, a, b, n_permutations=99)[1] * 100)
    )


def test_drawn_partitions_are_the_same_again_and_in_any_order_and_block(monkeypatch):
    x, y, a, b = drawn(6, 10, 12, 6, 6)
    result = weat(x, y, a, b)
    assert result == weat(x, y, a, b) and result[1] != weat(x, y, a, b, seed=1)[1]
    assert weat(x[::-1], np.roll(y, 3, axis=0), a[::-1], b) == result
    few = x[:6], y[:6], a, b
    exact = weat(*few)
    monkeypatch.setattr("laion_dask.stats.association._BLOCK", 100)
    assert weat(x, y, a, b) == result and weat(*few) == exact


def test_sets_of_very_different_sizes():
    x, y, a, b = drawn(7, 1, 5000, 3, 3)
    result = how_tested(x, y, a, b)
    assert result.exact and result.partitions == 5001
    assert how_tested(y, x, a, b).d == pytest.approx(-result.d)
    result = how_tested(*drawn(8, 400, 600, 3, 3), n_permutations=200)
    assert not result.exact and 0 < result.p <= 1


def test_what_is_taken_for_vectors():
    vectors = [rows.astype(np.float32) for rows in drawn(9, 4, 4, 3, 3)]
    expected = weat(*vectors)
    spec = ClipModel("demo")
    for kind in (
        torch.from_numpy,
        lambda rows: torch.from_numpy(rows).requires_grad_(),
        lambda rows: [torch.from_numpy(row) for row in rows],
        np.ndarray.tolist,
        lambda rows: Vectors(rows, spec),
        lambda rows: pd.Series(list(rows)),
        pd.DataFrame,
    ):
        assert weat(*map(kind, vectors)) == expected
    assert weat(*(torch.from_numpy(rows).bfloat16() for rows in vectors)) == pytest.approx(
        expected, rel=0.1
    )
    x, y, a, b = vectors
    assert weat(x[0], y, a[0], b) == weat(x[:1], y, a[:1], b)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.empty((0, 8)), "empty"),
        ([], "empty"),
        (np.ones((2, 9)), "different widths: X 9, Y 8"),
        ([[1, 2], [1]], "not an array of numbers"),
        (np.full((2, 8), np.nan), "Vector 0 of X"),
        (np.vstack([np.ones((3, 8)), np.zeros((1, 8))]), "Vector 3 of X is NaN, infinite or of"),
        (np.full((1, 8), np.inf), "no direction"),
        (np.ones((2, 2, 8)), "the shape"),
        (np.ones((2, 8)) * 1j, "complex"),
        ("a flower", "not an array"),
        (["a flower"], "not an array"),
        (None, "empty|not an array|shape|direction"),
    ],
)
def test_what_is_no_set_is_named(wrong, message):
    _, y, a, b = drawn(0, 2, 2, 2, 2)
    with pytest.raises(OptionError, match=message):
        weat(wrong, y, a, b)


def test_options_are_checked(tmp_path):
    vectors = drawn(0, 2, 2, 2, 2)
    for options in (
        {"alternative": "both"},
        {"n_permutations": 0},
        {"n_permutations": 1.5},
        {"n_permutations": True},
        {"seed": -1},
        {"seed": None},
    ):
        with pytest.raises(OptionError):
            weat(*vectors, **options)
    one, two = space(tmp_path, 8, "one"), space(tmp_path, 8, "two")
    with pytest.raises(ModelMismatchError, match="X holds vectors of one, B of two"):
        weat(Vectors(vectors[0], one), vectors[1], vectors[2], Vectors(vectors[3], two))


# The verb, with the bundled model.

COLORS = (["a red circle", "a red square"], ["a blue circle", "a blue square"])
OF_COLOR = (
    ["a red star", "a red boat", "a red key"],
    ["a blue star", "a blue boat", "a blue key"],
)


def picture(color, seed=0):
    """An image of one color with a little noise."""
    noise = np.random.default_rng(seed).integers(0, 20, (64, 64, 3))
    return Image.fromarray((np.array(color) + noise).astype(np.uint8))


def pictures(color, n):
    return [picture(color, seed) for seed in range(n)]


def test_texts():
    model = ClipModel("demo")
    result = association(
        model, *COLORS, *OF_COLOR, names=("red", "blue", "red things", "blue things")
    )
    d, p = weat(*map(model.text, (*COLORS, *OF_COLOR)))
    assert isinstance(result, Table) and len(result) == 1
    row = result.iloc[0]
    assert (row["value"], row["p"]) == (d, p) and d > 1
    assert row["term"] == "red against blue" and row["group"] == "red things against blue things"
    assert [row[name] for name in ("n", "n_x", "n_y", "n_a", "n_b")] == [4, 2, 2, 3, 3]
    assert (
        row["model"] == "demo"
        and row["method"] == "WEAT of texts; permutation test, all 6 partitions"
    )
    assert result.equals(
        association("demo", *COLORS, *OF_COLOR, names=("red", "blue", "red things", "blue things"))
    )
    assert pickle.loads(pickle.dumps(result)).equals(result)
    both = pd.concat([result, result], ignore_index=True)
    assert isinstance(both, Table) and "red against blue" in both.to_markdown()


def test_sentences():
    words = ["red", "orange"], ["blue", "green"], ["sun"], ["sea"]
    templates = ["This is {}.", "There is {}."]
    result = association("demo", *words, templates=templates, alternative="two-sided")
    texts = [[t.replace("{}", w) for w in side for t in templates] for side in words]
    d, p = weat(*map(ClipModel("demo").text, texts), alternative="two-sided")
    assert (result["value"][0], result["p"][0]) == (d, p)
    assert result["n_x"][0] == 4 and result["method"][0].startswith("SEAT of texts")


def test_pictures_and_their_vectors(tmp_path):
    model = ClipModel("demo")
    x, y = pictures((200, 20, 20), 3), pictures((20, 20, 200), 4)
    result = association(model, x, y, *OF_COLOR)
    d, p = weat(model.image(x), model.image(y), *map(model.text, OF_COLOR))
    assert (result["value"][0], result["p"][0]) == (d, p)
    assert result["method"][0].startswith("iEAT of images by texts; permutation test, all 35")
    x[0].save(tmp_path / "x.png")
    files = [tmp_path / "x.png", (tmp_path / "x.png").read_bytes()]
    assert association(model, files, y, x, y)["method"][0].startswith("iEAT of images;")
    stored = np.asarray(model.image(x)).astype(np.float16)  # the dtype of stored embeddings
    vectors = association(model, stored, model.image(y), *OF_COLOR)
    assert vectors["value"][0] == pytest.approx(d, abs=0.01)
    # A single image or text is a set of one.
    assert association(model, x[0], y[0], "a red star", "a blue star")["n"][0] == 2


def test_published_words():
    sizes = {"WEAT 1": (25, 25), "WEAT 6": (8, 8), "WEAT 7": (8, 8), "WEAT 8": (8, 8)}
    assert set(WEAT_TESTS) == set(sizes)
    for name, test in WEAT_TESTS.items():
        for side, n in zip("xyab", np.repeat(sizes[name], 2), strict=True):
            assert len(test[side]) == n == len(set(test[side]))
        assert not set(test["x"]) & set(test["y"]) and not set(test["a"]) & set(test["b"])
    result = association("demo", **WEAT_TESTS["WEAT 7"])
    assert result["term"][0] == "math against arts" and 0 < result["p"][0] <= 1
    with pytest.raises(TypeError):
        WEAT_TESTS["WEAT 9"] = {}


def test_what_the_verb_refuses(tmp_path):
    words = ["red"], ["blue"], ["sun"], ["sea"]
    red = picture((200, 20, 20))
    for vectors, options, message in (
        ((["red"], [red], *words[2:]), {}, "X holds texts and Y images"),
        ((*words[:2], ["sun"], [red]), {}, "A holds texts and B images"),
        ((["red", red], *words[1:]), {}, "X holds images and texts"),
        (([], *words[1:]), {}, "X is empty"),
        ((["red", None], *words[1:]), {}, "something else and texts"),
        (({"red": 1}, *words[1:]), {}, "X is a dict"),
        ((np.ones((2, 3)), *words[1:]), {}, "vectors of length 3, but demo has"),
        (words, {"names": ("a", "b", "c")}, "four different words"),
        (words, {"names": ("a", "a", "b", "c")}, "four different words"),
        (words, {"templates": ["This is."]}, "exactly one {}"),
        (words, {"templates": []}, "Templates apply to texts"),
        ((*[[red]] * 4,), {"templates": ["{}"]}, "Templates apply to texts"),
        (words, {"alternative": "both"}, "alternative"),
    ):
        with pytest.raises(OptionError, match=message):
            association("demo", *vectors, **options)
    with pytest.raises(ModelMismatchError, match="the vectors of X"):
        other = Vectors(np.ones((2, ClipModel("demo").dim)), space(tmp_path))
        association("demo", other, *words[1:])

"""Dot products against float64 sums, and everything that must not change them."""

import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.property_tests import examples

from laion_dask.errors import EmbeddingsError
from laion_dask.numerics import dot_products
from laion_dask.numerics.approximate_cosines import approximate_cosines, approximation_error

WIDTHS = (1, 7, 32, 512, 768, 1025)


def rows(n, dim, dtype="float16", seed=0, scale=1.0):
    x = np.random.default_rng(seed).normal(size=(n, dim)) * scale / np.sqrt(dim)
    return x.astype(dtype)


def dot(x, w):
    return dot_products.dot_and_squares(x, w)[0]


def lengths(x):
    return np.sqrt((x.astype(np.float64) ** 2).sum(axis=-1))


@pytest.mark.parametrize("dim", WIDTHS)
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_dot_against_float64(dim, dtype):
    x, w = rows(500, dim, dtype), rows(1, dim, "float32", 1)[0]
    got = dot(x, w)
    assert got.dtype == np.float32 and got.shape == (500,)
    wanted = x.astype(np.float64) @ w.astype(np.float64)
    assert (np.abs(got - wanted) <= 1e-6 * lengths(x) * lengths(w)).all()


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1.0, 1e6, 1e30])
def test_a_vector_of_any_size_keeps_its_digits(scale):
    x, w = rows(200, 768), rows(1, 768, "float32", 1)[0] * np.float32(scale)
    wanted = x.astype(np.float64) @ w.astype(np.float64)
    assert (np.abs(dot(x, w) - wanted) <= 1e-6 * lengths(x) * lengths(w)).all()


def test_elements_of_all_sizes():
    draw = np.random.default_rng(3)
    w = (draw.normal(size=768) * 10.0 ** draw.integers(-12, 1, 768)).astype(np.float32)
    x = (draw.normal(size=(300, 768)) * 10.0 ** draw.integers(-7, 3, (300, 768))).astype("float16")
    wanted = x.astype(np.float64) @ w.astype(np.float64)
    assert (np.abs(dot(x, w) - wanted) <= 1e-6 * lengths(x) * lengths(w)).all()


def test_a_float16_vector_is_one_product():
    x, w = rows(300, 768), rows(1, 768, "float16", 1)[0]
    wanted = x.astype(np.float64) @ w.astype(np.float64)
    np.testing.assert_allclose(dot(x, w), wanted, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("dim", WIDTHS)
def test_squares_against_float64(dim, dtype):
    x = rows(500, dim, dtype, scale=3.0)
    np.testing.assert_allclose(dot_products.squares(x), lengths(x) ** 2, rtol=1e-6)


def test_squares_neither_over_nor_underflow():
    big = np.full((2, 768), 65504, np.float16)
    np.testing.assert_allclose(dot_products.squares(big), 768 * 65504.0**2, rtol=1e-5)
    tiny = np.zeros((1, 768), np.float16)
    tiny[0, 5] = 2.0**-24
    assert dot_products.squares(tiny)[0] == 2.0**-48
    wide = np.array([[3e38, 3e38], [1e-45, 0]], np.float32)
    np.testing.assert_allclose(dot_products.squares(wide), (wide.astype(np.float64) ** 2).sum(1))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_rows_without_direction(dtype):
    x = rows(6, 40, dtype)
    x[0, 3], x[1, 5], x[2, 39], x[3] = np.nan, np.inf, -np.inf, 0
    w = rows(1, 40, "float32", 1)[0]
    dots = dot(x, w)
    assert np.isnan(dots[0]) and not np.isfinite(dots[1:3]).any()
    assert dots[3] == 0 and np.isfinite(dots[4:]).all()
    found = dot_products.squares(x)
    assert np.isnan(found[0]) and np.isinf(found[1:3]).all() and found[3] == 0
    rough = approximate_cosines(x, w.astype(dtype))
    assert np.isnan(rough[0]) and all(np.isnan(r) or r == 1 for r in rough[1:3]) and rough[3] == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_vector_without_direction(bad, dtype):
    x, w = rows(5, 16, dtype), rows(1, 16, "float32", 1)[0]
    w[3] = bad
    assert not np.isfinite(dot(x, w)).any()
    assert (dot(x, np.zeros(16, np.float32)) == 0).all()


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_every_row_is_computed_alone(dtype, monkeypatch):
    x, w = rows(1500, 96, dtype), rows(1, 96, "float32", 1)[0]
    everything = [dot(x, w), dot_products.squares(x), approximate_cosines(x, x[0])]
    np.testing.assert_array_equal(dot_products.dot_and_squares(x, w)[1], everything[1])
    monkeypatch.setattr(dot_products, "_CACHED", 1000)
    for part in (slice(3, 4), slice(700, None), slice(None, None, 3)):
        here = [dot(x[part], w), dot_products.squares(x[part])]
        here.append(approximate_cosines(x[part], x[0]))
        for a, b in zip(here, everything, strict=True):
            np.testing.assert_array_equal(a, b[part])


@pytest.mark.parametrize("kind", ["fortran", "unaligned", "columns", "memmap", "read-only"])
def test_any_layout(kind, tmp_path):
    x, w = rows(100, 64), rows(1, 64, "float32", 1)[0]
    laid_out = {
        "fortran": lambda: np.asfortranarray(x),
        "unaligned": lambda: np.frombuffer(b"-" + x.tobytes(), np.float16, offset=1).reshape(
            x.shape
        ),
        "columns": lambda: np.repeat(x, 2, axis=1)[:, ::2],
        "memmap": lambda: _mapped(tmp_path / "x.npy", x),
        "read-only": lambda: _locked(x),
    }[kind]()
    np.testing.assert_array_equal(dot(laid_out, w), dot(x, w))
    np.testing.assert_array_equal(dot_products.squares(laid_out), dot_products.squares(x))


def _mapped(path, x):
    np.save(path, x)
    return np.load(path, mmap_mode="r")


def _locked(x):
    x = x.copy()
    x.flags.writeable = False
    return x


def test_no_rows():
    for dtype in ("float16", "float32"):
        x, w = np.empty((0, 8), dtype), np.ones(8, np.float32)
        assert dot(x, w).shape == dot_products.squares(x).shape == (0,)
        assert approximate_cosines(x, w.astype(dtype)).shape == (0,)


def test_what_is_refused():
    x, w = rows(3, 8), np.ones(8, np.float32)
    for rows_ in (x.astype(np.float64), x[0], x.astype(int), x[:, :0]):
        with pytest.raises(EmbeddingsError, match="Rows were given as"):
            dot_products.squares(rows_)
    for vector in (w[:7], w[None], w.astype(np.float64)):
        with pytest.raises(EmbeddingsError, match="The vector is"):
            dot(x, vector)
    with pytest.raises(EmbeddingsError, match="The vector is"):
        dot(x.astype(np.float32), w.astype(np.float16))
    with pytest.raises(EmbeddingsError, match="Round the vector"):
        approximate_cosines(x, w)


@examples(60)
@given(
    dim=st.integers(1, 900),
    dtype=st.sampled_from(["float16", "float32"]),
    near=st.sampled_from([0.0, 1e-3, 1.0]),
    seed=st.integers(0, 99),
)
def test_rough_cosines_keep_their_bound(dim, dtype, near, seed):
    draw = np.random.default_rng(seed)
    w = draw.normal(size=dim).astype(dtype)
    scales = 10.0 ** draw.integers(-3, 4, (64, 1))
    x = ((near * draw.normal(size=(64, dim)) + (near < 1) * w) * scales).astype(dtype)
    x = x[lengths(x) > 0]
    true = (x.astype(np.float64) @ w.astype(np.float64)) / lengths(x) / lengths(w)
    assert (np.abs(approximate_cosines(x, w) - true) <= approximation_error(dim)).all()


def test_other_threads_run_meanwhile():
    x, w = rows(40_000, 256), rows(1, 256, "float16", 1)[0]
    finished, turns = threading.Event(), 0
    before = sys.getswitchinterval()
    sys.setswitchinterval(1000)  # threads never switch unless the GIL is released

    def work():
        for _ in range(20):
            approximate_cosines(x, w)
            dot(x, w.astype(np.float32))
        finished.set()

    try:
        thread = threading.Thread(target=work)
        thread.start()
        while not finished.wait(0.0001):
            turns += 1
        thread.join()
    finally:
        sys.setswitchinterval(before)
    assert turns > 5


_ANY_PROCESSOR = """
import numkong, numpy as np
from laion_dask.numerics import dot_products as products
from laion_dask.numerics.approximate_cosines import approximate_cosines, approximation_error
draw = np.random.default_rng(0)
x = draw.standard_normal((300, 769)).astype(np.float16)
w = draw.standard_normal(769).astype(np.float32)
narrow = w.astype(np.float16)

def length(a):
    return np.sqrt((a.astype(float) ** 2).sum(-1))

exact = products.cosines(x, w)
for name, there in numkong.get_capabilities().items():
    if there and name != "serial":
        numkong.disable_capability(name)
        error = products.dot_and_squares(x, w)[0] - x.astype(float) @ w.astype(float)
        assert (abs(error) <= 1e-6 * length(x) * length(w)).all(), name
        true = x.astype(float) @ narrow.astype(float) / length(x) / length(narrow)
        error = abs(approximate_cosines(x, narrow) - true)
        assert (error <= approximation_error(769)).all(), name
        again = products.cosines(x, w)
        assert (again.astype(np.float32) == exact.astype(np.float32)).all(), name
        np.testing.assert_allclose(again, exact, rtol=0, atol=1e-15)
        np.testing.assert_allclose(products.squares(x), length(x) ** 2, rtol=1e-5)
"""


def test_processors_without_these_instructions():
    subprocess.run([sys.executable, "-c", _ANY_PROCESSOR], check=True)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_inner_products_and_scales(dtype):
    x = rows(700, 768, dtype, scale=3.0)
    w = rows(1, 768, dtype, 1)[0]
    true = x.astype(np.float64) @ w.astype(np.float64)
    got, every_other = np.empty(700), np.empty(350)
    dot_products.inner(x, w, got)
    dot_products.inner(x[:0], w, got[:0])
    bound = 768 * 2.0**-24 * lengths(x) * lengths(w[None])
    assert (abs(got - true) <= bound).all()
    dot_products.inner(x[::2], w, every_other)
    np.testing.assert_array_equal(every_other, got[::2])
    with pytest.raises(EmbeddingsError, match=r"Round the vector|Expected \(768,\)"):
        dot_products.inner(x, w.astype("float16" if dtype == "float32" else "float32"), got)
    x[3], x[4, 0], x[5, 1] = 0, np.nan, np.inf
    scale = dot_products.scales(x)
    assert np.flatnonzero(np.isnan(scale)).tolist() == [3, 4, 5]
    good = np.setdiff1d(np.arange(700), [3, 4, 5])
    np.testing.assert_allclose(scale[good] * lengths(x[good]), 1, rtol=772 * 2.0**-25)
    assert dot_products.scales(x[:0]).shape == (0,)


@pytest.mark.parametrize("one", ["float16", "float32"])
@pytest.mark.parametrize("other", ["float16", "float32"])
def test_cosines_are_those_of_float64(one, other):
    x, y = rows(700, 768, one, scale=3.0), rows(700, 768, other, 1)
    x[3], x[4, 0], y[5, 1] = 0, np.nan, np.inf
    got = dot_products.cosines(x, y)
    dots = (x.astype(np.float64) * y.astype(np.float64)).sum(axis=1)
    with np.errstate(invalid="ignore"):
        wanted = dots / (lengths(x) * lengths(y))
    assert np.flatnonzero(np.isnan(got)).tolist() == [3, 4, 5]
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, wanted, atol=1e-14)
    np.testing.assert_array_equal(
        dot_products.cosines(x, y[9]), dot_products.cosines(x, y[[9] * 700])
    )
    np.testing.assert_array_equal(dot_products.cosines(x[100:], y[100:]), got[100:])
    np.testing.assert_allclose(dot_products.cosines(x[10:], x[10:]), 1, rtol=0, atol=1e-15)
    big = np.array([[3e38, 0], [1e-45, 1e-45]], np.float32)
    np.testing.assert_allclose(dot_products.cosines(big, big[1]), [0.5**0.5, 1])
    for wrong in (y[:5], y[:, :5], y[0, :5]):
        with pytest.raises(EmbeddingsError, match="Expected one vector"):
            dot_products.cosines(x, wrong)

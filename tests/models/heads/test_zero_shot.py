"""Q16 and zero-shot classifiers against plain arithmetic and the published prompts."""

import pickle

import numpy as np
import pytest
from support.small_clip import make_small_clip

from laion_dask.errors import ModelMismatchError, OptionError, WeightsError
from laion_dask.models import ClipModel, heads
from laion_dask.models.heads.compatibility import check_heads


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> ClipModel:
    """A CLIP model with random weights."""
    config, weights = make_small_clip(tmp_path_factory.mktemp("clip"))
    return ClipModel(config, weights)


def unit(x):
    x = np.asarray(x, np.float64)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def softmax_of_cosines(x, prompts, temperature=100.0):
    logits = temperature * unit(x) @ unit(prompts).T
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def embeddings(n, dim, seed=0, dtype=np.float16):
    return unit(np.random.default_rng(seed).normal(size=(n, dim))).astype(dtype)


@pytest.mark.parametrize("arch", ["ViT-L-14", "ViT-B-32", "ViT-B-16"])
def test_q16_is_the_softmax_over_its_prompts(shared, arch):
    path = shared / "weights" / f"q16_prompts_{arch.lower().replace('-', '_')}.npy"
    prompts = np.load(path)
    head = heads.inappropriate(arch, weights=path)
    x = embeddings(700, prompts.shape[1]) + 0.02 * unit(prompts)[1].astype(np.float16)
    expected = softmax_of_cosines(x, prompts)[:, 1]
    np.testing.assert_allclose(head.predict(x), expected, atol=1e-6)
    # Its own prompts get the most extreme probabilities.
    near = head.predict(prompts)
    assert near[0] < 1e-4 and near[1] > 1 - 1e-4
    assert head.name == "inappropriate" and head.recipe()["source"] == [path.name]


@pytest.mark.parametrize("arch", ["ViT-L-14", "ViT-B-32"])
def test_laions_violence_detection_is_q16_normalised(shared, arch):
    name = arch.lower().replace("-", "_")
    q16 = np.load(shared / "weights" / f"q16_prompts_{name}.npy")
    laion = np.load(shared / "weights" / f"violence_detection_{name}.npy")
    np.testing.assert_allclose(np.linalg.norm(laion.astype(np.float64), axis=1), 1, atol=1e-3)
    # float16 has 11 significant bits, so both values are off by at most 2^-11 of themselves.
    cosine = (unit(laion) * unit(q16)).sum(axis=1)
    assert (cosine > 1 - 2**-22).all(), cosine
    x = embeddings(300, q16.shape[1], seed=1)
    one = heads.inappropriate(arch, weights=shared / "weights" / f"violence_detection_{name}.npy")
    two = heads.inappropriate(arch, weights=shared / "weights" / f"q16_prompts_{name}.npy")
    np.testing.assert_allclose(one.predict(x), two.predict(x), atol=0.005)


def test_q16s_own_prompts_come_first(shared, tmp_path, monkeypatch):
    monkeypatch.setenv("LAION_DASK_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(WeightsError, match="violence_detection_vit_l_14"):
        heads.inappropriate("ViT-L-14")
    for name in ("violence_detection_vit_l_14.npy", "q16_prompts_vit_l_14.npy"):
        (tmp_path / name).write_bytes((shared / "weights" / name).read_bytes())
        assert heads.inappropriate("ViT-L-14").recipe()["source"] == [name]


def test_q16_refuses_other_models_and_shapes(shared, tmp_path):
    path = shared / "weights" / "q16_prompts_vit_b_32.npy"
    with pytest.raises(OptionError, match="Available: ViT-B-16, ViT-B-32, ViT-L-14"):
        heads.inappropriate("ViT-H-14", weights=path)
    with pytest.raises(ModelMismatchError, match="fitted on the weights 'openai'"):
        heads.inappropriate("ViT-B-32:laion2b_s34b_b79k", weights=path)
    with pytest.raises(WeightsError, match=r"Expected prompts of shape \(2, 768\)"):
        heads.inappropriate("ViT-L-14", weights=path)
    np.save(tmp_path / "zero.npy", np.zeros((2, 512), np.float16))
    with pytest.raises(WeightsError, match="no direction"):
        heads.inappropriate("ViT-B-32", weights=tmp_path / "zero.npy")


def test_zero_shot_against_plain_arithmetic(clip):
    labels, templates = ["a red bird", "a boat", "snow"], ["a photo of {}.", "{} in the dark"]
    head = heads.zero_shot(clip, labels, templates, to="p_bird")
    averaged = [
        np.mean([np.asarray(clip.text(t.format(label))) for t in templates], axis=0)
        for label in labels
    ]
    x = embeddings(1200, clip.dim, dtype=np.float32)
    expected = softmax_of_cosines(x, averaged)
    np.testing.assert_allclose(head.predict(x), expected[:, 0], atol=1e-5)
    np.testing.assert_allclose(head.of("snow").predict(x), expected[:, 2], atol=1e-5)
    np.testing.assert_array_equal(head.predict(8 * x[:5]), head.predict(x[:5]))
    cool = heads.zero_shot(clip, labels, templates, temperature=10)
    np.testing.assert_allclose(
        cool.predict(x), softmax_of_cosines(x, averaged, 10)[:, 0], atol=1e-5
    )
    total = sum(head.of(label).predict(x) for label in labels)
    np.testing.assert_allclose(total, 1, atol=1e-5)


def test_a_zero_shot_head_is_a_spec(clip):
    head = heads.zero_shot(clip, ["a dog", "a cat"])
    assert (head.name, head.of("a cat").name, head.to("dog").name) == ("p_a_dog", "p_a_cat", "dog")
    assert heads.zero_shot(clip, ["a dog", "a cat"], of="a cat") == head.of("a cat")
    assert pickle.loads(pickle.dumps(head)) == head and hash(head)
    assert head.recipe()["labels"] == ["a dog", "a cat"] and head.recipe()["of"] == "a dog"
    with pytest.raises(OptionError, match="Available: a cat, a dog"):
        head.of("a bird")
    with pytest.raises(ModelMismatchError):
        list(check_heads([head], ClipModel("ViT-L-14")))


@pytest.mark.parametrize(
    "labels, templates, match",
    [
        (["one"], ["{}"], "two or more"),
        (["one", "one"], ["{}"], "all different"),
        (["one", 2], ["{}"], "One of labels is 2"),
        (["one", "two"], ["a photo"], "must have one"),
        (["one", "two"], [], "at least one template"),
        (None, ["{}"], "labels is None. Expected a list"),
        (["one", "two"], None, "templates is None. Expected a list"),
        (["one", "two"], [b"{}"], "One of templates is"),
        ({"one", "two"}, ["{}"], "labels is a set"),
        ({"one": ["a"], "two": ["b"]}, ["{}"], "labels is a dict"),
    ],
)
def test_what_zero_shot_refuses(clip, labels, templates, match):
    with pytest.raises(OptionError, match=match):
        heads.zero_shot(clip, labels, templates)


def test_what_a_head_shows_of_itself_is_short(clip):
    shown = repr(heads.zero_shot(clip, ["one", "two"]))
    assert "one" in shown and len(shown) < 500


@pytest.mark.parametrize("temperature", ["x", None, 0, -1, float("nan"), float("inf"), [1]])
def test_a_temperature_is_a_number_above_zero(clip, temperature):
    with pytest.raises(OptionError, match="temperature"):
        heads.zero_shot(clip, ["one", "two"], temperature=temperature)


def test_a_probability_does_not_depend_on_the_rows_beside_it(clip):
    head = heads.zero_shot(clip, ["a dog", "a cat", "neither"])
    x = embeddings(1100, clip.dim, dtype=np.float32)
    x[4], x[600, 3] = 0, np.nan
    scores = head.predict(x)
    assert set(np.flatnonzero(np.isnan(scores))) == {4, 600}
    for at in (0, 3, 511, 512, 1099):
        assert head.predict(x[at : at + 1])[0] == scores[at]
    np.testing.assert_array_equal(head.predict(x[::-1]), scores[::-1])
    assert head.predict(x[:0]).shape == (0,)

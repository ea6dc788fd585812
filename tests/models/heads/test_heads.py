"""Heads against published answers, plain loops and malformed files."""

import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from support.heads import linear_file
from support.paths import SHARED

from laion_dask.errors import EmbeddingsError, ModelMismatchError, OptionError, WeightsError
from laion_dask.models import ClipModel, Vectors, heads, weights
from laion_dask.models.heads.compatibility import check_heads

WEIGHTS = SHARED / "weights"
needs_weights = pytest.mark.skipif(
    not WEIGHTS.is_dir(), reason="the published weight files are not on this machine"
)


@pytest.fixture
def published(monkeypatch):
    monkeypatch.setenv("LAION_DASK_WEIGHTS", str(WEIGHTS))


@pytest.fixture
def head(tmp_path):
    """A head for 512 dimensions with random weights."""
    return heads.aesthetic("ViT-B-32", weights=linear_file(tmp_path, 512))


def embeddings(n, dim=512, dtype=np.float16, seed=0):
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(dtype)


@needs_weights
def test_aesthetic_on_the_rating_means(published):
    head = heads.aesthetic("ViT-L/14")
    folder = WEIGHTS / "aesthetic_ratings_vit_l_14"
    means = np.concatenate([np.load(folder / f"rating{i}.npy") for i in range(10)])
    np.testing.assert_allclose(np.linalg.norm(means, axis=1), 1, atol=1e-6)  # as published
    scores = head.predict(means)
    assert (np.diff(scores) > 0).all()
    np.testing.assert_allclose(scores[[0, -1]], [-2.46, 11.30], atol=0.005)
    np.testing.assert_allclose(head.predict(7 * means), scores, rtol=1e-5)  # normalized in predict


@needs_weights
@pytest.mark.parametrize("arch, dim", [("ViT-L-14", 768), ("ViT-B-32", 512), ("ViT-B-16", 512)])
def test_aesthetic_against_a_plain_loop(published, arch, dim):
    import torch

    head = heads.aesthetic(ClipModel(arch, "openai"))
    state = torch.load(weights.find(Path(head.weights).name), weights_only=True)
    x, weight = embeddings(40, dim), state["weight"][0].double().numpy()
    plain = [
        float(row.astype("f8") / np.linalg.norm(row.astype("f8")) @ weight) + float(state["bias"])
        for row in x
    ]
    np.testing.assert_allclose(head.predict(x), plain, atol=1e-5)
    assert head.clip == ClipModel(arch, "openai")


def test_rows_without_a_score_are_nan(head):
    x = embeddings(1500, dtype=np.float32)
    x[3], x[700, 5], x[701, 6], x[1499] = 0, np.nan, np.inf, -np.inf
    scores = head.predict(x)
    assert scores.dtype == np.float32 and scores.shape == (1500,)
    assert set(np.flatnonzero(np.isnan(scores))) == {3, 700, 701, 1499}
    extreme = np.ones((3, 512), np.float32) * np.float32([[1], [1e30], [1e-30]])
    np.testing.assert_allclose(head.predict(extreme), head.predict(extreme[:1])[0], rtol=1e-5)


@pytest.mark.parametrize("kind", ["array", "tensor", "precise"])
@pytest.mark.parametrize("scale", [1e38, 5e37, 1e-38, 1e-42])
def test_every_finite_row_that_is_not_zero_has_a_score(head, scale, kind):
    import torch

    x = np.clip(embeddings(40, dtype=np.float32), -3, 3) * np.float32(scale)
    assert np.isfinite(x).all() and x.any(axis=1).all()
    variant = {"array": x, "precise": x.astype(np.float64), "tensor": torch.from_numpy(x)}[kind]
    wide = x.astype(np.float64)
    weight, bias = (part.double().numpy() for part in head.load())
    plain = wide @ weight / np.linalg.norm(wide, axis=1) + bias
    np.testing.assert_allclose(head.predict(variant), plain, atol=1e-5)
    np.testing.assert_array_equal(head.predict(variant[7:8]), head.predict(variant)[7:8])


_ANY_PROCESSOR = """
import sys
import numkong, numpy as np
from laion_dask.models import heads
draw = np.random.default_rng(0)
x = draw.normal(size=(40, 512)).astype(np.float16)
x[0], x[1, 5], x[2, 6], x[3, 7], x[4], x[5, :9] = 0, np.inf, -np.inf, np.nan, np.inf, np.inf
x[6] = np.float16(6e-8)
exact, rounded = (
    heads.aesthetic("ViT-B-32", weights=sys.argv[1], precision=p) for p in ("float32", "float16")
)
for name in ["serial", *numkong.get_capabilities()]:
    if name != "serial":
        numkong.disable_capability(name)
    for head in (exact, rounded):
        scores = head.predict(x)
        assert np.flatnonzero(np.isnan(scores)).tolist() == [0, 1, 2, 3, 4, 5], (name, scores[:8])
        assert np.isfinite(scores[6:]).all(), name
    assert np.allclose(rounded.predict(x), exact.predict(x), atol=0.03, equal_nan=True), name
"""


def test_no_processor_scores_a_row_without_a_direction(head):
    subprocess.run([sys.executable, "-c", _ANY_PROCESSOR, head.weights], check=True)


def test_a_score_does_not_depend_on_the_rows_beside_it(head):
    x = embeddings(1200)
    x[10] = 0
    scores = head.predict(x)
    np.testing.assert_array_equal(head.predict(x[517:]), scores[517:])
    for at in (0, 9, 11, 511, 512, 1199):
        assert head.predict(x[at : at + 1])[0] == scores[at]


def test_kinds_of_input(head):
    import torch

    x = embeddings(9)
    scores = head.predict(x)
    np.testing.assert_array_equal(head.predict(torch.from_numpy(x)), scores)
    np.testing.assert_array_equal(head.predict(x[::-1]), scores[::-1])
    read_only = x.copy()
    read_only.flags.writeable = False
    np.testing.assert_array_equal(head.predict(read_only), scores)
    assert head.predict(x[:0]).shape == (0,)
    for wrong in (x[0], x[:, :100], x.astype(int), np.array([["a"] * 512])):
        with pytest.raises(EmbeddingsError, match="Expected"):
            head.predict(wrong)
    with pytest.raises(ModelMismatchError, match="The head 'aesthetic' and the vectors"):
        head.predict(Vectors(x, ClipModel("ViT-B-16")))


def test_a_head_is_a_spec(head):
    renamed = head.to("beauty")
    assert renamed.name == "beauty" and head.name == "aesthetic" and renamed != head
    assert pickle.loads(pickle.dumps(head)) == head and hash(head)
    assert head.clip == ClipModel("ViT-B-32", "openai")
    by_hand = heads.LinearHead("aesthetic", "ViT-B/32:openai", head.weights, head.sha256)
    assert by_hand == head and by_hand.clip.dim == 512
    assert head.recipe() == {
        "name": "aesthetic",
        "clip": "ViT-B-32:openai",
        "weights": "head.safetensors",
        "sha256": weights.sha256_of(head.weights),
        "precision": "float32",
    }
    with pytest.raises(OptionError, match="output column"):
        head.to("")


@needs_weights
@pytest.mark.parametrize(
    "name, arch, file",
    [
        ("aesthetic", "ViT-B-32", "sa_0_4_vit_b_32_linear.pth"),
        ("aesthetic_v2", "ViT-L-14", "sac+logos+ava1-l14-linearMSE.pth"),
        ("inappropriate", "ViT-B-32", "violence_detection_vit_b_32.npy"),
        ("nsfw", "ViT-B-32", "clip_autokeras_nsfw_b32.zip"),
    ],
)
def test_by_name_with_a_file_and_without(published, tmp_path, name, arch, file):
    (tmp_path / file).write_bytes((WEIGHTS / file).read_bytes())
    named_head = heads.by_name(f"{name}={tmp_path / file}", arch)
    assert named_head.name == name and named_head.clip == ClipModel(arch, "openai")
    assert isinstance(named_head, heads.PromptHead) or named_head.weights == str(tmp_path / file)
    assert heads.by_name(name, arch).name == name


def test_what_a_head_refuses(tmp_path):
    for version in (3, "1", [2], None):
        with pytest.raises(OptionError, match="Available: 1 and 2"):
            heads.aesthetic("ViT-L-14", version=version)
    with pytest.raises(OptionError, match="Available: ViT-B-16, ViT-B-32, ViT-L-14"):
        heads.aesthetic("ViT-H-14")
    with pytest.raises(ModelMismatchError, match="fitted on the weights 'openai'"):
        heads.aesthetic(ClipModel("ViT-L-14", "laion2b_s32b_b82k"))
    with pytest.raises(WeightsError, match="512 dimensions"):
        heads.aesthetic("ViT-L-14", weights=linear_file(tmp_path, 512))


def test_the_way_out_for_a_file_of_openais_weights(head, tmp_path, monkeypatch):
    (tmp_path / "w.pt").write_bytes(b"weights")
    own, way = ClipModel("ViT-B-32", tmp_path / "w.pt"), r"w\.pt .* as ViT-B-32-openai\.pt in"
    with pytest.raises(ModelMismatchError, match=way):
        list(check_heads([head], own))
    with pytest.raises(ModelMismatchError, match=way):
        heads.aesthetic(own, weights=head.weights)
    with pytest.raises(ModelMismatchError) as other:
        list(check_heads([head], ClipModel("ViT-B-16", tmp_path / "w.pt")))
    assert "openai.pt" not in str(other.value)
    monkeypatch.setenv("LAION_DASK_WEIGHTS", str(tmp_path))
    (tmp_path / "w.pt").rename(tmp_path / "ViT-B-32-openai.pt")
    named = ClipModel("ViT-B-32", "openai")
    named.require()
    assert named.recipe()["weights_sha256"] == weights.sha256_of(tmp_path / "ViT-B-32-openai.pt")
    assert list(check_heads([head], named)) == [head]


def test_a_changed_weight_file_is_refused(tmp_path):
    path = linear_file(tmp_path, 512, seed=1)
    head = heads.aesthetic("ViT-B-32", weights=path)
    heads.embedding_head._loaded.clear()
    linear_file(tmp_path, 512, seed=2)
    with pytest.raises(WeightsError, match="another file"):
        head.predict(embeddings(2))


def test_missing_and_altered_published_files(tmp_path, monkeypatch):
    monkeypatch.setenv("LAION_DASK_WEIGHTS", str(tmp_path / "named"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(WeightsError) as missing:
        heads.aesthetic("ViT-L-14")
    for part in ("sa_0_4_vit_l_14_linear.pth", "named", "laion_dask/weights", "https://", "4071"):
        assert part in str(missing.value)
    (tmp_path / "named").mkdir()
    (tmp_path / "named" / "sa_0_4_vit_l_14_linear.pth").write_bytes(b"short")
    with pytest.raises(WeightsError, match="truncated or altered"):
        heads.aesthetic("ViT-L-14")
    with pytest.raises(WeightsError, match="Did you mean 'sa_0_4_vit_l_14_linear"):
        weights.find("sa_0_4_vit_l_14.pth")


def test_only_tensors_are_read(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    bomb, objects, other = tmp_path / "a.pth", tmp_path / "b.npy", tmp_path / "c.pkl"
    bomb.write_bytes(pickle.dumps(Bomb()))
    np.save(objects, np.array([{}], dtype=object), allow_pickle=True)
    other.write_bytes(b"")
    for path in (bomb, objects, other, tmp_path / "missing.pth"):
        with pytest.raises(WeightsError):
            weights.read_tensors(path)
    assert not (tmp_path / "ran").exists()
    np.save(tmp_path / "d.npy", np.ones((1, 4), np.float32))
    assert weights.read_tensors(tmp_path / "d.npy")["array"].shape == (1, 4)
    with pytest.raises(WeightsError, match=r"Expected a linear head"):
        heads.aesthetic("ViT-B-32", weights=tmp_path / "d.npy")


def test_the_demo_head(tmp_path, monkeypatch):
    monkeypatch.setattr(heads.linear, "_DEMO_SAFETY", tmp_path / "safety_head.safetensors")
    with pytest.raises(WeightsError, match="Reinstall"):
        heads.demo_safety()
    linear_file(tmp_path, 512).rename(tmp_path / "safety_head.safetensors")
    monkeypatch.setattr(ClipModel, "dim", 512)
    head = heads.demo_safety(to="p_demo")
    scores = head.predict(embeddings(50))
    assert head.clip == ClipModel("demo") and head.name == "p_demo"
    assert ((scores > 0) & (scores < 1)).all()


@pytest.mark.skipif(not heads.linear._DEMO_SAFETY.is_file(), reason="the bundled head is not there")
def test_the_bundled_demo_head():
    scores = heads.demo_safety().predict(ClipModel("demo").text(["a red star", "two dogs"]))
    assert scores.shape == (2,) and ((scores >= 0) & (scores <= 1)).all()


def test_heads_of_one_run_must_fit(head):
    assert list(check_heads([head, head.to("b")], ClipModel("ViT-B-32"))) == [
        head,
        head.to("b"),
    ]
    with pytest.raises(OptionError, match="Two heads write"):
        list(check_heads([head, head], ClipModel("ViT-B-32")))
    with pytest.raises(ModelMismatchError):
        list(check_heads([head], ClipModel("ViT-L-14")))


@needs_weights
def test_aesthetic_v2_is_one_affine_map(published):
    import torch

    head = heads.aesthetic("ViT-L-14", version=2)
    state = torch.load(
        weights.find("sac+logos+ava1-l14-linearMSE.pth"), weights_only=True, map_location="cpu"
    )
    x = embeddings(600, 768)
    layer = torch.from_numpy(x / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True))
    folded, single = layer.double(), layer.float()
    for number in (0, 2, 4, 6, 7):
        weight, bias = state[f"layers.{number}.weight"], state[f"layers.{number}.bias"]
        folded = folded @ weight.double().T + bias.double()
        single = single @ weight.T + bias
    scores = head.predict(x)
    np.testing.assert_allclose(scores, folded[:, 0], atol=1e-5)
    np.testing.assert_allclose(scores, single[:, 0], atol=1e-5)


def test_layers_that_do_not_fit_are_refused(tmp_path):
    import torch
    from safetensors.torch import save_file

    layers = {"0.weight": torch.ones(8, 512), "0.bias": torch.ones(8)}
    for name, more in {
        "wide": {"1.weight": torch.ones(1, 9), "1.bias": torch.ones(1)},
        "many": {"1.weight": torch.ones(2, 8), "1.bias": torch.ones(2)},
        "bare": {"1.weight": torch.ones(1, 8)},
        "extra": {"1.weight": torch.ones(1, 8), "1.bias": torch.ones(1), "odd": torch.ones(1)},
    }.items():
        save_file(layers | more, tmp_path / f"{name}.safetensors")
        with pytest.raises(WeightsError, match="Expected a linear head"):
            heads.aesthetic("ViT-B-32", weights=tmp_path / f"{name}.safetensors")


@needs_weights
@pytest.mark.parametrize(
    ("weight", "bias", "what"),
    [
        (torch.full((1, 512), float("nan")), torch.zeros(1), "'weight' has a number that is NaN"),
        (torch.zeros(1, 512), torch.tensor([float("inf")]), "'bias' has a number that is NaN, inf"),
        (torch.full((1, 512), 1e308, dtype=torch.float64), torch.zeros(1), "beyond float32"),
        (torch.full((1, 512), 3e38), torch.zeros(1), "beyond float32"),
        (torch.ones(1, 512, dtype=torch.complex64), torch.zeros(1), "'weight' is complex"),
        pytest.param(
            torch.zeros(1, 512).to_sparse(),
            torch.zeros(1),
            "'weight' is sparse",
            marks=pytest.mark.filterwarnings("ignore"),  # for torch's warnings on any sparse tensor
        ),
        (torch.zeros(1, 512, device="meta"), torch.zeros(1), "'weight' has no values"),
    ],
)
def test_weights_that_are_no_finite_numbers(tmp_path, weight, bias, what):
    path = tmp_path / "w.pth"
    torch.save({"weight": weight, "bias": bias}, path)
    with pytest.raises(WeightsError, match=what):
        heads.aesthetic("ViT-B-32", weights=path)


def test_quantized_weights_and_layers_that_fold_to_infinity(tmp_path):
    path = tmp_path / "w.pth"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates creating such a file
        quantized = torch.quantize_per_tensor(torch.ones(1, 512), 0.1, 0, torch.qint8)
        torch.save({"weight": quantized, "bias": torch.zeros(1)}, path)
        with pytest.raises(WeightsError, match=r"w\.pth"):
            heads.aesthetic("ViT-B-32", weights=path)
    layers = {"0.weight": torch.full((4, 512), 1e30), "1.weight": torch.full((1, 4), 1e30)}
    torch.save({**layers, "0.bias": torch.zeros(4), "1.bias": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match="beyond float32"):
        heads.aesthetic("ViT-B-32", weights=path)


@pytest.mark.parametrize("weights", ["", 5, b""])
def test_weights_that_are_no_path(weights):
    for make in (
        lambda: heads.aesthetic("ViT-B-32", weights=weights),
        lambda: heads.nsfw("ViT-B-32", weights=weights),
        lambda: heads.inappropriate("ViT-B-32", weights=weights),
        lambda: heads.watermark(weights=weights),
    ):
        with pytest.raises((OptionError, WeightsError), match="weights"):
            make()


def test_weights_rounded_to_float16(published):
    exact, rounded = (heads.aesthetic("ViT-L-14", precision=p) for p in ("float32", "float16"))
    x = embeddings(9000, 768)
    x[5], x[6, 3], x[8500, 7] = 0, np.nan, np.inf
    x[7, 1:], x[8] = 0, np.float16(6e-8)  # a single nonzero; the smallest float16
    scores = rounded.predict(x)
    np.testing.assert_allclose(scores, exact.predict(x), atol=1e-3, equal_nan=True)
    assert set(np.flatnonzero(np.isnan(scores))) == {5, 6, 8500}
    np.testing.assert_array_equal(rounded.predict(x[8190:8200]), scores[8190:8200])
    with pytest.raises(OptionError, match="Available: float16, float32"):
        heads.aesthetic("ViT-L-14", precision="int8")


def test_a_file_that_is_mapped_is_scored_in_place(head, tmp_path):
    x = embeddings(700)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    np.testing.assert_array_equal(head.predict(mapped), head.predict(x))
    np.testing.assert_allclose(head.predict(x.astype(np.float64)), head.predict(x), atol=1e-5)

"""The NSFW detectors against TensorFlow's answers, plain loops and other file layouts."""

import pickle
from itertools import pairwise
from pathlib import Path

import dask
import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.heads import FILES

import laion_dask as ld
from laion_dask.errors import EmbeddingsError, ModelMismatchError, OptionError, WeightsError
from laion_dask.models import ClipModel, Vectors, heads
from laion_dask.models.heads import dense
from laion_dask.models.heads.dense import DenseNetwork, _indices, _lookup_tables, millionths
from laion_dask.models.tf_saved_model import read_detector


@pytest.fixture(params=FILES)
def published(request, shared):
    """A head with its published weights, and TensorFlow's answers."""
    file, answers = FILES[request.param]
    head = heads.nsfw(request.param, weights=shared / "weights" / file)
    with np.load(shared / "reference" / answers, allow_pickle=False) as known:
        return head, dict(known)


@pytest.fixture
def h14(tmp_path):
    """A head for ViT-H-14 with random weights in the published layout, and the plain network."""
    network = plain_h14()
    torch.save(network.state_dict(), tmp_path / "h14_nsfw.pth")
    return heads.nsfw("ViT-H-14", weights=tmp_path / "h14_nsfw.pth"), network


def plain_h14(sizes=(1024, 1024, 2048, 1024, 256, 128, 16, 1)):
    torch.manual_seed(0)
    network = torch.nn.Module()  # its state dict's names start with "layers."
    network.layers = torch.nn.Sequential()
    for at, (before, after) in enumerate(pairwise(sizes)):
        network.layers.append(torch.nn.Linear(before, after))
        if at < 5:
            network.layers.extend([torch.nn.ReLU(), torch.nn.Dropout(0.2)])
    return network.eval()


def unit_rows(n, dim, dtype=np.float32, seed=0):
    x = np.random.default_rng(seed).normal(size=(n, dim))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(dtype)


def six_decimals(x: float) -> int:
    """The integer that C's "%.6f" prints, in millionths."""
    return int(f"{x:.6f}".replace(".", ""))


@pytest.mark.parametrize("kind", ["f16", "f32"])
def test_tensorflows_answers_at_any_batch_size(published, kind):
    head, known = published
    x, answers = known[f"embedding_{kind}"], known[f"p_from_{kind}"]
    all_at_once = head.predict(x)
    np.testing.assert_allclose(all_at_once, answers, atol=2e-6)
    for size in (1, 7, 64, 512):
        part = x if size > 1 else x[:50]
        in_batches = [head.predict(part[at : at + size]) for at in range(0, len(part), size)]
        np.testing.assert_array_equal(np.concatenate(in_batches), all_at_once[: len(part)])
    assert head.predict(x[:0]).shape == (0,)


def test_a_score_depends_on_the_row_alone(published):
    head, known = published
    x = known["embedding_f16"]
    scores = head.predict(x)
    order = np.random.default_rng(0).integers(0, len(x), 1300)
    np.testing.assert_array_equal(head.predict(x[order]), scores[order])
    np.testing.assert_array_equal(head.predict(torch.from_numpy(x[order])), scores[order])
    faster = heads.nsfw(head.clip, weights=head.weights, precision="bfloat16")
    np.testing.assert_array_equal(faster.predict(x[order]), faster.predict(x)[order])
    np.testing.assert_allclose(faster.predict(x), scores, atol=5e-3)


def test_tasks_side_by_side_write_the_same_scores(published):
    head, known = published
    x = known["embedding_f16"]
    x = np.concatenate([x, x[::-1], x])
    parts = [dask.delayed(head.predict)(x[at : at + 600]) for at in range(0, len(x), 600)]
    in_batches = dask.compute(*parts, scheduler="threads", num_workers=4)
    np.testing.assert_array_equal(np.concatenate(in_batches), head.predict(x))


def test_the_lookup_against_a_plain_loop(published):
    head, known = published
    detector = read_detector(head.weights)
    x = np.concatenate([known["embedding_f16"], known["embedding_f32"]]).astype(np.float32)
    x[0], x[1], x[2, ::2] = 9.5, -1e30, np.nan
    tables = _lookup_tables(detector.vocabularies, np.zeros((1, x.shape[1])))
    found = _indices(torch.from_numpy(x), *map(torch.from_numpy, tables[:-1])).numpy()
    hits = 0
    for column, (dim, (keys, values)) in enumerate(detector.vocabularies.items()):
        table = dict(zip(keys.tolist(), values.tolist(), strict=True))
        right = [table.get(six_decimals(v), 0) if v == v else 0 for v in x[:, dim].tolist()]
        np.testing.assert_array_equal(found[:, column], right)
        hits += np.count_nonzero(right)
    assert hits > 50  # real rows occur in the vocabularies


@pytest.mark.parametrize("dim, entries", [(180, 10425), (316, 2266), (413, 2190), (440, 2293)])
def test_the_vocabularies_of_the_first_detector(shared, dim, entries):
    detector = read_detector(shared / "weights" / FILES["ViT-L-14"][0])
    keys, values = detector.vocabularies[dim]
    assert len(keys) == entries and sorted(values) == list(range(1, entries + 1))
    assert sorted(detector.vocabularies) == [180, 316, 413, 440, 644]
    assert [kernel.shape for kernel, _ in detector.layers] == [
        (768, 64), (64, 512), (512, 256), (256, 1),
    ]  # fmt: skip


def test_six_decimals_of_every_float16():
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    every = every[np.isfinite(every)].astype(np.float64)
    keys = millionths(torch.from_numpy(every).half()).tolist()
    assert keys == [six_decimals(v) for v in every.tolist()]


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=50))
def test_six_decimals_of_float32(values):
    keys = millionths(torch.tensor(values, dtype=torch.float32)).tolist()
    assert keys == [six_decimals(v) for v in values]


def test_rows_without_a_score(published):
    head, known = published
    x = known["embedding_f32"].copy()
    x[3], x[4, 5], x[5, 6], x[6] = 0, np.nan, np.inf, 3 * x[6]
    for dim in read_detector(head.weights).vocabularies:
        x[7, dim] = np.nan
    scores = head.predict(x)
    assert set(np.flatnonzero(np.isnan(scores))) == {3, 4, 5, 6, 7}
    with pytest.raises(EmbeddingsError, match="length 1"):
        head.predict(7 * known["embedding_f32"])


@pytest.mark.parametrize("cuts", [[(0, 4)], [(0, 3), (3, 4)], [(0, 0), (0, 2), (2, 4)]])
def test_rows_of_another_length_are_nan_for_any_shards(published, write, tmp_path, cuts):
    head, known = published
    x = known["embedding_f32"][:4] * np.float32([[1], [1], [1], [0.9]])
    (tmp_path / "emb").mkdir()
    for at, (start, stop) in enumerate(cuts):
        write(f"meta/{at}.parquet", {"n": pa.array(range(start, stop), pa.int32())})
        np.save(tmp_path / f"emb/{at}.npy", x[start:stop])
    frame = ld.read_shards(tmp_path / "meta")
    vectors = ld.open_embeddings(tmp_path / "emb", model=head.clip, like=frame)
    found = frame.laion.score(vectors, head).compute().sort_values("n")["nsfw"].to_numpy()
    np.testing.assert_array_equal(found, head.predict(x))
    assert np.isnan(found).tolist() == [False, False, False, True]
    assert np.isnan(head.scored(x[3:])).all()
    with pytest.raises(EmbeddingsError, match=r"row 0 has length 0\.9"):
        head.predict(x[3:])


def test_vit_h_14_against_the_plain_network(h14):
    head, network = h14
    x = unit_rows(700, 1024)
    with torch.inference_mode():
        right = network.layers(torch.from_numpy(x))[:, 0].numpy()
    np.testing.assert_allclose(head.predict(x), right, atol=1e-6)
    assert head.clip == ClipModel("ViT-H-14", "laion2b_s32b_b79k") and head.name == "nsfw"
    half = heads.nsfw("ViT-H-14", weights=head.weights, precision="bfloat16")
    np.testing.assert_allclose(half.predict(x), right, atol=0.01)


def test_vit_h_14_as_training_scripts_save_it(h14, tmp_path):
    head, network = h14
    held = {f"module.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"state_dict": held, "epoch": 7}, tmp_path / "other.pth")
    x = unit_rows(5, 1024)
    other = heads.nsfw("ViT-H-14", weights=tmp_path / "other.pth")
    np.testing.assert_array_equal(other.predict(x), head.predict(x))


def test_a_torch_without_onednn(published, monkeypatch):
    head, known = published
    x = known["embedding_f16"]
    scores = head.predict(x)
    monkeypatch.setattr(dense, "_onednn", lambda dtype: None)
    np.testing.assert_allclose(head.predict(x), scores, atol=2e-6)


def test_vit_h_14_of_another_layout(tmp_path):
    for sizes in [(1024, 1024, 2048, 1024, 256, 128, 1), (512, 1024, 2048, 1024, 256, 128, 16, 1)]:
        torch.save(plain_h14(sizes).state_dict(), tmp_path / "other.pth")
        with pytest.raises(WeightsError, match="Expected ViT-H-14's detector"):
            heads.nsfw("ViT-H-14", weights=tmp_path / "other.pth")


def test_vit_h_14_is_taken_from_the_users_folder_alone(h14, tmp_path, monkeypatch):
    head, _ = h14
    cache = tmp_path / "cache" / "laion_dask" / "weights"
    cache.mkdir(parents=True)
    (cache / "h14_nsfw.pth").write_bytes(Path(head.weights).read_bytes())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("LAION_DASK_WEIGHTS", raising=False)
    with pytest.raises(WeightsError, match=r"h14_nsfw\.pth .*LAION_DASK_WEIGHTS"):
        heads.nsfw("ViT-H-14")
    monkeypatch.setenv("LAION_DASK_WEIGHTS", str(tmp_path))
    found = heads.nsfw("ViT-H-14")
    assert found == head == heads.by_name(f"nsfw={head.weights}", "ViT-H-14")
    assert found.recipe()["sha256"] == head.sha256


def test_the_published_names_are_found(shared, monkeypatch):
    monkeypatch.setenv("LAION_DASK_WEIGHTS", str(shared / "weights"))
    head = heads.by_name("nsfw", "ViT-L/14")
    assert Path(head.weights).name == FILES["ViT-L-14"][0]
    assert head.clip == ClipModel("ViT-L-14", "openai")


def test_wrong_models_and_options(published, tmp_path):
    head, known = published
    with pytest.raises(WeightsError, match="There is no weight file"):
        heads.nsfw("ViT-L-14", weights=tmp_path / "missing.zip")
    with pytest.raises(OptionError, match="Available: ViT-B-32, ViT-H-14, ViT-L-14"):
        heads.nsfw("ViT-B-16")
    with pytest.raises(ModelMismatchError, match="fitted on the weights 'openai'"):
        heads.nsfw(ClipModel("ViT-L-14", "laion2b_s32b_b82k"))
    with pytest.raises(ModelMismatchError, match="laion2b_s32b_b79k"):
        heads.nsfw(ClipModel("ViT-H-14", "metaclip_fullcc"))
    with pytest.raises(OptionError, match="Available: bfloat16, float32"):
        heads.nsfw("ViT-L-14", precision="half")
    other = {"ViT-L-14": "ViT-B-32", "ViT-B-32": "ViT-L-14"}[head.clip.arch]
    with pytest.raises(WeightsError, match="Give the file that belongs to this model"):
        heads.nsfw(other, weights=head.weights)
    with pytest.raises(ModelMismatchError):
        head.predict(Vectors(known["embedding_f32"], ClipModel("demo")))
    with pytest.raises(EmbeddingsError, match="shape"):
        head.predict(unit_rows(2, 100))


def test_specs_travel(published):
    head, known = published
    x = known["embedding_f16"][:5]
    copy = pickle.loads(pickle.dumps(head))
    assert copy == head and hash(copy) == hash(head)
    np.testing.assert_array_equal(copy.predict(x), head.predict(x))
    assert head.to("p").name == "p"
    assert head.recipe()["precision"] == "float32" and len(head.recipe()["sha256"]) == 64


def test_a_network_against_a_plain_loop():
    draw = np.random.default_rng(1)
    layers = [(draw.normal(size=(o, i)), draw.normal(size=o)) for i, o in [(6, 5), (5, 4), (4, 1)]]
    mean, variance = draw.normal(size=6), np.array([1, 2, 0, 4, 1e-20, 3.0])
    mean[[2, 4]] = 0
    words = (np.array([-250000, 500000]), np.array([7, 2]))
    network = DenseNetwork(layers, 1, vocabularies={1: words}, mean=mean, variance=variance)
    rows = draw.normal(size=(20, 6)).astype(np.float32)
    rows[:3, 1] = [-0.25, 0.5, 0.25]
    rows[:, [2, 4]] *= 1e-7  # zero variance is replaced by the smallest deviation
    plain = []
    for row in rows.astype(np.float64):
        row[1] = {-250000: 7, 500000: 2}.get(six_decimals(row[1]), 0)
        row = (row - mean) / np.maximum(np.sqrt(variance), 1e-7)
        row = np.maximum(layers[0][0] @ row + layers[0][1], 0)
        plain.append((layers[2][0] @ (layers[1][0] @ row + layers[1][1]) + layers[2][1])[0])
    found = network(torch.from_numpy(rows), "float32").numpy()
    assert network.dim == 6
    np.testing.assert_allclose(found, plain, rtol=1e-5, atol=1e-4)

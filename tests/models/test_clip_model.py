"""CLIP specs, whose names pickle and load nothing, and vectors that remember their model."""

import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
from support.small_clip import CONFIG, make_small_clip, picture

from laion_dask.errors import (
    ImageError,
    MissingExtraError,
    ModelMismatchError,
    OptionError,
    WeightsError,
)
from laion_dask.models import (
    ClipModel,
    Vectors,
    as_model,
    check_same_space,
    clip_loading,
    weights,
)
from laion_dask.runtime.process_cache import ProcessCache


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return make_small_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def model(files):
    return ClipModel(*files)


def test_loading_sets_up_no_log_of_the_process(files):
    code = (
        "import logging, sys; from laion_dask.models import ClipModel; "
        "ClipModel(*sys.argv[1:]).text('a star'); print(logging.getLogger().handlers)"
    )
    run = [sys.executable, "-c", code, *map(str, files)]
    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout == "[]\n"


def plain_open_clip(files):
    import open_clip

    clip, _, preprocess = open_clip.create_model_and_transforms("tiny", str(files[1]))
    return clip.eval(), preprocess, open_clip.get_tokenizer("tiny")


def test_a_spec_compares_hashes_and_pickles(files):
    one, two = ClipModel("ViT-L/14", "openai"), ClipModel("ViT-L-14", "OpenAI")
    assert one == two and hash(one) == hash(two) and one.name == "ViT-L-14:openai"
    assert pickle.loads(pickle.dumps(one)) == one
    assert repr(one) == "ClipModel('ViT-L-14', 'openai')"
    assert one.dim == 768 and ClipModel(*files).dim == 32
    with pytest.raises(AttributeError):
        one.arch = "RN50"
    with pytest.raises(TypeError):
        ClipModel("ViT-L-14", "openai", "cpu")


def test_a_spec_loads_nothing():
    code = (
        "import sys; from laion_dask.models import ClipModel; m = ClipModel('ViT-B-32', 'openai');"
        "m.dim, m.name, hash(m), m.same_space('ViT-B-32');"
        "assert not {'torch', 'open_clip'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


@pytest.mark.parametrize("name", ["ViT-L-14:openai", "ViT-L/14:openai", "ViT-L-14/openai"])
def test_one_name_may_have_both_parts(name):
    assert ClipModel(name) == ClipModel("ViT-L-14", "openai")
    assert ClipModel(ClipModel(name).name) == ClipModel(name)


def test_wrong_names_are_refused_at_once():
    with pytest.raises(OptionError, match="Did you mean 'ViT-L-14'"):
        ClipModel("ViT-L14")
    with pytest.raises(OptionError, match="its own weights"):
        ClipModel("demo", "openai")
    with pytest.raises(OptionError, match="arch is int"):
        ClipModel(14)


def test_equal_to_plain_open_clip(model, files):
    import io

    import torch
    from PIL import Image

    clip, preprocess, tokenize = plain_open_clip(files)
    picture_file = picture(3)
    with torch.no_grad():
        image = clip.encode_image(preprocess(Image.open(io.BytesIO(picture_file)))[None], True)
        text = clip.encode_text(tokenize(["a red star"]), True)
    np.testing.assert_allclose(model.image(picture_file), image[0], atol=1e-6)
    np.testing.assert_allclose(model.text("a red star"), text[0], atol=1e-6)


def test_shapes_and_unit_norm(model, tmp_path):
    from PIL import Image

    path = tmp_path / "picture.png"
    path.write_bytes(picture())
    one = model.image(path)
    many = model.image([str(path), picture(), Image.open(path)])
    assert one.shape == (32,) and many.shape == (3, 32) and many.dtype == np.float32
    np.testing.assert_array_equal(many[0], many[1])
    np.testing.assert_allclose(np.linalg.norm(np.asarray(many), axis=1), 1, atol=1e-6)
    assert model.text("x").shape == (32,) and model.text(["x"]).shape == (1, 32)
    assert model.text([]).shape == (0, 32) and model.image([]).shape == (0, 32)
    hostile = ["", "\x00\x01", "\u202eright to left", "word " * 200_000]
    assert np.isfinite(model.text(hostile)).all()


def test_wrong_inputs_say_which(model, tmp_path):
    with pytest.raises(OptionError, match="A text is bytes"):
        model.text([b"x"])
    with pytest.raises(ImageError, match=r"missing\.png cannot be read"):
        model.image(tmp_path / "missing.png")
    with pytest.raises(ImageError, match="An image is int"):
        model.image(3)
    with pytest.raises(ImageError, match="not an image of a known format"):
        model.image(b"no picture")
    if not __import__("torch").cuda.is_available():
        with pytest.raises(OptionError, match="no CUDA device"):
            ClipModel(model.arch, model.pretrained, device="cuda").text("x")


def test_vectors_keep_their_model(model):
    a, b = model.text("king"), model.text(["man", "woman"])
    for kept in (b[0], b[1:], b[b[:, 0] > -2], a - b[0] + 2 * b[1], b.copy(), b.mean(axis=0), -a):
        assert isinstance(kept, Vectors) and kept.model == model
    back = pickle.loads(pickle.dumps(b))
    assert back.model == model
    np.testing.assert_array_equal(back, b)
    for plain in (b @ a, a @ a, a == a, b.sum(), a[0]):
        assert not isinstance(plain, Vectors)
    total = a.copy()
    total += a
    assert total.model == model and np.allclose(total, 2 * a)
    with pytest.raises(ModelMismatchError, match="do not share an embedding space"):
        a + Vectors(np.ones(32, "f4"), ClipModel("RN50"))
    assert (a + Vectors(np.ones(32, "f4"))).model == model


@pytest.mark.parametrize(
    "a, b, same",
    [
        ("ViT-L-14", ClipModel("ViT-L/14", "openai"), True),
        ("ViT-L-14", "ViT-L-14", True),
        ("ViT-L-14:openai", ClipModel("ViT-L-14-quickgelu", "openai"), True),
        ("ViT-L-14:openai", ClipModel("ViT-L-14", "laion2b_s32b_b82k"), False),
        ("ViT-L-14", "ViT-B-32", False),
        ("demo", ClipModel("demo", device="cpu"), True),
        ("demo", "RN50", False),
    ],
)
def test_same_space(a, b, same):
    assert as_model(a).same_space(b) is same and as_model(b).same_space(a) is same
    if same:
        check_same_space(a, b, "both")
    else:
        with pytest.raises(ModelMismatchError, match="The head and the frame are of different"):
            check_same_space(a, b, "The head and the frame")


def test_weight_files_compare_by_content(files, tmp_path):
    config, first = files
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(first.read_bytes())
    other = make_small_clip(tmp_path, seed=1, name="tiny2")[1]
    assert ClipModel(config, first).same_space(ClipModel(config, copy))
    assert not ClipModel(config, first).same_space(ClipModel(config, other))


def test_recipe_does_not_depend_on_the_machine(model, files):
    recipe = model.recipe()
    assert recipe["arch"] == "tiny" and recipe["pretrained"] == "tiny-0.safetensors"
    assert recipe["weights_sha256"] == weights.sha256_of(files[1])
    assert ClipModel("ViT-B-32").recipe()["weights_sha256"] is None


def test_threads_share_one_load(files, monkeypatch):
    loading_threads = []

    class Slow(clip_loading.LoadedClip):
        def __init__(self, *args):
            loading_threads.append(threading.get_ident())
            super().__init__(*args)

    monkeypatch.setattr(clip_loading, "LoadedClip", Slow)
    monkeypatch.setattr(clip_loading, "_loaded", ProcessCache())
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(ClipModel(*files).load())) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loading_threads) == 1 and len(set(map(id, found))) == 1


def test_loading_leaves_the_random_state_alone(files, monkeypatch):
    import torch

    monkeypatch.setattr(clip_loading, "_loaded", ProcessCache())
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    ClipModel(*files).load()
    assert torch.equal(torch.rand(3), expected)


def test_the_bundled_model_comes_through_the_same_code(files, model, monkeypatch):
    monkeypatch.setattr(clip_loading, "DEMO_CONFIG", files[0])
    monkeypatch.setattr(clip_loading, "DEMO_WEIGHTS", files[1])
    monkeypatch.setattr(clip_loading, "_loaded", ProcessCache())
    found = np.asarray(ClipModel("demo").text("x"))
    np.testing.assert_array_equal(found, np.asarray(model.text("x")))
    assert ClipModel("demo").dim == 32


@pytest.mark.skipif(
    not clip_loading.DEMO_WEIGHTS.is_file(), reason="the bundled weights are not there"
)
def test_the_bundled_model_loads():
    demo = ClipModel("demo")
    assert demo.text("a red star").shape == (demo.dim,)
    assert demo.image(picture()).shape == (demo.dim,)


def test_missing_weights_say_what_to_do(files, tmp_path, monkeypatch):
    monkeypatch.setenv("LAION_DASK_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(WeightsError, match=r"nothing is downloaded.*ViT-B-32-openai\.safetensors"):
        ClipModel("ViT-B-32", "openai").text("x")
    with pytest.raises(
        WeightsError, match=r"neither a tag of ViT-B-32 nor a file.*laion2b_s34b_b79k"
    ):
        ClipModel("ViT-B-32", "openia").text("x")
    with pytest.raises(WeightsError, match="does not exist"):
        ClipModel("ViT-B-32", tmp_path / "none.safetensors").text("x")
    with pytest.raises(WeightsError, match="architecture without weights"):
        ClipModel("ViT-B-32").text("x")
    with pytest.raises(WeightsError, match="is not a CLIP configuration"):
        ClipModel(tmp_path / "none.json", files[1]).text("x")


def test_a_tag_is_found_in_the_weights_folder_and_nothing_is_asked(files, tmp_path, monkeypatch):
    import socket

    monkeypatch.setenv("LAION_DASK_WEIGHTS", str(tmp_path))
    (tmp_path / "ViT-B-32-laion2b_s34b_b79k.safetensors").write_bytes(files[1].read_bytes())

    def no_network(*args, **kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    monkeypatch.setattr(socket.socket, "connect", no_network)
    with pytest.raises(WeightsError, match="cannot be loaded into ViT-B-32"):  # another model
        ClipModel("ViT-B-32", "laion2b-s34b-b79k").text("x")
    with pytest.raises((WeightsError, MissingExtraError), match="roberta-base"):
        ClipModel("roberta-ViT-B-32", files[1]).text("x")


def test_damaged_or_pickled_weights_are_refused(files, tmp_path):
    import pickle as pickle_module

    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    bomb, short = tmp_path / "bomb.pt", tmp_path / "short.safetensors"
    bomb.write_bytes(pickle_module.dumps({"state_dict": Bomb()}))
    short.write_bytes(files[1].read_bytes()[:1000])
    for path in (bomb, short):
        with pytest.raises(WeightsError, match="cannot be loaded"):
            ClipModel(files[0], path).text("x")
    assert not (tmp_path / "ran").exists()
    array = tmp_path / "array.npy"
    np.save(array, np.ones(3))
    with pytest.raises(WeightsError, match="is not loaded"):
        ClipModel(files[0], array).text("x")


def test_a_configuration_must_not_take_a_built_in_name(files, tmp_path):
    config = tmp_path / "ViT-B-32.json"
    config.write_text(__import__("json").dumps(CONFIG))
    with pytest.raises(OptionError, match="open_clip's own architecture"):
        ClipModel(config, files[1]).text("x")

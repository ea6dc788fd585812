"""Embeddings of any model: searched by vector and row, scored by their own heads, never mixed."""

import bz2
import struct
import zipfile
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import laion_dask as ld
from laion_dask.errors import EmbeddingsError, ModelMismatchError, OptionError
from laion_dask.models.clip_names import nearest_arch, split_name

DIM, N = 96, 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two shards with vectors in .npy and in safetensors files."""
    from safetensors.numpy import save_file

    path = tmp_path_factory.mktemp("space")
    rng = np.random.default_rng(0)
    for name in ("metadata", "npy", "safetensors"):
        (path / name).mkdir()
    for shard in range(2):
        labels = np.arange(N) % 2
        columns = {"URL": [f"u{shard}-{i}" for i in range(N)], "TEXT": ["t"] * N, "label": labels}
        pq.write_table(pa.table(columns), path / "metadata" / f"{shard:04d}.parquet")
        x = (rng.standard_normal((N, DIM)) + labels[:, None]).astype(np.float16)
        np.save(path / "npy" / f"{shard:04d}.npy", x)
        save_file(
            {"e": x, "other": x[:1, :3].copy()}, path / "safetensors" / f"{shard:04d}.safetensors"
        )
    return path


@pytest.fixture
def opened(folder):
    frame = ld.read_shards(folder / "metadata")
    return frame, ld.open_embeddings(folder / "npy", model="dinov2-vitl14", like=frame)


def brute_force(folder, query: np.ndarray, k: int) -> list[tuple[int, int]]:
    x = np.concatenate([np.load(folder / "npy" / f"{s:04d}.npy") for s in range(2)]).astype("f8")
    cosines = x @ query / np.linalg.norm(x, axis=1) / np.linalg.norm(query)
    return [(int(i) // N, int(i) % N) for i in np.argsort(-cosines)[:k]]


def test_its_dimension_is_that_of_the_files(folder, opened):
    assert opened[1].dim == DIM and opened[1].model == ld.EmbeddingSpace("dinov2-vitl14", DIM)
    named = ld.open_embeddings(folder / "npy", model=ld.EmbeddingSpace("dinov2-vitl14", DIM))
    assert named.model.same_space(opened[1].model)
    with pytest.raises(EmbeddingsError, match="has 96 dimensions"):
        ld.open_embeddings(folder / "npy", model=ld.EmbeddingSpace("dinov2-vitl14", 1024))


def test_it_is_searched_by_vectors_and_rows(folder, opened):
    frame, embeddings = opened
    query = np.linspace(-1, 1, DIM)
    for searched in (query, ld.Vectors(query, embeddings.model)):
        hits = frame.laion.search(embeddings, searched, k=5)
        found = list(zip(hits["shard"].tolist(), hits["row"].tolist(), strict=True))
        assert found == brute_force(folder, query, 5)
    hits = frame.laion.search(embeddings, (1, 7), k=1)
    assert hits[["shard", "row"]].values.tolist() == [[1, 7]]


def test_texts_pictures_and_other_models_are_refused(opened):
    frame, embeddings = opened
    for query in ("a bird", ["a bird", (0, 1)], b"a picture", ld.mix({"a bird": 1})):
        with pytest.raises(OptionError, match=r"of 'dinov2-vitl14', which has no model here to em"):
            frame.laion.search(embeddings, query, k=3)
    for other in (ld.ClipModel("ViT-B-32"), ld.EmbeddingSpace("siglip", DIM)):
        with pytest.raises(ModelMismatchError, match="of different models"):
            frame.laion.search(embeddings, ld.Vectors(np.ones(DIM), other), k=3)
    for ask in (
        lambda: ld.heads.aesthetic(embeddings.model),
        lambda: ld.heads.zero_shot(embeddings.model, ["a", "b"]),
        lambda: ld.embed("images", embeddings.model, "out"),
    ):
        with pytest.raises(OptionError):
            ask()


def test_a_head_is_trained_on_it_saved_and_found_again(opened, tmp_path):
    frame, embeddings = opened
    head = ld.heads.train(embeddings, frame[["label", "shard", "row"]], label="label")
    scored = frame.laion.score(embeddings, head).compute()
    assert head.report.roc_auc > 0.9 and scored["p_label"].between(0, 1).all()
    again = ld.heads.load(head.save(tmp_path))
    assert again.clip == embeddings.model
    assert frame.laion.score(embeddings, again).compute()["p_label"].equals(scored["p_label"])
    for other in ("ViT-B-32", ld.EmbeddingSpace("siglip", DIM)):
        with pytest.raises(ModelMismatchError, match="dinov2-vitl14"):
            ld.heads.load(tmp_path, clip=other)
    assert ld.heads.load(tmp_path, clip=ld.EmbeddingSpace("dinov2-vitl14")) == again
    subset = frame.laion.score(embeddings, head).laion.where("p_label > 0.5")
    recipe = subset.laion.export(tmp_path / "out").manifest
    models = [model["model"] for model in recipe["models"] if "model" in model]
    assert models == [{"space": "dinov2-vitl14", "dim": DIM}]


def test_a_space_takes_its_dimension_from_an_array(opened):
    _, embeddings = opened
    x = embeddings.read(0, range(N))
    head = ld.heads.train(x, x[:, 0] > 0, clip=ld.EmbeddingSpace("dinov2-vitl14"))
    assert head.clip == embeddings.model


def test_a_head_needs_the_dimension_of_its_space(opened):
    frame, embeddings = opened
    head = ld.heads.train(embeddings, frame[["label", "shard", "row"]], label="label")
    with pytest.raises(OptionError, match=r"Give it: EmbeddingSpace\('dinov2-vitl14', dim\)"):
        replace(head, clip=ld.EmbeddingSpace("dinov2-vitl14"))


def test_safetensors_hold_the_same_vectors(folder, opened):
    frame, embeddings = opened
    with pytest.raises(EmbeddingsError, match=r"holds 2 tensors. Name one with field="):
        ld.open_embeddings(folder / "safetensors", model="dinov2-vitl14")
    found = ld.open_embeddings(folder / "safetensors", model="dinov2-vitl14", like=frame, field="e")
    for shard in range(2):
        assert np.array_equal(found.read(shard, range(N)), embeddings.read(shard, range(N)))


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (b'{"e":{"dtype":"BF16","shape":[2,4],"data_offsets":[0,16]}}', "dtype BF16"),
        (b'{"e":{"dtype":"I8","shape":[4,4],"data_offsets":[0,16]}}', "quantized"),
        (b'{"e":{"dtype":"F64","shape":[1,2],"data_offsets":[0,16]}}', r"tensor\.float"),
        (b'{"e":{"dtype":"F8_E4M3","shape":[4,4],"data_offsets":[0,16]}}', r"tensor\.float"),
        (b'{"e":{"dtype":"F32","shape":[9,4],"data_offsets":[0,16]}}', "is truncated"),
        (b'{"e":{"dtype":"F32","shape":[1,2],"data_offsets":[0,16]}}', "16 bytes for"),
        (b'{"e":{"dtype":"F32","shape":[1,4],"data_offsets":[8,24]}}', "outside the file"),
        (b'{"e":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}', "has the shape"),
        (b'{"e":1}', "cannot be read as embeddings"),
        (b"[]", "holds 0 tensors"),
        (b"{}", "holds 0 tensors"),
    ],
)
def test_safetensors_that_are_damaged_or_of_other_numbers(tmp_path, header, why):
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(16))
    with pytest.raises(EmbeddingsError, match=why):
        ld.open_embeddings(path, model="x")
    path.write_bytes(struct.pack("<Q", 2**40) + header)
    with pytest.raises(EmbeddingsError, match="its header claims"):
        ld.open_embeddings(path, model="x")


@pytest.mark.parametrize(
    ("dtype", "why"),
    [("f8", "float64"), ("i1", "int8.*quantized"), ("V2", "bfloat16"), (">f4", ">f4")],
)
def test_dtypes_that_are_not_read_are_named(tmp_path, dtype, why):
    np.save(tmp_path / "a.npy", np.zeros((2, 8), dtype))
    with pytest.raises(EmbeddingsError, match=why):
        ld.open_embeddings(tmp_path / "a.npy", model="x")


def member(array: np.ndarray, path, compression, name="img_emb.npy") -> None:
    with zipfile.ZipFile(path, "w", compression) as archive, archive.open(name, "w") as file:
        np.lib.format.write_array(file, array)


def test_a_member_unpacks_to_what_its_header_says(tmp_path):
    """Reading the first bytes of a 4.7 kB bzip2 member once took 6.2 GB."""
    path = tmp_path / "a.npz"
    array = np.arange(32, dtype=np.float32).reshape(4, 8)
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        member(array, path, compression)
        found = ld.open_embeddings(path, model="x")
        assert np.array_equal(found.read(0, range(4)), array)
    for compression, name in ((zipfile.ZIP_BZIP2, "bzip2"), (zipfile.ZIP_LZMA, "lzma")):
        member(array, path, compression)
        with pytest.raises(EmbeddingsError, match=rf"compressed with {name}, which NumPy does not"):
            ld.open_embeddings(path, model="x")
    assert len(bz2.compress(bytes(10**7))) < 1000  # how far such a codec compresses
    deflated = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED)
    with deflated as archive, archive.open("img_emb.npy", "w") as file:
        np.lib.format.write_array(file, array)
        file.write(bytes(10**6))
    with pytest.raises(EmbeddingsError, match="its header says"):
        ld.open_embeddings(path, model="x")


def test_a_member_whose_size_is_a_lie_or_too_large(tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    member(np.zeros((4, 8), np.float32), path, zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(path) as archive:
        size = archive.infolist()[0].file_size
    content = path.read_bytes()
    path.write_bytes(content.replace(struct.pack("<I", size), struct.pack("<I", 2**31)))
    with pytest.raises(EmbeddingsError, match="which is impossible"):
        ld.open_embeddings(path, model="x")
    path.write_bytes(content)
    monkeypatch.setattr("laion_dask.io.embeddings.headers._LARGEST_UNPACKED", 100)
    with pytest.raises(EmbeddingsError, match="bytes; at most"):
        ld.open_embeddings(path, model="x")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ViT-L/14", ("ViT-L/14", None)),
        ("ViT-L-14:openai", ("ViT-L-14", "openai")),
        ("ViT-B-32/laion2b_s34b_b79k", ("ViT-B-32", "laion2b_s34b_b79k")),
        ("open_clip:ViT-B-32/laion2b_s34b_b79k", ("ViT-B-32", "laion2b_s34b_b79k")),
        ("openai/clip-vit-large-patch14", ("ViT-L-14", "openai")),
        ("https://huggingface.co/openai/clip-vit-base-patch32", ("ViT-B-32", "openai")),
        ("hf-hub:laion/CLIP-ViT-H-14-laion2B-s32B-b79K", ("ViT-H-14", "laion2b_s32b_b79k")),
        (
            "https://huggingface.co/laion/CLIP-ViT-H-14-laion2B-s32B-b79K/tree/main",
            ("ViT-H-14", "laion2b_s32b_b79k"),
        ),
        ("/models/my.json:/models/w.pt", ("/models/my.json", "/models/w.pt")),
    ],
)
def test_models_are_named_as_people_write_them(name, expected):
    assert split_name(name) == expected


def test_a_slip_of_the_pen_is_no_new_space(folder):
    for name, meant in (
        ("ViT-L14", "ViT-L-14"),
        ("vit_b_32", "ViT-B-32"),
        ("openai/ViT-L-14", "ViT-L-14"),
        ("openai:ViT-L/14", "ViT-L-14"),
        ("clip:ViT-B/32", "ViT-B-32"),
        ("ViT-L-14-openai", "ViT-L-14"),
        ("ViT-L-14-336-openai", "ViT-L-14-336"),
        ("ViT-B-32 laion2b_s34b_b79k", "ViT-B-32"),
        ("CLIP-ViT-H-14-laion2B-s32B-b79K", "ViT-H-14"),
    ):
        with pytest.raises(OptionError, match=rf"Did you mean '{meant}'.*EmbeddingSpace\("):
            ld.open_embeddings(folder / "npy", model=name)
    spaces = ["dinov2-vitl14", "facebook/dinov2-large", "sscd_mixup", "patrickjohncyh/fashion-clip"]
    spaces += ["sentence-transformers/clip-ViT-B-32", "google/siglip-base-patch16-224", "clip"]
    assert not any(map(nearest_arch, spaces))
    for bad in ({"name": ""}, {"name": 3}, {"name": "x", "dim": 0}, {"name": "x", "dim": True}):
        with pytest.raises(OptionError):
            ld.EmbeddingSpace(**bad)

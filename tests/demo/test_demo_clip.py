"""The bundled CLIP and its safety head load anywhere and perform as their model card states."""

from __future__ import annotations

import numpy as np
import open_clip
import pytest
import torch
from safetensors import safe_open

from laion_dask.demo.concepts import draw_pictures
from laion_dask.demo.evaluate import (
    ARCHITECTURE,
    CONFIG,
    FOLDER,
    HEAD,
    WEIGHTS,
    as_files,
    as_text,
    embed_images,
    embed_texts,
    head_probability,
    load_demo_clip,
    recall_at_1,
    roc_auc,
    zero_shot_top1,
)
from laion_dask.demo.safety import fit_head
from laion_dask.demo.training_data import augmented, render_block, training_caption, true_of


@pytest.fixture(scope="module")
def model():
    return load_demo_clip()


def test_everything_shipped_fits_in_twelve_mebibytes():
    assert sum(p.stat().st_size for p in FOLDER.iterdir()) <= 12 * 2**20


def test_weights_are_half_precision_and_load_into_a_float32_model(model):
    with safe_open(WEIGHTS, "pt") as file:
        assert file.metadata()["architecture"] == ARCHITECTURE
        kinds = {file.get_tensor(name).dtype for name in file.keys()}  # noqa: SIM118
        stored = file.get_tensor("text_projection")
    assert kinds == {torch.float16, torch.int64}
    assert model.text_projection.dtype == torch.float32
    assert torch.equal(model.text_projection, stored.float())


def test_open_clips_own_doors_give_the_same_embeddings(model):
    open_clip.add_model_config(CONFIG)
    other, _, preprocess = open_clip.create_model_and_transforms(
        ARCHITECTURE, pretrained=str(WEIGHTS)
    )
    tokenizer = open_clip.get_tokenizer(ARCHITECTURE)
    image = next(as_files(draw_pictures(1, 1)))
    with torch.inference_mode():
        seen = other.eval().encode_image(preprocess(image)[None], normalize=True)
        read = other.encode_text(tokenizer(["a photo of a red star"]), normalize=True)
    torch.testing.assert_close(seen, embed_images(model, [image]))
    torch.testing.assert_close(read, embed_texts(model, ["a photo of a red star"]))


def test_names_unseen_images_of_seen_pairs(model):
    assert zero_shot_top1(model, "seen", 400, seed=21) >= 0.95


def test_names_pairs_it_never_saw(model):
    assert zero_shot_top1(model, "held_out", 200, seed=22) >= 0.85


def test_retrieves_far_above_chance(model):
    result = recall_at_1(model, 200, seed=23)
    assert all(value > 20 * chance for value, chance in result.values())
    assert result["text to image"][0] >= result["text to image, own"][0]


def test_the_head_finds_the_hazard_disc(model):
    with safe_open(HEAD, "pt") as file:
        assert file.metadata()["activation"] == "sigmoid"
        assert file.get_tensor("weight").dtype == file.get_tensor("bias").dtype == torch.float32
        assert file.get_tensor("weight").shape == (1, model.text_projection.shape[1])
        assert file.get_tensor("bias").shape == (1,)
    pictures = list(draw_pictures([31, 1], 300, p_person=0.2, p_unsafe=0.2))
    result = head_probability(embed_images(model, as_files(pictures)))
    assert roc_auc(result, np.array([p.unsafe for p in pictures])) >= 0.98


def test_roc_auc_against_all_pairs():
    rng = np.random.default_rng(0)
    scores, positive = rng.integers(0, 8, 60), rng.random(60) < 0.3
    wins = [(p > n) + 0.5 * (p == n) for p in scores[positive] for n in scores[~positive]]
    assert roc_auc(scores, positive) == pytest.approx(np.mean(wins))
    assert np.isnan(roc_auc(scores, np.zeros(60, bool)))


def test_the_head_is_the_best_of_its_neighbourhood():
    torch.manual_seed(0)
    x = torch.nn.functional.normalize(torch.randn(300, 4), dim=-1)
    y = torch.rand(300) < torch.sigmoid(3 * x[:, 0] - 1)
    head = fit_head(x, y)

    def loss(weight, bias):
        logits = (x @ weight.T + bias)[:, 0]
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, y.float())

    best = loss(head["weight"], head["bias"])
    for step in torch.randn(50, 5) * 0.1:
        assert loss(head["weight"] + step[None, :4], head["bias"] + step[4:]) > best


def test_captions_match_the_images_they_are_true_of():
    rng = np.random.default_rng(1)
    pictures, images, facts = render_block(0, seed=1, size=32, n=30)
    all_claims = [training_caption(p, rng)[1] for p in pictures]
    result = true_of(torch.tensor(all_claims), torch.from_numpy(facts).long())
    for i, claims in enumerate(all_claims):
        for j, fact in enumerate(facts):
            assert result[i, j] == all(c in (-1, f) for c, f in zip(claims, fact, strict=True))
    assert result.diagonal().all()
    assert augmented(images, rng).shape == (30, 32, 32, 3)


def test_the_table_of_the_model_card_as_text():
    lines = as_text([("zero-shot top-1", 0.5, 1 / 240, 4800)]).splitlines()
    assert [line.split() for line in lines] == [
        ["metric", "value", "chance", "n"],
        ["zero-shot", "top-1", "0.5000", "0.0042", "4,800"],
    ]

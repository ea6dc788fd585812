"""Text towers from transformers: missing packages and files are named; local files suffice."""

import json

import numpy as np
import pytest
from support.small_clip import CONFIG, picture

from laion_dask import extras
from laion_dask.errors import MissingExtraError, WeightsError
from laion_dask.models import ClipModel
from laion_dask.models.hf_text_tower import require_text_tower

WORDS = ["<s>", "<pad>", "</s>", "<unk>", "a", "red", "star", "roter", "Stern", "ein"]


def described(name):
    return {"text_cfg": {"hf_model_name": name, "hf_tokenizer_name": name}}


def test_without_transformers_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(extras, "is_installed", lambda module: False)
    require_text_tower("ViT-B-32", {"text_cfg": {"width": 512}})
    with pytest.raises(MissingExtraError, match=r"laion_dask\[multilingual\]"):
        require_text_tower("xlm-roberta-base-ViT-B-32", described("xlm-roberta-base"))


def test_missing_files_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(extras, "is_installed", lambda module: True)
    with pytest.raises(WeightsError, match=r"hf download nobody/nothing-of-the-name"):
        require_text_tower("x", described("nobody/nothing-of-the-name"))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"tokenizer\.json"):
        require_text_tower("x", described(str(tmp_path)))
    (tmp_path / "tokenizer.json").write_text("{}")
    require_text_tower("x", described(str(tmp_path)))


@pytest.fixture
def tower(tmp_path):
    """A folder in the Hub's layout for XLM-RoBERTa, with ten words and two small layers."""
    pytest.importorskip("transformers", reason="the extra 'multilingual' is not installed")
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    folder = tmp_path / "tiny-xlm"
    folder.mkdir()
    words = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    words.save(str(folder / "tokenizer.json"))
    named = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    kind = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 32}
    (folder / "tokenizer_config.json").write_text(json.dumps({**named, **kind}))
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 64, "vocab_size": len(WORDS), "max_position_embeddings": 40}
    special = {"model_type": "xlm-roberta", "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    (folder / "config.json").write_text(json.dumps({**sizes, **special}))
    return folder


def test_a_multilingual_tower_from_a_folder(tower, tmp_path):
    import open_clip
    import torch
    from safetensors.torch import save_file

    text = {"hf_model_name": str(tower), "hf_tokenizer_name": str(tower)}
    text |= {"hf_pooler_type": "mean_pooler", "hf_proj_type": "mlp", "context_length": 16}
    config = tmp_path / "tiny-multilingual.json"
    config.write_text(json.dumps({**CONFIG, "text_cfg": text}))
    open_clip.add_model_config(config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        plain = open_clip.create_model("tiny-multilingual", pretrained_text=False).eval()
    state = {name: tensor.contiguous() for name, tensor in plain.state_dict().items()}
    save_file(state, tmp_path / "weights.safetensors")
    model = ClipModel(config, tmp_path / "weights.safetensors")
    texts = ["a red star", "ein roter Stern"]
    tokens = open_clip.get_tokenizer("tiny-multilingual")(texts)
    with torch.no_grad():
        expected = plain.encode_text(tokens, normalize=True).numpy()
    np.testing.assert_allclose(model.text(texts), expected, atol=1e-6)
    low = model.load("bfloat16").texts(texts)
    assert ((low * expected).sum(1) > 0.999).all()
    assert model.image(picture()).shape == (32,)

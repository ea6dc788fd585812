"""Text towers that open_clip builds with transformers, including the multilingual ones.

Their weights are in the model's own file. In addition they need a description of the tower
(``config.json``) and a tokenizer, a few megabytes, from a local folder or the hub client's cache.
"""

from __future__ import annotations

from pathlib import Path

from laion_dask.errors import WeightsError
from laion_dask.extras import require_extra

#: A tokenizer is stored in one of these files.
_TOKENIZER = (
    "tokenizer.json",
    "sentencepiece.bpe.model",
    "spiece.model",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
)


def require_text_tower(arch: str, config: dict) -> None:
    """Check that the files that a text tower needs besides weights are available locally.

    Parameters
    ----------
    arch : str
        Names the architecture in the message.
    config : dict
        open_clip's configuration, with ``text_cfg``.

    Raises
    ------
    MissingExtraError
        When transformers is not installed.
    WeightsError
        When files are missing; the message says which, and how to download them once.
    """
    text = config["text_cfg"]
    tower, tokenizer = text.get("hf_model_name"), text.get("hf_tokenizer_name")
    if not tower and not tokenizer:
        return
    require_extra("multilingual", f"{arch}, whose text tower is {tower or tokenizer},")
    if tower and not _has(tower, ("config.json",)):
        raise _missing(arch, tower, "config.json")
    if tokenizer and not _has(tokenizer, _TOKENIZER):
        raise _missing(arch, tokenizer, "tokenizer.json and tokenizer_config.json")


def _has(name: str, files: tuple[str, ...]) -> bool:
    if Path(name).is_dir():
        return any(Path(name, file).is_file() for file in files)
    from huggingface_hub import try_to_load_from_cache

    return any(isinstance(try_to_load_from_cache(name, file), str) for file in files)


def _missing(arch: str, name: str, files: str) -> WeightsError:
    from huggingface_hub import constants

    return WeightsError(
        f"{arch} reads texts with {name}, whose {files} are not on this machine, and nothing is "
        f"downloaded unless requested. Download them once into {constants.HF_HUB_CACHE}, with `hf "
        f"download {name} --include '*.json' '*.model' '*.txt'`."
    )

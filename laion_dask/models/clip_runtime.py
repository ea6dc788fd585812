"""A loaded CLIP model, which turns images and texts into unit-norm embeddings."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from laion_dask.errors import one_of
from laion_dask.io.images import decoding
from laion_dask.models.preprocess import Preprocess
from laion_dask.numerics.gpu.memory import run_with_oom_backoff

if TYPE_CHECKING:
    from PIL import Image

#: The dtypes that a model can compute in.
PRECISIONS = ("float32", "bfloat16")

#: Batches on a GPU at a time: one is copied while another is computed.
GPU_BATCHES = 2


class LoadedClip:
    """Weights in evaluation mode, preprocessing and tokenizer of a CLIP model.

    Its methods may be called from several threads. On a GPU, each thread has its own stream, and
    up to ``GPU_BATCHES`` batches are in flight; on a CPU, batches run concurrently. A batch that
    does not fit in memory is halved repeatedly, down to one image or text. Embeddings then differ
    by up to 1e-3 in cosine, since matrix products of other shapes round differently.

    Parameters
    ----------
    name : str
        Name of an architecture that open_clip knows.
    file : path
        The weight file.
    device : str
    precision : str
        ``"float32"``, or ``"bfloat16"``: weights are cast once, and all products are in bfloat16.
    settings : dict
        Further arguments for open_clip.

    Attributes
    ----------
    on_gpu : bool
    """

    def __init__(self, name: str, file: Path, device: str, precision: str, settings: dict) -> None:
        import open_clip
        import torch

        with torch.random.fork_rng(devices=[]):  # keep the user's random state: building draws
            model, _, transform = open_clip.create_model_and_transforms(
                name, str(file), precision="fp32", device=device, pretrained_text=False, **settings
            )
        self._dtype = getattr(torch, precision)
        self._model = model.eval().requires_grad_(False).to(self._dtype)
        self._preprocess = Preprocess(transform)
        self._tokenize = open_clip.get_tokenizer(name)
        self._device = torch.device(device)
        self.on_gpu = self._device.type == "cuda"
        self._turns = threading.BoundedSemaphore(GPU_BATCHES)
        self._thread_state = threading.local()
        if self.on_gpu:
            torch.cuda.synchronize(self._device)  # the weights are ready for every stream

    @property
    def logit_scale(self) -> float:
        """The learned factor by which this model multiplies cosines before a softmax."""
        return float(self._model.logit_scale.exp())

    def decode(self, data: bytes) -> Image.Image:
        """The decoded image of an image file, in its own mode.

        Raises
        ------
        ImageError
            When the bytes cannot be decoded within the limits.
        """
        return decoding.read_picture(data)

    def prepare(self, picture: Image.Image) -> np.ndarray:
        """Preprocess an image for ``images``: (height, width, 3) uint8 of the model's size."""
        return self._preprocess.pixels(picture)

    def images(self, prepared: Sequence[np.ndarray]) -> np.ndarray:
        """Unit-norm embeddings, (n, dim) float32, of prepared images.

        Raises
        ------
        DeviceMemoryError
            When not even one image fits in memory.
        DeviceLostError
            When this process can no longer use its GPU.
        """
        import torch

        batch = torch.from_numpy(np.stack(list(prepared)))
        return self._forward(self._encode_pixels, batch, "images")

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Unit-norm embeddings, (n, dim) float32, of texts.

        Raises
        ------
        DeviceMemoryError, DeviceLostError
            As ``images``.
        """
        clean = [_one_line(text) for text in texts]
        return self._forward(self._model.encode_text, self._tokenize(clean), "texts")

    def _encode_pixels(self, pixels):
        return self._model.encode_image(self._preprocess.numbers(pixels, self._dtype))

    def _forward(self, encode, batch, noun: str) -> np.ndarray:
        import torch

        forward, parts = self._on_stream if self.on_gpu else self._on_cpu, []

        def work(start: int, stop: int) -> None:
            with torch.inference_mode():
                vectors = forward(encode, batch[start:stop])
                parts.append(torch.nn.functional.normalize(vectors, dim=-1).numpy())

        run_with_oom_backoff(work, len(batch), len(batch), min_size=1, noun=noun)
        return np.concatenate(parts)

    def _on_cpu(self, encode, batch):
        return encode(batch.to(self._device)).float().cpu()

    def _on_stream(self, encode, batch):
        """Copy and compute on this thread's stream, concurrently with other threads' batches.

        Every tensor on the GPU is allocated and freed on this thread's stream, so its memory is
        reused only after the work queued on that stream. torch reuses pinned memory only after the
        copies queued from it have finished, even if an error drops the batch, because its
        allocator records an event after each copy.
        """
        import torch

        if not hasattr(self._thread_state, "stream"):
            self._thread_state.stream = torch.cuda.Stream(self._device)
        batch = batch.pin_memory()
        with self._turns, torch.cuda.stream(self._thread_state.stream):
            # The copy back waits only for this stream, and for everything queued on it.
            return encode(batch.to(self._device, non_blocking=True)).float().cpu()


def check_precision(precision: str) -> None:
    """Raise for an unknown precision.

    Raises
    ------
    OptionError
    """
    if precision not in PRECISIONS:
        raise one_of("precision", precision, PRECISIONS)


def _one_line(text: str) -> str:
    # Tokenizers read at most a few hundred tokens; a longer caption would only cost time. Control
    # characters (including NUL) become spaces.
    return re.sub(r"[\x00-\x1f\x7f]+", " ", text[:10_000])

"""A CLIP model in memory: from pictures and texts to unit-norm embeddings."""

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

#: What a model computes in.
PRECISIONS = ("float32", "bfloat16")

#: Batches that are on a GPU at a time: one is copied while another is computed.
GPU_BATCHES = 2


class LoadedClip:
    """Weights in evaluation mode, preprocessing, tokenizer.

    Its methods may be called from several threads. On a GPU each thread has a stream of its own,
    and ``GPU_BATCHES`` batches are there at a time; on a CPU they run side by side. A batch that
    does not fit into memory is done in halves, down to one picture or text; its embeddings are
    then the same to 1e-3 in cosine, since products of other shapes round otherwise.

    Parameters
    ----------
    name : str
        Of an architecture that open_clip knows.
    file : path
        Its weights.
    device : str
    precision : str
        ``"float32"``, or ``"bfloat16"``: weights cast once, every product in bfloat16.
    settings : dict
        Further arguments of open_clip's.

    Attributes
    ----------
    on_gpu : bool
    """

    def __init__(self, name: str, file: Path, device: str, precision: str, settings: dict) -> None:
        import open_clip
        import torch

        with torch.random.fork_rng(devices=[]):  # building a model draws numbers; loading must not
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
        self._own = threading.local()
        if self.on_gpu:
            torch.cuda.synchronize(self._device)  # the weights are there for every stream

    @property
    def logit_scale(self) -> float:
        """What this model multiplies cosines by before a softmax; learnt in its training."""
        return float(self._model.logit_scale.exp())

    def decode(self, data: bytes) -> Image.Image:
        """The picture in an image file, in its own mode.

        Raises
        ------
        ImageError
            When the bytes cannot be decoded within the limits.
        """
        return decoding.read_picture(data)

    def prepare(self, picture: Image.Image) -> np.ndarray:
        """A picture as ``images`` takes it, (height, width, 3) uint8 of the model's size."""
        return self._preprocess.pixels(picture)

    def images(self, prepared: Sequence[np.ndarray]) -> np.ndarray:
        """Unit-norm embeddings, (n, dim) float32, of prepared pictures.

        Raises
        ------
        DeviceMemoryError
            When not even one fits into memory.
        DeviceLostError
            When this process can no longer use its card.
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

    def _forward(self, encode, batch, what: str) -> np.ndarray:
        import torch

        forward, parts = self._on_stream if self.on_gpu else self._here, []

        def work(start: int, stop: int) -> None:
            with torch.inference_mode():
                found = forward(encode, batch[start:stop])
                parts.append(torch.nn.functional.normalize(found, dim=-1).numpy())

        run_with_oom_backoff(work, len(batch), len(batch), least=1, what=what)
        return np.concatenate(parts)

    def _here(self, encode, batch):
        return encode(batch.to(self._device)).float().cpu()

    def _on_stream(self, encode, batch):
        """The copies of this thread's batch run beside the forward pass of another's.

        Every tensor on the card is made on this thread's stream and given back to it, so its
        memory is only used again behind what is queued there. torch's pinned memory is not used
        again before the copies that were queued from it are done, be it by an error that the
        batch is dropped: its allocator has an event recorded behind each of them.
        """
        import torch

        if not hasattr(self._own, "stream"):
            self._own.stream = torch.cuda.Stream(self._device)
        batch = batch.pin_memory()
        with self._turns, torch.cuda.stream(self._own.stream):
            # The copy back waits for this stream alone, and for all that was queued on it.
            return encode(batch.to(self._device, non_blocking=True)).float().cpu()


def check_precision(precision: str) -> None:
    """Refuse what is no precision.

    Raises
    ------
    OptionError
    """
    if precision not in PRECISIONS:
        raise one_of("precision", precision, PRECISIONS)


def _one_line(text: str) -> str:
    # No tokenizer reads beyond its context of some hundred tokens; a caption of megabytes would
    # only cost time. Control characters (NUL among them) are spaces.
    return re.sub(r"[\x00-\x1f\x7f]+", " ", text[:10_000])

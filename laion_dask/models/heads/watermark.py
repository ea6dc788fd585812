"""LAION's watermark detector, a head over images instead of embeddings."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from laion_dask.backend import gpu_count
from laion_dask.cost import IMAGES, Cost
from laion_dask.errors import ImageError, WeightsError
from laion_dask.extras import require_extra
from laion_dask.io.images.decoding import as_picture, as_rgb
from laion_dask.models import weights as weight_files
from laion_dask.models.heads.base import Head
from laion_dask.models.heads.file_head import FromFile
from laion_dask.numerics.gpu.memory import run_with_oom_backoff

if TYPE_CHECKING:
    from PIL import Image

#: Height and width of its input.
SIDE = 256

#: ImageNet's mean and standard deviation of the channels, scaled to [0, 1].
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

#: Images per forward pass.
BATCH = 32


@dataclass(frozen=True)
class WatermarkHead(FromFile, Head):
    """The probability that an image carries a watermark.

    Created by ``watermark``.

    Attributes
    ----------
    name : str
        The output column.
    weights : str
        The path of its weight file.
    sha256 : str
        The digest of that file; a worker that finds a different file raises.

    Examples
    --------
    >>> import laion_dask as ld
    >>> head = ld.heads.watermark("watermark_model_v1.pt")
    >>> head.recipe()["weights"]
    'watermark_model_v1.pt'
    """

    weights: str
    sha256: str
    reads: ClassVar[str] = "images"
    verb: ClassVar[str] = "embed"

    @property
    def cost(self) -> Cost:
        """The cost of one image."""
        note = f"score, {self.name}: the bytes of the images are not in a frame"
        return Cost(("images",), reads=IMAGES, label=self.name, is_pass=False, notes=(note,))

    def recipe(self) -> dict:
        """The manifest entry: ``name``, the weight file's name and its sha256."""
        return {"name": self.name, **self._file()}

    def predict(self, x) -> np.ndarray:
        """The probability of a watermark, (n,) float32 in [0, 1]. Eager.

        Computed in float32. Its last digits can depend on the number of images in a call.

        Parameters
        ----------
        x : list of PIL.Image.Image, path or bytes; or (n, 3, 256, 256) float32 array
            An array must already be preprocessed: resized to 256 x 256 ignoring the aspect ratio,
            scaled to [0, 1], and normalized with ImageNet's mean and deviation. n may be 0.

        Raises
        ------
        ImageError
            When an image cannot be read, or the array has the wrong shape or dtype.
        DeviceMemoryError
            When not even one image fits in memory, after halving batches.
        WeightsError
            When the weight file is missing, altered or damaged.
        """
        require_extra("clip", f"The head {self.name!r}")
        import torch

        if isinstance(x, (np.ndarray, torch.Tensor)):
            ready = torch.as_tensor(x)
            if (
                ready.ndim != 4
                or ready.shape[1:] != (3, SIDE, SIDE)
                or not ready.is_floating_point()
            ):
                raise ImageError(
                    f"The head {self.name!r} was given an array of {ready.dtype} and shape "
                    f"{tuple(ready.shape)}. Expected float32 of shape (n, 3, {SIDE}, {SIDE}), or a "
                    "list of images."
                )
            parts = [self._scores(ready[at : at + BATCH]) for at in range(0, len(ready), BATCH)]
        else:
            x = self._listed(x)
            blocks = [x[at : at + BATCH] for at in range(0, len(x), BATCH)]
            parts = [self.of_prepared([self.prepare(as_picture(p)) for p in b]) for b in blocks]
        return np.concatenate([np.empty(0, np.float32), *parts])

    def _listed(self, x) -> list:
        if isinstance(x, (str, bytes, os.PathLike)) or not isinstance(x, Iterable):
            raise ImageError(
                f"The head {self.name!r} was given {type(x).__name__}. Expected a list of "
                "images, paths or bytes; one image is [image]."
            )
        return list(x)

    def prepare(self, picture: Image.Image) -> np.ndarray:
        """Preprocess an image for ``of_prepared``: (256, 256, 3) uint8.

        Bilinear, as torchvision's ``Resize((256, 256))`` in the published code.
        """
        from PIL import Image

        return np.asarray(as_rgb(picture).resize((SIDE, SIDE), Image.Resampling.BILINEAR))

    def of_prepared(self, prepared: Sequence[np.ndarray]) -> np.ndarray:
        """The probabilities of prepared images, (n,) float32; one forward pass."""
        import torch

        pixels = torch.from_numpy(np.stack(list(prepared))).permute(0, 3, 1, 2).float()
        mean, deviation = (torch.tensor(v).reshape(3, 1, 1) for v in (MEAN, DEVIATION))
        return self._scores((pixels / 255 - mean) / deviation)

    def _read(self):
        """The network in evaluation mode, on the GPU if one is visible."""
        return network(self.weights).to("cuda" if gpu_count() else "cpu")

    def _scores(self, ready) -> np.ndarray:
        import torch

        net = self.load()
        device, scores = next(net.parameters()).device, np.empty(len(ready), np.float32)

        def work(start: int, stop: int) -> None:
            with torch.inference_mode():
                logits = net(ready[start:stop].to(device, torch.float32))
                scores[start:stop] = logits.softmax(dim=1)[:, 0].cpu().numpy()

        run_with_oom_backoff(work, len(ready), len(ready), min_size=1, noun="images")
        return scores


def watermark(
    weights: str | os.PathLike | None = None, *, to: str = "p_watermark"
) -> WatermarkHead:
    """LAION's watermark detector as a head over images: P(watermark), 0 to 1. Eager.

    An EfficientNet-B3 with a classifier of three layers over images of 256 x 256
    (LAION-AI/LAION-5B-WatermarkDetection, 2022, ``watermark_model_v1.pt``). It runs in the image
    pass of ``embed(heads=[…])``, which decodes every image once. LAION-5B's own column
    ``pwatermark`` holds its scores for the images as they were at the time.

    Parameters
    ----------
    weights : path, optional
        The published file, or its tensors as safetensors. By default ``watermark_model_v1.pt`` in
        the folder ``LAION_DASK_WEIGHTS``; no digest of it is published.
    to : str
        The output column.

    Raises
    ------
    WeightsError
        When the file is missing, damaged, or holds another network's tensors.

    Examples
    --------
    >>> import laion_dask as ld
    >>> head = ld.heads.watermark("watermark_model_v1.pt")
    >>> head.name, head.reads
    ('p_watermark', 'images')
    """
    path_like = isinstance(weights, (str, os.PathLike))
    if weights is not None and not (path_like and os.path.exists(weights)):
        raise WeightsError(
            f"The watermark detector's weights are {weights!r}, which does not exist. It reads "
            "images, so it takes no CLIP model: give the path of its weight file, or nothing to "
            "search for it in LAION_DASK_WEIGHTS."
        )
    path = os.path.abspath(weight_files.resolve_weights(weights, "watermark_model_v1.pt"))
    network(path)
    return WatermarkHead(to, path, weight_files.sha256_of(path))


def network(path: str | os.PathLike):
    """The detector with its weights, in evaluation mode, on the CPU.

    As published: timm's ``efficientnet_b3`` with the classifier 1536 → 625 → 256 → 2, ReLU between
    the layers, and dropout of 0.3 after the first.

    Raises
    ------
    WeightsError
        As ``watermark``.
    """
    import timm
    import torch
    from torch import nn

    tensors = weight_files.read_tensors(path)
    with torch.device("meta"):  # do not initialize weights that are replaced
        net = timm.create_model("efficientnet_b3", pretrained=False, num_classes=2)
        net.classifier = nn.Sequential(
            nn.Linear(1536, 625),
            nn.ReLU(),
            nn.Dropout(p=0.3),
            nn.Linear(625, 256),
            nn.ReLU(),
            nn.Linear(256, 2),
        )
    try:
        net.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        raise WeightsError(
            f"{path} does not hold the tensors of LAION's watermark detector: "
            f"{' '.join(str(error).split())[:300]}. Expected the published watermark_model_v1.pt."
        ) from error
    return net.eval().requires_grad_(False).to(memory_format=torch.channels_last).float()

"""Heads over captions: a profanity proxy, and an adapter for any text classifier."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, requires, version
from typing import ClassVar

import numpy as np

from laion_dask.cost import Cost
from laion_dask.errors import MissingExtraError, OptionError, must_be, one_of
from laion_dask.extras import installation
from laion_dask.models.heads.base import Head

#: The measured rate of the profanity proxy.
PROFANITY_RATE = "captions, profanity"

#: One classifier runs at a time in a process, because some tokenizers of the transformers library
#: are not thread-safe.
_turn = threading.RLock()


@dataclass(frozen=True)
class CaptionHead(Head):
    """A classifier of captions as a head, created by ``toxicity``.

    Attributes
    ----------
    name : str
        The output column.
    classify : callable
        ``(list of str) → probabilities``, as described in ``toxicity``.
    label : str or None
        The label whose score is used, if ``classify`` returns labels.
    batch_size : int
        Maximum number of captions passed to ``classify`` in one call.

    Examples
    --------
    >>> import laion_dask as ld
    >>> head = ld.heads.CaptionHead("length", lambda texts: [min(1, len(t) / 100) for t in texts])
    >>> head.predict(["a red star on a blue boat", None]).tolist()
    [0.25, nan]
    """

    classify: Callable
    label: str | None = None
    batch_size: int = 256
    reads: ClassVar[str] = "captions"
    verb: ClassVar[str] = "score_captions"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not callable(self.classify):
            raise OptionError(
                f"predict is a {type(self.classify).__name__}. Expected a callable: (texts) → "
                "probabilities."
            )
        must_be("label", self.label, (str, type(None)), "the label whose score is taken")
        must_be("batch_size", self.batch_size, int, "the number of captions per call")
        if self.batch_size < 1:
            raise OptionError(f"batch_size is {self.batch_size}. Expected 1 or more.")

    @property
    def cost(self) -> Cost:
        """The cost of one caption: measured for the profanity proxy, unknown for others."""
        rate = PROFANITY_RATE if isinstance(self.classify, Profanity) else "captions"
        return Cost((rate,), columns=("text",), label=self.name)

    def recipe(self) -> dict:
        """The manifest entry: ``name``, ``label``, and a description of the classifier.

        The description is its own ``recipe()`` if it has one; otherwise its qualified name, and
        the name of its model if it is a pipeline of the transformers library.
        """
        describe = getattr(self.classify, "recipe", None)
        description = describe() if callable(describe) else _described(self.classify)
        return {"name": self.name, "label": self.label, **description}

    def predict(self, texts: Iterable[str | None]) -> np.ndarray:
        """The probabilities of captions, (n,) float32 in [0, 1]. Eager.

        Parameters
        ----------
        texts : list, array or series of str
            A null (None, NaN) has no probability: NaN.

        Raises
        ------
        OptionError
            When an item is neither a text nor a null; when the classifier returns a number of
            probabilities other than the number of captions, or one outside [0, 1].
        MissingExtraError
            When the classifier's package is not installed.
        """
        texts = _texts(self.name, texts)
        positions = np.flatnonzero([text is not None for text in texts])
        scores = np.full(len(texts), np.nan, np.float32)
        for at in range(0, len(positions), self.batch_size):
            batch_positions = positions[at : at + self.batch_size]
            batch = [texts[i] for i in batch_positions]
            with _turn:
                answer = self.classify(batch)
            scores[batch_positions] = self._checked(answer, len(batch))
        return scores

    def _checked(self, answer, n: int) -> np.ndarray:
        if isinstance(answer, (list, tuple)) and any(
            isinstance(one, (dict, list, tuple)) for one in answer
        ):
            answer = [self._score_of_label(one) for one in answer]
        elif self.label is not None:
            raise OptionError(
                f"The head {self.name!r} has label={self.label!r}, but its classifier returns "
                "numbers without labels. Leave label= out."
            )
        if callable(getattr(answer, "tolist", None)):
            answer = answer.tolist()  # also for a tensor on any device
        try:
            scores = np.asarray(answer, np.float64)
        except (TypeError, ValueError):
            scores = np.empty(0, object)
        if scores.shape != (n,):
            shape = np.shape(scores) if scores.dtype != object else type(answer).__name__
            raise OptionError(
                f"The classifier of the head {self.name!r} was given {n} captions and returned "
                f"{shape}. Expected {n} probabilities, one per caption."
            )
        invalid = scores[(scores < 0) | (scores > 1)]
        if len(invalid):
            raise OptionError(
                f"The classifier of the head {self.name!r} returned {invalid[0]:g}. Expected "
                "probabilities in [0, 1]; convert a logit by 1 / (1 + exp(-x))."
            )
        return scores

    def _score_of_label(self, answer) -> float:
        """The chosen label's score, from one caption's ``{"label": …, "score": …}`` or several."""
        answers = [answer] if isinstance(answer, dict) else answer
        try:
            scores = {str(one["label"]): one["score"] for one in answers}
        except (TypeError, KeyError, IndexError) as error:
            raise OptionError(
                f"The classifier of the head {self.name!r} returned {str(answer)[:80]!r} for a "
                "caption. Expected a number, or label and score."
            ) from error
        if self.label is None:
            raise one_of(f"label= of the head {self.name!r}", None, scores)
        if self.label not in scores:
            raise OptionError(
                f"The classifier of the head {self.name!r} gave scores for {', '.join(scores)} "
                f"and none for {self.label!r}. Name one of these as label=; a pipeline with "
                "top_k=None returns all of them."
            )
        return scores[self.label]


@dataclass(frozen=True)
class Profanity:
    """The classifier of alt-profanity-check, loaded at the first call, once per process."""

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Probabilities, (n,) float64."""
        _require_profanity_check()
        from profanity_check import predict_prob

        return predict_prob(texts)

    def recipe(self) -> dict:
        """The versions that determine its results."""
        packages = ("alt-profanity-check", "scikit-learn")
        return {"classifier": {name: version(name) for name in packages}}


def toxicity(
    predict: Callable | None = None,
    *,
    label: str | None = None,
    to: str | None = None,
    batch_size: int | None = None,
) -> CaptionHead:
    """A classifier of captions as a head; by default a proxy for profanity. Eager.

    The default is not a toxicity model: alt-profanity-check is a linear support vector machine
    over the words of a text, fitted on about 200,000 labeled English comments. It recognizes swear
    words, but neither context nor other languages: it misses hatred in polite words, and gives the
    German article "die" 0.94 and "the gay community" 0.66 (version 1.9.1). Hence its column is
    called ``profanity``. It is in the extra ``toxicity`` and unpickles its model from its own wheel
    at first use: code of a package that you have installed, not a downloaded weight file.

    Parameters
    ----------
    predict : callable, optional
        ``(list of str) → probabilities``: an array, tensor or list of n numbers in [0, 1], NaN
        for a missing probability; or the result of a text-classification pipeline of the
        transformers library: for each caption ``{"label": …, "score": …}`` or a list of these. It
        must be picklable to run on workers; to keep the pickle small, load the model at the first
        call. In each process, only one thread calls it at a time. Whether a score depends on the
        other captions is up to the callable.
    label : str, optional
        The label whose score is used, if labels are returned.
    to : str, optional
        The output column; by default ``"profanity"``, and ``"toxicity"`` for a callable.
    batch_size : int, optional
        Maximum number of captions per call; by default 8192 for the proxy, whose calls cost more
        than its captions, and 256 for a callable.

    Raises
    ------
    MissingExtraError
        When alt-profanity-check is needed but not installed, or not with the scikit-learn version
        that its model was made with.
    OptionError
        When an argument has a wrong type.

    Examples
    --------
    The proxy, a function of captions, and a pipeline of the transformers library:

    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> "profanity" in frame.laion.score_captions(ld.heads.toxicity()).columns
    True
    >>> def shouting(texts):
    ...     return [float(text.isupper()) for text in texts]
    >>> ld.heads.toxicity(shouting, to="shouting").predict(["A RED STAR", "a boat"]).tolist()
    [1.0, 0.0]

    >>> pipe = transformers.pipeline(
    ...     "text-classification", "unitary/toxic-bert", top_k=None, truncation=True
    ... )  # doctest: +SKIP
    >>> head = ld.heads.toxicity(pipe, label="toxic")  # doctest: +SKIP
    """
    if predict is None:
        _require_profanity_check()
        if label is not None:
            raise OptionError(f"label is {label!r}, but the profanity proxy has no labels.")
        head = CaptionHead("profanity", Profanity(), batch_size=8192)
    else:
        head = CaptionHead("toxicity", predict, label)
    return replace(
        head,
        name=head.name if to is None else to,
        batch_size=head.batch_size if batch_size is None else batch_size,
    )


def _require_profanity_check() -> None:
    """Raise if the package is missing, or scikit-learn is not the version of its model."""
    try:
        needs = " ".join(requires("alt-profanity-check") or ())
        installed = version("scikit-learn")
    except PackageNotFoundError as error:
        raise MissingExtraError(
            f"The profanity proxy needs {error.name}, from the extra 'toxicity', which is not "
            f"installed. {installation('toxicity')}, or pass your own classifier as predict=."
        ) from error
    made_for = re.search(r"\bscikit-learn==([\w.]+)", needs)
    if made_for and made_for[1] != installed:
        raise MissingExtraError(
            f"The model of alt-profanity-check was made with scikit-learn {made_for[1]}, but "
            f"{installed} is installed, which may misread it. {installation('toxicity')}, which "
            "pins matching versions."
        )


def _described(classify: Callable) -> dict:
    kind = classify if hasattr(classify, "__qualname__") else type(classify)
    description = {"classifier": f"{kind.__module__}.{kind.__qualname__}"}
    model = getattr(getattr(classify, "model", None), "name_or_path", None)
    return {**description, "model": str(model)} if model else description


def _texts(head: str, texts: Iterable) -> list[str | None]:
    """Texts as a list, with None for every null."""
    if isinstance(texts, (str, bytes)):
        raise OptionError(
            f"The head {head!r} was given one text. Expected a list of texts; one is [text]."
        )
    return [_text_or_none(head, text) for text in texts]


def _text_or_none(head: str, text) -> str | None:
    """A text, or None for a null of any type; raises for anything else."""
    if isinstance(text, str):
        return text
    import pandas as pd

    is_nan = isinstance(text, (float, np.floating)) and np.isnan(text)
    if not (is_nan or text is None or text is pd.NA):
        raise OptionError(
            f"The head {head!r} was given {str(text)[:60]!r}, a {type(text).__name__}. Expected "
            "texts and nulls."
        )
    return None

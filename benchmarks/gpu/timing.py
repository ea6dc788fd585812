"""How long something takes: warm, several times, in turn with what it is compared with."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

#: No run of a way is started when its runs together have taken so long, in seconds.
LIMIT = 25.0


@dataclass
class Runs:
    """The runs of one way.

    Attributes
    ----------
    seconds : list of float
        Of each run that counts.
    first : float
        Of the first one, which does not.
    result : object
        What the last run returned.
    error : str
        Why there are none, empty where there are.
    """

    seconds: list[float] = field(default_factory=list)
    first: float = float("nan")
    result: object = None
    error: str = ""

    @property
    def median(self) -> float:
        """Of the seconds; NaN where there are none."""
        return statistics.median(self.seconds) if self.seconds else float("nan")

    def stored(self) -> dict:
        """What the JSON file holds."""
        return {"seconds": self.seconds, "first_s": self.first, "error": self.error}


def is_cuda(device) -> bool:
    """Whether a torch device, or its name, is a card."""
    return str(device).startswith("cuda")


def wait(device) -> None:
    """Until the card has done all that it was given."""
    if is_cuda(device):
        import torch

        torch.cuda.synchronize(device)


def seconds(work: Callable[[], object], device) -> tuple[float, object]:
    """The seconds of one run by the clock, until the card is done, and what it returned."""
    wait(device)
    start = time.perf_counter()
    result = work()
    wait(device)
    return time.perf_counter() - start, result


def in_turn(
    ways: dict[str, Callable[[], object]],
    device,
    *,
    repeats: int,
    limit: float = LIMIT,
    say: Callable[[str], None] = lambda text: print(text, file=sys.stderr),
) -> dict[str, Runs]:
    """The runs of each way, the ways in turn; a first turn warms everything and does not count.

    A way that fails has its error in its place, and the others go on.
    """
    runs = {name: Runs() for name in ways}
    for turn in range(repeats + 1):
        for name, work in ways.items():
            mine = runs[name]
            if mine.error or (turn > 1 and sum(mine.seconds) > limit):
                continue
            mine.result = None  # before the next is made: both may not fit
            try:
                took, mine.result = seconds(work, device)
            except Exception as error:
                line = (str(error).splitlines() or [""])[0]
                mine.error, mine.seconds = f"{type(error).__name__}: {line}"[:300], []
                say(f"{name}: {mine.error}")
                continue
            if turn:
                mine.seconds.append(took)
            else:
                mine.first = took
            say(f"{turn}/{repeats} {name}: {took:.4f} s")
    return runs


def on_card(work: Callable[[], object], device, *, repeats: int, warmups: int = 3) -> list[float]:
    """The seconds of each run, between two events on the card; by the clock on a processor."""
    import torch

    for _ in range(warmups):
        work()
    if not is_cuda(device):
        return [seconds(work, device)[0] for _ in range(repeats)]
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(2 * repeats)]
    for before, after in zip(marks[::2], marks[1::2], strict=True):
        before.record()
        work()
        after.record()
    wait(device)
    pairs = zip(marks[::2], marks[1::2], strict=True)
    return [before.elapsed_time(after) / 1e3 for before, after in pairs]

"""Timing: warm runs, repeated, with the contenders taking turns."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

#: Once the runs of a contender have taken this many seconds in total, no further run is started.
LIMIT = 25.0


@dataclass
class Runs:
    """The runs of one contender.

    Attributes
    ----------
    seconds : list of float
        Duration of each run that counts.
    first : float
        Duration of the first run, which is discarded.
    result : object
        Return value of the last run.
    error : str
        Why it failed; empty if it did not.
    """

    seconds: list[float] = field(default_factory=list)
    first: float = float("nan")
    result: object = None
    error: str = ""

    @property
    def median(self) -> float:
        """Median of ``seconds``; NaN without measurements."""
        return statistics.median(self.seconds) if self.seconds else float("nan")

    def stored(self) -> dict:
        """The values stored in the JSON file."""
        return {"seconds": self.seconds, "first_s": self.first, "error": self.error}


def is_cuda(device) -> bool:
    """Whether a torch device, or its name, is a CUDA device."""
    return str(device).startswith("cuda")


def wait(device) -> None:
    """Wait until the GPU has finished all queued work."""
    if is_cuda(device):
        import torch

        torch.cuda.synchronize(device)


def seconds(work: Callable[[], object], device) -> tuple[float, object]:
    """Wall time of one run in seconds, until the GPU has finished, and its return value."""
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
    """Run the contenders in turn and return their runs; the first turn warms up and is discarded.

    If a contender fails, its error is stored and the others continue.
    """
    runs = {name: Runs() for name in ways}
    for turn in range(repeats + 1):
        for name, work in ways.items():
            mine = runs[name]
            if mine.error or (turn > 1 and sum(mine.seconds) > limit):
                continue
            mine.result = None  # free it before the next run: both may not fit
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


def device_seconds(
    work: Callable[[], object], device, *, repeats: int, warmups: int = 3
) -> list[float]:
    """Seconds of each run, between two events on the GPU; on the CPU, wall time."""
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

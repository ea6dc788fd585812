"""Interrupt stops a verb in a real kernel, whatever calls it, and leaves the kernel usable."""

from __future__ import annotations

import asyncio
import os
import queue
import signal
import threading
import time
from pathlib import Path

import dask
import pytest
from jupyter_client.manager import start_new_kernel
from support.shards import collection

from laion_dask.runtime import cancellation, graph
from laion_dask.runtime.interrupts import interruptible

#: Seconds that a wait may take on a busy machine; the interrupted work would take two minutes.
PATIENCE = 60

SETUP = """
import os, time, warnings
import laion_dask as ld
from laion_dask.runtime import cancellation
warnings.simplefilter("ignore")

def slow(part):
    open({started!r}, "w").close()
    for _ in range(2400):
        cancellation.check()
        time.sleep(0.05)
    return part

quick = ld.read_shards({metadata!r})
emb = ld.open_embeddings({embeddings!r}, model={model!r}, like=quick)
frame = quick.map_partitions(slow, meta=quick._meta)
"""
IN_A_COROUTINE = """
async def call():
    return frame.laion.rows()
await call()
"""
#: Every way in which verbs compute: a graph, a reduction, a loop of passes, tasks that write.
CELLS = {
    "rows": "frame.laion.rows()",
    "statistics": "frame.laion.statistics(ld.describe())",
    "search": "frame.laion.search(emb, (0, 1), k=2)",
    "kmeans": "frame.laion.kmeans(emb, 2, iterations=2)",
    "export": "frame.laion.export({out!r})",
    "coroutine": IN_A_COROUTINE,
}


class Kernel:
    def __init__(self, folder: Path, setup: str) -> None:
        data = collection(folder / "data", (40, 20))
        self.started, self.out = folder / "started", str(folder / "out")
        self.manager, self.client = start_new_kernel(kernel_name="python3")
        names = {"metadata": data.metadata, "embeddings": data.img_emb, "model": data.model.name}
        names = {name: str(value) for name, value in names.items()}
        assert self.run(SETUP.format(started=str(self.started), **names) + setup)[0] == "ok"

    def run(self, code: str) -> tuple[str, str]:
        """The status of a cell, and what it prints."""
        return self.ended(self.client.execute(code))

    def ended(self, cell: str) -> tuple[str, str]:
        printed, until = "", time.monotonic() + PATIENCE
        while time.monotonic() < until:
            message = self.client.get_iopub_msg(timeout=PATIENCE)
            if message["parent_header"].get("msg_id") != cell:
                continue
            content = message["content"]
            printed += content.get("text", "") + content.get("ename", "")
            if content.get("execution_state") == "idle":
                return self.reply(cell), printed
        raise TimeoutError(cell)

    def reply(self, cell: str) -> str:
        while True:
            message = self.client.get_shell_msg(timeout=PATIENCE)
            if message["parent_header"].get("msg_id") == cell:
                return message["content"]["status"]

    def interrupted(self, code: str) -> tuple[str, str]:
        self.started.unlink(missing_ok=True)
        cell = self.client.execute(code)
        until = time.monotonic() + PATIENCE
        while not self.started.exists():
            assert time.monotonic() < until
            time.sleep(0.02)
        self.manager.interrupt_kernel()
        return self.ended(cell)

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


SETUPS = {"threads": "", "cluster": "client = ld.start_cluster(1, gpu=False)"}


@pytest.mark.parametrize("scheduler", SETUPS)
def test_interrupt_stops_every_kind_of_verb(scheduler, tmp_path):
    kernel = Kernel(tmp_path, SETUPS[scheduler])
    try:
        for name, code in CELLS.items():
            status, printed = kernel.interrupted(code.format(out=kernel.out))
            expected = "CancelledError" if name == "coroutine" else "KeyboardInterrupt"
            assert (status, expected in printed) == ("error", True), name
            status, printed = kernel.run("print(quick.laion.rows())")
            assert status == "ok" and "60 read = 60 kept" in printed, name
        if scheduler == "cluster":
            kernel.run("client.close()")
    except queue.Empty:
        pytest.fail("the kernel does not answer")
    finally:
        kernel.close()


def interrupt_soon() -> None:
    """A task that is interrupted, and does not end by itself."""
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
    for _ in range(2400):
        cancellation.check()
        time.sleep(0.05)


async def verb():
    return graph.compute(dask.delayed(interrupt_soon)(), label="slow")


async def among_others():
    return await asyncio.gather(verb(), asyncio.sleep(60))


@pytest.mark.parametrize("coroutine", [verb, among_others])
def test_an_interrupt_ends_asyncio_run(coroutine):
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(coroutine())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_handlers_that_the_user_chose_are_kept():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:

        async def ignored():
            with interruptible():
                os.kill(os.getpid(), signal.SIGINT)
                return signal.getsignal(signal.SIGINT)

        loop = asyncio.new_event_loop()
        assert loop.run_until_complete(ignored()) is signal.SIG_IGN
        loop.close()
    finally:
        signal.signal(signal.SIGINT, before)

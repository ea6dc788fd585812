"""Dask's settings in this process while a client of ours is open."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping
from contextlib import suppress

import dask
import distributed

_CONVERT = "dataframe.convert-string"
_SHUFFLE = "dataframe.shuffle.method"
_PATIENCE = "distributed.deploy.lost-worker-timeout"
#: Set by `distributed.Client` to its own name, and left so when the first of two closes first.
_SCHEDULER = "scheduler"
_THEIRS = "dask.distributed"

_lock = threading.RLock()
_open: list[tuple[weakref.ref, dict]] = []  # the clients, the newest last, and what each wants
_before: dict[str, object] = {}  # of each setting, what it was before the first client
_ours: dict[str, object] = {}  # what it was set to last, here


def of_cluster(gpu: bool | None) -> dict[str, object]:
    """What a client wants set, by whether its workers are on cards; None: not known."""
    return {
        _CONVERT: False,
        _SHUFFLE: "p2p" if gpu is False else "tasks",
        # A nanny on this machine is there as long as the cluster; a job of a queue may be gone.
        _PATIENCE: "2m" if gpu is None else "1h",
    }


def hold(client, wanted: Mapping[str, object]) -> None:
    """Set what a client wants, until it is let go; of several clients the newest counts.

    A shuffle method that the user has set stays. To be called before the client sets anything.
    """
    with _lock:
        _forget(client)
        if not _open and _SCHEDULER not in _before:
            _before[_SCHEDULER] = dask.config.get(_SCHEDULER, None)
        wanted = dict(wanted)
        method = dask.config.get(_SHUFFLE, None)
        if method is not None and method != _ours.get(_SHUFFLE):
            del wanted[_SHUFFLE]
        _open.append((weakref.ref(client), wanted))
        _apply()


def let_go(client) -> None:
    """What the clients that stay open want; with the last one, what was set before the first.

    What somebody else has set since stays. Of a client that is not held: nothing.
    """
    with _lock:
        _forget(client)
        _apply()


def leave_scheduler() -> None:
    """Put back Dask's scheduler when no client at all is left, which `distributed` may forget."""
    with _lock, suppress(KeyError):
        if not _open and _no_client():
            before = _before.pop(_SCHEDULER)
            if dask.config.get(_SCHEDULER, None) == _THEIRS:
                if before is None or before == _THEIRS:
                    dask.config.config.pop(_SCHEDULER)
                else:
                    dask.config.set({_SCHEDULER: before})


def _no_client() -> bool:
    try:
        return distributed.default_client().status == "closed"
    except ValueError:
        return True


def _forget(client) -> None:
    _open[:] = [
        (held, wanted)
        for held, wanted in _open
        if held() is not None and held() is not client and held().status != "closed"
    ]


def _apply() -> None:
    wanted = {name: value for _, each in _open for name, value in each.items()}
    for name in {*wanted, *_ours}:
        there = dask.config.get(name, None)
        if name not in _ours:
            _before[name] = there
        elif there != _ours[name]:  # somebody else has set it since
            if name not in wanted:
                del _ours[name], _before[name]
            continue
        if name in wanted:
            _ours[name] = wanted[name]
            dask.config.set({name: wanted[name]})
        else:
            del _ours[name]
            dask.config.set({name: _before.pop(name)})

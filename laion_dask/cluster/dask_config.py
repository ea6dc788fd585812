"""Dask's configuration in this process while one of our clients is open."""

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
#: `distributed.Client` sets it to its own name, and does not reset it if the first of two clients
#: closes first.
_SCHEDULER = "scheduler"
_THEIRS = "dask.distributed"

_lock = threading.RLock()
_open: list[tuple[weakref.ref, dict]] = []  # open clients, newest last, and their settings
_before: dict[str, object] = {}  # the value of each setting before the first client
_ours: dict[str, object] = {}  # the last value that we set


def of_cluster(gpu: bool | None) -> dict[str, object]:
    """The settings for a client, by whether its workers use GPUs; None if unknown."""
    return {
        _CONVERT: False,
        _SHUFFLE: "p2p" if gpu is False else "tasks",
        # A local nanny lives as long as the cluster; the job of a queue may be gone.
        _PATIENCE: "2m" if gpu is None else "1h",
    }


def hold(client, wanted: Mapping[str, object]) -> None:
    """Apply a client's settings until `let_go`; of several clients the newest decides.

    A shuffle method set by the user is kept. Call this before the client sets anything.
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
    """Apply the settings of the remaining clients, or restore the original ones after the last.

    Settings changed elsewhere in the meantime are kept. Does nothing for an unknown client.
    """
    with _lock:
        _forget(client)
        _apply()


def leave_scheduler() -> None:
    """Restore Dask's scheduler when no client is left, since `distributed` may forget to."""
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
    clients = [(held, held(), wanted) for held, wanted in _open]
    _open[:] = [
        (held, wanted)
        for held, one, wanted in clients
        if one is not None and one is not client and one.status != "closed"
    ]


def _apply() -> None:
    wanted = {name: value for _, each in _open for name, value in each.items()}
    for name in {*wanted, *_ours}:
        there = dask.config.get(name, None)
        if name not in _ours:
            _before[name] = there
        elif there != _ours[name]:  # changed elsewhere since
            if name not in wanted:
                del _ours[name], _before[name]
            continue
        if name in wanted:
            _ours[name] = wanted[name]
            dask.config.set({name: wanted[name]})
        else:
            del _ours[name]
            dask.config.set({name: _before.pop(name)})

"""Near captions of one template: CPU time and disk as their number grows, beside datasketch's LSH.

    python benchmarks/near_captions.py
    python benchmarks/near_captions.py --rows 20000 50000 100000 --peer-rows 50000

``short`` captions share a little less than the threshold, so that nearly all pairs are candidates
and few are near; of ``long`` ones, nearly all are near. Each measurement has its own process.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np

TEMPLATES = {
    "short": "Photo of house number {} for sale",
    "long": "Photo of house number {} for sale in a quiet street of Springfield, with three "
    "bedrooms, a garden and a garage, call the agent for a visit",
}
SIMILAR = 0.8


def captions(template: str, n: int) -> list[str]:
    """Captions with different numbers."""
    numbers = np.random.default_rng(0).permutation(10 * n)[:n]
    return [TEMPLATES[template].format(number) for number in numbers.tolist()]


def ours(texts: list[str]) -> dict:
    """`dedup`; the disk is the largest size of the temporary folder, seen four times a second."""
    import dask
    import pyarrow as pa
    import pyarrow.parquet as pq

    import laion_dask as ld

    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(pa.table({"text": texts}), f"{folder}/0.parquet")
        largest, ended = [0], threading.Event()
        scratch = f"{folder}/scratch"
        os.mkdir(scratch)
        watch = threading.Thread(target=_watch, args=(scratch, largest, ended))
        watch.start()
        start = time.process_time()
        with dask.config.set(scheduler="sync", temporary_directory=scratch):
            frame = ld.read_shards(f"{folder}/0.parquet")
            kept = frame.laion.dedup("text", similar=SIMILAR).laion.rows().kept
        cpu = time.process_time() - start
        ended.set()
        watch.join()
    return {"cpu_s": round(cpu, 1), "disk_mb": largest[0] // 10**6, "kept": kept}


def _watch(folder: str, largest: list[int], ended: threading.Event) -> None:
    while not ended.wait(0.25):
        sizes = 0
        for path, _, names in os.walk(folder):
            for name in names:
                try:
                    sizes += os.path.getsize(os.path.join(path, name))
                except OSError:  # removed in the meantime
                    continue
        largest[0] = max(largest[0], sizes)


def datasketch(texts: list[str]) -> dict:
    """Its loop of query, exact comparison until one is near, and insertion, all in memory."""
    from datasketch import MinHash, MinHashLSH

    start, kept, sets = time.process_time(), 0, []
    lsh = MinHashLSH(threshold=SIMILAR, num_perm=128)
    for number, text in enumerate(texts):
        text = " ".join(text.lower().split())
        own = {text[at : at + 5] for at in range(max(1, len(text) - 4))}
        minhash = MinHash(128)
        minhash.update_batch([one.encode() for one in own])
        found = (sets[other] for other in lsh.query(minhash))
        kept += not any(len(own & one) / len(own | one) >= SIMILAR for one in found)
        sets.append(own)
        lsh.insert(number, minhash, check_duplication=False)
    return {"cpu_s": round(time.process_time() - start, 1), "kept": kept}


def main() -> int:
    """Measure, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 50_000, 100_000])
    parser.add_argument("--peer-rows", type=int, default=50_000, help="largest number for the peer")
    parser.add_argument("--only", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        way, template, n = args.only
        run = {"ours": ours, "datasketch": datasketch}[way]
        print(json.dumps(run(captions(template, int(n)))))
        return 0
    for template in TEMPLATES:
        for way in ("ours", "datasketch"):
            for n in args.rows:
                if way == "ours" or n <= args.peer_rows:
                    command = [sys.executable, __file__, "--only", way, template, str(n)]
                    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
                    print(template, f"{n:,}", way, done.stdout.decode().strip(), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

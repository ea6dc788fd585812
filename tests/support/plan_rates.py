"""Rates with round numbers, which make a plan easy to check by hand."""

DIM = 128

#: Round numbers that make a plan easy to check by hand: rows per second of one worker.
RATES = {
    "rates": [
        {
            "step": step,
            "device": "cpu",
            "rows_per_s": 100.0,
            "slowest": 50.0,
            "fastest": 200.0,
            "process_bytes": 1000,
            "processor": "an abacus",
            "date": "2026-01-01",
            "source": f"{step}.json",
            **more,
        }
        for step, more in (
            ("where", {}),
            ("export", {}),
            ("linear", {"row_bytes": DIM * 2}),
            ("similarity", {"row_bytes": DIM}),
            ("search", {"row_bytes": DIM * 2}),
            (
                "search",
                {
                    "row_bytes": DIM * 2,
                    "queries": 11,
                    "rows_per_s": 50.0,
                    "slowest": 25.0,
                    "fastest": 100.0,
                },
            ),
        )
    ],
    "gpus": [
        {
            "name": "Test GPU",
            "memory_bytes_per_s": 1e6,
            "bfloat16_flop_per_s": 1e7,
            "link_bytes_per_s": 1e5,
            "memory_bytes": 1e9,
            "source": "its box",
        }
    ],
}

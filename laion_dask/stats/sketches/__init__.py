"""Mergeable sketches: exact while small, then with a stated error bound."""

"""Sketches that merge: exact while they are small, then with a stated bound."""

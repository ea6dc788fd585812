"""Exact search: select candidates by bounded cosines, then score them exactly."""

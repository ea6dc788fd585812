"""Provenance, filters and row accounting of frames."""

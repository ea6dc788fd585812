"""Write a frame as a subset with a manifest of its provenance."""

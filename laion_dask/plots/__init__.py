"""Plots: descriptions of what to draw, and the renderers that draw them."""

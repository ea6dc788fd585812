"""Plots: what is drawn, and the renderers that draw it."""

"""Recipes: how a subset is made, as data."""

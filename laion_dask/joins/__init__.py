"""Joining a table of scores to a frame by key."""

"""Exports: a committed manifest beside its parts."""

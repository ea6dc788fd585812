"""The version of the package, which packaging reads from here without importing anything."""

__version__ = "0.1.0"

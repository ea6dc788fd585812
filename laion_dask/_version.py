"""The version of the package; build tools read it from this file without importing anything."""

__version__ = "0.1.0"

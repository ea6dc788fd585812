"""The approximate index: building, storing and searching it."""

"""The approximate index: built, stored, and searched."""

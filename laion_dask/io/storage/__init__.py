"""Files and folders, on this machine and in every store: found, locked, replaced atomically."""

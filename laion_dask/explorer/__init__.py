"""The explorer: linked views of a frame in a notebook or a browser."""

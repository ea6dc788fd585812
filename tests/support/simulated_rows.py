"""The seeds of simulations, and the types of the columns that they draw."""

#: The seeds whose rows also go through the statistics.
CHECKED = (0, 77, 199)
COLUMN_TYPES = {
    "x": "boolean", "score": "float64", "g": "integer", "h": "integer", "shard": "integer",
    "w": "integer",
}  # fmt: skip

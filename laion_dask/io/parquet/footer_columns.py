"""The columns of the arrays that `footer_kernel` fills, and the shapes of its scratch arrays."""

from __future__ import annotations

from laion_dask.io.parquet.thrift import MAX_DEPTH

#: Columns of a table of chunks.
GROUP, FIRST_ROW, LEAF, PATH, CODEC, N_VALUES, START, N_NULLS, SIZE = range(9)
IN_OTHER_FILE, PATH_AT, PATH_END, LOW_AT, LOW_SIZE, HIGH_AT, HIGH_SIZE = range(9, 16)
#: Columns that are only used while a chunk is read: 16 to 18.
WIDTH = 19
#: Columns of the summary of a footer. ``ACCEPTED`` is 0 if it was refused, ``PLAIN`` is 1 if every
#: reader of Parquet accepts its row groups. ``N_ROWS`` is the number that it claims.
ACCEPTED, PLAIN, N_ROWS, SCHEMA_END, GROUPS_END, N_GROUPS, N_CHUNKS = range(7)
SUMMARY = 7
#: Counts while footers are walked: what is stored so far, the chunks of the last row group.
GROUPS, CHUNKS, PATHS, FIRST_GROUP, ROWS, BEFORE, N_BEFORE = range(7)
STATE = 7
#: The shape of the array with the open structs and lists; the last row is for `read_field`.
STACK = (MAX_DEPTH + 8, 3)

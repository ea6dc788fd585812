"""The Arrow memory pool of filters, statistics and exports."""

from __future__ import annotations

import pyarrow as pa

#: The C library's allocator. Arrow's own takes pages of 2 MB for each thread and each size of
#: buffer: to hold 10 MB, the tables of an export took 45. Passed to single calls, since another
#: default pool would apply to the whole process.
POOL = pa.system_memory_pool()

from laion_dask.io.parquet.column_chunks import column_chunks
from laion_dask.io.parquet.thrift import _value


class T:
    pass


def chunk_table(footer):
    t = T()
    t.chunks = column_chunks(footer)
    at = 0
    # version then schema
    assert footer[0] == 0x15, footer[:4]
    v, at = _value(footer, 1, 5, 0)
    assert footer[at] == 0x19
    v, at = _value(footer, at + 1, 9, 0)
    t.schema_stop = at
    return t

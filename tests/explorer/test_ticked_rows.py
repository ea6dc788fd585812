"""Ticked rows of a sample."""

from support.explorations import exploration_of

from laion_dask.explorer.ticked_rows import TickedRows


def test_rows_are_ticked_unticked_and_cleared(tmp_path):
    ticked, calls = TickedRows(exploration_of(tmp_path).sample), []
    ticked.subscribe(lambda: calls.append(len(ticked)))
    ticked.change(add=[3, 5, 5, -1, 10**9])
    ticked.change(add=[3])
    ticked.change(add=[7], remove=[5, 8])
    assert calls == [2, 2] and 3 in ticked and 5 not in ticked
    assert ticked.positions == {3, 7} and ticked.rows == {(0, 3), (0, 7)}
    ticked.clear()
    assert calls == [2, 2, 0] and ticked.rows == frozenset()

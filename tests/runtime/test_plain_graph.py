"""Graphs of plain tasks: which they are, and what runs of them."""

from dask import delayed
from dask.threaded import get

from laion_dask.runtime import graph, plain_graph


def _add(part, number, *others):
    return part + number + sum(others)


def _sum(several, *others):
    return sum(several) + sum(others)


def test_tasks_on_values_are_plain_and_give_what_dask_computes():
    shared = graph.share(100, "shared-by-this-test")
    results = graph.tasks(_add, [1, 2, 3], shared)
    total = graph.gathered(results, _sum, shared)
    assert all(map(plain_graph.is_plain, (*results, total)))
    expected = (101, 409)
    assert graph.compute(results[0], total, label="test") == expected
    assert tuple(each.compute() for each in (results[0], total)) == expected


def test_tasks_on_other_collections_are_not_plain():
    results = graph.tasks(_add, [delayed(int)(5), 6], graph.share(1, "another-of-this-test"))
    assert not any(map(plain_graph.is_plain, results))
    assert graph.compute(*results, label="test") == (6, 8)


def test_only_what_is_needed_runs():
    ran = []
    results = graph.tasks(lambda part, number: ran.append(part), [1, 2, 3])
    assert plain_graph.run(results[:1], get) == (None,)
    assert ran == [1]
    assert graph.compute(results[1], results[1], label="test") == (None, None)
    assert sorted(ran) == [1, 2]


def test_no_tasks_are_a_graph_too():
    assert graph.tasks(_add, []) == []

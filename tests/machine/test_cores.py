"""Which splits of the cores are tried; and memory nodes, as Linux describes them, shared by workers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tunebench.machine import cores as shared
from tunebench.machine.cores import splits
from tunebench.machine.settings import Execution

linux = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux's own")


@pytest.mark.parametrize(
    ("cores", "settings", "most", "expected"),
    [
        (1, {}, 9, [(1, 1)]),
        (2, {}, 9, [(1, 2), (2, 1)]),
        (12, {}, 99, [(1, 12), (2, 6), (4, 3), (8, 1), (12, 1)]),
        (12, {}, 3, [(1, 12), (2, 6), (3, 4)]),
        (8, {"threads": 2}, 99, [(1, 2), (2, 2), (4, 2)]),
        (8, {"threads": 16}, 99, [(1, 16)]),
        (8, {"processes": 2}, 99, [(1, 4), (2, 2), (4, 1)]),
    ],
)
def test_from_one_run_with_all_cores_to_a_core_a_run(
    cores: int, settings: dict[str, int], most: int, expected: list[tuple[int, int]]
) -> None:
    assert splits(cores, Execution(**settings), most) == expected


@pytest.fixture
def two_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[set[int]]:
    """Describe a machine of two nodes, whose last CPU is not this process's, and note where a process is bound."""
    for name, cpus in (("node0", "0-2,8\n"), ("node1", "3-5,9\n"), ("node2", "\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cpulist").write_text(cpus)
    bound: list[set[int]] = []
    monkeypatch.setattr(shared, "_NODES", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2, 3, 4, 5, 8})
    monkeypatch.setattr(os, "sched_setaffinity", lambda process, cpus: bound.append(set(cpus)))
    return bound


@linux
def test_a_node_has_the_cpus_that_this_process_may_use(two_nodes: list[set[int]]) -> None:
    assert shared.nodes() == [{0, 1, 2, 8}, {3, 4, 5}]


@linux
def test_workers_that_the_nodes_share_equally_are_bound_in_turn(two_nodes: list[set[int]]) -> None:
    for number in range(4):
        shared.bind_worker(number, 4)
    assert two_nodes == [{0, 1, 2, 8}, {3, 4, 5}] * 2


@linux
@pytest.mark.parametrize("count", [1, 3])
def test_other_numbers_of_workers_are_placed_by_the_system(two_nodes: list[set[int]], count: int) -> None:
    shared.bind_worker(0, count)
    assert two_nodes == []


@linux
def test_this_machine_has_a_node_with_every_cpu_of_this_process() -> None:
    found = shared.nodes()
    assert not found or frozenset().union(*found) == os.sched_getaffinity(0)

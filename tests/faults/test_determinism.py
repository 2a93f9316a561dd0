"""The same study, twice, on one machine: the same bits, with either engine."""

from __future__ import annotations

import subprocess
from pathlib import Path

from faults import study as faulty

BOTH = {
    "fast": {"kind": "full", "learning_rate": 3e-3},
    "plain": {"kind": "full", "learning_rate": 3e-3, "engine": "reference"},
    "adapter": faulty.STRATEGIES["lora"] | {"kind": "lora"},
}


def test_two_processes_give_the_same_bits(tmp_path: Path) -> None:
    study = faulty.make(tmp_path / "input", strategies=BOTH, train_sizes=[40], epochs=1)
    environment = faulty.environment(tmp_path / "cache") | {"HF_HUB_OFFLINE": "1"}
    # At once, with other hash seeds, one of them a new Python: none of this may matter.
    new = subprocess.Popen(
        faulty.command(study, tmp_path / "new"),
        env=environment | {"PYTHONHASHSEED": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    forked = faulty.start(study, tmp_path / "forked", environment=environment, told=tmp_path / "told.txt")
    forked.join(300)
    assert (new.wait(timeout=300), forked.exitcode) == (0, 0)
    first, second = (faulty.results(tmp_path / name) for name in ("new", "forked"))
    assert len(first) == len(BOTH)
    assert first == second
    # Bits could be equal because nothing was learnt; other strategies give other bits.
    assert len({run["weights"]["sha256"] for run in first.values()}) == len(BOTH)

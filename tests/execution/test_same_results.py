"""Runs give the results that they gave before: the predictions of a small study are compared with stored ones.

Bits differ from processor to processor, so logits are compared within rounding here. On one machine two runs are
bit-identical (``faults/test_determinism.py``).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from faults import study as faulty
from thorough import mostly_thorough
from tunebench.api import run_study
from tunebench.machine.settings import Execution
from tunebench.study.yaml_file import load_study

STORED = Path(__file__).with_name("same_results.json")


def _run(folder: Path, seeds: list[int]) -> dict[str, list[list[float]]]:
    """Run the study, and return the test logits of each run by strategy, size and seed."""
    changes: dict[str, Any] = {"train_sizes": [40, 80], "seeds": seeds, "epochs": 1, "precision": "fp32"}
    study = load_study(str(faulty.make(folder / "input", whole_vocabulary=True, **changes)))
    run_study(study, folder=folder / "out", measure=False, execution=Execution(device="cpu", threads=1))
    found = {}
    for path in sorted((folder / "out" / "runs").glob("*/predictions.npz")):
        with np.load(path) as stored:
            # Without the hash of the id: the model's files, which it covers, are written anew each time.
            found[path.parent.name.rsplit("-", 1)[0]] = stored["logits"].astype(float).round(5).tolist()
    return found


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize("seed", mostly_thorough([1, 2], keep=lambda seed: seed == 1))
def test_a_small_study_predicts_as_it_did(tmp_path: Path, seed: int) -> None:
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    expected = {name: logits for name, logits in stored.items() if name.endswith(f"-s{seed}")}
    found = _run(tmp_path, [seed])
    assert found.keys() == expected.keys() and len(found) == 4 == len(stored) / 2
    for name, logits in expected.items():
        np.testing.assert_allclose(found[name], logits, atol=2e-4, err_msg=name)

"""``python -O`` leaves out assertions: nothing may depend on them."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import tunebench
from faults import study as faulty

#: What an assertion may call: none of these changes anything.
PURE = {"isinstance", "len", "all", "any", "set", "hasattr", "issubclass"}


def test_no_assertion_does_anything() -> None:
    source = Path(tunebench.__file__).parent
    for path in sorted(source.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Assert):
                for part in ast.walk(node.test):
                    assert not isinstance(part, (ast.NamedExpr, ast.Await, ast.Yield)), (path, node.lineno)
                    if isinstance(part, ast.Call):
                        assert isinstance(part.func, ast.Name) and part.func.id in PURE, (path, node.lineno)


_SCRIPT = """
import io, sys
from pathlib import Path
import fakes
from tunebench.store.study_folder import StudyStore
folder = Path(sys.argv[1])
study = fakes.make_study(train_sizes=[10])
first = fakes.run(folder, study, stream=io.StringIO())
runs = [StudyStore.open(folder).run_folder(spec.run_id) for spec in fakes.make_specs(study)]
runs[0].record.write_text(runs[0].record.read_text().replace('"threads": 1', '"threads": 2'))
states = [cell.status for cell in StudyStore.open(folder).cells()]
again = fakes.run(folder, study, stream=io.StringIO())
print(sys.flags.optimize, len(first.complete), states, len(again.complete), len(again.skipped))
"""


def test_damage_is_found_without_assertions(tmp_path: Path) -> None:
    command = [sys.executable, "-O", "-W", "ignore", "-c", _SCRIPT, str(tmp_path / "study")]
    env = faulty.environment(tmp_path / "cache")
    ended = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert ended.stdout.split("\n")[0] == "1 2 ['failed', 'complete'] 1 1", ended.stderr[-2000:]

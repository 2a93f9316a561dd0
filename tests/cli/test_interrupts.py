"""Ctrl-C before there is anything to save."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: Presses Ctrl-C as soon as a module is imported.
PRESS = """
import os, signal, sys
class Press:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
# Ctrl-C is ignored in what a shell starts in the background, as tests may be.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv = [{program!r}, "status", "nowhere"]
sys.meta_path.insert(0, Press())
import tunebench.cli
tunebench.cli.main()
"""


def pressed(module: str, program: str = "tunebench") -> subprocess.CompletedProcess[str]:
    code = PRESS.format(module=module, program=program)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("module", ["typer", "tunebench.store.suite_folder"])
def test_ctrl_c_while_modules_are_imported_is_one_line(module: str) -> None:
    """Of the command line itself, and of what a command works with."""
    found = pressed(module)
    assert (found.returncode, found.stdout, found.stderr.strip()) == (130, "", "interrupted")


def test_who_imports_the_command_line_keeps_ctrl_c() -> None:
    found = pressed("typer", program="another.py")
    assert found.returncode != 130 and "KeyboardInterrupt" in found.stderr


def test_what_ctrl_c_leaves_behind_is_told_from_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    from tunebench.cli import interrupts

    assert not interrupts.was_interrupted(ImportError()) and not interrupts.was_interrupted(SystemExit(130))
    assert interrupts.was_interrupted(KeyboardInterrupt())
    monkeypatch.setattr(interrupts._Asked, "any", False)
    with pytest.raises(KeyboardInterrupt):
        interrupts._raise(2, None)
    assert interrupts.was_interrupted(ImportError("half of a library"))
    assert not interrupts.was_interrupted(SystemExit(2))

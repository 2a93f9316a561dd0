"""``tunebench watch`` as a process."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from faults.commands import refused, tunebench
from web.watching.studies import finished


def start(*args: str) -> subprocess.Popen[str]:
    environment = os.environ | {"COLUMNS": "200", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "tunebench", "watch", *args]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_takes_a_free_port_says_where_and_ends_in_order(tmp_path: Path, number: int) -> None:
    finished(tmp_path, 2)
    process = start(str(tmp_path), "--port", "0")
    try:
        assert process.stdout is not None
        found = re.search(r"at (http://127\.0\.0\.1:\d+/)$", process.stdout.readline().strip())
        assert found is not None
        with urllib.request.urlopen(f"{found[1]}api/study") as answer:
            assert json.load(answer)["counts"] == {"complete": 2}
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == (0 if number == signal.SIGINT else -number)
    assert out == "" and "Traceback" not in err and "ERROR" not in err


def test_what_is_wrong_is_said_before_it_listens(tmp_path: Path) -> None:
    assert (problem := refused(tunebench("watch", tmp_path), ["no study"])) == "", problem


def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    finished(tmp_path, 1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ended = tunebench("watch", tmp_path, "--port", taken.getsockname()[1])
    assert (problem := refused(ended, ["--port 0"])) == "", problem


@pytest.mark.parametrize("missing", ["fastapi", "uvicorn"])
def test_without_the_extra_the_error_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    finished(tmp_path, 1)
    monkeypatch.delitem(sys.modules, "tunebench.web.watching.app", raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    assert (problem := refused(tunebench("watch", tmp_path), ["[watch]"])) == "", problem


def test_its_help_loads_neither_server_nor_torch() -> None:
    code = (
        "import sys; sys.argv[1:] = ['watch', '--help']\nfrom tunebench.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(sorted({'fastapi', 'uvicorn', 'torch', 'transformers'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip().endswith("[]")


def test_the_pages_files_ship_with_the_package() -> None:
    tomllib = pytest.importorskip("tomllib", reason="of Python 3.11")
    root = Path(__file__).parents[3]
    globs = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["tunebench"]
    package = root / "src" / "tunebench"
    shipped = {path for pattern in globs for path in package.glob(pattern)}
    files = {
        path
        for path in (package / "web" / "watching").rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert len(files) >= 6 and files <= shipped

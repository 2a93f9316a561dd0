"""``doctor``."""

from __future__ import annotations

from pathlib import Path

import typer

from tunebench.cli.app import JsonOption, app
from tunebench.cli.console import out, print_json


@app.command(epilog="Example: tunebench doctor --json")
def doctor(json_: JsonOption = False) -> None:
    """Check this machine: processor, memory, disk, packages, and what is missing."""
    from tunebench.engine.native.loading import kernels_finding
    from tunebench.machine.doctor import examine

    found = [*examine(folder=Path(".")), kernels_finding()]
    if json_:
        print_json([vars(finding) for finding in found])
    else:
        for finding in found:
            mark = {"ok": "ok     ", "note": "note   ", "problem": "problem"}[finding.level]
            advice = f"  ({finding.advice})" if finding.advice else ""
            out.print(f"{mark} {finding.topic:<22} {finding.value}{advice}", markup=False)
    if any(finding.level == "problem" for finding in found):
        raise typer.Exit(1)

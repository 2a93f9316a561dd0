"""tunebench: controlled, statistically honest comparison of fine-tuning strategies."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

#: Public names and where they live; loaded on first use, so that reading results never imports torch.
_PUBLIC = {
    "Comparison": "tunebench.analysis.comparison",
    "Execution": "tunebench.machine.settings",
    "StudyConfig": "tunebench.study.config",
    "TextClassifier": "tunebench.inference.estimator",
    "TextRegressor": "tunebench.inference.estimator",
    "TunebenchError": "tunebench.errors",
    "audit_source": "tunebench.api",
    "choose": "tunebench.choosing.job",
    "export_run": "tunebench.inference.export",
    "load": "tunebench.inference.predictor",
    "load_comparison": "tunebench.analysis.load",
    "load_dataset": "tunebench.data",
    "load_study": "tunebench.study.yaml_file",
    "load_suite": "tunebench.study.suite",
    "run_study": "tunebench.api",
    "run_suite": "tunebench.api",
    "write_report": "tunebench.api",
}

__all__ = [
    "Comparison",
    "Execution",
    "StudyConfig",
    "TextClassifier",
    "TextRegressor",
    "TunebenchError",
    "audit_source",
    "choose",
    "export_run",
    "load",
    "load_comparison",
    "load_dataset",
    "load_study",
    "load_suite",
    "run_study",
    "run_suite",
    "write_report",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'tunebench' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted([*__all__, "__version__"])

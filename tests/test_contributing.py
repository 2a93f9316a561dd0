"""The examples of CONTRIBUTING.md work as they stand; each runs in a process of its own."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

import warm

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
EXAMPLES = dict(
    re.findall(r"^## Add a ([^\n]*?): \d+ lines\n.*?```python\n(.*?)```", TEXT, re.DOTALL | re.MULTILINE)
)
COUNTS = dict(re.findall(r"^## Add a (.*?): (\d+) lines$", TEXT, re.MULTILINE))
#: What shows that an example did its work.
CHECKS = {
    "strategy": "from transformers import BertConfig, BertForSequenceClassification as Bert\n"
    "from types import SimpleNamespace\n"
    "model = Bert(BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1))\n"
    "family = SimpleNamespace(is_head=lambda name: name.startswith('classifier'))\n"
    "QueryOnly().prepare(model, NoParams(), family)\n"
    "assert {n.split('.')[-2] for n, p in model.named_parameters() if p.requires_grad} == {'query', 'classifier'}",
    "metric": "import numpy as np\nfrom tunebench.tasks.metrics import METRICS\n"
    "assert METRICS['kappa'](np.array([0, 1, 1]), np.eye(2)[[0, 1, 1]]) == 1.0",
    "table": "from pathlib import Path\nfrom tunebench.analysis.analysis import analyse\n"
    "from tunebench.analysis.load import load_comparison\n"
    "table = steps(analyse(load_comparison(Path('docs/results/quickstart'))))\n"
    "assert len(table.rows) == 8 and all(row['selected_step'] > 0 for row in table.rows)",
    "figure": "from pathlib import Path\nfrom tunebench.analysis.analysis import analyse\n"
    "from tunebench.analysis.load import load_comparison\n"
    "figure = steps(analyse(load_comparison(Path('docs/results/quickstart'))))\n"
    "assert len(figure.axes[0].collections) == 8",
    "kind of data file": "from pathlib import Path\nfrom tempfile import mkdtemp\n"
    "from tunebench.data.readers import read_table\n"
    "path = Path(mkdtemp()) / 'a.pipes'\npath.write_text('pos|fine|good\\nneg|dull\\n')\n"
    "assert read_table(path).values('text') == ['fine|good', 'dull']",
    "packaged data set": "assert DATASETS['snippets'].read().train.rows == 8530",
}


@pytest.mark.parametrize("name", CHECKS)
def test_examples_work(name: str, tmp_path: Path) -> None:
    process = warm.start(execute, f"{EXAMPLES[name]}\n{CHECKS[name]}\n", told=tmp_path / "told.txt")
    process.join()
    assert process.exitcode == 0, (tmp_path / "told.txt").read_text()


def execute(code: str) -> None:
    """Run a module of this code from the root of the checkout."""
    os.chdir(ROOT)
    sys.modules["example"] = module = ModuleType("example")
    exec(code, module.__dict__)


@pytest.mark.parametrize("name", CHECKS)
def test_examples_have_as_many_lines_as_the_heading_says(name: str) -> None:
    assert sum(bool(line.strip()) for line in EXAMPLES[name].splitlines()) == int(COUNTS[name])


def test_every_example_is_run() -> None:
    assert set(EXAMPLES) == set(COUNTS) == set(CHECKS)

"""What other tools make of a benchmark's texts: ``python other_tools.py NAME EXAM ANSWERS``.

A script by itself, which imports nothing of tunebench: a tool may need an environment of its own. Nothing heavy is
imported before a side runs, so that the side does not pay for it.
"""

from __future__ import annotations

import json
import math
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

#: Batch size, learning rate and tokens a text where a side trains as the others do.
_BATCH, _LEARNING_RATE, MAX_LENGTH = 32, 5e-5, 256
#: SetFit's settings as its paper has them: pairs of each kind for each text, and pairs a batch.
_ITERATIONS, _PAIRS = 20, 16


@dataclass(frozen=True)
class Exam:
    """What a side gets.

    Attributes:
        texts: To learn from.
        labels: Their labels.
        unseen: Texts to answer.
        model: Folder of the encoder.
        seconds: Time limit of training; infinite for none.
        threads: Compute threads.
        folder: For what the side writes.
        epochs: Passes over the texts; None leaves it to the side.
    """

    texts: list[str]
    labels: list[str]
    unseen: list[str]
    model: Path
    seconds: float
    threads: int
    folder: Path
    epochs: int | None = None

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(asdict(self), default=str), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Exam:
        """Read what :meth:`write` wrote."""
        raw = json.loads(path.read_text(encoding="utf-8"))
        return cls(**raw | {"model": Path(raw["model"]), "folder": Path(raw["folder"])})


#: Trains, and returns an answer for each unseen text.
Side = Callable[[Exam], Sequence[Any]]


def autogluon_side(exam: Exam) -> Sequence[Any]:
    """AutoGluon's predictor of texts, at its defaults but for the encoder and how long it trains."""
    import pandas as pd
    from autogluon.multimodal import MultiModalPredictor

    options: dict[str, Any] = {"model.hf_text.checkpoint_name": str(exam.model)}
    if exam.epochs is not None:
        options |= {"optim.max_epochs": exam.epochs, "optim.lr": _LEARNING_RATE, "env.batch_size": _BATCH}
    predictor = MultiModalPredictor(label="label", path=str(exam.folder / "autogluon"))
    predictor.fit(
        pd.DataFrame({"text": exam.texts, "label": exam.labels}),
        time_limit=None if math.isinf(exam.seconds) else int(exam.seconds),
        hyperparameters=options,
    )
    return list(predictor.predict(pd.DataFrame({"text": exam.unseen})))


def setfit_side(exam: Exam) -> Sequence[Any]:
    """SetFit as its paper has it, ended when the time is over.

    With a number of epochs, it ends when as many texts went through the encoder as in fine-tuning: a pair has two.
    """
    with warnings.catch_warnings():
        # On import the library shows all deprecations, and its trainer warns of memory that it cannot pin.
        warnings.simplefilter("ignore")
        return _setfit_answers(exam)


def _setfit_answers(exam: Exam) -> list[str]:
    import setfit
    from datasets import Dataset
    from transformers import PrinterCallback, TrainerCallback

    class Limit(TrainerCallback):
        end = time.monotonic() + exam.seconds

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            control.should_training_stop = control.should_training_stop or time.monotonic() > self.end

    names = sorted(set(exam.labels))
    arguments = setfit.TrainingArguments(
        output_dir=str(exam.folder / "setfit"),
        batch_size=_PAIRS,
        num_epochs=1,
        num_iterations=_ITERATIONS,
        max_steps=-1 if exam.epochs is None else math.ceil(exam.epochs * len(exam.texts) / (2 * _PAIRS)),
        max_length=MAX_LENGTH,
        report_to="none",
        save_strategy="no",
        show_progress_bar=False,
    )
    positions = [names.index(label) for label in exam.labels]
    trainer = setfit.Trainer(
        setfit.SetFitModel.from_pretrained(str(exam.model)),
        args=arguments,
        train_dataset=Dataset.from_dict({"text": exam.texts, "label": positions}),
        callbacks=[Limit()],
    )
    trainer.remove_callback(PrinterCallback)  # it prints to the output that --json needs
    trainer.train()
    return [names[int(position)] for position in trainer.model.predict(exam.unseen)]


#: By the name that ``--against`` takes.
SIDES: dict[str, Side] = {"autogluon": autogluon_side, "setfit": setfit_side}

if __name__ == "__main__":
    _name, _exam, _answers = sys.argv[1:]
    _said = [str(answer) for answer in SIDES[_name](Exam.read(Path(_exam)))]
    Path(_answers).write_text(json.dumps(_said), encoding="utf-8")

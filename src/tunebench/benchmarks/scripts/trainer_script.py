"""Fine-tune a text classifier in full and with LoRA: a plain Trainer script, without tunebench.

``tunebench bench --wall`` times it beside a study of the same trainings. It also runs by itself::

    python trainer_script.py --data reviews --model path/to/model --out results

``reviews`` holds train.csv, validation.csv and test.csv with the columns text and label.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from sklearn.metrics import classification_report, f1_score
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    set_seed,
)

PARTS = ("train", "validation", "test")
LEARNING_RATE = {"full": 5e-5, "lora": 5e-4}
#: Modules between encoder and classes, by the names that encoders have for them. LoRA trains them in full.
HEAD = ("pooler", "pre_classifier", "classifier")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Fine-tune a text classifier in full and with LoRA.")
    parser.add_argument("--data", type=Path, required=True, help="folder of train.csv, validation.csv, test.csv")
    parser.add_argument("--model", required=True, help="name or folder of an encoder")
    parser.add_argument("--out", type=Path, required=True, help="folder for models and predictions")
    parser.add_argument("--strategies", nargs="+", choices=LEARNING_RATE, default=list(LEARNING_RATE))
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--max-length", type=int, default=256)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--careful", action="store_true", help="pad to the batch's longest text, score by length")
    parser.add_argument("--bf16", action="store_true", help="train and predict with bf16 autocast")
    return parser.parse_args()


def read(folder: Path, *, by_length: bool) -> dict[str, pd.DataFrame]:
    """Read the three parts; those that are scored are sorted by length if asked for."""
    frames = {part: pd.read_csv(folder / f"{part}.csv", keep_default_na=False) for part in PARTS}
    if by_length:
        for part in ("validation", "test"):
            frames[part] = frames[part].sort_values("text", key=lambda texts: texts.str.len(), ascending=False)
    return frames


def tokenised(
    frames: dict[str, pd.DataFrame], labels: list[str], tokenizer: Any, options: Any
) -> dict[str, Dataset]:
    """Tokenise every part."""
    found = {}
    for part, frame in frames.items():
        padding = False if options.careful else "max_length"
        encoded = tokenizer(frame["text"].tolist(), truncation=True, max_length=options.max_length, padding=padding)
        positions = [labels.index(label) for label in frame["label"]]
        found[part] = Dataset.from_dict({**encoded, "labels": positions})
    return found


def load_model(name: str, labels: list[str], strategy: str) -> Any:
    """Load the encoder with a new head, and adapters for LoRA."""
    model = AutoModelForSequenceClassification.from_pretrained(
        name,
        num_labels=len(labels),
        id2label=dict(enumerate(labels)),
        label2id={label: position for position, label in enumerate(labels)},
    )
    if strategy == "lora":
        modules = {name.rpartition(".")[2] for name, _ in model.named_modules()}
        head = [name for name in HEAD if name in modules]
        config = LoraConfig(task_type="SEQ_CLS", r=8, lora_alpha=16, lora_dropout=0.2, modules_to_save=head)
        model = get_peft_model(model, config)
    return model


def score(prediction: Any) -> dict[str, float]:
    """Return macro F1 of logits."""
    predicted = np.argmax(prediction.predictions, axis=-1)
    return {"f1": float(f1_score(prediction.label_ids, predicted, average="macro"))}


def train(strategy: str, model: Any, data: dict[str, Dataset], tokenizer: Any, options: Any) -> Trainer:
    """Train, with an evaluation after each epoch, and go back to the best epoch."""
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(options.out / strategy / "checkpoints"),
            num_train_epochs=options.epochs,
            per_device_train_batch_size=options.batch_size,
            per_device_eval_batch_size=options.batch_size,
            learning_rate=LEARNING_RATE[strategy],
            eval_strategy="epoch",
            save_strategy="epoch",
            save_total_limit=1,
            load_best_model_at_end=True,
            metric_for_best_model="f1",
            seed=options.seed,
            bf16=options.bf16,
            use_cpu=not torch.cuda.is_available(),  # without it, bf16 is refused on a CPU
            report_to=[],
            disable_tqdm=True,
        ),
        train_dataset=data["train"],
        eval_dataset=data["validation"],
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=score,
    )
    trainer.train()
    return trainer


def main() -> None:
    """Train and test both ways, and save models, predictions, scores and times."""
    options = arguments()
    frames = read(options.data, by_length=options.careful)
    labels = sorted(frames["train"]["label"].unique())
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    data = tokenised(frames, labels, tokenizer, options)
    times: dict[str, Any] = {"begun": time.time(), "training": 0.0, "evaluation": 0.0, "test": 0.0}
    scores = {}
    for strategy in options.strategies:
        set_seed(options.seed)
        model = load_model(options.model, labels, strategy)
        start = time.time()
        trainer = train(strategy, model, data, tokenizer, options)
        evaluation = sum(line.get("eval_runtime", 0.0) for line in trainer.state.log_history)
        times["evaluation"] += evaluation
        times["training"] += time.time() - start - evaluation

        start = time.time()
        logits = trainer.predict(data["test"]).predictions
        times["test"] += time.time() - start
        predicted = [labels[position] for position in np.argmax(logits, axis=-1)]
        print(strategy)
        print(classification_report(frames["test"]["label"], predicted, zero_division=0))
        scores[strategy] = float(f1_score(frames["test"]["label"], predicted, average="macro"))
        trainer.save_model(str(options.out / strategy / "model"))
        answers = frames["test"].assign(predicted=predicted).sort_index()
        answers.to_csv(options.out / strategy / "predictions.csv", index_label="row")
    times["ended"] = time.time()
    (options.out / "scores.json").write_text(json.dumps({"scores": scores, "times": times}), encoding="utf-8")


if __name__ == "__main__":
    main()

"""The recipe of an imported run, from its state, its arguments, its configuration and AutoTrain's parameters."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, get_args

from tunebench.errors import ConfigError
from tunebench.importing.folder import Contents
from tunebench.importing.schedule import Derived, derive_schedule
from tunebench.importing.values import Values
from tunebench.recipe import Schedule

#: The Trainer's number of epochs over a stream, whose length it does not know: sys.maxsize, here or on 32 bits.
_ENDLESS = 2**31 - 1
#: AutoTrain's names of what is settled here.
_AUTOTRAIN = (
    *("model", "lr", "epochs", "batch_size", "max_seq_length", "warmup_ratio", "optimizer", "scheduler"),
    *("weight_decay", "max_grad_norm", "seed", "mixed_precision"),
)


def settle_recipe(contents: Contents, values: Values) -> None:
    """Settle what state, arguments and configuration tell of the recipe.

    Raises:
        StoreError: Two files contradict each other.
        ConfigError: A statement contradicts the folder.
    """
    raw, path, args_from = contents.arguments, contents.arguments_path, contents.arguments_path.name
    auto, auto_path, auto_from = contents.autotrain, contents.autotrain_path, contents.autotrain_path.name
    _mention_autotrain(contents)
    values.settle("epochs", *_epochs(contents))
    values.settle(
        "seed",
        (contents.number(raw, "seed", path, whole=True), args_from),
        (contents.number(auto, "seed", auto_path, whole=True), auto_from),
    )
    for name in ("weight_decay", "max_grad_norm"):
        values.settle(
            name,
            (contents.number(raw, name, path), args_from),
            (contents.number(auto, name, auto_path), auto_from),
        )
    steps, ratio = contents.number(raw, "warmup_steps", path), contents.number(raw, "warmup_ratio", path)
    values.settle(
        "warmup_ratio",
        (ratio if not steps else None, args_from),
        (contents.number(auto, "warmup_ratio", auto_path), auto_from),
    )
    values.settle("max_length", (contents.number(auto, "max_seq_length", auto_path, whole=True), auto_from))
    derived = derive_rates(contents, values)
    told = _schedule(raw.get("lr_scheduler_type")), _schedule(auto.get("scheduler"))
    follows = derived.schedule if derived is not None and told == (None, None) else None
    values.settle(
        "schedule",
        (told[0], args_from),
        (told[1], auto_from),
        (None if "schedule" in values.stated else follows, _rates_of(contents)),
    )
    values.settle(
        "optimizer", (_optimizer(raw.get("optim")), args_from), (_optimizer(auto.get("optimizer")), auto_from)
    )
    values.settle("precision", (_precision(raw), args_from), (_mixed(auto), auto_from))
    _model(contents, values)


def derive_rates(contents: Contents, values: Values) -> Derived | None:
    """Return the schedule on which all logged rates lie, if there is one.

    Where somebody states another rate, the statement stands, and is noted.
    """
    if contents.log is None:
        return None
    total = contents.state.get("max_steps") or contents.log.summary.get("step")
    steps = contents.number(contents.arguments, "warmup_steps", contents.arguments_path, whole=True)
    ratio = contents.number(contents.arguments, "warmup_ratio", contents.arguments_path)
    known = steps or (math.ceil(ratio * total) if ratio and total else None)
    if known is None and 0 in (steps, ratio):
        known = 0
    found = derive_schedule(contents.log.rates, int(total) if total and total > 0 else None, warmup=known)
    stated = values.stated.get("learning_rate")
    if found is not None and stated is not None and not math.isclose(stated, found.peak, rel_tol=1e-5):
        contents.notes.add(
            f"the learning rate {stated:g} is stated, though all {found.points} logged rates lie on the schedule "
            f"{found.schedule} with the peak {found.peak:g}."
        )
    return found


def _rates_of(contents: Contents) -> str:
    return f"{contents.log_from} (logged learning rates)"


def _epochs(contents: Contents) -> Iterable[tuple[int | None, str]]:
    """Yield the epochs that each file tells; none of a stream, whose epochs the Trainer does not know."""
    raw, auto = contents.arguments, contents.autotrain
    planned = contents.number(contents.state, "num_train_epochs", contents.state_path, whole=True)
    if planned is not None and planned >= _ENDLESS:
        steps = contents.state.get("max_steps")
        length = f"{steps:,} steps were planned, and " if steps and steps > 0 else ""
        contents.notes.add(
            f"trained on a stream: {length}the Trainer did not know how many steps an epoch has. Epochs are not "
            "known, and the epochs in the log may be shares of the planned steps."
        )
        return
    asked = contents.number(raw, "num_train_epochs", contents.arguments_path)
    if (contents.number(raw, "max_steps", contents.arguments_path) or 0) > 0:
        asked = None  # a number of steps overrides them
    ordered = contents.number(auto, "epochs", contents.autotrain_path)
    ended = contents.log.summary.get("epoch") if contents.log else None
    # An early stop ends before the planned epochs: the log's last epoch counts only where no plan is known.
    plans = (planned, asked, ordered)
    yield planned or None, contents.state_path.name
    yield _whole(asked), contents.arguments_path.name
    yield _whole(ordered), contents.autotrain_path.name
    yield _whole(ended) if all(p is None for p in plans) else None, f"{contents.log_from} (last epoch)"


def _whole(value: float | None) -> int | None:
    return int(value) if value and value == int(value) and value < _ENDLESS else None


def _schedule(value: Any) -> str | None:
    return value if value in get_args(Schedule) else None


def _optimizer(value: Any) -> str | None:
    return "adamw" if isinstance(value, str) and value.startswith("adamw_torch") else None


def _precision(arguments: dict[str, Any]) -> str | None:
    """Return the precision of the Trainer's arguments; None where they do not say, or ask for two."""
    asked = {"bf16": arguments.get("bf16"), "fp16": arguments.get("fp16")}
    if not all(isinstance(value, bool) for value in asked.values()) or all(asked.values()):
        return None
    return next((name for name, value in asked.items() if value), "fp32")


def _mixed(autotrain: dict[str, Any]) -> str | None:
    if "mixed_precision" not in autotrain:
        return None
    value = autotrain["mixed_precision"]
    if value is None:
        return "fp32"
    return {"bf16": "bf16", "fp16": "fp16", "no": "fp32"}.get(value) if isinstance(value, str) else None


def _model(contents: Contents, values: Values) -> None:
    base, own = contents.adapter.get("base_model_name_or_path"), contents.config.get("_name_or_path")
    begun = contents.autotrain.get("model")
    named = [value if isinstance(value, str) and value else None for value in (base, begun, own)]
    # A configuration names the place that it was loaded from, which need not be the base model's.
    values.settle(
        "model",
        (named[0], contents.adapter_path.name),
        (named[1], contents.autotrain_path.name),
        (named[2] if not contents.adapter and named[1] is None else None, contents.config_path.name),
    )


def _mention_autotrain(contents: Contents) -> None:
    raw = contents.autotrain
    if not raw:
        return
    read = [name for name in _AUTOTRAIN if raw.get(name) is not None]
    if "lr" not in raw or "model" not in raw:
        contents.autotrain = {}
        contents.notes.passed_over(
            contents.autotrain_path, "it holds no model and lr, so AutoTrain did not write it"
        )
        return
    contents.notes.add(f"AutoTrain trained it; {contents.autotrain_path.name} gives {', '.join(read)}.")


def settle_learning_rate(contents: Contents, values: Values) -> float | None:
    """Return the peak rate.

    Where no file names it, it follows from the logged rates if all of them lie on one schedule.

    Raises:
        StoreError: Two files contradict each other.
        ConfigError: It is below one that was logged.
    """
    asked = contents.number(contents.arguments, "learning_rate", contents.arguments_path)
    ordered = contents.number(contents.autotrain, "lr", contents.autotrain_path)
    derived = None
    if asked is None and ordered is None and values.stated.get("learning_rate") is None:
        derived = derive_rates(contents, values)
    if derived is not None:
        contents.notes.add(derived.sentence)
    rate: float | None = values.settle(
        "learning_rate",
        (asked, contents.arguments_path.name),
        (ordered, contents.autotrain_path.name),
        (None if derived is None else derived.peak, _rates_of(contents)),
    )
    logged = contents.log.highest_rate if contents.log else None
    if rate is not None and logged is not None and logged > rate * (1 + 1e-6):
        raise ConfigError(
            "The learning rate is below one that was logged.",
            value=f"{contents.path}: {rate:g}; {contents.log_from}: {logged:g}",
            fix="state the highest rate of the schedule",
        )
    return rate


def settle_batch_size(contents: Contents, values: Values, train_size: int) -> None:
    """Settle the texts of a step, which AutoTrain tells of one device.

    Args:
        contents: The folder.
        values: Holds what is stated and the epochs.
        train_size: Training texts, which with the steps tell whether there was one device.
    """
    raw, path = contents.autotrain, contents.autotrain_path
    batch = contents.number(raw, "batch_size", path, whole=True)
    accumulated = contents.number(raw, "gradient_accumulation", path, whole=True) or 1
    if not batch or batch < 1 or accumulated < 1:
        found = _batch_of_steps(contents, values, train_size)
        values.settle("batch_size", (found, f"{contents.state_path.name} (steps, texts and epochs)"))
        return
    texts = batch * accumulated
    steps, epochs = contents.state.get("max_steps"), values.known["epochs"]
    fits = True
    if steps and steps > 0 and epochs:
        low, high = train_size // texts, -(-train_size // texts)
        fits = low * epochs <= steps <= high * epochs
    if raw.get("auto_find_batch_size") is True or not fits:
        why = "AutoTrain was free to lower it" if fits else f"{steps:,} steps do not fit {train_size:,} texts"
        contents.notes.add(f"the batch size is not known: {path.name} says {texts}, but {why}.")
        texts = 0
    values.settle("batch_size", (texts or None, path.name))


def _batch_of_steps(contents: Contents, values: Values, train_size: int) -> int | None:
    """Return the texts of a step, if steps, texts and epochs leave one number, or one power of two.

    Texts that were themselves derived from rounded speeds leave too many.
    """
    steps, epochs = contents.state.get("max_steps"), values.known["epochs"]
    if not steps or steps < 1 or not epochs or steps % epochs or values.stated.get("batch_size") is not None:
        return None
    if "per_second" in values.found.get("train_size", ""):
        return None
    an_epoch: int = steps // epochs
    low = -(-train_size // an_epoch)
    high = -(-train_size // (an_epoch - 1)) - 1 if an_epoch > 1 else low
    powers = [1 << power for power in range(20) if low <= 1 << power <= high]
    if low == high:
        contents.notes.add(
            f"a batch of {low} texts was derived: {steps:,} steps in {epochs} epochs of {train_size:,} texts."
        )
        return low
    if len(powers) != 1:
        return None
    contents.notes.add(
        f"a batch of {powers[0]} texts was derived: {steps:,} steps in {epochs} epochs of {train_size:,} texts "
        f"leave {low} to {high}, with one power of two."
    )
    return powers[0]

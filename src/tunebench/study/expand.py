"""From a study to its runs: the grid, resolved against a model, a data set and a machine."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import product
from types import MappingProxyType

from tunebench.data.reference import DataRef, SplitRef
from tunebench.models.first_layers import pooling_of
from tunebench.models.reference import BaseHead, ModelRef, UsedModel
from tunebench.recipe import Engine, Kernels, Precision, Recipe
from tunebench.strategies import capabilities_of
from tunebench.study.config import StudyConfig
from tunebench.study.spec import RunSpec, without_effect
from tunebench.tasks.classification import CLASSIFICATION

#: Fields that a run takes over from its study unchanged.
_COMMON = frozenset(
    {"copies", "selection", "sealed", "evaluations_per_epoch", "optimizer", "metric", "thresholds", "calibration"}
)


def kernel_precisions(study: StudyConfig, precision: Mapping[Engine, Precision]) -> set[Precision]:
    """Return the precisions of those runs of a study that native kernels may compute.

    Args:
        study: The study.
        precision: As for :func:`expand`.
    """
    recipes = {label: study.recipe_of(config) for label, config in study.strategies.items()}
    if any(recipe.randomness == "fast_engine" for recipe in recipes.values()):
        return set()  # the reference engine takes the masks that PyTorch's operators get
    return {
        _resolved(recipe, "fast", precision)
        for label, recipe in recipes.items()
        if _in_kernels(recipe, without_effect(study.strategies[label].kind))
    }


def _in_kernels(recipe: Recipe, idle: Collection[str]) -> bool:
    """Tell whether native kernels may compute a run with this recipe; ``idle`` is what has no effect on it."""
    return "kernels" not in idle and recipe.engine == "fast"


def _resolved(recipe: Recipe, engine: Engine, precision: Mapping[Engine, Precision]) -> Precision:
    """Return the precision of a run: the recipe's, or what ``auto`` means on this machine."""
    return precision[engine] if recipe.precision == "auto" else recipe.precision


def expand(
    study: StudyConfig,
    *,
    model: ModelRef,
    data: DataRef,
    train_examples: int,
    test_examples: int,
    precision: Mapping[Engine, Precision],
    kernels: Mapping[Precision, Kernels] = MappingProxyType({}),
    base_head: BaseHead | None = None,
    own_models: Mapping[str, UsedModel] = MappingProxyType({}),
    splits: SplitRef | None = None,
    task: str = CLASSIFICATION.name,
) -> Iterator[RunSpec]:
    """Yield every cell of the grid, resolved, in the order of the study file.

    Args:
        study: The study.
        model: The study's model, pinned.
        data: The pinned data set.
        train_examples: Training examples available; the meaning of ``all``.
        test_examples: Test examples the study will score.
        precision: What ``auto`` means on this machine, by engine. Strategies that the engine does not reach take
            that of the fast one.
        kernels: What the fast engine computes with on this machine, by precision; PyTorch's operators in others.
        base_head: What is done with the classification head of the base; None where it has none. It concerns only
            strategies that have a head of this kind.
        own_models: By label, the models of strategies that do not train the study's.
        splits: What the parts rest on besides texts and labels.
        task: What is learned.

    Yields:
        Specs by subset draw, then seed, then size, then strategy, then setting, then fold; the run on all
        texts after a cross-validation is the last.
    """
    common = study.model_dump(include=set(_COMMON))
    test_seed = study.shared_test_seed
    kernels = kernels if kernel_precisions(study, precision) else {}
    for subset_seed, seed in study.draws:
        for size in study.train_sizes:
            for label, strategy in study.strategies.items():
                if size not in study.sizes_of(strategy):
                    continue
                recipe = study.recipe_of(strategy)
                idle = without_effect(strategy.kind)
                engine: Engine = "fast" if "engine" in idle else recipe.engine
                used = own_models.get(label, UsedModel(model, base_head))
                in_folds = capabilities_of(strategy.kind).trains_in_folds
                folds = [*range(1, study.folds + 1), 0] if in_folds else [0]
                resolved = _resolved(recipe, engine, precision)
                pooling = pooling_of(used.ref.source) if recipe.pooling == "auto" else recipe.pooling
                in_kernels = _in_kernels(recipe, idle)
                for (rate, chosen), fold in product(study.settings_of(strategy), folds):
                    yield RunSpec(
                        label=label,
                        kind=strategy.kind,
                        params=strategy.params,
                        learning_rate=rate,
                        train_size=train_examples if size == "all" else size,
                        seed=seed,
                        subset_seed=subset_seed,
                        test_seed=test_seed,
                        model=used.ref,
                        data=data,
                        task=task,
                        test_size=test_examples,
                        validation_fraction=study.drawn_fraction(splits),
                        folds=study.folds,
                        fold=fold,
                        splits=splits,
                        base_head=None if "base_head" in idle else used.head,
                        precision=resolved,
                        pooling=pooling,
                        kernels=kernels.get(resolved, "torch") if in_kernels else "torch",
                        tuned=tuple(strategy.axes),
                        without_effect=tuple(sorted(idle)),
                        **common,
                        **(recipe.model_dump(exclude={"precision", "pooling"}) | chosen),
                    )

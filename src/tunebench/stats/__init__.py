"""Statistics for comparing strategies: pure functions of arrays and an explicit random generator.

Every result says which source of variation it holds (``over``), by which method, at which level. What
the data cannot carry is a :class:`Refusal` with its reason; a ``ValueError`` is a mistake of the caller.
"""

from __future__ import annotations

from tunebench.stats.curve_queries import (
    EXTRAPOLATION,
    Crossing,
    OutOfReach,
    Size,
    crossing_size,
    gain,
    labels_needed,
    score_at,
)
from tunebench.stats.decisions import Equivalence, Holm, Verdict, equivalence, holm
from tunebench.stats.discordant import McNemar, mcnemar
from tunebench.stats.intervals import (
    crossed_interval,
    example_interval,
    seed_interval,
    wilson_interval,
)
from tunebench.stats.joint_counts import RESAMPLES
from tunebench.stats.learning_curve import LEAST_SIZES, Fall, LearningCurve, fit_learning_curve
from tunebench.stats.measures import ACCURACY, MACRO_F1, Measure
from tunebench.stats.meta_analysis import FEWEST_DATA_SETS, Heterogeneity, MetaMean, random_effects
from tunebench.stats.moderation import FEWEST, moderated_pairs, moderated_scores
from tunebench.stats.paired import (
    crossed_difference,
    delta_difference,
    seed_difference,
)
from tunebench.stats.pareto import Front, on_front, pareto_front, score_draws
from tunebench.stats.power import (
    Detectable,
    SeedsNeeded,
    detectable_difference,
    detectable_on_examples,
    detectable_over_seeds,
    seeds_needed,
)
from tunebench.stats.ranks import MeanRanks, critical_difference, mean_ranks
from tunebench.stats.reliability import Bin, Calibration, CalibrationError, calibration
from tunebench.stats.repeated import at_look
from tunebench.stats.results import Difference, Interval, Over, Pairing, Refusal
from tunebench.stats.sequential import Anytime, DeclaredLook, Look, Looks, Spending, nominal_tail
from tunebench.stats.tails import Parts
from tunebench.stats.variance import (
    Component,
    SamplingVariance,
    VarianceShares,
    sampling_variance,
    variance_shares,
)

__all__ = [
    "ACCURACY",
    "EXTRAPOLATION",
    "FEWEST",
    "FEWEST_DATA_SETS",
    "LEAST_SIZES",
    "MACRO_F1",
    "RESAMPLES",
    "Anytime",
    "Bin",
    "Calibration",
    "CalibrationError",
    "Component",
    "Crossing",
    "DeclaredLook",
    "Detectable",
    "Difference",
    "Equivalence",
    "Fall",
    "Front",
    "Heterogeneity",
    "Holm",
    "Interval",
    "LearningCurve",
    "Look",
    "Looks",
    "McNemar",
    "MeanRanks",
    "Measure",
    "MetaMean",
    "OutOfReach",
    "Over",
    "Pairing",
    "Parts",
    "Refusal",
    "SamplingVariance",
    "SeedsNeeded",
    "Size",
    "Spending",
    "VarianceShares",
    "Verdict",
    "at_look",
    "calibration",
    "critical_difference",
    "crossed_difference",
    "crossed_interval",
    "crossing_size",
    "delta_difference",
    "detectable_difference",
    "detectable_on_examples",
    "detectable_over_seeds",
    "equivalence",
    "example_interval",
    "fit_learning_curve",
    "gain",
    "holm",
    "labels_needed",
    "mcnemar",
    "mean_ranks",
    "moderated_pairs",
    "moderated_scores",
    "nominal_tail",
    "on_front",
    "pareto_front",
    "random_effects",
    "sampling_variance",
    "score_at",
    "score_draws",
    "seed_difference",
    "seed_interval",
    "seeds_needed",
    "variance_shares",
    "wilson_interval",
]

"""The gates' bounds, gathered from `sextant_plan.statistics`, each from the module of its subject."""

from sextant_plan.statistics.combining import combined
from sextant_plan.statistics.means import mean, root_mean_square, size_mean
from sextant_plan.statistics.planning import rows_to_prove
from sextant_plan.statistics.proportions import paired_difference, proportion
from sextant_plan.statistics.quantiles import quantile
from sextant_plan.statistics.resampling import bootstrap
from sextant_plan.statistics.search import boundary

__all__ = [
    "bootstrap",
    "boundary",
    "combined",
    "mean",
    "paired_difference",
    "proportion",
    "quantile",
    "root_mean_square",
    "rows_to_prove",
    "size_mean",
]

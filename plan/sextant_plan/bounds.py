"""The gates' bounds, gathered from `sextant_plan.statistics`, each from the module of its subject."""

from sextant_plan.statistics.combining import combined
from sextant_plan.statistics.groups import Groups, alike_rows, in_groups, taken
from sextant_plan.statistics.means import mean, root_mean_square, size_mean
from sextant_plan.statistics.planning import rows_to_prove
from sextant_plan.statistics.proportions import paired_difference, proportion, share, share_difference
from sextant_plan.statistics.quantiles import quantile
from sextant_plan.statistics.resampling import bootstrap
from sextant_plan.statistics.search import boundary

__all__ = [
    "Groups",
    "alike_rows",
    "bootstrap",
    "boundary",
    "combined",
    "in_groups",
    "mean",
    "paired_difference",
    "proportion",
    "quantile",
    "root_mean_square",
    "rows_to_prove",
    "share",
    "share_difference",
    "size_mean",
    "taken",
]

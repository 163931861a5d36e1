"""Comparing two volumes, tables, files or folders; knows CATNIP's tables, and nothing of BIDS."""

from catnip2bids.comparison.compare_paths import compare
from catnip2bids.comparison.compared_volume import compared_entry, needed_to_compare
from catnip2bids.comparison.masks import count_not_product
from catnip2bids.comparison.result import Comparison
from catnip2bids.comparison.volumes import Relation, VolumeComparison, compare_label_volumes, first_difference

__all__ = [
    "Comparison",
    "Relation",
    "VolumeComparison",
    "compare",
    "compare_label_volumes",
    "compared_entry",
    "count_not_product",
    "first_difference",
    "needed_to_compare",
]

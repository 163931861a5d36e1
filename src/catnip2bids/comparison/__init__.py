"""How two components differ: planes, relations, and the evidence for them. Knows tables of CATNIP, and no BIDS."""

from catnip2bids.comparison.derivations import Check, check_derivations
from catnip2bids.comparison.relation import Relation
from catnip2bids.comparison.result import Comparison
from catnip2bids.comparison.run import compare

__all__ = ["Check", "Comparison", "Relation", "check_derivations", "compare"]

"""The update rules: plain functions of one element or one matrix, from which optimizers and kernels are made."""

from gradus.rules import cautious, classical, matrix, modern
from gradus.rules.rule import Rule, matrix_rule, rule

__all__ = ["RULES", "Rule", "matrix_rule", "rule"]

# Every rule by its name.
RULES: dict[str, Rule] = {
    found.name: found
    for module in (classical, modern, cautious, matrix)
    for found in (getattr(module, name) for name in module.__all__)
    if isinstance(found, Rule)
}

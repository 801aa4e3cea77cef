"""The update rules: plain functions of one element, from which every optimizer and every kernel is made."""

from gradus.rules.rule import Rule, rule

__all__ = ["Rule", "rule"]

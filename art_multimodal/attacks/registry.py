"""The budgets of attacks, under the name that they were first documented by; see ``evaluations/suite`` for attacks."""

from art_multimodal.attacks.budget import Budget, TextBudget

__all__ = ["Budget", "TextBudget"]

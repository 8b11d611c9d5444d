"""Checks that what somebody adds keeps its contract, for tests of one's own; they need no pytest.

Each ``check_...`` looks at all properties of a contract, raises :class:`ContractError` with those that do not hold,
what was seen and what to mend, and returns which hold and which were not looked at.
"""

from art_multimodal.testing.at_test_time import check_test_time_defence
from art_multimodal.testing.attack import check_attack
from art_multimodal.testing.contract import Broken, ContractError, ContractReport
from art_multimodal.testing.data import check_data
from art_multimodal.testing.dual_encoder import check_dual_encoder
from art_multimodal.testing.fusion import check_fusion
from art_multimodal.testing.multimodal import check_multimodal_model
from art_multimodal.testing.objective import check_objective
from art_multimodal.testing.preprocessor import check_preprocessor

__all__ = [
    "Broken",
    "ContractError",
    "ContractReport",
    "check_attack",
    "check_data",
    "check_dual_encoder",
    "check_fusion",
    "check_multimodal_model",
    "check_objective",
    "check_preprocessor",
    "check_test_time_defence",
]

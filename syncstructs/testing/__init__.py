"""Test what is replicated: simulated clusters, recorded histories, and checkers that judge them."""

from .class_runs import ClassFailure
from .classes import ReplicatedTest, replicated_test
from .contract import ContractBroken, ContractWarning
from .plans import Fault, Plan, draw_plan
from .runs import Failure, Report, run_plan
from .strategies import plans
from .subjects import call

__all__ = [
    "ClassFailure",
    "ContractBroken",
    "ContractWarning",
    "Failure",
    "Fault",
    "Plan",
    "ReplicatedTest",
    "Report",
    "call",
    "draw_plan",
    "plans",
    "replicated_test",
    "run_plan",
]

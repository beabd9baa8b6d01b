"""Test what is replicated: simulated clusters, recorded histories, and checkers that judge them."""

from .class_runs import ClassFailure
from .classes import ReplicatedTest, replicated_test
from .classmodel import ClassModel
from .contract import ContractBroken, ContractWarning
from .history import NOT_APPLIED, UNKNOWN, History, Op, Raised
from .linearizability import Result, Verdict, check, check_witness
from .lockmodel import LockManagerModel, LockModel
from .models import (
    CounterModel,
    DictModel,
    ListModel,
    PriorityQueueModel,
    QueueModel,
    RegisterModel,
    SetModel,
)
from .plans import Fault, Plan, draw_plan
from .planted import Hunt, PlantedBug, selftest
from .runs import Failure, Report, run_plan
from .sequential import FunctionModel, Model
from .simulator import Simulation, Stuck
from .story import tell
from .strategies import plans
from .subjects import call
from .violation import Violation
from .windows import Window

__all__ = [
    "NOT_APPLIED",
    "UNKNOWN",
    "ClassFailure",
    "ClassModel",
    "ContractBroken",
    "ContractWarning",
    "CounterModel",
    "DictModel",
    "Failure",
    "Fault",
    "FunctionModel",
    "History",
    "Hunt",
    "ListModel",
    "LockManagerModel",
    "LockModel",
    "Model",
    "Op",
    "Plan",
    "PlantedBug",
    "PriorityQueueModel",
    "QueueModel",
    "Raised",
    "RegisterModel",
    "ReplicatedTest",
    "Report",
    "Result",
    "SetModel",
    "Simulation",
    "Stuck",
    "Verdict",
    "Violation",
    "Window",
    "call",
    "check",
    "check_witness",
    "draw_plan",
    "plans",
    "replicated_test",
    "run_plan",
    "selftest",
    "tell",
]

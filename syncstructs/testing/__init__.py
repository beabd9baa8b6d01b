"""Test what is replicated: simulated clusters, recorded histories, and checkers that judge them.

The model of a type, for `check`, has its name: `DictModel` is that of `ReplDict`. Except that
`VersionedRegisterModel` is that of `ReplRegister`, `SemaphoreModel` also that of `ReplRLock` and of
`ReplCondition`, and `LockModel` also that of `ReplElection`.
"""

from .barriers import BarrierModel
from .class_runs import ClassFailure
from .classes import ReplicatedTest, replicated_test
from .classmodel import ClassModel
from .contract import ContractBroken, ContractWarning
from .gates import EventModel, LatchModel
from .groupmodel import GroupModel
from .history import NOT_APPLIED, UNKNOWN, History, Op, Raised
from .idmodel import IdGeneratorModel
from .jobmodels import SchedulerModel
from .limitmodels import RateLimiterModel
from .linearizability import Result, Verdict, check, check_witness
from .lockmodel import LockManagerModel, LockModel
from .models import (
    CounterModel,
    DictModel,
    ListModel,
    RegisterModel,
    SetModel,
)
from .onces import OnceModel
from .permitmodel import PermitModel, RWLockModel, SemaphoreModel
from .plans import Fault, Plan, draw_plan
from .planted import Hunt, PlantedBug, selftest
from .queuemodels import PriorityQueueModel, QueueModel
from .runs import Failure, Report, run_plan
from .sequential import FunctionModel, Model
from .simulator import Simulation, Stuck
from .story import tell
from .strategies import plans
from .subjects import call
from .taskmodels import TaskQueueModel
from .topicmodels import TopicModel
from .ttlmodels import TTLDictModel
from .valuemodels import (
    CounterMapModel,
    DequeModel,
    MultiDictModel,
    SortedDictModel,
    SortedSetModel,
    VersionedRegisterModel,
)
from .violation import Violation
from .windows import Window

__all__ = [
    "NOT_APPLIED",
    "UNKNOWN",
    "BarrierModel",
    "ClassFailure",
    "ClassModel",
    "ContractBroken",
    "ContractWarning",
    "CounterMapModel",
    "CounterModel",
    "DequeModel",
    "DictModel",
    "EventModel",
    "Failure",
    "Fault",
    "FunctionModel",
    "GroupModel",
    "History",
    "Hunt",
    "IdGeneratorModel",
    "LatchModel",
    "ListModel",
    "LockManagerModel",
    "LockModel",
    "Model",
    "MultiDictModel",
    "OnceModel",
    "Op",
    "PermitModel",
    "Plan",
    "PlantedBug",
    "PriorityQueueModel",
    "QueueModel",
    "RWLockModel",
    "Raised",
    "RateLimiterModel",
    "RegisterModel",
    "ReplicatedTest",
    "Report",
    "Result",
    "SchedulerModel",
    "SemaphoreModel",
    "SetModel",
    "Simulation",
    "SortedDictModel",
    "SortedSetModel",
    "Stuck",
    "TTLDictModel",
    "TaskQueueModel",
    "TopicModel",
    "Verdict",
    "VersionedRegisterModel",
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

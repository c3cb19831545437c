"""The job state machine: the only writer of a job's status and of the events that tell of it.

Each function makes one transition, by compare-and-set or under the row's lock, and appends its event in the same
transaction. A function that returns None or False changed nothing. `attempt` is the fencing token: every write of a
worker carries the attempt of its claim, and is dropped once another attempt has begun.

    transitions   every transition with its functions; docs/architecture.md draws them
    user          submit, cancel, pause, resume
    waiting       which queued job is claimed next
    fitting       which jobs the free devices of a worker fit
    early_stop    end a trial of a sweep before its time
    attempt       claim, renew the lease, end the attempt
    record        compare-and-set and events; used by user and attempt
"""

from service.shared.jobs.states.attempt import (
    LOST_WORKER,
    claim,
    expire_leases,
    fail,
    give_back,
    last_charged,
    renew,
    succeed,
)
from service.shared.jobs.states.early_stop import StopReason, stop_early
from service.shared.jobs.states.fitting import Needs, choose, fits, needs_of, share_of
from service.shared.jobs.states.record import add_event
from service.shared.jobs.states.user import cancel, is_resumable, pause, resume, submit
from service.shared.jobs.states.waiting import is_drained, next_in_turn

__all__ = [
    "LOST_WORKER",
    "Needs",
    "StopReason",
    "add_event",
    "cancel",
    "choose",
    "claim",
    "expire_leases",
    "fail",
    "fits",
    "give_back",
    "is_drained",
    "is_resumable",
    "last_charged",
    "needs_of",
    "next_in_turn",
    "pause",
    "renew",
    "resume",
    "share_of",
    "stop_early",
    "submit",
    "succeed",
]

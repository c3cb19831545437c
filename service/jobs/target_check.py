"""Find the modules that a job adapts; regular expressions are matched in a process with limits.

Python's `re` has no time limit, and compiling or matching some expressions holds all threads of a process for seconds.
"""

from __future__ import annotations

import logging
import resource
import signal
from pathlib import Path
from tempfile import TemporaryDirectory

from adamss_core.spec import JobSpec, ModelFacts, SpecProblem, Targets, find_targets, record_on, target_rule
from service.http.context import Caller
from service.shared.errors import Unavailable
from service.shared.processes.ask import Reply, ask_model_reader
from service.shared.processes.subprocesses import READER_LIMITS, ConcurrencyLimit

logger = logging.getLogger(__name__)

MODULE = "adamss_core.target_matching"
CPU_SECONDS = 2  # usual expressions take a thousandth, and a process that is started anew takes one to import
SECONDS = 60.0  # for a busy machine
LIMITS = READER_LIMITS | {resource.RLIMIT_CPU: CPU_SECONDS, resource.RLIMIT_FSIZE: 2**26}
MATCHING = 6
OF_ONE_PROJECT = 2
MATCHERS = ConcurrencyLimit(
    MATCHING, "All processes that match regular expressions are busy.", retry_seconds=2, each=OF_ONE_PROJECT
)


def targets_of(caller: Caller, spec: JobSpec, facts: ModelFacts) -> Targets:
    """Return the modules that a job adapts.

    Raises:
        SpecProblem: as `adamss_core.spec.find_targets`; or an expression takes too long.
        TooManyRequests: the project has expressions matched already.
        Unavailable: the process failed.
    """
    task_type = record_on(spec, facts).peft_type
    if not target_rule(spec.adamss, facts, task_type).has_patterns():
        return find_targets(spec.adamss, facts, task_type)
    order = {
        "adamss": spec.adamss.model_dump(mode="json"),
        "facts": facts.model_dump(mode="json", exclude={"other_tasks"}),
        "task_type": task_type,
    }
    scratch = caller.settings.files.scratch
    with MATCHERS.slot(caller.project_id), TemporaryDirectory(prefix="targets-", dir=scratch) as folder:
        reply = ask_model_reader(
            caller.forkserver, MODULE, order, Path(folder), seconds=SECONDS, offline=True, limits=LIMITS
        )
    return _targets(reply, facts)


def _targets(reply: Reply, facts: ModelFacts) -> Targets:
    if reply.exit_code in (None, -signal.SIGXCPU, -signal.SIGKILL):
        raise SpecProblem(
            "adamss.target_modules",
            "The regular expressions in target_modules, layers_pattern or modules_to_save take too long to match. Use "
            "simpler ones, or lists of names.",
            "pattern_too_slow",
        )
    if reply.answer is None or reply.exit_code != 0:
        logger.error("matching failed", extra={"exit_code": reply.exit_code, "stderr": reply.log})
        message = "The target modules could not be matched; the service's log has the reason."
        raise Unavailable(message, code="matching_failed")
    if problem := reply.answer.get("problem"):
        raise SpecProblem(problem["param"], problem["message"], problem["code"])
    linear = {module.name: module for module in [*facts.linear_modules, *facts.output_modules]}
    return Targets([linear[name] for name in reply.answer["names"]], reply.answer["warnings"])

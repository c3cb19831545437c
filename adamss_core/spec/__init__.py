"""The job spec: pydantic models that need neither torch nor transformers.

API schema, CLI help and documentation come from these fields; bounds are in the types, help text once per field.
"""

from adamss_core.spec.adamss import SCHEDULE_FIELDS, AdamssSpec
from adamss_core.spec.estimate import Estimate, ScheduleStep, estimate, kept_after, schedule, total_subspaces
from adamss_core.spec.facts import LinearModule, ModelFacts
from adamss_core.spec.job import DatasetSpec, JobSpec, TrainingSpec
from adamss_core.spec.lengths import Lengths
from adamss_core.spec.memory import Device
from adamss_core.spec.modules_in_full import check_modules_to_save, check_saved_apart
from adamss_core.spec.plan import Plan, make_plan, plan_steps
from adamss_core.spec.presets import with_defaults
from adamss_core.spec.problem import SpecProblem
from adamss_core.spec.spec_versions import (
    ADDED_MODEL_VERSION,
    EVALUATION_VERSION,
    SPEC_VERSION,
    needed_version,
    with_unused,
    without_unused,
)
from adamss_core.spec.targets import Targets, find_targets, match_targets, target_rule
from adamss_core.spec.tasks import (
    ProblemType,
    TaskName,
    all_presets,
    facts_format,
    metrics_of,
    reader_of,
    record_of,
    record_on,
)
from adamss_core.spec.tasks.base import TaskRecord
from adamss_core.spec.tasks.preset import Preset

__all__ = [
    "ADDED_MODEL_VERSION",
    "EVALUATION_VERSION",
    "SCHEDULE_FIELDS",
    "SPEC_VERSION",
    "AdamssSpec",
    "DatasetSpec",
    "Device",
    "Estimate",
    "JobSpec",
    "Lengths",
    "LinearModule",
    "ModelFacts",
    "Plan",
    "Preset",
    "ProblemType",
    "ScheduleStep",
    "SpecProblem",
    "Targets",
    "TaskName",
    "TaskRecord",
    "TrainingSpec",
    "all_presets",
    "check_modules_to_save",
    "check_saved_apart",
    "estimate",
    "facts_format",
    "find_targets",
    "kept_after",
    "make_plan",
    "match_targets",
    "metrics_of",
    "needed_version",
    "plan_steps",
    "reader_of",
    "record_of",
    "record_on",
    "schedule",
    "target_rule",
    "total_subspaces",
    "with_defaults",
    "with_unused",
    "without_unused",
]

"""The job spec: pydantic models that need neither torch nor transformers.

API schema, CLI help and documentation come from these fields; bounds are in the types, help text once per field.
"""

from adamss_core.spec.adamss import SCHEDULE_FIELDS, AdamssSpec
from adamss_core.spec.estimate import Estimate, ScheduleStep, estimate, kept_after, schedule, total_subspaces
from adamss_core.spec.facts import FACTS_FORMAT, LinearModule, ModelFacts
from adamss_core.spec.job import DatasetSpec, JobSpec, TrainingSpec
from adamss_core.spec.plan import Plan, SpecProblem, make_plan, plan_steps
from adamss_core.spec.presets import PRESETS, Preset, with_defaults
from adamss_core.spec.targets import check_modules_to_save, match_targets
from adamss_core.spec.tasks import Direction, MetricName, ProblemType, TaskName, direction_of, metrics_of

__all__ = [
    "FACTS_FORMAT",
    "PRESETS",
    "SCHEDULE_FIELDS",
    "AdamssSpec",
    "DatasetSpec",
    "Direction",
    "Estimate",
    "JobSpec",
    "LinearModule",
    "MetricName",
    "ModelFacts",
    "Plan",
    "Preset",
    "ProblemType",
    "ScheduleStep",
    "SpecProblem",
    "TaskName",
    "TrainingSpec",
    "check_modules_to_save",
    "direction_of",
    "estimate",
    "kept_after",
    "make_plan",
    "match_targets",
    "metrics_of",
    "plan_steps",
    "schedule",
    "total_subspaces",
    "with_defaults",
]

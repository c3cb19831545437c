"""The job spec: pydantic models that need neither torch nor transformers.

API schema, CLI help and documentation come from these fields; bounds are in the types, help text once per field.
"""

from adamss_core.spec.adamss import AdamssSpec
from adamss_core.spec.job import DatasetSpec, JobSpec, TrainingSpec
from adamss_core.spec.plan import Plan, SpecProblem, make_plan

__all__ = ["AdamssSpec", "DatasetSpec", "JobSpec", "Plan", "SpecProblem", "TrainingSpec", "make_plan"]

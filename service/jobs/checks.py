"""Check the data and the base model of a job before training: each rule returns the problem that it finds, or None."""

from __future__ import annotations

from collections.abc import Mapping

from adamss_core.spec import JobSpec, ModelFacts, SpecProblem, record_of, record_on
from adamss_core.spec.cells import why_left_out
from adamss_core.spec.chat import list_parts
from adamss_core.spec.class_names import RENAME_LABELS, head_starts_afresh, is_surprising, match_classes
from adamss_core.spec.contender_names import headless
from adamss_core.spec.instructions import is_instruction
from adamss_core.spec.labels import null_words, variants
from adamss_core.spec.measured_rows import rows_of_unknown_labels
from adamss_core.spec.survey import Survey
from adamss_core.spec.tools import TOOLS
from adamss_core.spec.vocabulary import tokens_without_row
from service.datasets.column_notices import describe_null_words, describe_variants
from service.datasets.left_out import describe_columns, mapping_that_works
from service.jobs.advice import classes_to_evaluate, classes_with_one_row, few_rows_to_evaluate, same_column_twice
from service.jobs.case import Case, DataWarning, ModelRule, ModelWarning, Rule
from service.jobs.training_sets import group_problems
from service.shared.database.tables import Dataset
from service.shared.errors import quoted_names

MIN_ROWS = 4
SUGGESTED_ROWS_PER_CLASS = 8
REPEATED_NOTICES = frozenset(
    {"label_spellings", "order_of_chats", "transparent_images", "deep_images", "dark_images"}
    | {"nested_folders", "vectors", "unequal_tags"}
)
UNREAD_NOTICES = frozenset({"split_column", "weight_column"})  # on columns that the job may have been meant to read


def unknown_dataset(dataset_id: str, param: str) -> SpecProblem:
    message = f"There is no data set {dataset_id}. GET /datasets lists yours; POST /datasets uploads one."
    return SpecProblem(param, message, "unknown_dataset")


def column_problems(spec: JobSpec, dataset: Dataset, param: str) -> list[SpecProblem]:
    """Return each column that a data set lacks, or has with another type than the task takes.

    Args:
        param: the field that names the data set.
    """
    types = {column["name"]: column["type"] for column in dataset.profile["columns"]}
    columns = record_of(spec).columns(spec).items()
    found = (_column_problem(spec, dataset, param, types, field, name) for field, name in columns)
    return [problem for problem in found if problem is not None]


def _column_problem(
    spec: JobSpec, dataset: Dataset, param: str, types: Mapping[str, str], field: str, name: str
) -> SpecProblem | None:
    if name in types:
        return record_of(spec).column_problem(field, name, types[name])
    works = mapping_that_works(spec, dataset)
    remedy = "" if works is None else f" For this task {describe_columns(works)} would do."
    return SpecProblem(
        f"dataset.{field}",
        f"Data set '{dataset.name}' ({param}) has no column '{name}'. It has {quoted_names(list(types))}.{remedy}",
        "unknown_column",
    )


# --- training data ----------------------------------------------------------------------------------------------------


def training_columns_fit(case: Case) -> list[SpecProblem]:
    found = [
        problem for param, dataset in case.training.items() for problem in column_problems(case.spec, dataset, param)
    ]
    return [*found, *group_problems(case)]


def training_rows_are_usable(case: Case) -> SpecProblem | None:
    if case.training_rows.usable:
        return None
    names = quoted_names(list(case.record.columns(case.spec).values()))
    reasons = why_left_out(case.training_rows.left_out) or "the data set is empty"
    return SpecProblem(
        "dataset.train",
        f"No row can be used: {reasons}. The job reads {names}; name the columns that hold its data.",
        "no_usable_rows",
    )


def labels_can_be_learnt(case: Case) -> SpecProblem | None:
    """Apply the rules of the job's task."""
    record = case.record
    problems = (rule(record, case.spec, case.training_rows) for rule in record.survey_rules)
    return next((problem for problem in problems if problem is not None), None)


def rows_are_enough(case: Case) -> SpecProblem | None:
    if case.training_rows.usable >= MIN_ROWS:
        return None
    return SpecProblem(
        "dataset.train",
        f"Only {case.training_rows.usable} rows can be used; at least {MIN_ROWS} are needed, and some "
        f"{SUGGESTED_ROWS_PER_CLASS} a class to learn anything.",
        "too_few_rows",
    )


def rows_can_be_held_out(case: Case) -> SpecProblem | None:
    if case.spec.dataset.eval is not None or case.held_out:
        return None
    message = "No row can be held out for evaluation. Add rows, or name a data set as dataset.eval."
    return SpecProblem("dataset.eval_fraction", message, "too_few_rows")


def head_can_be_compared(case: Case) -> SpecProblem | None:
    return headless(case.spec)


# --- evaluation data --------------------------------------------------------------------------------------------------


def evaluation_exists(case: Case) -> SpecProblem | None:
    named = case.spec.dataset.eval
    return unknown_dataset(named, "dataset.eval") if named is not None and case.evaluation is None else None


def evaluation_columns_fit(case: Case) -> list[SpecProblem]:
    return [] if case.evaluation is None else column_problems(case.spec, case.evaluation, "dataset.eval")


def evaluation_rows_are_usable(case: Case) -> SpecProblem | None:
    if case.evaluation is None or training_columns_fit(case) or case.evaluation_rows.usable:
        return None
    return SpecProblem(
        "dataset.eval",
        f"No row of the evaluation data can be used: {why_left_out(case.evaluation_rows.left_out) or 'it is empty'}. "
        "Name a data set with the same columns as the training data.",
        "no_usable_rows",
    )


def evaluation_labels_are_known(case: Case) -> SpecProblem | None:
    if (
        case.evaluation is None
        or not case.evaluation_rows.usable
        or case.evaluation_rows.unknown < case.evaluation_rows.usable
    ):
        return None
    message = "No label of the evaluation data occurs in the training data. Name data with the same labels."
    return SpecProblem("dataset.eval", message, "labels_differ")


TRAINING_RULES: tuple[Rule, ...] = (
    training_columns_fit,
    training_rows_are_usable,
    labels_can_be_learnt,
    rows_are_enough,
    rows_can_be_held_out,
)
COMPARISON_RULES: tuple[Rule, ...] = (head_can_be_compared,)
EVALUATION_RULES: tuple[Rule, ...] = (
    evaluation_exists,
    evaluation_columns_fit,
    evaluation_rows_are_usable,
    evaluation_labels_are_known,
)


# --- base model -------------------------------------------------------------------------------------------------------


def model_has_task(case: Case, facts: ModelFacts) -> SpecProblem | None:
    if not facts.tasks or case.spec.task in facts.tasks:
        return None
    return SpecProblem(
        "base_model",
        f"'{case.spec.base_model}' ({facts.model_type}) cannot be fine-tuned for {case.spec.task}. It can for "
        f"{', '.join(facts.tasks)}.",
        "task_not_supported",
    )


def model_has_parts(case: Case, facts: ModelFacts) -> SpecProblem | None:
    """Ask the job's task, which knows the parts that it needs."""
    return record_on(case.spec, facts).model_problem(case.spec, facts)


def model_embeds_all_tokens(case: Case, facts: ModelFacts) -> SpecProblem | None:
    if not case.record.has_tokens:
        return None
    problem = tokens_without_row(case.spec.base_model, facts.token_ids, facts.embedding_rows)
    return None if problem is None else SpecProblem("base_model", " ".join(problem), "tokenizer_mismatch")


MODEL_RULES: tuple[ModelRule, ...] = (model_has_task, model_has_parts, model_embeds_all_tokens)


# --- warnings ---------------------------------------------------------------------------------------------------------


def training_rows_left_out(case: Case) -> list[str]:
    return _left_out(case.training_rows, "training")


def unusual_labels(case: Case) -> list[str]:
    """Apply the warnings of the job's task."""
    return case.record.survey_warnings(case.spec, case.training_rows)


def evaluation_rows_left_out(case: Case) -> list[str]:
    return _left_out(case.evaluation_rows, "evaluation")


def unknown_labels(case: Case) -> list[str]:
    rows, labels = case.evaluation_rows, case.evaluation_rows.labels.keys() - case.training_rows.labels.keys()
    return [rows_of_unknown_labels(rows.unknown, labels, "evaluation")] if rows.unknown else []


def confusable_labels(case: Case) -> list[str]:
    """Warn of classes that differ in case or blanks only, also between training and evaluation data."""
    rows = case.training_rows.labels + case.evaluation_rows.labels
    groups = variants(rows)
    return [f"The labels hold {describe_variants(groups, rows)}"] if groups else []


def labels_of_missing_values(case: Case) -> list[str]:
    rows = case.training_rows.labels
    words = null_words(rows)
    return [f"The labels hold {describe_null_words(words, rows)}"] if words else []


def notices_on_columns(case: Case) -> list[str]:
    """Repeat what an upload noticed about the values of the job's columns, and about others that it should not miss."""
    columns = case.record.columns(case.spec).values()
    notices = [
        notice
        for dataset in (*case.training.values(), case.evaluation)
        if dataset
        for notice in dataset.profile.get("notices", [])
    ]
    messages = [
        notice["message"]
        for notice in notices
        if notice["code"] in (REPEATED_NOTICES if notice["column"] in columns else UNREAD_NOTICES)
    ]
    return list(dict.fromkeys(messages))


def _left_out(survey: Survey, which: str) -> list[str]:
    rows = survey.left_out.total()
    return [f"{rows} {which} rows are left out: {why_left_out(survey.left_out)}."] if rows else []


def length_beyond_positions(case: Case, facts: ModelFacts) -> list[str]:
    """Say that the length that a job sets is more than the model takes; a default gives way in silence."""
    length, limit = case.spec.training.max_length, facts.max_positions
    is_set = "max_length" in case.completed.spec.training.model_fields_set
    if limit is None or length <= limit or not case.record.has_tokens or not is_set:
        return []
    return [f"training.max_length is {length}, but the model takes {limit} tokens at most."]


def head_for_other_classes(case: Case, facts: ModelFacts) -> list[str]:
    """Warn that the head of a base that is a classifier already is not taken over, where users may expect it."""
    theirs, mine = facts.head_classes, list(case.training_rows.labels)
    if not theirs or not mine or match_classes(theirs, mine) is not None or not is_surprising(theirs, mine):
        return []
    return [head_starts_afresh(f"The base model '{case.spec.base_model}'", theirs, mine, RENAME_LABELS)]


def parts_not_shown(case: Case, facts: ModelFacts) -> list[str]:
    """Name the parts of chats that the model's chat template hides, by the counts of the data sets' profiles."""
    return [
        f"The chat template of '{case.spec.base_model}' does not show parts of the {which} rows, so nothing is learnt "
        f"from them: {list_parts(hidden.items())}."
        for which, dataset in (*(("training", one) for one in case.training.values()), ("evaluation", case.evaluation))
        if dataset is not None and (hidden := _hidden_parts(case, dataset, facts))
    ]


def instructions_as_text(case: Case, facts: ModelFacts) -> list[str]:
    """Say that the model has no chat template by which instructions would be rendered as chats."""
    if facts.has_chat_template or facts.is_encoder_decoder or not is_instruction(case.spec.dataset):
        return []
    return [
        f"'{case.spec.base_model}' has no chat template: the instructions are read as text, their columns and the "
        "completion separated by a blank line. Use a model that was made for chats to train on them as turns."
    ]


def _hidden_parts(case: Case, dataset: Dataset, facts: ModelFacts) -> dict[str, int]:
    fields = {name: field for field, name in case.record.columns(case.spec).items()}
    read = [column for column in dataset.profile["columns"] if column["name"] in fields]
    parts: list[dict[str, int]] = [column.get("parts") or {} for column in read]
    parts += [{TOOLS: dataset.rows - column["empty"]} for column in read if fields[column["name"]] == TOOLS]
    return {part: rows for counts in parts for part, rows in counts.items() if part in facts.hidden_chat_parts}


DATA_WARNINGS: tuple[DataWarning, ...] = (
    training_rows_left_out,
    unusual_labels,
    evaluation_rows_left_out,
    unknown_labels,
    confusable_labels,
    labels_of_missing_values,
    notices_on_columns,
    same_column_twice,
    classes_with_one_row,
    few_rows_to_evaluate,
    classes_to_evaluate,
)


def targets_by_usual_names(case: Case, facts: ModelFacts) -> list[str]:
    """Name the modules that are adapted where the job names none and PEFT has no default for the family."""
    if case.spec.adamss.target_modules is not None or not facts.targets_guessed or facts.default_targets is None:
        return []
    return [
        f"adamss.target_modules is not set, and PEFT has no default that fits models of type {facts.model_type}: "
        f"{' and '.join(facts.default_targets)} of each attention layer are adapted. Name others to choose yourself."
    ]


MODEL_WARNINGS: tuple[ModelWarning, ...] = (
    length_beyond_positions,
    head_for_other_classes,
    parts_not_shown,
    instructions_as_text,
    targets_by_usual_names,
)

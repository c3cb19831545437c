"""What each task asks of data and model is checked before anything is trained."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from service.base_models import inspection
from service.base_models import repository as base_models
from service.base_models.service import folder_version
from service.shared.database.tables import Dataset
from tests.adamss_core.training.tasks.support import build_vit
from tests.processes import FORKSERVER
from tests.service.support import MODEL, Service, jsonl

pytestmark = pytest.mark.slow

TOKENS: dict[str, Any] = {"task": "token-classification"}
IMAGES: dict[str, Any] = {"task": "image-classification", "base_model": "vit", "adamss": {"target_modules": None}}
NUMBER: dict[str, Any] = {"problem_type": "regression"}
SEVERAL: dict[str, Any] = {"problem_type": "multi_label_classification"}


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = build_vit(tmp_path_factory.mktemp("vit") / "vit")
    return folder, inspection.inspect(FORKSERVER, str(folder), None, local=True)


@pytest.fixture
def with_vit(service: Service, vit: tuple[Path, dict[str, Any]]) -> Service:
    folder, facts = vit
    target = service.settings.files.model("vit")
    shutil.copytree(folder, target)
    with service.db.write() as session:
        base_models.keep(session, "vit", folder_version(target), facts)
    return service


def planned(service: Service, content: str | bytes, name: str = "rows.jsonl", **changes: Any) -> dict[str, Any]:
    spec = service.spec(**with_train(service, content, name, changes))
    response = service.client.post("/jobs?dry_run=true", json=spec)
    assert response.status_code == 200, response.text
    plan: dict[str, Any] = response.json()
    return plan


def refused(service: Service, content: str | bytes, name: str = "rows.jsonl", **changes: Any) -> tuple[str, str, str]:
    error = service.refused(**with_train(service, content, name, changes))
    return error["code"], error["param"], error["message"]


TEXTS = {"task": "text-classification"}


def with_train(service: Service, content: str | bytes, name: str, changes: dict[str, Any]) -> dict[str, Any]:
    train = service.upload(content, name)["id"]
    return {**changes, "dataset": {"train": train, **changes.get("dataset", {})}}


def numbers(count: int = 60) -> str:
    return jsonl(*({"text": f"film {n}", "label": n / 7} for n in range(count)))


def test_numbers_are_classes_or_quantities_as_the_job_says(service: Service) -> None:
    code, param, message = refused(service, numbers(), **TEXTS)
    assert (code, param) == ("problem_type_missing", "problem_type")
    assert "regression" in message
    assert "single_label_classification" in message
    plan = planned(service, numbers(), **NUMBER)
    assert (plan["estimate"]["train_rows"], plan["estimate"]["eval_rows"]) == (54, 6)
    assert plan["estimate"]["head_parameters"] == 33
    assert plan["spec"]["training"]["metric_for_best"] == "pearson"
    as_text = jsonl(*({"text": f"film {n}", "label": str(n)} for n in range(60)))
    assert refused(service, as_text, **TEXTS)[0] == "problem_type_missing"
    assert "60 different numbers" in refused(service, as_text, **TEXTS)[2]
    few = jsonl(*({"text": "film", "label": n % 5} for n in range(40)))
    assert planned(service, few)["spec"]["training"]["metric_for_best"] == "accuracy"


def test_regression_needs_numbers_that_differ(service: Service) -> None:
    same = jsonl(*({"text": "film", "label": 3} for _ in range(9)))
    assert refused(service, same, **NUMBER)[:2] == ("one_value", "dataset.label")
    words = jsonl(*({"text": "film", "label": "good"} for _ in range(9)))
    code, param, message = refused(service, words, **NUMBER)
    assert (code, param) == ("no_usable_rows", "dataset.train")
    assert "9 whose label is not a number" in message
    large = jsonl(*({"text": "film", "label": n * 1_000} for n in range(60)), {"text": "film", "label": "much"})
    warnings = planned(service, large, **NUMBER)["warnings"]
    assert any("spread by 1.73e+04" in warning for warning in warnings)
    assert any("1 whose label is not a number" in warning for warning in warnings)


def test_several_classes_from_lists_or_cells(service: Service) -> None:
    lists = jsonl(*({"text": "film", "label": ["a", "b"][: n % 3]} for n in range(40)))
    code, param, message = refused(service, lists, **TEXTS)
    assert (code, param) == ("problem_type_missing", "problem_type")
    assert "multi_label_classification" in message
    plan = planned(service, lists, **SEVERAL)
    assert plan["estimate"]["head_parameters"] == 66
    assert plan["estimate"]["train_rows"] + plan["estimate"]["eval_rows"] == 40
    cells = "text,label\n" + "film,a;b\nbook,b\n" * 20
    plan = planned(service, cells, "rows.csv", dataset={"label_separator": ";"}, **SEVERAL)
    assert plan["estimate"]["head_parameters"] == 66


@pytest.mark.parametrize("changes", [{}, TEXTS, SEVERAL, NUMBER])
def test_vectors_are_refused_with_a_remedy(service: Service, changes: dict[str, Any]) -> None:
    rows = jsonl(*({"text": f"a film of length {n}", "label": [n % 2, 1 - n % 2]} for n in range(40)))
    code, param, message = refused(service, rows, **changes)
    assert (code, param) == ("wrong_column_type", "dataset.label")
    assert "a column of 0 and 1 for each class" in message


def test_columns_that_say_how_to_use_rows_are_warned_of(service: Service) -> None:
    rows = [{"text": f"film {n}", "label": "ab"[n % 2], "split": ("train", "test")[n % 3 % 2]} for n in range(40)]
    assert any("Column 'split' names a split" in warning for warning in planned(service, jsonl(*rows))["warnings"])


def test_lists_among_single_labels_are_left_out_with_the_reason(service: Service) -> None:
    rows = jsonl(*({"text": f"film {n}", "label": ["b", ["a", "b"], "a", "a"][n % 4]} for n in range(40)))
    warnings = planned(service, rows, problem_type="single_label_classification")["warnings"]
    assert any("10 with a list of classes, which problem_type multi_label" in warning for warning in warnings)
    plan = planned(service, rows, **SEVERAL)
    assert plan["estimate"]["train_rows"] + plan["estimate"]["eval_rows"] == 40


def test_several_classes_from_columns_of_0_and_1(service: Service) -> None:
    table = "text,funny,long,old\n" + "".join(
        f"a film of a certain length {n},{n % 2},{n % 3 % 2},0\n" for n in range(40)
    )
    plan = planned(
        service, table + "a film without marks,1,,0\n", "rows.csv", dataset={"label": ["funny", "long"]}, **SEVERAL
    )
    assert plan["estimate"]["head_parameters"] == 66
    assert plan["estimate"]["train_rows"] + plan["estimate"]["eval_rows"] == 40
    assert any("1 without a 0 or 1 for each class" in warning for warning in plan["warnings"])
    suggestion = service.upload(table, "rows.csv")["suggestion"]
    assert suggestion["dataset"] == {"text": "text", "label": ["funny", "long"]}
    assert (suggestion["problem_type"], suggestion["confidence"]) == ("multi_label_classification", "likely")
    assert planned(service, table, "rows.csv")["suggested"] == ["task", "problem_type", "dataset.text", "dataset.label"]
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"dataset": {"label": ["funny", "lang"]}, **SEVERAL}, "no column 'lang'"),
        ({"dataset": {"label": ["funny", "long"]}, **TEXTS}, "needs problem_type multi_label_classification"),
        ({"dataset": {"label": ["funny", "long"], "label_separator": ";"}, **SEVERAL}, "has no effect on columns"),
    ]
    for changes, says in wrong:
        assert says in refused(service, table, "rows.csv", **changes)[2]


def test_tokens_and_tags(service: Service) -> None:
    rows = [{"tokens": ["good", "film"], "tags": ["B-X", "O"]}] * 20
    plan = planned(service, jsonl(*rows, {"tokens": ["film"], "tags": ["O", "O"]}), **TOKENS)
    assert plan["spec"]["training"]["metric_for_best"] == "f1"
    assert (plan["estimate"]["train_rows"], plan["estimate"]["eval_rows"]) == (18, 2)
    assert any("1 with another number of tags than words" in warning for warning in plan["warnings"])
    strings = "tokens,tags\n" + "good film,B-X O\n" * 20
    assert planned(service, strings, "rows.csv", **TOKENS)["estimate"]["train_rows"] == 18
    one = jsonl(*({"tokens": ["film"], "tags": ["O"]} for _ in range(9)))
    assert refused(service, one, **TOKENS)[:2] == ("one_class", "dataset.tags")
    assert refused(service, jsonl(*rows), dataset={"tokens": "words"}, **TOKENS)[:2] == (
        "unknown_column",
        "dataset.tokens",
    )


def test_a_column_of_another_shape(service: Service) -> None:
    rows = jsonl(*({"text": ["good", "film"], "label": n % 2} for n in range(9)))
    assert refused(service, rows)[:2] == ("wrong_column_type", "dataset.text")


def zipped(*more: Image.Image) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        images = [Image.new("RGB", (20, 20), (number, 0, 0)) for number in range(16)]
        for number, picture in enumerate([*images, *more]):
            image = io.BytesIO()
            picture.save(image, "PNG")
            archive.writestr(f"{'cat' if number % 2 else 'dog'}/{number}.png", image.getvalue())
    return target.getvalue()


def test_images(with_vit: Service) -> None:
    plan = planned(with_vit, zipped(), "animals.zip", **IMAGES)
    assert (plan["estimate"]["train_rows"], plan["estimate"]["eval_rows"]) == (14, 2)
    assert plan["estimate"]["head_parameters"] == 66
    assert plan["estimate"]["modules"] == 4
    assert plan["spec"]["adamss"]["target_modules"] is None
    rows = jsonl(*({"image": f"{n}.png", "label": n % 2} for n in range(9)))
    code, param, message = refused(with_vit, rows, **IMAGES)
    assert (code, param) == ("no_usable_rows", "dataset.train")
    assert "9 whose image file is missing" in message


def test_images_with_transparent_parts_are_mentioned(with_vit: Service) -> None:
    clear = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
    plan = planned(with_vit, zipped(clear), "animals.zip", **IMAGES)
    assert [warning for warning in plan["warnings"] if "dataset.background" in warning]
    assert plan["spec"]["dataset"]["background"] == "white"
    changes = IMAGES | {"dataset": {"background": "#102030"}}
    assert planned(with_vit, zipped(), "animals.zip", **changes)["spec"]["dataset"]["background"] == "#102030"
    for wrong in ("url(x)", "#12", "Red ", 3):
        changes = IMAGES | {"dataset": {"background": wrong}}
        assert refused(with_vit, zipped(), "animals.zip", **changes)[1] == "dataset.background"


def test_labels_that_may_be_the_same_are_mentioned(service: Service) -> None:
    labels = ["pos", "neg", "1.0", "True"] * 6
    train = [{"text": f"film {n}", "label": label} for n, label in enumerate([*labels, "Pos", "pos ", "1", "None"])]
    train += [{"text": "film 0", "label": "neg"}]
    evaluation = jsonl(*({"text": "x", "label": label} for label in (1, True, "neg ", "POS")))
    named = service.upload(evaluation, "eval.jsonl")["id"]
    plan = planned(service, jsonl(*train), dataset={"eval": named})
    assert plan["estimate"]["eval_rows"] == 3
    assert plan["estimate"]["head_parameters"] == 33 * 6  # pos, neg, 1, true, Pos, None
    said = "\n".join(plan["warnings"])
    for part in (
        "'pos' (7 rows) beside 'Pos' (1 row) beside 'POS' (1 row)",
        "'None' in 1 row",
        "'pos ' in 1 row as 'pos'",
        "2 of 29 rows have the 'text' of another row but another 'label'",
        "1 evaluation row is left out",
    ):
        assert part in said


def test_plain_labels_are_not_remarked_upon(service: Service) -> None:
    plan = planned(service, jsonl(*({"text": f"film {n}", "label": n % 2} for n in range(40))))
    assert not [warning for warning in plan["warnings"] if "label" in warning]


def test_profiles_of_older_uploads_name_a_class_as_it_was_written(service: Service) -> None:
    rows = "text,label\n" + "".join(f"film {n},{('1', '1.0', '0')[n % 3]}\n" for n in range(30))
    train = service.upload(rows)["id"]
    with service.db.write() as session:
        dataset = session.get(Dataset, train)
        assert dataset is not None
        profile = json.loads(json.dumps(dataset.profile))
        profile["columns"][1]["values"] = {"1": 10, "1.0": 10, "0": 10}
        dataset.profile = profile
    spec = service.spec(dataset={"train": train})
    assert service.client.post("/jobs?dry_run=true", json=spec).json()["estimate"]["head_parameters"] == 66


def test_a_target_that_is_never_called_is_refused(with_vit: Service, vit: tuple[Path, dict[str, Any]]) -> None:
    facts = json.loads(json.dumps(vit[1]))
    for module in facts["linear_modules"]:
        module["bypassed_by"] = "MultiheadAttention" if module["name"].endswith("o_proj") else None
    folder = with_vit.settings.files.model("vit")
    with with_vit.db.write() as session:
        base_models.keep(session, "vit", folder_version(folder), facts)
    changes = IMAGES | {"adamss": {"target_modules": ["q_proj", "o_proj"]}}
    code, param, message = refused(with_vit, zipped(), "animals.zip", **changes)
    assert (code, param) == ("target_without_effect", "adamss.target_modules")
    assert "Leave o_proj out" in message


def test_a_model_for_another_task(with_vit: Service) -> None:
    code, param, message = refused(
        with_vit, jsonl(*({"text": "a", "label": n % 2} for n in range(9))), base_model="vit"
    )
    assert (code, param) == ("task_not_supported", "base_model")
    assert "image-classification" in message
    changes = {"task": "image-classification", "base_model": MODEL}
    assert refused(with_vit, zipped(), "animals.zip", **changes)[0] == "task_not_supported"


def test_a_model_without_image_processor(with_vit: Service, vit: tuple[Path, dict[str, Any]]) -> None:
    folder = with_vit.settings.files.model("vit")
    with with_vit.db.write() as session:
        base_models.keep(session, "vit", folder_version(folder), vit[1] | {"has_image_processor": False})
    assert refused(with_vit, zipped(), "animals.zip", **IMAGES)[:2] == ("missing_image_processor", "base_model")


@pytest.mark.parametrize(
    ("changes", "param", "says"),
    [
        ({**TEXTS, "dataset": {"tokens": "words"}}, "dataset.tokens", "belongs to token-classification"),
        ({**TEXTS, "dataset": {"prompt": "p", "completion": "c"}}, "dataset.prompt", "belongs to text-generation"),
        ({"training": {"packing": False}}, "training.packing", "belongs to text-generation"),
        ({**NUMBER, "training": {"class_weights": "balanced"}}, "training.class_weights", "needs classes"),
        ({**NUMBER, "training": {"label_smoothing": 0.1}}, "training.label_smoothing", "problem_type is regression"),
        (
            {"task": "text-generation", "training": {"class_weights": "balanced"}},
            "training.class_weights",
            "belongs to text-class",
        ),
        ({"training": {"class_weights": {"0": -1}}}, "training.class_weights.0", "greater than 0.0, but is -1"),
        ({"training": {"class_weights": {}}}, "training.class_weights", "at least 1"),
        ({"training": {"class_weights": "heavy"}}, "training.class_weights", "must be an object, or 'balanced'"),
        ({"dataset": {"test": "mine.csv"}}, "dataset.test", "must be the id of a data set"),
        ({"training": {"label_smoothing": 1}}, "training.label_smoothing", "less than 1"),
        ({**TOKENS, "dataset": {"text": "body"}}, "dataset.text", "the task is token-classification"),
        ({**TOKENS, "problem_type": "regression"}, "problem_type", "belongs to text-classification"),
        ({"dataset": {"label_separator": ";"}}, "dataset.label_separator", "multi_label_classification"),
        ({"training": {"metric_for_best": "f1"}}, "training.metric_for_best", "accuracy, macro_f1, matthews, loss"),
        ({"task": "text-generation", "dataset": {"prompt": "p"}}, "dataset.completion", "is required with prompt"),
        ({"task": "translation"}, "task", "'text-generation'"),
    ],
)
def test_what_belongs_to_another_task_is_named(service: Service, changes: Any, param: str, says: str) -> None:
    content = jsonl(*({"text": "a", "label": n % 2} for n in range(9)))
    error = service.refused(**with_train(service, content, "rows.jsonl", changes))
    assert error["param"] == param
    assert says in error["message"]
    assert error["message"].startswith(param)


def test_weights_name_classes_of_any_task_that_classifies(service: Service) -> None:
    content = jsonl(*({"text": "a", "label": n % 2} for n in range(9)))
    plan = planned(service, content, training={"class_weights": {"1.0": 2}, "label_smoothing": 0.1})
    assert plan["spec"]["training"]["class_weights"] == {"1.0": 2.0}
    code, param, message = refused(service, content, training={"class_weights": {"1": 2, "2": 1}})
    assert (code, param) == ("unknown_class", "training.class_weights")
    assert message.endswith("names '2', but no row has this class in column 'label'. Its classes are '0', '1'.")
    tags = jsonl(*({"tokens": ["a", "b"], "tags": ["O", "B-X"]} for _ in range(9)))
    assert planned(service, tags, **TOKENS, training={"class_weights": {"B-X": 3}})["warnings"] is not None
    assert refused(service, tags, **TOKENS, training={"class_weights": {"B-Y": 3}})[0] == "unknown_class"
    lists = jsonl(*({"text": "film", "label": ["a", "b"][: n % 3]} for n in range(40)))
    assert refused(service, lists, **SEVERAL, training={"class_weights": {"c": 3}})[0] == "unknown_class"


@pytest.mark.compat
def test_facts_of_an_older_inspection_are_found_out_anew(service: Service, tiny_facts: dict[str, Any]) -> None:
    folder = service.settings.files.model(MODEL)
    old = {name: value for name, value in tiny_facts.items() if name not in ("format", "other_tasks")}
    with service.db.write() as session:
        base_models.keep(session, MODEL, folder_version(folder), old | {"tasks": ["text-classification"]})
    rows = jsonl(*({"tokens": ["good", "film"], "tags": ["B-X", "O"]} for _ in range(9)))
    assert planned(service, rows, **TOKENS)["estimate"]["eval_rows"] == 1


# --- what a spec leaves out -------------------------------------------------------------------------------------------


def test_task_and_columns_come_from_the_data(service: Service) -> None:
    rows = jsonl(*({"review": f"a film of a certain length {n}", "verdict": "ab"[n % 2]} for n in range(40)))
    dataset = service.upload(rows, "rows.jsonl")
    assert dataset["suggestion"]["dataset"] == {"text": "review", "label": "verdict"}
    assert dataset["suggestion"]["confidence"] == "likely"
    plan = planned(service, rows)
    assert (plan["spec"]["dataset"]["text"], plan["spec"]["dataset"]["label"]) == ("review", "verdict")
    assert plan["suggested"] == ["task", "dataset.text", "dataset.label"]
    assert any("leaves out task, dataset.text and dataset.label" in warning for warning in plan["warnings"])
    job = service.client.post("/jobs", json=service.spec(dataset={"train": dataset["id"]})).json()
    assert job["resolved"]["suggested"] == plan["suggested"]
    assert "text" not in job["spec"]["dataset"]


def test_a_wrong_column_is_answered_with_those_that_would_do(service: Service) -> None:
    rows = jsonl(*({"review": f"a film of a certain length {n}", "verdict": "ab"[n % 2]} for n in range(40)))
    code, param, message = refused(service, rows, dataset={"text": "txt"})
    assert (code, param) == ("unknown_column", "dataset.text")
    assert "It has 'review', 'verdict'" in message
    assert "dataset.text 'review', dataset.label 'verdict' would do" in message

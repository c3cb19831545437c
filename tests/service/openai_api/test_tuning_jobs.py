"""Fine-tuning jobs, as OpenAI's client creates and watches them; nothing is trained here."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from service.openai_api import files
from service.shared.database.tables import Checkpoint, now
from tests.service.openai_api import guide
from tests.service.openai_api.conftest import CHAT_MODEL, client_of, write
from tests.service.support import Service, finish, report_metrics, run_job

if TYPE_CHECKING:
    from openai import OpenAI

pytestmark = pytest.mark.slow
RUN: Any = {"training": {"sample_prompts": 0}}


@pytest.fixture(scope="module")
def file_id(openai: OpenAI, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = write(tmp_path_factory.mktemp("file"), *guide.lines(guide.CHAT, 20))
    with path.open("rb") as file:
        return openai.files.create(file=file, purpose="fine-tune").id


@pytest.fixture(autouse=True)
def emptied(chat_service: Service) -> Iterator[None]:
    """Leave no job behind that would hold a file, or be listed elsewhere."""
    yield
    for job in chat_service.client.get("/jobs", params={"limit": 1000}).json()["data"]:
        chat_service.client.post(f"/jobs/{job['id']}/cancel")
        chat_service.client.delete(f"/jobs/{job['id']}")


def test_job_is_our_job_with_the_numbers_that_were_sent(openai: OpenAI, chat_service: Service, file_id: str) -> None:
    job = openai.fine_tuning.jobs.create(
        model="gpt-4o-mini",
        training_file=file_id,
        validation_file=file_id,
        suffix="support",
        seed=7,
        metadata={"team": "blue"},
        method={
            "type": "supervised",
            "supervised": {"hyperparameters": {"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 0.5}},
        },
        extra_body={"adamss": {"r": 16, "num_subspaces": 2}, "training": {"max_length": 64}},
    )
    assert (job.status, job.model, job.seed, job.metadata) == ("queued", "gpt-4o-mini", 7, {"team": "blue"})
    assert job.hyperparameters.to_dict() == {"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 0.5}
    assert (job.training_file, job.validation_file, job.fine_tuned_model) == (file_id, file_id, None)
    ours = chat_service.client.get(f"/jobs/{job.id}").json()
    spec = ours["resolved"]["spec"]
    assert (ours["name"], spec["base_model"], spec["dataset"]["messages"]) == ("support", CHAT_MODEL, "messages")
    assert (spec["training"]["learning_rate"], spec["training"]["max_length"]) == (1e-3, 64)
    assert spec["adamss"]["r"] == 16


def test_auto_takes_the_preset(openai: OpenAI, chat_service: Service, file_id: str) -> None:
    numbers: Any = {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"}
    job = openai.fine_tuning.jobs.create(model=CHAT_MODEL, training_file=file_id, hyperparameters=numbers)
    preset = chat_service.client.get("/presets").json()["data"]
    rate = next(one["training"]["learning_rate"] for one in preset if one["task"] == "text-generation")
    ours = chat_service.client.get(f"/jobs/{job.id}").json()["resolved"]["spec"]["training"]
    assert (ours["learning_rate"], ours["epochs"]) == (rate, 3)
    assert job.hyperparameters.to_dict() == {"n_epochs": 3, "batch_size": 16, "learning_rate_multiplier": 1.0}


def test_integrations_are_kept_where_the_operator_allows_them(
    openai: OpenAI, chat_service: Service, file_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_service.context.settings, "wandb", True)
    wanted: Any = {"type": "wandb", "wandb": {"project": "mine", "name": "first", "entity": None, "tags": ["a"]}}
    job = openai.fine_tuning.jobs.create(model="gpt-4o-mini", training_file=file_id, integrations=[wanted])
    assert [one.to_dict() for one in openai.fine_tuning.jobs.retrieve(job.id).integrations or []] == [wanted]


@pytest.mark.parametrize(
    ("param", "changes"),
    [
        ("method", {"method": {"type": "dpo"}}),
        ("method", {"method": {"type": "reinforcement", "reinforcement": {"grader": {}}}}),
        ("model", {"model": "gpt-9"}),
        ("training_file", {"training_file": "file-abc123"}),
        ("training_file", {"training_file": "ds_aaaaaaaaaaaaaaaaaaaa"}),
        ("validation_file", {"validation_file": "ds_aaaaaaaaaaaaaaaaaaaa"}),
        ("training_file", {"training_file": "results_job_aaaaaaaaaaaaaaaaaaaa"}),
        ("integrations", {"integrations": [{"type": "wandb", "wandb": {"project": "mine"}}]}),
        ("integrations[0].type", {"integrations": [{"type": "mlflow", "wandb": {"project": "mine"}}]}),
        ("adamss.r", {"extra_body": {"adamss": {"r": -1}}}),
        ("training.epochs", {"extra_body": {"training": {"epochs": 2}}, "hyperparameters": {"n_epochs": 1}}),
        ("training.rate", {"extra_body": {"training": {"rate": 2}}}),
        ("quantity", {"extra_body": {"quantity": 2}}),
        ("hyperparameters.n_epochs", {"hyperparameters": {"n_epochs": 0}}),
        ("metadata.a", {"metadata": {"a": 5}}),
        ('metadata.a"b', {"metadata": {'a"b': "x"}}),
    ],
)
def test_bad_input_names_the_field_and_creates_nothing(
    openai: OpenAI, chat_service: Service, file_id: str, param: str, changes: dict[str, Any]
) -> None:
    from openai import BadRequestError, NotFoundError

    with pytest.raises((BadRequestError, NotFoundError)) as caught:
        openai.fine_tuning.jobs.create(**{"model": CHAT_MODEL, "training_file": file_id, **changes})
    assert (caught.value.param, caught.value.status_code) == (param, 400)
    assert chat_service.client.get("/jobs").json()["data"] == []


def test_files_without_examples_and_models_without_text_are_refused(
    openai: OpenAI, chat_service: Service, file_id: str, tmp_path: Path
) -> None:
    from openai import BadRequestError

    from tests.service.support import build_model

    with write(tmp_path, *guide.lines({"height": 1, "width": 2})).open("rb") as file:
        numbers = openai.files.create(file=file, purpose="fine-tune").id
    with pytest.raises(BadRequestError) as caught:
        openai.fine_tuning.jobs.create(model=CHAT_MODEL, training_file=numbers)
    assert caught.value.param == "training_file"
    build_model(chat_service.settings.files.model("classifier"))
    with pytest.raises(BadRequestError) as caught:
        openai.fine_tuning.jobs.create(model="classifier", training_file=file_id)
    assert caught.value.param == "model"
    assert chat_service.client.get("/jobs").json()["data"] == []


def test_jobs_are_listed_by_page_and_metadata_and_are_the_projects_own(
    openai: OpenAI, chat_service: Service, address: str, file_id: str
) -> None:
    from openai import BadRequestError, NotFoundError

    make = openai.fine_tuning.jobs.create
    ids = [make(model=CHAT_MODEL, training_file=file_id, metadata={"n": str(n)}).id for n in range(3)]
    assert [job.id for job in openai.fine_tuning.jobs.list(limit=2)] == ids[::-1]
    chosen = openai.fine_tuning.jobs.list(extra_query={"metadata[n]": "1"})
    assert [job.id for job in chosen] == [ids[1]]
    odd = "a}b, c"  # in a path of JSON it would be more than a key
    own = make(model=CHAT_MODEL, training_file=file_id, metadata={odd: "x"}).id
    assert [job.id for job in openai.fine_tuning.jobs.list(extra_query={f"metadata[{odd}]": "x"})] == [own]
    with pytest.raises(BadRequestError, match="metadata"):
        openai.fine_tuning.jobs.list(extra_query={'metadata[a"b]': "x"})
    stranger = client_of(address, chat_service.key_for("elsewhere"))
    assert stranger.fine_tuning.jobs.list().data == []
    with pytest.raises(NotFoundError):
        stranger.fine_tuning.jobs.retrieve(ids[0])


def test_job_is_paused_resumed_and_cancelled(openai: OpenAI, file_id: str) -> None:
    jobs = openai.fine_tuning.jobs
    job = jobs.create(model=CHAT_MODEL, training_file=file_id)
    assert jobs.pause(job.id).status == "queued"
    assert "paused" in jobs.list_events(job.id).data[0].message
    assert jobs.resume(job.id).status == "queued"
    assert jobs.cancel(job.id).status == "cancelled"
    from openai import ConflictError

    with pytest.raises(ConflictError):
        jobs.resume(job.id)


def test_finished_job_has_events_checkpoints_results_and_a_model(
    openai: OpenAI, chat_service: Service, file_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = openai.fine_tuning.jobs
    job = jobs.create(model=CHAT_MODEL, training_file=file_id, suffix="Our support!")
    run_job(chat_service, job.id)
    report_metrics(chat_service, job.id, [{"loss": 2.5}, {"loss": 1.5}])
    evaluated = {"eval_loss": 1.25, "eval_token_accuracy": 0.75}
    report_metrics(chat_service, job.id, [evaluated], kind="eval", first=2)
    with chat_service.db.write() as session:
        kept = {"attempt": 1, "path": "checkpoints/step-00000002", "best": True, "values": evaluated}
        session.add(Checkpoint(job_id=job.id, step=2, created_at=now(), **kept))
    running = jobs.retrieve(job.id)
    assert (running.status, running.fine_tuned_model, running.result_files) == ("running", None, [])

    finish(chat_service, job.id, b"PK")
    done = jobs.retrieve(job.id)
    name = f"ft:{CHAT_MODEL}:default:Our-support:{job.id}"
    assert (done.status, done.fine_tuned_model) == ("succeeded", name)

    events = list(jobs.list_events(job.id, limit=2))  # follows the pages
    assert [event.type for event in events] == ["message", "metrics", "metrics", "metrics", "message", "message"]
    assert events[-1].message == "The job waits for a worker."
    assert events[1].data == {"step": 2, "valid_loss": 1.25, **evaluated}

    (checkpoint,) = jobs.checkpoints.list(job.id)
    assert checkpoint.fine_tuned_model_checkpoint == f"{name}:ckpt-step-2"
    assert (checkpoint.metrics.valid_loss, checkpoint.metrics.train_loss) == (1.25, 1.5)
    assert checkpoint.metrics.full_valid_mean_token_accuracy == 0.75

    (result,) = done.result_files
    rows = list(csv.DictReader(io.StringIO(openai.files.content(result).text)))
    assert [(row["step"], row["train_loss"], row["valid_loss"]) for row in rows] == [
        ("1", "2.5", ""),
        ("2", "1.5", "1.25"),
    ]
    assert [row["valid_mean_token_accuracy"] for row in rows] == ["", "0.75"]
    assert set(rows[0]) == {"step", "train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy"}
    openai.files.list(purpose="fine-tune-results")
    monkeypatch.setattr(files, "result_csv", None)  # the second list writes nothing
    listed = openai.files.list(purpose="fine-tune-results").data
    monkeypatch.undo()
    assert [(file.id, file.bytes) for file in listed] == [(result, len(openai.files.content(result).content))]

    assert name in {model.id for model in openai.models.list()}
    assert openai.models.retrieve(name).owned_by == "default"
    assert openai.models.delete(name).deleted
    assert name not in {model.id for model in openai.models.list()}
    assert not list(chat_service.settings.files.job_artifacts(job.id).glob("*.zip"))
    assert jobs.list_events(job.id).data[0].message == "The model's artifacts were deleted."

"""OpenAI's client, and litellm, drive a whole job of a service that was started as a user would."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.adamss_core.training.chats import build_llama, chats
from tests.e2e.conftest import ROOT, RUN_SECONDS, Up

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types.fine_tuning import FineTuningJob

BASE = "tiny-openai"
QUESTION: Any = [{"role": "user", "content": "What colour is sky?"}]
ADAMSS = {"r": 16, "num_subspaces": 3, "subspace_rank": 2, "target_modules": "all-linear"}
TRAINING = {"max_length": 64, "precision": "fp32", "sample_prompts": 0, "gradient_accumulation_steps": 1}
LITELLM = """
import litellm, sys
url, key, model = sys.argv[1:]
told = {"api_base": url, "api_key": key}
answer = litellm.completion(model=f"openai/{model}", messages=[{"role": "user", "content": "What colour is sky?"}],
                            temperature=0, **told)
parts = litellm.completion(model=f"openai/{model}", messages=[{"role": "user", "content": "What colour is sky?"}],
                           temperature=0, stream=True, **told)
jobs = litellm.list_fine_tuning_jobs(custom_llm_provider="openai", **told)
print(answer.choices[0].message.content, answer.usage.completion_tokens > 0, sep="|")
print("".join(part.choices[0].delta.content or "" for part in parts))
print([job.status for job in jobs][0])
"""


@pytest.fixture(scope="module")
def openai(up: Up) -> OpenAI:
    from openai import OpenAI

    build_llama(up.home / "models" / BASE)
    return OpenAI(base_url=f"{up.url}/v1", api_key=up.key, max_retries=0, _strict_response_validation=True)


@pytest.fixture(scope="module")
def done(openai: OpenAI, tmp_path_factory: pytest.TempPathFactory) -> FineTuningJob:
    """A job that was uploaded, created and followed by OpenAI's client."""
    path = tmp_path_factory.mktemp("openai") / "chats.jsonl"
    rows = chats(160)
    wrong = {"role": "assistant", "content": "It is loud.", "weight": 0}
    rows[0]["messages"][1:1] = [wrong, {"role": "user", "content": "What colour is sky?"}]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    with path.open("rb") as file:
        uploaded = openai.files.create(file=file, purpose="fine-tune")
    assert openai.files.content(uploaded.id).content == path.read_bytes()
    job = openai.fine_tuning.jobs.create(
        model=BASE,
        training_file=uploaded.id,
        suffix="colours",
        method={
            "type": "supervised",
            "supervised": {"hyperparameters": {"n_epochs": 6, "batch_size": 8, "learning_rate_multiplier": 10}},
        },
        extra_body={"adamss": ADAMSS, "training": TRAINING},
    )
    return ended(openai, job.id)


def ended(openai: OpenAI, job_id: str) -> FineTuningJob:
    until = time.monotonic() + RUN_SECONDS
    while (job := openai.fine_tuning.jobs.retrieve(job_id)).status not in ("succeeded", "failed", "cancelled"):
        assert time.monotonic() < until
        time.sleep(0.5)
    assert job.status == "succeeded", job.error
    return job


def answer(openai: OpenAI, model: str | None, **more: Any) -> Any:
    assert model is not None
    return openai.chat.completions.create(model=model, messages=QUESTION, temperature=0, **more)


def test_a_whole_job(openai: OpenAI, done: FineTuningJob) -> None:
    assert done.fine_tuned_model == f"ft:{BASE}:default:colours:{done.id}"
    assert (done.trained_tokens or 0) > 1_000
    events = list(openai.fine_tuning.jobs.list_events(done.id))
    assert {"message", "metrics"} == {event.type for event in events}
    assert [event.created_at for event in events] == sorted((event.created_at for event in events), reverse=True)
    reply = answer(openai, done.fine_tuned_model)
    assert (reply.choices[0].message.content, reply.choices[0].finish_reason) == ("It is blue.", "stop")
    chunks = answer(openai, done.fine_tuned_model, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "It is blue."
    rows = openai.files.content(done.result_files[0]).text.splitlines()
    assert rows[0].startswith("step,train_loss")
    assert len(rows) > 5


@pytest.mark.compat
def test_a_checkpoint_answers_is_published_and_trained_on(openai: OpenAI, done: FineTuningJob, up: Up) -> None:
    oldest = list(openai.fine_tuning.jobs.checkpoints.list(done.id))[-1]
    name = oldest.fine_tuned_model_checkpoint
    assert answer(openai, name, max_tokens=8).usage.completion_tokens <= 8
    further = openai.fine_tuning.jobs.create(
        model=name, training_file=done.training_file, hyperparameters={"n_epochs": 1}, extra_body={"training": TRAINING}
    )
    step = str(oldest.step_number)
    published = up.adamss("jobs", "publish", done.id, step, "--artifact", "lora", "--watch")
    assert published.returncode == 0, published.stdout + published.stderr
    with up.client() as client:
        made = next(job for job in client.list_jobs() if job["name"].endswith(f"at step {step}"))
        assert [one["name"] for one in client.artifacts(made["id"])] == ["lora", "metrics"]
    listed = up.adamss("jobs", "checkpoints", done.id)
    assert step in listed.stdout
    trained = ended(openai, further.id).fine_tuned_model
    assert trained == f"ft:{BASE}:default::{further.id}"
    assert answer(openai, trained, max_tokens=20).choices[0].message.content


@pytest.mark.compat
def test_the_script_of_the_docs(openai: OpenAI, up: Up, tmp_path: Path) -> None:
    """As it stands there, but for the name of the base model."""
    (script,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "migrating.md").read_text(), re.DOTALL)
    assert len(script.splitlines()) <= 12
    rows = "".join(f"{json.dumps(row)}\n" for row in chats(160))
    (tmp_path / "chats.jsonl").write_text(rows)
    environ = up.environ | {"OPENAI_BASE_URL": f"{up.url}/v1", "OPENAI_API_KEY": up.key}
    command = [sys.executable, "-P", "-c", script.replace('"smollm2"', f'"{BASE}"')]
    result = subprocess.run(
        command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=RUN_SECONDS, check=False
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert result.stdout


@pytest.mark.compat
def test_litellm_drives_it(done: FineTuningJob, up: Up) -> None:
    environ = up.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    command = [sys.executable, "-P", "-c", LITELLM, f"{up.url}/v1", up.key, str(done.fine_tuned_model)]
    result = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=RUN_SECONDS, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    assert result.stdout.splitlines()[-3:] == ["It is blue.|True", "It is blue.", "succeeded"]
    assert Path(up.home).is_dir()

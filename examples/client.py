"""The Python client: upload, estimate, submit, follow, download.

python -m examples.client examples/data/movie_reviews_demo.csv
"""

from __future__ import annotations

import sys
from pathlib import Path

from service.client import ApiError, Client

SPEC = {
    "name": "from-python",
    "base_model": "minilm",
    "adamss": {
        "num_subspaces": 10,
        "target_modules": ["query", "value"],
        "use_asa": True,
        "asa_target_subspaces": 60,
        "init_warmup": "auto",
        "final_warmup": "auto",
        "mask_interval": "auto",
    },
    "training": {"epochs": 1, "learning_rate": 0.01},
    "artifacts": ["lora"],
}


def main(file: str, folder: str) -> Path:
    with Client() as client:  # uses ADAMSS_URL and ADAMSS_API_KEY, or the local service's address and key
        dataset = client.upload_dataset(file)
        spec = SPEC | {"dataset": {"train": dataset["id"]}}
        print("estimate:", client.dry_run(spec)["estimate"])

        job = client.submit(spec)
        for row in client.iter_metrics(job["id"]):  # until the job ends
            print(row["step"], row["values"])
        job = client.wait(job["id"])
        if job["status"] != "succeeded":
            raise SystemExit(f"{job['status']}: {job['error']}")
        print("result:", job["result"])
        return client.download(job["id"], "lora", folder, extract=True)


if __name__ == "__main__":
    try:
        print("downloaded:", main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "out"))
    except ApiError as error:
        raise SystemExit(f"error: {error}") from error

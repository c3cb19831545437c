"""Python client of the service.

    with Client() as client:
        client.add_model("minilm")  # a folder that save_pretrained has written
        data = client.upload_dataset("reviews.csv")
        job = client.submit({"name": "reviews", "base_model": "minilm", "dataset": {"train": data["id"]}})
        print(client.wait(job["id"])["result"])
        client.download(job["id"], "lora", "out", extract=True)

Reads are repeated when the connection fails, and so is `submit`, which sends an Idempotency-Key.
"""

from __future__ import annotations

from service.client.base_model_calls import BaseModelCalls
from service.client.dataset_calls import DatasetCalls
from service.client.fleet_calls import FleetCalls
from service.client.model_calls import ModelCalls
from service.client.preset_calls import PresetCalls
from service.client.registry_calls import RegistryCalls
from service.client.report_calls import ReportCalls
from service.client.sweep_calls import SweepCalls


class Client(DatasetCalls, BaseModelCalls, ReportCalls, ModelCalls, RegistryCalls, SweepCalls, PresetCalls, FleetCalls):
    """Client of one service, as one project.

    Args:
        url: address of the service. Default: ADAMSS_URL, else http://ADAMSS_HOST:ADAMSS_PORT.
        api_key: default: ADAMSS_API_KEY, else the file `api_key` in ADAMSS_HOME, written by a first start.
    """

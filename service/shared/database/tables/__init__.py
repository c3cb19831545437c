"""Tables of the database, with the meaning of their columns."""

from __future__ import annotations

from service.shared.database.tables.access_tables import ApiKey, AuditEntry, HomeId, Project, Role, SignIn
from service.shared.database.tables.fleet_tables import DeviceUse, Drain, Duty, HostDevice, KnownDevices, Worker
from service.shared.database.tables.input_tables import (
    AddedModel,
    Dataset,
    InspectedModel,
    ModelStatus,
    Spectrum,
    TokenLengths,
)
from service.shared.database.tables.job_tables import (
    LEASED,
    TERMINAL,
    UNFINISHED,
    Delivery,
    IdempotencyKey,
    Job,
    JobStatus,
    JobTag,
)
from service.shared.database.tables.progress_tables import (
    DECOMPOSITIONS,
    Artifact,
    Checkpoint,
    Evaluation,
    Event,
    HardestExample,
    MetricRow,
    StoredFile,
    SubspaceMap,
)
from service.shared.database.tables.registry_tables import ModelLabel, ModelVersion, RegisteredModel
from service.shared.database.tables.sweep_tables import NamedPreset, PinnedBaseline, Sweep, SweepStatus, SweepTrial
from service.shared.database.tables.table_base import Base, Json, Utc, now

__all__ = [
    "DECOMPOSITIONS",
    "LEASED",
    "TERMINAL",
    "UNFINISHED",
    "AddedModel",
    "ApiKey",
    "Artifact",
    "AuditEntry",
    "Base",
    "Checkpoint",
    "Dataset",
    "Delivery",
    "DeviceUse",
    "Drain",
    "Duty",
    "Evaluation",
    "Event",
    "HardestExample",
    "HomeId",
    "HostDevice",
    "IdempotencyKey",
    "InspectedModel",
    "Job",
    "JobStatus",
    "JobTag",
    "Json",
    "KnownDevices",
    "MetricRow",
    "ModelLabel",
    "ModelStatus",
    "ModelVersion",
    "NamedPreset",
    "PinnedBaseline",
    "Project",
    "RegisteredModel",
    "Role",
    "SignIn",
    "Spectrum",
    "StoredFile",
    "SubspaceMap",
    "Sweep",
    "SweepStatus",
    "SweepTrial",
    "TokenLengths",
    "Utc",
    "Worker",
    "now",
]

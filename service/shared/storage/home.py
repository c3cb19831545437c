"""Layout of the home folder. No other module joins these names.

adamss.db, api_key, webhook_secret, home_id
datasets/    DATASET.jsonl (rows), DATASET.hashes, DATASET.original (the uploaded bytes, of files that were made through
             /v1/files), DATASET/ (images), DATASET.partial/ (during an upload)
models/      a folder for each base model that the operator put there, also as ORGANISATION/NAME
added_models/  MODEL/ (a base model that came through the API), MODEL.partial/ and MODEL.lock (while it comes)
jobs/        a folder for each job: see `JobFolder`
artifacts/   JOB/NAME.zip
queue/       messages/, control/, processed/ of the embedded broker
cache/       decompositions/, predict/, fetching/ and copies/ of files that a store has
logs/        logs of the service's own processes
run/         scratch folders of requests, the lock of migration, what several API processes share
trash/       files that no row names, until they are a day old there
devices/     locks of the GPUs of this machine
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from adamss_core.fileio.run_folder import RunFolder


@dataclass(frozen=True)
class JobFolder(RunFolder):
    """Work files of one job: files of its run, and files exchanged by supervisor and training process."""

    @property
    def request(self) -> Path:
        """Return the file with the training process's request."""
        return self.path / "request.json"

    @property
    def outcome(self) -> Path:
        """Return the file with the training process's outcome."""
        return self.path / "outcome.json"

    @property
    def log(self) -> Path:
        return self.path / "train.log"

    @property
    def reports(self) -> Path:
        """Return the write-ahead log of reports that the database may lack."""
        return self.path / "reports.jsonl"

    @property
    def decompositions(self) -> Path:
        """Return the list of the decompositions that the attempt has needed, a file name a line."""
        return self.path / "decompositions"

    @property
    def heartbeat(self) -> Path:
        """Return the file touched while the run makes progress."""
        return self.path / "alive"

    @property
    def step(self) -> Path:
        """Return the file with the attempt and step reached last."""
        return self.path / "step"

    @property
    def lock(self) -> Path:
        """Return the file locked by the running training process."""
        return self.path / "lock"


@dataclass(frozen=True)
class Home:
    """Paths below one home folder. A property of a folder creates it; a property of a file does not.

    Attributes:
        root: the home folder, or a copy of it.
    """

    root: Path

    # --- files ----------------------------------------------------------------------------------------------------

    @property
    def database(self) -> Path:
        """Return the file of the embedded database."""
        return self.root / "adamss.db"

    @property
    def api_key(self) -> Path:
        """Return the file with the key that a first start creates for the command line."""
        return self.root / "api_key"

    @property
    def webhook_secret(self) -> Path:
        return self.root / "webhook_secret"

    @property
    def home_id(self) -> Path:
        """Return the file with the id that the folder shares with its database."""
        return self.root / "home_id"

    @property
    def request_counts(self) -> Path:
        """Return the file in which several API processes count requests."""
        return self.scratch / "requests.db"

    @property
    def process_metrics(self) -> Path:
        """Return the folder in which several API processes keep their metrics."""
        return self.scratch / "metrics"

    @property
    def migration_lock(self) -> Path:
        return self.scratch / "migrate.lock"

    # --- data sets ------------------------------------------------------------------------------------------------

    @property
    def datasets(self) -> Path:
        return self._folder("datasets")

    def dataset_rows(self, dataset_id: str) -> Path:
        """Return the rows of a data set: one JSON object a line, UTF-8, every column in every row."""
        return self.datasets / f"{dataset_id}.jsonl"

    def dataset_hashes(self, dataset_id: str) -> Path:
        """Return the hashes of a data set's cells."""
        return self.datasets / f"{dataset_id}.hashes"

    def dataset_original(self, dataset_id: str) -> Path:
        """Return the file as it was uploaded; exists only if the data set was made through /v1/files."""
        return self.datasets / f"{dataset_id}.original"

    def dataset_images(self, dataset_id: str) -> Path:
        """Return the folder of a data set's images; exists only if the data set has images."""
        return self.datasets / dataset_id

    def dataset(self, dataset_id: str) -> list[Path]:
        """Return the files of a data set that exist."""
        return [path for path in self.dataset_paths(dataset_id) if path.exists()]

    def dataset_paths(self, dataset_id: str) -> list[Path]:
        """Return where the files of a data set may be."""
        named = (self.dataset_rows, self.dataset_hashes, self.dataset_original, self.dataset_images)
        return [name(dataset_id) for name in named]

    def dataset_partial(self, dataset_id: str) -> Path:
        """Return the folder in which an uploaded data set is read."""
        return self.datasets / f"{dataset_id}.partial"

    # --- models, jobs, artifacts ----------------------------------------------------------------------------------

    @property
    def models(self) -> Path:
        return self._folder("models")

    def model(self, name: str) -> Path:
        """Return the folder of a base model."""
        return self.models / name

    @property
    def added_models(self) -> Path:
        return self._folder("added_models")

    def added_model(self, model_id: str) -> Path:
        """Return the folder of a base model that came through the API."""
        return self.added_models / model_id

    def added_model_partial(self, model_id: str) -> Path:
        """Return the folder in which an added model is read and checked."""
        return self.added_models / f"{model_id}.partial"

    def added_model_lock(self, model_id: str) -> Path:
        """Return the file locked by the process that fills an added model's partial folder."""
        return self.added_models / f"{model_id}.lock"

    def is_model(self, path: Path) -> bool:
        """Tell whether a path lies in the models folder, also where that does not exist."""
        return path.is_relative_to(self.root / "models")

    @property
    def jobs(self) -> Path:
        return self._folder("jobs")

    def job(self, job_id: str) -> JobFolder:
        return JobFolder(self.jobs / job_id)

    @property
    def artifacts(self) -> Path:
        return self._folder("artifacts")

    def job_artifacts(self, job_id: str) -> Path:
        """Return the folder of a job's published artifacts."""
        return self.artifacts / job_id

    def artifact(self, job_id: str, name: str) -> Path:
        """Return the zip of a published artifact."""
        return self.job_artifacts(job_id) / f"{name}.zip"

    def is_scratch(self, name: str) -> bool:
        """Tell whether a name in the database is that of a file of one job's folder, which goes with the job."""
        return name.startswith("jobs/")

    # --- queue, cache, logs ---------------------------------------------------------------------------------------

    @property
    def queue(self) -> Path:
        return self._folder("queue")

    @property
    def queue_messages(self) -> Path:
        return self._folder("queue/messages")

    @property
    def queue_control(self) -> Path:
        return self._folder("queue/control")

    @property
    def queue_processed(self) -> Path:
        """Return the folder of received messages."""
        return self._folder("queue/processed")

    @property
    def cache(self) -> Path:
        return self._folder("cache")

    @property
    def decompositions(self) -> Path:
        """Return the cache of decomposed base weights."""
        return self._folder("cache/decompositions")

    @property
    def predictions(self) -> Path:
        """Return the scratch folder of the predicting processes."""
        return self._folder("cache/predict")

    @property
    def fetching(self) -> Path:
        """Return the folder of files that are being fetched from the store."""
        return self._folder("cache/fetching")

    @property
    def copies(self) -> Path:
        """Return the folder with a note for each copy of a stored file in this home folder."""
        return self._folder("cache/copies")

    @property
    def logs(self) -> Path:
        return self._folder("logs")

    def log(self, process: str) -> Path:
        """Return the log of one of the service's own processes, such as "api"."""
        return self.logs / f"{process}.log"

    @property
    def scratch(self) -> Path:
        """Return the folder for files that live as long as a request."""
        return self._folder("run")

    @property
    def devices(self) -> Path:
        """Return the folder of the locks of this machine's GPUs."""
        return self._folder("devices")

    @property
    def trash(self) -> Path:
        """Return the folder of files that no row names."""
        return self._folder("trash")

    # --- names in the database ------------------------------------------------------------------------------------

    def relative(self, path: Path) -> str:
        """Return the name of a file relative to the home folder, as rows store it."""
        return path.relative_to(self.root).as_posix()

    def resolve(self, name: str) -> Path:
        """Return the path of a file named in a row."""
        return self.root / name

    def _folder(self, name: str) -> Path:
        path = self.root / name
        path.mkdir(parents=True, exist_ok=True)
        return path

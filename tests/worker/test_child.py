from __future__ import annotations

from worker.child import child_environment


def test_environment_is_what_libraries_need() -> None:
    own = {
        "PATH": "/bin",
        "HF_HUB_OFFLINE": "1",
        "LC_ALL": "C",
        "OMP_NUM_THREADS": "2",
        "ADAMSS_API_KEY": "secret",
        "ADAMSS_DATABASE_URL": "postgresql://user:secret@host/db",
        "PGPASSWORD": "secret",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "HF_TOKEN": "secret",
        "PATHOLOGY": "x",
    }
    kept = child_environment(own, device="1")
    assert "secret" not in str(kept)
    assert {"PATH", "HF_HUB_OFFLINE", "LC_ALL", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"} <= set(kept)
    assert "PATHOLOGY" not in kept
    assert "CUDA_VISIBLE_DEVICES" not in child_environment(own)
    assert child_environment(own)["GOMP_SPINCOUNT"] == "3000"
    assert child_environment(own | {"GOMP_SPINCOUNT": "0"})["GOMP_SPINCOUNT"] == "0"
    chosen = child_environment(own | {"OMP_WAIT_POLICY": "PASSIVE"})
    assert (chosen["OMP_WAIT_POLICY"], chosen.get("GOMP_SPINCOUNT")) == ("PASSIVE", None)

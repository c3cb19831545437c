"""Rows 1 to 5 of the attacks, and roles: nobody comes in without a key, from elsewhere, or to another's things."""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import SecretStr
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from service.cli.serve import server_options
from service.http.app import create_app
from service.http.gate import access
from service.http.gate.guesses import sender_address
from service.http.gate.origin import PAGE_HEADER
from service.http.routes import EVERY_METHOD, POLICIES, SAFE_METHODS
from service.keys import service as keys
from service.keys.sessions import sign_out
from service.shared.database.tables import ApiKey, Role
from service.shared.errors import StartRefused
from service.shared.settings import Settings
from tests.security.support import (
    METHODS,
    OTHERS,
    PUBLIC,
    SIGN_INS,
    Target,
    files_below,
    operations,
    paths_of,
    replaced,
    required_query,
    routes_of,
)
from tests.service.support import BASE_URL, error_of, rows, running

OWN_PATHS = {"/signout"}
ADMIN_PATHS = {"/audit", "/workers/drain", "/workers/undrain"}


def test_01_a_route_without_auth(session_target: Target) -> None:
    """Every path of the application, known and unknown, with every method: 401 without a key.

    Seen to fail: with a public policy for "/metrics", and with a mount added that needs no key: the difference names
    them.
    """
    assert {path for path, policy in POLICIES.items() if policy.public is EVERY_METHOD} == set(PUBLIC)
    stranger = session_target.client()
    paths = paths_of(session_target.app)
    assert {"/docs", "/docs/assets", "/openapi.json", "/metrics", "/jobs/{job_id}/artifacts/{name}"} <= set(paths)
    open_paths = set()
    for path in [
        *paths,
        "/nothing/here",
        "/docs/assets/swagger-ui.css",
        "//healthz",
        "/healthz/",
        "/HEALTHZ",
        "/jobs/",
    ]:
        for method in METHODS:
            answer = stranger.request(method, path.replace("{", "").replace("}", ""))
            if answer.status_code != 401:
                open_paths.add(path)
            elif method != "HEAD":
                assert answer.headers["www-authenticate"] == "Bearer"
                assert error_of(answer.json())["type"] == "unauthorized"
    assert open_paths == set(PUBLIC)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.7", "::", "example.org"])
def test_02_open_by_default(tmp_path: Path, host: str) -> None:
    """Beyond loopback without a key it does not start, and makes none; nor with one that has expired.

    Seen to fail: with the refusal in `prepare_access` left out.
    """
    settings = Settings(home=tmp_path, host=host)
    with pytest.raises(StartRefused, match="without a key"), TestClient(create_app(settings)):
        pass
    assert not keys.key_file(settings).exists()


def test_03_dns_rebinding_and_foreign_sites(session_target: Target) -> None:
    """Every path, with every method, with a valid key, for a foreign Host or from a foreign page: 403, and no header
    that lets another page read an answer.

    Seen to fail: without `check_host` all of the first, without `check_origin` all of the others answer.
    """
    signed_in = session_target.client("admin")
    foreign = [
        {"host": "evil.example"},
        {"host": "evil.example:8642"},
        {"host": "127.0.0.1.evil.example"},
        {"host": ""},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1.evil.example:8642"},
        {"origin": "http://127.0.0.1:9999"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
        {"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"},
    ]
    for place, path in enumerate(paths_of(session_target.app)):
        for turn, method in enumerate(METHODS):
            for headers in foreign[(place + turn) % 3 :: 3]:  # three methods or paths in a row meet all
                filled = path.replace("{job_id}", session_target.ids["job_id"]).replace("{", "").replace("}", "")
                answer = signed_in.request(method, filled, headers=headers)
                assert answer.status_code == 403, (method, path, headers)
                assert not [name for name in answer.headers if name.startswith("access-control")]


def test_03_preflights_open_nothing(session_target: Target) -> None:
    """CORS is closed: no page elsewhere is told that it may ask.

    Seen to fail: with Starlette's CORSMiddleware added for all origins.
    """
    asking = {"origin": "http://evil.example", "access-control-request-method": "POST"}
    for path in paths_of(session_target.app):
        answer = session_target.client("admin").options(path, headers=asking)
        assert answer.status_code == 403
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_03_changes_by_cookie_need_the_page_header(session_target: Target) -> None:
    """Every route that changes something, signed in by cookie: 403 unless it says, in a header that no other site can
    add, that it comes from our page.

    Seen to fail: without `check_csrf`, DELETE /jobs/{job_id} answers 404 as for any caller.
    """
    browser = session_target.browser("submit")
    absent = dict.fromkeys(session_target.ids, "job_none")
    from_page = {"origin": BASE_URL, PAGE_HEADER: "test"}
    for route in routes_of(session_target.app):
        if route.method in SAFE_METHODS or route.path in SIGN_INS:  # where a cookie counts for nothing
            continue
        if route.path in ADMIN_PATHS:
            continue  # a submitter's cookie is refused by its role, as test_roles has it
        path = route.fill(absent)
        for headers in ({}, {"origin": BASE_URL}, {PAGE_HEADER: "test"}, {"sec-fetch-site": "same-origin"}):
            answer = browser.request(route.method, path, headers=headers)
            assert (answer.status_code, error_of(answer.json())["code"]) == (403, "not_from_page"), (route, headers)
        assert browser.get("/jobs").status_code == 200  # reading needs no more than the cookie
        expected = {204} if route.path in OWN_PATHS else {400, 404, 422}
        assert browser.request(route.method, path, headers=from_page).status_code in expected, route
        if route.path in OWN_PATHS:
            browser = session_target.browser("submit")


def test_04_another_projects_ids(session_target: Target) -> None:
    """Every route with an id in its path, with every method it takes and another project's key: 404, which says
    nothing of whether there is such a thing.

    Seen to fail: with `Job.project_id == project_id` left out of `repository.find`, every route of a job answers; with
    a route added that reads a job by its id alone.
    """
    theirs = session_target.client(OTHERS)
    seen = 0
    for route in routes_of(session_target.app):
        if not route.parameters:
            continue
        below_job = ("name", "step", "version")  # of an artifact, a checkpoint and a registered model
        of_project = [name for name in route.parameters if name not in below_job]
        missing = set(route.parameters) - set(session_target.ids)
        assert not missing, f"give the fixture `target` an id for {missing}, for {route.path}"
        more: dict[str, Any] = {"params": required_query(session_target.app, route)}
        if route.method == "POST":
            dataset = session_target.ids["dataset_id"]
            bodies = {
                "evaluate": {"dataset": dataset},
                "spectrum": {"dataset": {"train": dataset}},
                "resume": {"time_limit_seconds": 60},
                "publish": {},
                "versions": {"job": session_target.ids["job_id"]},
                "labels": {"label": "live", "version": 1},
                "rollback": {},
            }
            more["json"] = bodies.get(route.path.rpartition("/")[2], {"inputs": ["a text"]})
        elif route.method == "PATCH":
            more["json"] = {"webhook": None} if "model_name" in route.parameters else {"notes": "theirs"}
        none_of_them = session_target.ids | dict.fromkeys(of_project, "x_absent")
        answer = theirs.request(route.method, route.fill(session_target.ids), **more)
        absent = theirs.request(route.method, route.fill(none_of_them), **more)
        assert answer.status_code == absent.status_code == 404, route
        if route.method != "HEAD":
            mine, none = error_of(answer.json()), error_of(absent.json())
            assert mine["code"] == none["code"], route
        seen += 1
    assert seen >= 15


def test_04_another_projects_ids_in_queries(session_target: Target) -> None:
    """Every query parameter that takes a text, with an id of another project: the answer is that to an id that never
    was, but for the id itself.

    Seen to fail: with a route added that looks a job up by an id in its query, without the project.
    """
    theirs, ids = session_target.client(OTHERS), session_target.ids
    seen = 0
    for path, method, operation in operations(session_target.app):
        if "{" in path or path in PUBLIC:
            continue
        for parameter in operation.get("parameters", []):
            if parameter["in"] != "query" or "string" not in json.dumps(parameter["schema"]):
                continue
            for real in (ids["job_id"], ids["dataset_id"]):
                made_up = real[:-1] + ("a" if real[-1] != "a" else "b")
                answers = [theirs.request(method, path, params={parameter["name"]: one}) for one in (real, made_up)]
                found, absent = (
                    answer.text.replace(one, "ID") for answer, one in zip(answers, (real, made_up), strict=True)
                )
                assert (answers[0].status_code, found) == (answers[1].status_code, absent), (path, parameter["name"])
                seen += 1
    assert seen >= 4


def test_04_another_projects_ids_in_lists_and_bodies(session_target: Target) -> None:
    """Lists are empty, and ids in a body or an Idempotency-Key of another project are not there.

    Seen to fail: with the project left out of `datasets.repository.page` (GET /datasets lists them), of its `find` (a
    dry run takes the data set), and of the look at the job in `check_init_from` (another code, which tells of it).
    """
    theirs, mine = session_target.client(OTHERS), session_target.client("submit")
    ids = session_target.ids
    for route in routes_of(session_target.app):
        if route.method != "GET" or route.parameters or route.path in PUBLIC:
            continue
        answer = theirs.get(route.path)
        if route.path == "/audit":  # it tells of their own requests above, with the ids that they made up
            assert {entry["key_name"] for entry in answer.json()["data"]} <= {"theirs"}
            continue
        for wanted in (ids["job_id"], ids["dataset_id"]):
            assert wanted not in answer.text, route
    spec = mine.get(f"/jobs/{ids['job_id']}").json()["spec"]
    own = theirs.post("/datasets", files={"file": ("a.csv", rows())}).json()["id"]
    theirs_alone = replaced(spec, ("dataset", "train"), own)
    assert theirs.post("/jobs?dry_run=true", json=theirs_alone).status_code == 200
    mentions = 0
    for place, kind in places_of_ids(session_target.app):
        for dry_run in ("false", "true"):
            refused = theirs.post(f"/jobs?dry_run={dry_run}", json=replaced(theirs_alone, place, ids[kind]))
            error = error_of(refused.json())
            assert (refused.status_code, error["param"]) == (422, ".".join(place)), place
            assert error["code"] in ("unknown_dataset", "unknown_job"), place
            mentions += 1
    assert mentions >= 6
    for other in (ids["dataset_id"], {"id": ids["dataset_id"], "weight": 2}):
        several = theirs.post("/jobs", json=replaced(theirs_alone, ("dataset", "train"), [own, other]))
        error = error_of(several.json())
        assert (several.status_code, error["code"], error["param"]) == (422, "unknown_dataset", "dataset.train[1]")
    start = theirs.post("/jobs", json=theirs_alone | {"init_from": {"job": ids["job_id"], "checkpoint": 4}})
    assert (start.status_code, error_of(start.json())["code"]) == (422, "unknown_job")
    theirs.delete(f"/datasets/{own}")


def places_of_ids(app: FastAPI) -> Iterator[tuple[tuple[str, ...], str]]:
    """Fields, as the schema has them, that take an id of another thing, and which kind."""
    places: dict[str, tuple[str, ...]] = {"JobSpec": (), "DatasetSpec": ("dataset",)}
    for name, model in app.openapi()["components"]["schemas"].items():
        if name in (
            "TrainingSet",
            "EvaluateIn",
            "StartingPoint",
        ):  # each has a check of its own
            continue
        for field, schema in model.get("properties", {}).items():
            for kind, pattern in (("dataset_id", "^ds_"), ("job_id", "^job_")):
                if pattern in json.dumps(schema):
                    assert name in places, f"say where in a spec a {name} stands, for its {field}"
                    yield (*places[name], field), kind


def caller_from(app: Any, address: str, **headers: str) -> TestClient:
    """A client whose connection comes from an address."""
    return TestClient(app, base_url=BASE_URL, client=(address, 50_000), headers=headers)


def test_05_wrong_keys_are_slowed_by_address(settings: Settings) -> None:
    """Keys, cookies and sign-ins count together; nothing is looked up beyond the limit, and whoever worked at the same
    address before goes on, with the key that the guesser may not even have right.

    Seen to fail: without `check_address` in `_admit`, each guess is looked up, without an end.
    """
    with running(settings.model_copy(update={"requests_per_minute": 6})) as service:
        own, shared = keys.own_key(settings) or "", "203.0.113.7"
        colleague = caller_from(service.app, shared, authorization=f"Bearer {own}")
        assert colleague.get("/tasks").status_code == 200
        guesser = caller_from(service.app, shared)
        answers = [guesser.get("/jobs", headers={"authorization": f"Bearer adamss_{n}"}) for n in range(3)]
        answers += [guesser.get("/jobs", headers={"cookie": f"{access.cookie_name(settings)}=x{n}"}) for n in range(3)]
        answers += [guesser.post("/signin", data={"key": "wrong"})]
        assert [answer.status_code for answer in answers] == [401] * 5 + [429] * 2
        assert int(answers[-1].headers["retry-after"]) > 0
        assert colleague.get("/tasks").status_code == 200
        elsewhere = caller_from(service.app, "203.0.113.8", authorization="Bearer wrong")
        assert elsewhere.get("/tasks").status_code == 401
        with service.db.write() as session:
            key = keys.create_key(session, "fresh")
        fresh = caller_from(service.app, shared, authorization=f"Bearer {key.key}")
        assert fresh.get("/tasks").status_code == 429  # a guess that is right would be refused like this too


def test_05_addresses_of_one_customer_are_one_sender() -> None:
    """Seen to fail: with the address itself, who has 2^64 of them is never slowed."""
    one, two = ({"client": (f"2001:db8:1:2::{n}", 1)} for n in (1, 2))
    assert sender_address(one) == sender_address(two) == "2001:db8:1:2::/64"
    assert sender_address({"client": ("2001:db8:1:3::1", 1)}) != sender_address(one)
    assert sender_address({"client": ("::ffff:192.0.2.1", 1)}) == "192.0.2.1"
    assert sender_address({"client": ("fe80::1%eth0", 1)}) == "fe80::/64"
    assert sender_address({"client": None}) == "unknown"


@pytest.mark.parametrize(
    ("named", "peer", "forwarded", "seen"),
    [
        ([], "127.0.0.1", "198.51.100.1", "127.0.0.1"),
        (["10.0.0.0/8"], "127.0.0.1", "198.51.100.1", "127.0.0.1"),
        (["10.0.0.0/8"], "10.1.2.3", "198.51.100.1", "198.51.100.1"),
        (["10.0.0.0/8"], "10.1.2.3", "192.0.2.9, 198.51.100.1, 10.9.9.9", "198.51.100.1"),
    ],
)
def test_forwarded_addresses_count_from_named_proxies_only(
    settings: Settings, named: list[str], peer: str, forwarded: str, seen: str
) -> None:
    """The address behind X-Forwarded-For is the one that the last named proxy saw, whatever its sender wrote before.

    Seen to fail: with uvicorn's defaults, which believe every process on this machine.
    """
    addresses = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        addresses.append(scope["client"][0])
        await PlainTextResponse("")(scope, receive, send)

    trusting = Settings.model_validate(settings.model_dump() | {"trusted_proxies": named})
    config = uvicorn.Config(application, lifespan="off", **server_options(trusting))
    config.load()
    caller_from(config.loaded_app, peer, **{"x-forwarded-for": forwarded}).get("/")
    assert addresses == [seen]


def test_05_only_hashes_of_keys_are_stored(session_target: Target) -> None:
    """No key is in any file of the home folder but the first one in its owner's own file; it is shown once.

    Seen to fail: with `digest_of` that returns the key, which then stands in the database's files.
    """
    home = session_target.service.settings.resolved_home
    for key in session_target.keys.values():
        holders = [path for path in files_below(home) if key.encode() in path.read_bytes()]
        assert holders == []
    first = keys.own_key(session_target.service.settings)
    assert first is not None
    assert [path for path in files_below(home) if first.encode() in path.read_bytes()] == [home / "api_key"]
    with session_target.service.db.read() as session:
        for info in keys.list_keys(session):
            assert not any(key in repr(info) for key in session_target.keys.values())


def test_05_keys_are_compared_in_constant_time(
    session_target: Target, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is looked up is a hash, so the time tells nothing of the key; and `compare_digest` has the last word, for
    keys of the database and for the configured one.

    Seen to fail: with `record.hash != digest` in place of compare_digest.
    """
    configured = settings.model_copy(update={"api_key": SecretStr("configured")})
    with session_target.service.db.read() as session:
        assert keys.identify(session, configured, "configured") is not None
        assert keys.identify(session, settings, session_target.keys["read"]) is not None
        monkeypatch.setattr(hmac, "compare_digest", lambda *_: False)
        assert keys.identify(session, configured, "configured") is None
        assert keys.identify(session, settings, session_target.keys["read"]) is None


def test_roles(session_target: Target) -> None:
    """Every route: a key that reads changes nothing, and only admins see who did what.

    Seen to fail: without `check_role`, DELETE /jobs/{job_id} answers 404 for a key that reads.
    """
    absent = dict.fromkeys(session_target.ids, "job_none")
    for route in routes_of(session_target.app):
        if route.path in SIGN_INS:
            continue
        path = route.fill(absent)
        for role in Role:
            answer = session_target.client(role.value).request(route.method, path)
            harmless = route.method in SAFE_METHODS or route.path in OWN_PATHS
            needs = Role.READ if harmless else Role.SUBMIT
            needs = Role.ADMIN if route.path in ADMIN_PATHS else needs
            order = list(Role)
            refused = answer.status_code == 403
            assert refused == (order.index(role) < order.index(needs)), (route, role)
            if refused and route.method != "HEAD":
                assert error_of(answer.json())["code"] == "role_too_low"


def test_expired_or_revoked_key_is_refused_at_once(session_target: Target) -> None:
    """Revoked or expired: the next request is refused, and an answer that is under way is broken off.

    Seen to fail: without the look at `expires_at`, without the look at `revoked_at`.
    """
    service = session_target.service
    with service.db.write() as session:
        made = [keys.create_key(session, name) for name in ("revoked", "expired")]
    for key in made:
        assert session_target.client(key.key).get("/jobs").status_code == 200
    with service.db.write() as session:
        keys.revoke_key(session, made[0].id)
        record = session.get_one(ApiKey, made[1].id)
        record.expires_at = record.created_at
    for key in made:
        answer = session_target.client(key.key).get("/jobs")
        assert (answer.status_code, error_of(answer.json())["code"]) == (401, "invalid_key")


@pytest.mark.parametrize("ended", ["key", "key of a browser", "session"])
def test_stream_closes_when_its_key_ends(session_target: Target, monkeypatch: pytest.MonkeyPatch, ended: str) -> None:
    """A download or stream that has begun is broken off within seconds of the end of the key, or of the session.

    Seen to fail: without `send_while_valid`, all of the file arrives, in each of the three cases.
    """
    monkeypatch.setattr(access, "RECHECK_SECONDS", 0.0)
    path = f"/jobs/{session_target.ids['job_id']}/artifacts/lora"
    service = session_target.service
    with service.db.write() as session:
        key = keys.create_key(session, "short")
    session_target.keys["short"] = key.key
    caller = session_target.client("short") if ended == "key" else session_target.browser("short")
    name = "identify" if ended == "key" else "identify_session"
    real = getattr(access, name)
    calls = 0

    def ends_after_the_first(*arguments: Any) -> object:
        nonlocal calls
        calls += 1
        if calls == 3:
            with service.db.write() as session:
                if ended == "session":
                    sign_out(session, arguments[-1])
                else:
                    keys.revoke_key(session, key.id)
        return real(*arguments)

    monkeypatch.setattr(access, name, ends_after_the_first)
    assert len(caller.get(path).content) < 1000
    assert caller.get(path).status_code == 401


def test_read_only_key_is_refused_before_its_upload_is_received(session_target: Target) -> None:
    """A key without the right is refused before any of its body is read, on every route.

    Seen to fail: with `check_role` called where a route gets its caller: the upload's form has been read by then.
    """
    received = []

    def body() -> Iterator[bytes]:
        received.append(1)
        yield rows().encode()

    form = {"content-type": "multipart/form-data; boundary=x"}
    for route in routes_of(session_target.app):
        if route.method not in SAFE_METHODS and route.path not in SIGN_INS | OWN_PATHS:
            path = route.fill(session_target.ids)
            answer = session_target.client("read").request(route.method, path, content=body(), headers=form)
            assert answer.status_code == 403, route
    assert received == []

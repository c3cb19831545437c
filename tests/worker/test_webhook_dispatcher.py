"""Webhooks: signed, sent again until they arrive, and never into the operator's own network."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Semaphore, Thread

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import select, update

from service.shared.database.clock import database_now
from service.shared.database.tables import Delivery, Job, JobStatus
from service.shared.errors import InvalidRequest
from service.shared.jobs import states
from service.shared.jobs.webhooks import check_webhook, signed_headers, signing_secret
from tests.worker.support import Service, scaled_settings, stop, wait_for, wait_until
from worker.public_addresses import ForbiddenAddress, is_public, public_address
from worker.webhook_dispatcher import MOST_TRIES, PROJECT_AT_ONCE, WebhookDispatcher
from worker.webhook_request import NoResponse, post

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Receiver:
    """An HTTP server that answers with the statuses it is given, then with 204."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.got: list[tuple[dict[str, str], bytes]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(receiver.statuses.pop(0) if receiver.statuses else 204)
                self.send_header("location", "http://169.254.169.254/latest")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://localhost:{self._server.server_port}/hook?token=x"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def receiving(*statuses: int) -> Iterator[Receiver]:
    receiver = Receiver(*statuses)
    yield receiver
    receiver.close()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    fields = {"webhook_hosts": ["localhost"], "webhook_private": True, "webhook_secret": SecretStr(SECRET)}
    service = Service(scaled_settings(tmp_path / "home", **fields))
    yield service
    service.db.close()


def end(service: Service, job_id: str) -> None:
    with service.db.write() as session:
        states.cancel(session, session.get_one(Job, job_id))


def deliveries(service: Service) -> list[Delivery]:
    with service.db.read() as session:
        return list(session.scalars(select(Delivery).order_by(Delivery.created_at)))


def deliver(dispatcher: WebhookDispatcher) -> None:
    """Try each due delivery once, and wait for the results."""
    for thread in dispatcher.deliver():
        thread.join()


def make_due(service: Service) -> None:
    with service.db.write() as session:
        waiting = update(Delivery).where(Delivery.next_at.is_not(None))
        session.execute(waiting.values(next_at=database_now(session)))


def test_signature_is_that_of_standard_webhooks() -> None:
    """The example of the standard's own libraries."""
    headers = signed_headers(SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, '{"test": 2432232314}')
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert headers["webhook-id"] == "msg_p5jXN8AQM9LWM0D4loKWxJek"


def test_an_ended_job_is_told_of_signed(service: Service) -> None:
    with receiving() as receiver:
        job_id = service.add_job(webhook=receiver.url)
        end(service, job_id)
        deliver(WebhookDispatcher(service.settings, service.db))
        ((headers, body),) = receiver.got
    payload = json.loads(body)
    assert (payload["type"], payload["data"]["id"], payload["data"]["status"]) == ("job.cancelled", job_id, "cancelled")
    expected = signed_headers(SECRET, headers["webhook-id"], int(headers["webhook-timestamp"]), body.decode())
    assert headers["webhook-signature"] == expected["webhook-signature"]
    assert headers["host"].startswith("localhost:")
    (delivery,) = deliveries(service)
    assert delivery.delivered_at is not None
    assert (delivery.next_at, delivery.tries, delivery.id) == (None, 1, headers["webhook-id"])
    assert service.events(job_id)[-1].type == "webhook_delivered"


def test_it_is_sent_again_under_the_same_id_until_it_arrives(service: Service) -> None:
    dispatcher = WebhookDispatcher(service.settings, service.db)
    with receiving(500, 307) as receiver:
        job_id = service.add_job(webhook=receiver.url)
        end(service, job_id)
        for tries in (1, 2, 3):
            deliver(dispatcher)
            deliver(dispatcher)  # not due: the pause grows
            assert len(receiver.got) == tries
            make_due(service)
        deliver(dispatcher)
        assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1
        assert len(receiver.got) == 3  # the redirect was not followed
    (delivery,) = deliveries(service)
    assert delivery.delivered_at is not None
    assert [event.data["tries"] for event in service.events(job_id) if event.type == "webhook_delivered"] == [3]


@pytest.mark.parametrize("how", ["gone", "often"])
def test_it_is_given_up(service: Service, how: str) -> None:
    with receiving(*([410] if how == "gone" else [500] * MOST_TRIES)) as receiver:
        job_id = service.add_job(webhook=receiver.url)
        end(service, job_id)
        dispatcher = WebhookDispatcher(service.settings, service.db)
        for _ in range(MOST_TRIES + 2):
            deliver(dispatcher)
            make_due(service)
        assert len(receiver.got) == (1 if how == "gone" else MOST_TRIES)
    assert service.events(job_id)[-1].type == "webhook_failed"


def test_a_worker_that_is_killed_while_it_sends_is_followed_by_another(service: Service) -> None:
    """The receiver answers only to the second one."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://localhost:{deaf.getsockname()[1]}/"
        job_id = service.add_job("steps=3", webhook=url)
        with service.worker(**environment(service)) as first:
            wait_for(service, job_id, JobStatus.SUCCEEDED)
            wait_until(lambda: deliveries(service)[0].tries == 1)
            first.kill()
    with receiving() as receiver:
        with service.db.write() as session:
            session.execute(update(Delivery).values(url=receiver.url))
        make_due(service)
        with service.worker(**environment(service)) as second:
            wait_until(lambda: deliveries(service)[0].delivered_at is not None)
            assert stop(second) == 0
        assert json.loads(receiver.got[0][1])["data"]["result"] == {"eval_accuracy": 1.0, "eval_loss": None}
    assert deliveries(service)[0].tries == 2


class Dripping:
    """A receiver that begins an answer and sends a byte of it every 50 ms, for ever."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://localhost:{self._socket.getsockname()[1]}/"
        self.asked = Semaphore(0)
        self._closed = Event()
        Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                Thread(target=self._drip, args=(self._socket.accept()[0],), daemon=True).start()

    def _drip(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(65_536)
            self.asked.release()
            connection.sendall(b"HTTP/1.1 200 OK\r\nx-drip: ")
            while not self._closed.wait(0.05):
                connection.sendall(b"x")

    def close(self) -> None:
        self._closed.set()
        self._socket.close()


@pytest.fixture
def dripping() -> Iterator[Dripping]:
    receiver = Dripping()
    yield receiver
    receiver.close()


def test_a_byte_at_a_time_is_no_response(service: Service, dripping: Dripping) -> None:
    """The limit is one for the whole exchange, not one for each read."""
    end(service, service.add_job(webhook=dripping.url))
    with pytest.raises(NoResponse, match=r"0\.3 s"):
        post(service.settings, deliveries(service)[0], seconds=0.3)


def test_a_project_with_slow_receivers_delays_no_other(service: Service, dripping: Dripping) -> None:
    """However many wait on the slow one, and however long each takes: the other project's is sent at once."""
    slow = service.add_project("slow")
    for _ in range(3 * PROJECT_AT_ONCE):
        end(service, service.add_job(webhook=dripping.url, project=slow))
    with receiving() as receiver:
        end(service, service.add_job(webhook=receiver.url))
        dispatcher = WebhookDispatcher(service.settings, service.db)
        dispatcher.start()
        wait_until(lambda: any(row.delivered_at is not None for row in deliveries(service)))
        for _ in range(PROJECT_AT_ONCE):
            assert dripping.asked.acquire(timeout=30)
        assert not dripping.asked.acquire(blocking=False)
        assert len(receiver.got) == 1
        dispatcher.close()
    assert sorted(row.tries for row in deliveries(service)) == [0] * 2 * PROJECT_AT_ONCE + [1] * (PROJECT_AT_ONCE + 1)
    dripping.close()
    for thread in dispatcher.deliver():
        thread.join()


def test_what_waited_for_room_follows(service: Service) -> None:
    with receiving() as receiver:
        for _ in range(2 * PROJECT_AT_ONCE + 1):
            end(service, service.add_job(webhook=receiver.url))
        dispatcher = WebhookDispatcher(service.settings, service.db)
        dispatcher.start()
        wait_until(lambda: all(row.delivered_at is not None for row in deliveries(service)))
        dispatcher.close()
    assert {row.tries for row in deliveries(service)} == {1}


def test_the_operators_proxy_is_used(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy resolves names, so this machine need not; addresses that are known here are judged all the same."""
    strict = service.settings.model_copy(update={"webhook_private": False})
    with receiving() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        end(service, service.add_job(webhook="http://receiver.invalid/hook"))
        deliver(WebhookDispatcher(strict, service.db))
        ((headers, _),) = proxy.got
        assert headers["host"] == "receiver.invalid"
        end(service, service.add_job(webhook="http://127.0.0.1:9/hook"))
        deliver(WebhookDispatcher(strict, service.db))
        assert len(proxy.got) == 1
        monkeypatch.setenv("NO_PROXY", "localhost,.invalid")
        assert service.settings.egress_proxy("http", "receiver.invalid") is None
        assert service.settings.egress_proxy("http", "receiver.example") == proxy.url
    assert "not a public address" in (deliveries(service)[1].problem or "")


def environment(service: Service) -> dict[str, str]:
    return {"ADAMSS_WEBHOOK_HOSTS": json.dumps(service.settings.webhook_hosts), "ADAMSS_WEBHOOK_SECRET": SECRET}


def test_every_end_is_told_of_and_none_twice(service: Service) -> None:
    url = "http://localhost:1/"
    failed, lost, done = (service.add_job(webhook=url, retries=0) for _ in range(3))
    without = service.add_job()
    end(service, without)
    with service.db.write() as session:
        for job_id in (failed, lost, done):
            states.claim(session, job_id, "w", 60.0)
        states.fail(session, failed, 1, {"code": "nan_loss", "message": "m", "hint": "h"})
        states.give_back(session, lost, 1, charge=True, error={"code": "c", "message": "m", "hint": "h"})
        assert states.succeed(session, done, 1, {})
        assert not states.succeed(session, done, 1, {})
    assert {(row.job_id, json.loads(row.body)["type"]) for row in deliveries(service)} == {
        (failed, "job.failed"),
        (lost, "job.failed"),
        (done, "job.succeeded"),
    }
    assert len(deliveries(service)) == 3


PRIVATE = ["127.0.0.1", "10.1.2.3", "169.254.169.254", "192.168.0.1", "100.64.0.1", "0.0.0.0", "224.0.0.1", "::1"]
CARRIED = ["::ffff:127.0.0.1", "fe80::1%eth0", "fd00::1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:7f00:1::1"]
CARRIED += ["64:ff9b:1::7f00:1", "::127.0.0.1", "::10.1.2.3", "::ffff:0:10.1.2.3", "2600::5efe:10.1.2.3", "::8.8.8.8"]
RESERVED = ["fec0::1", "fc00::1", "100::1", "2001:db8::1", "3fff::1", "5f00::1", "4000::1", "2001:20::1", "ff0e::1"]
RESERVED += ["192.0.0.9", "192.88.99.1", "198.18.0.1", "240.0.0.1", "255.255.255.255", "192.0.2.1"]


@pytest.mark.parametrize("address", PRIVATE + CARRIED + RESERVED)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.215.14", "::ffff:93.184.215.14", "2606:2800:21f::1", "2a00:1450:4001::5"])
def test_addresses_that_are_public(address: str) -> None:
    assert is_public(address)


def test_a_name_must_lead_to_public_addresses_only() -> None:
    def look_up(*_: object, **__: object) -> list[tuple[object, ...]]:
        return [(0, 0, 0, "", ("93.184.215.14", 80)), (0, 0, 0, "", ("10.0.0.1", 80))]

    url = httpx.URL("https://example.com/")
    with pytest.raises(ForbiddenAddress, match=r"10\.0\.0\.1"):
        public_address(url, allow_private=False, look_up=look_up)
    assert public_address(url, allow_private=True, look_up=look_up) == "93.184.215.14"
    with pytest.raises(ForbiddenAddress):
        public_address(httpx.URL("http://localhost/"), allow_private=False)


def test_a_private_address_is_not_reached(service: Service) -> None:
    with receiving() as receiver:
        end(service, service.add_job(webhook=receiver.url))
        strict = service.settings.model_copy(update={"webhook_private": False})
        deliver(WebhookDispatcher(strict, service.db))
        assert receiver.got == []
    assert "not a public address" in (deliveries(service)[0].problem or "")


def test_only_hosts_that_the_operator_allows(service: Service) -> None:
    check_webhook(service.settings, None)
    check_webhook(service.settings, "https://LOCALHOST:8000/x")
    with pytest.raises(InvalidRequest, match="ADAMSS_WEBHOOK_HOSTS") as caught:
        check_webhook(service.settings, "https://elsewhere.example/x")
    assert caught.value.param == "webhook"
    check_webhook(service.settings.model_copy(update={"webhook_hosts": ["*"]}), "https://elsewhere.example/x")


def test_a_secret_is_made_once_and_readable_by_nobody_else(service: Service) -> None:
    settings = service.settings.model_copy(update={"webhook_secret": None})
    secret = signing_secret(settings)
    assert signing_secret(settings) == secret
    assert secret.startswith("whsec_")
    assert (settings.files.webhook_secret).stat().st_mode & 0o077 == 0

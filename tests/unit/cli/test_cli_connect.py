"""Finding the server a command is about, and its API's answers as values and errors."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from cli_server import Answer, Request, refusal, serving

from collectors.cli.connect import Api, Target, find_server, retry_after
from collectors.cli.connect import refusal as error_of
from collectors.errors import BadInput, CollectorsError, ConfigError, Overloaded, SourceRefused, SourceUnavailable

NOBODY = 2**22 + 1  # above the largest process id


def _folder(path: Path, *, url: str = "http://127.0.0.1:1", pid: int | str = os.getpid(), key: str = "local") -> Path:
    (path / "server.json").write_text(json.dumps({"url": url, "pid": pid}))
    (path / "admin.key").write_text(f"{key}\n")
    return path


def test_a_server_is_named_by_address_and_key(tmp_path: Path) -> None:
    assert find_server("http://x:1/", "k", tmp_path) == Target("http://x:1", "k")


def test_the_data_folder_of_a_running_server_tells_both(tmp_path: Path) -> None:
    assert find_server(None, None, _folder(tmp_path)) == Target("http://127.0.0.1:1", "local")
    assert find_server(None, "mine", tmp_path) == Target("http://127.0.0.1:1", "mine")
    assert find_server("http://127.0.0.1:1/", None, tmp_path).key == "local"


def test_the_folder_s_key_is_not_sent_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a key is needed"):
        find_server("http://other:1", None, _folder(tmp_path))


def test_a_folder_without_its_key_file_needs_one(tmp_path: Path) -> None:
    (_folder(tmp_path) / "admin.key").unlink()
    with pytest.raises(ConfigError, match="a key is needed"):
        find_server(None, None, tmp_path)


@pytest.mark.parametrize(
    "content", [None, "", "[]", "{}", '{"url": "http://x", "pid": "y"}', f'{{"url": "x", "pid": {NOBODY}}}']
)
def test_a_server_that_ended_or_never_was_is_told(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "server.json").write_text(content)
    with pytest.raises(ConfigError, match=r"no server to talk to.*collectors serve"):
        find_server(None, None, tmp_path)


def test_a_server_of_another_user_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert find_server(None, None, _folder(tmp_path)).url == "http://127.0.0.1:1"


def test_what_is_no_address_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no address of a server"):
        find_server("127.0.0.1:8080", "k", tmp_path)


def test_keys_do_not_show() -> None:
    assert "secret" not in repr(Target("http://x", "secret"))


@pytest.mark.parametrize(
    ("url", "local"),
    [("http://127.0.0.1:1", True), ("http://[::1]:1", True), ("http://localhost", True), ("http://x", False)],
)
def test_local_servers_are_not_asked_through_a_proxy(url: str, local: bool) -> None:
    assert Target(url, "k").local is local


def test_answers_are_values() -> None:
    def echo(request: Request) -> Answer:
        return Answer(body={"path": request.path, "query": request.query, "sent": request.body.decode()})

    with serving(echo) as server, Api(Target(server.url, "k")) as api:
        assert api.get("/v1/x", after=3) == {"path": "/v1/x", "query": {"after": "3"}, "sent": ""}
        assert json.loads(api.post("/v1/y", {"a": 1})["sent"]) == {"a": 1}
    assert all(r.headers["authorization"] == "Bearer k" for r in server.requests)


def test_tenants_are_those_the_key_may_see_or_the_one_asked_for() -> None:
    with serving(lambda _: Answer(body=[{"id": "a"}, {"id": "b"}])) as server, Api(Target(server.url, "k")) as api:
        assert api.tenants() == ["a", "b"]
        assert api.tenants("c") == ["c"]


def test_errors_are_ours() -> None:
    with serving(lambda _: refusal(404, "there is no such tenant")) as server, Api(Target(server.url, "k")) as api:
        with pytest.raises(CollectorsError, match="no such tenant") as caught:
            api.get("/v1/x")
        assert caught.value.http_status == 404
    with pytest.raises(SourceUnavailable, match="Is the server running"), Api(Target(server.url, "k")) as api:
        api.get("/v1/x")


def test_a_server_of_another_kind_is_told() -> None:
    words = "did not answer as a server of this kind"
    with (
        serving(lambda _: Answer(body=b"<html>")) as server,
        Api(Target(server.url, "k")) as api,
        pytest.raises(SourceRefused, match=words),
    ):
        api.get("/v1/x")


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, BadInput), (409, SourceRefused), (429, Overloaded), (503, Overloaded), (500, SourceUnavailable)],
)
def test_statuses_without_words_are_told_as_such(status: int, kind: type[Exception]) -> None:
    error = error_of(status, b"oops", {"retry-after": "7"})
    assert type(error) is kind
    assert str(status) in str(error)
    assert getattr(error, "retry_after", 7.0) == 7.0


@pytest.mark.parametrize(
    ("headers", "seconds"), [({}, 1.0), ({"retry-after": "2.5"}, 2.5), ({"retry-after": "-1"}, 0.0)]
)
def test_waiting_times_are_never_negative(headers: dict[str, str], seconds: float) -> None:
    assert retry_after(headers) == seconds

"""A model as a judge against a stub server on this machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from judged_run import judged_run
from support import example
from typer.testing import CliRunner

from tunesmith import cli, cli_judges, stages
from tunesmith.errors import InputError, RunError
from tunesmith.evaluate import endpoint as endpoint_module
from tunesmith.evaluate.endpoint import KEY_VARIABLE, Client, find_endpoint
from tunesmith.evaluate.llm_judge import Judgement
from tunesmith.records import Turn
from tunesmith.run_files import read_record
from tunesmith.rundir import RunDir, read_json, write_json
from tunesmith.seal import read_seal
from tunesmith.stages.judge import conversation

pytest.importorskip("requests", reason="the extra `judge` is not installed")
N = 10
Answer = tuple[int, dict[str, str], bytes]


class Stub:
    """A server that answers each request by a function, and keeps what it was sent."""

    def __init__(self, answer: Callable[[dict[str, Any]], Answer]) -> None:
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                stub.requests.append((self.path, dict(self.headers), body))
                status, headers, content = answer(body)
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(content))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def completion(text: str | None) -> Answer:
    value = {"choices": [{"message": {"role": "assistant", "content": text}}]}
    return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()


def prefers_tuned(body: dict[str, Any]) -> Answer:
    """The tuned model's answer wherever it stands; on row 3 whatever stands first."""
    material = json.loads(body["messages"][1]["content"])
    if "3" in material["answer_a"]:
        return completion("VERDICT: A")
    return completion(f"VERDICT: {'A' if 'tuned' in material['answer_a'] else 'B'}")


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[dict[str, Any]], Answer]], Stub]]:
    stubs: list[Stub] = []

    def start(answer: Callable[[dict[str, Any]], Answer]) -> Stub:
        stubs.append(Stub(answer))
        return stubs[-1]

    yield start
    for stub in stubs:
        stub.close()


Serve = Callable[[Callable[[dict[str, Any]], Answer]], Stub]


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_module, "RETRY_WAIT_S", 0)
    monkeypatch.delenv(KEY_VARIABLE, raising=False)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return judged_run(
        tmp_path / "run",
        [example(i, "Ask ", f"right {i}") for i in range(N)],
        {"base": [f"base {i}" for i in range(N)], "tuned": [f"tuned {i}" for i in range(N)]},
    )


def judged(run: RunDir, *args: str) -> Any:
    return CliRunner().invoke(cli.app, ["judge", str(run.path), "--model", "m", *args])


# ---- from the command to the report


def test_a_judge_s_verdicts_come_to_a_section_of_the_report(run: RunDir, serve: Serve) -> None:
    stub = serve(prefers_tuned)
    done = judged(run, "--endpoint", stub.url, "--pairs", "8")
    assert done.exit_code == 0, done.output
    assert "8 test rows with two answers each go to 127.0.0.1:" in done.stderr
    assert len(stub.requests) == 16
    path, _, body = stub.requests[0]
    assert (path, body["model"], body["temperature"]) == ("/v1/chat/completions", "m", 0)
    (found,) = read_json(run.report_json)["preferences"]
    three = any(
        '"answer_a": "base 3"' in body["messages"][1]["content"] for *_, body in stub.requests
    )
    assert (found["count"]["wins"], found["count"]["ties"]) == (8 - three, int(three))
    assert found["inconsistent"] == three / 8
    assert "Model m, against Base model" in run.report_md.read_text(encoding="utf-8")
    (use,) = read_seal(run).uses
    assert use.purpose == f"8 rows shown to the model m at {stub.url.split('/')[2]}"


def test_the_record_holds_the_model_the_prompt_and_every_reply(run: RunDir, serve: Serve) -> None:
    stub = serve(prefers_tuned)
    judged(run, "--endpoint", stub.url)
    (path,) = run.judgements.iterdir()
    record = read_record(path, Judgement)
    assert (record.model, record.a, record.b) == ("m", "base", "tuned")
    assert record.endpoint == f"{stub.url}/chat/completions"
    assert record.instruction == stub.requests[0][2]["messages"][0]["content"]
    assert {p.answers.example_id for p in record.pairs} == {f"e{i}" for i in range(N)}
    by_row = {p.answers.example_id: (p.a_first, p.b_first) for p in record.pairs}
    assert by_row["e1"] == ("VERDICT: B", "VERDICT: A")
    assert by_row["e3"] == ("VERDICT: A", "VERDICT: A")


def test_a_second_judgement_of_the_same_model_replaces_the_first(run: RunDir, serve: Serve) -> None:
    stub = serve(prefers_tuned)
    for model in ("m", "m", "other"):
        found = find_endpoint(stub.url, model)
        stages.judge.judge(run, found, *stages.judge.pairs_to_judge(run, 3))
    assert sorted(j.model for j in stages.judge.read_judgements(run)) == ["m", "other"]
    assert len(read_seal(run).uses) == 3


def test_people_and_model_see_the_same_pairs_and_are_compared(
    run: RunDir, serve: Serve, tmp_path: Path
) -> None:
    page = stages.review.create_review(run, 4)
    key = read_json(page.parent / "key.json")
    # a person who prefers the tuned model but on one pair
    votes = [
        {"pair": p["id"], "choice": "left" if (p["left"] == "b") == (i > 0) else "right"}
        for i, p in enumerate(key["pairs"])
    ]
    write_json(tmp_path / "v.json", {"review": key["id"], "rater": "Ann", "votes": votes})
    stages.review.add_votes(run, [tmp_path / "v.json"])
    stub = serve(lambda body: prefers_tuned({"messages": body["messages"]}))
    judged(run, "--endpoint", stub.url, "--pairs", "6")
    people, model = read_json(run.report_json)["preferences"]
    assert (people["count"]["wins"], people["count"]["losses"]) == (3, 1)
    assert model["agreement"]["common"] == 4
    shown = [p["answers"]["example_id"] for p in key["pairs"]]
    same = sum(example_id != "e3" for example_id in shown[1:])
    assert model["agreement"]["agreed"] == same / 4


def test_what_stands_before_the_prompt_is_sent_too() -> None:
    history = (Turn("system", "Be brief."), Turn("user", "Hi"), Turn("assistant", "Hello"))
    asked = example(1, "Why")
    asked = type(asked)(asked.id, asked.row_id, "t", "Why?", "x", history=history)
    assert conversation(asked) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Why?"},
    ]


# ---- what leaves the machine


def test_another_machine_gets_nothing_without_a_yes(run: RunDir) -> None:
    done = judged(run, "--endpoint", "https://judge.invalid/v1")
    assert isinstance(done.exception, InputError)
    assert "10 test rows with two answers each go to judge.invalid" in done.exception.message
    assert "--yes" in done.exception.hint
    assert read_seal(run).uses == ()


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("http://localhost:8000/v1", True),
        ("http://127.0.0.1:1/v1", True),
        ("http://127.9.9.9/v1", True),
        ("http://[::1]:8000/v1", True),
        ("http://localhost.evil.example/v1", False),
        ("http://127.0.0.1.evil.example/v1", False),
        ("http://192.168.0.2/v1", False),
        ("http://0.0.0.0/v1", False),
        ("https://api.example/v1", False),
    ],
)
def test_only_a_loopback_address_is_this_machine(address: str, local: bool) -> None:
    assert find_endpoint(address, "m").is_local == local


def test_the_address_may_be_the_base_or_the_whole() -> None:
    for address in ("http://h/v1", "http://h/v1/", "http://h/v1/chat/completions"):
        assert find_endpoint(address, "m").url == "http://h/v1/chat/completions"
    found = find_endpoint("http://h/v1?api-version=2&code=secret", "m")
    assert found.url == "http://h/v1/chat/completions?api-version=2&code=secret"
    assert found.shown == "http://h/v1/chat/completions"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("localhost:8000", "not an http"),
        ("ftp://h/v1", "not an http"),
        ("http://", "not an http"),
        ("http://h:port/v1", "Port could not be cast"),
        ("https://me:secret@h/v1", "holds a user name or password"),
    ],
)
def test_an_address_that_cannot_be_asked_is_an_error(address: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        find_endpoint(address, "m")
    assert message in str(error.value)
    assert "secret" not in str(error.value)
    with pytest.raises(InputError, match="--model is empty"):
        find_endpoint("http://h/v1", " ")


def test_the_key_goes_into_one_header_and_nowhere_else(
    run: RunDir, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "sk-very-secret")
    stub = serve(prefers_tuned)
    done = judged(run, "--endpoint", stub.url)
    assert {h["Authorization"] for _, h, _ in stub.requests} == {"Bearer sk-very-secret"}
    assert "secret" not in done.output
    assert "secret" not in repr(find_endpoint(stub.url, "m"))
    files = [path for path in run.path.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if b"sk-very-secret" in path.read_bytes()]
    with pytest.raises(InputError, match="unencrypted"):
        find_endpoint("http://judge.example/v1", "m")


def test_no_proxy_and_no_netrc_of_the_environment_is_used(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    stub = serve(lambda body: completion("VERDICT: A"))
    assert Client(find_endpoint(stub.url, "m")).ask([]) == "VERDICT: A"
    assert "Authorization" not in stub.requests[0][1]


@pytest.mark.parametrize(("reply", "asked"), [("n", 0), ("y", 1)])
def test_a_person_at_a_terminal_is_asked(
    run: RunDir, monkeypatch: pytest.MonkeyPatch, reply: str, asked: int
) -> None:
    sent: list[object] = []
    monkeypatch.setattr(cli_judges, "_at_terminal", lambda: True)
    monkeypatch.setattr(stages.judge, "judge", lambda *args: sent.append(args))
    args = ["judge", str(run.path), "--model", "m", "--endpoint", "https://judge.invalid/v1"]
    done = CliRunner().invoke(cli.app, args, input=f"{reply}\n")
    assert len(sent) == asked
    assert isinstance(done.exception, InputError) == (not asked)


# ---- what a server may do


def test_failures_that_may_pass_are_tried_again(serve: Serve) -> None:
    answers = iter([(503, {}, b""), (429, {"Retry-After": "0"}, b""), completion("VERDICT: B")])
    stub = serve(lambda body: next(answers))
    assert Client(find_endpoint(stub.url, "m")).ask([]) == "VERDICT: B"
    assert len(stub.requests) == 3


@pytest.mark.parametrize(
    ("answer", "message", "requests"),
    [
        ((500, {}, b"out of\nmemory"), "status 500: out of memory", 5),
        ((401, {}, b"wrong key sk-very-secret \x1b[31m"), "status 401: wrong key ... ?[31m", 1),
        ((302, {"Location": "http://127.0.0.1:9/"}, b""), "status 302", 1),
        ((200, {}, b"hello"), "no chat completion: hello", 1),
        ((200, {}, b'{"choices": []}'), "no chat completion", 1),
        ((200, {}, b"[1]"), "no chat completion", 1),
    ],
)
def test_a_server_s_failure_is_one_error_without_the_key(
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    answer: Answer,
    message: str,
    requests: int,
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "sk-very-secret")
    stub = serve(lambda body: answer)
    with pytest.raises(RunError) as error:
        Client(find_endpoint(stub.url, "m")).ask([])
    assert message in str(error.value)
    assert "secret" not in str(error.value)
    assert len(stub.requests) == requests


def test_a_model_with_a_fixed_temperature_is_asked_without_one(serve: Serve) -> None:
    stub = serve(
        lambda body: (
            (400, {}, b"Unsupported value: 'temperature'")
            if "temperature" in body
            else completion("VERDICT: TIE")
        )
    )
    client = Client(find_endpoint(stub.url, "m"))
    assert [client.ask([]), client.ask([])] == ["VERDICT: TIE"] * 2
    assert ["temperature" in body for *_, body in stub.requests] == [True, False, False]


def test_a_server_that_fails_on_the_way_leaves_a_smaller_sample(run: RunDir, serve: Serve) -> None:
    answers = iter([completion("VERDICT: TIE")] * 5)
    stub = serve(lambda body: next(answers, (404, {}, b"gone")))
    for pairs in (4, 10):
        done = judged(run, "--endpoint", stub.url, "--pairs", str(pairs))
        assert isinstance(done.exception, RunError)
        (found,) = stages.judge.read_judgements(run)
        assert len(found.pairs) == 2
        # what there is is not replaced by less
        answers = iter([completion("VERDICT: A")] * 3)


def test_a_server_that_is_not_there_is_one_error_and_nothing_is_stored(run: RunDir) -> None:
    done = judged(run, "--endpoint", "http://127.0.0.1:9/v1")
    assert isinstance(done.exception, RunError)
    assert "is the server running?" in done.exception.hint
    assert not run.judgements.exists()


def test_a_reply_without_content_holds_no_verdict(serve: Serve) -> None:
    stub = serve(lambda body: completion(None))
    assert Client(find_endpoint(stub.url, "m")).ask([]) == ""

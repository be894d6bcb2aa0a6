"""Live traffic through a real server: what is answered, what is recorded, and that nothing is lost."""

import json
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import DatabaseServer
from tests.serving import alive, until
from tests.stage import Load, Stage, landed_exactly_once, staged


@pytest.fixture(scope="module")
def stage(database_server: DatabaseServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One for all tests that change nothing of the test or the keys."""
    with database_server.fresh() as dsn, staged(tmp_path_factory.mktemp("gateway"), dsn) as made:
        yield made


@pytest.fixture
def own(tmp_path: Path, dsn: str) -> Iterator[Stage]:
    """One that may be changed."""
    with staged(tmp_path, dsn) as made:
        yield made


def test_a_request_goes_through_its_test_and_is_recorded_with_everything_it_took(stage):
    answer = stage.chat(user="ann")
    assert answer.status == 200
    assert answer.json()["choices"][0]["message"]["content"]
    told = answer.headers
    assert (told["x-tiebreak-test"], told["x-tiebreak-assignment"], told["x-tiebreak-attempts"]) == (
        "live",
        "hash",
        "1",
    )
    variant = told["x-tiebreak-variant"]
    assert all(stage.chat(user="ann").headers["x-tiebreak-variant"] == variant for _ in range(3))
    event = stage.recorded(told["x-tiebreak-request-id"])
    exposure = event["exposure"]
    assert (exposure["unit"], exposure["reason"], exposure["phase"], exposure["probability"]) == (
        "ann",
        "hash",
        1,
        0.5,
    )
    assert exposure["variant"] == ["large", "small"].index(variant)
    assert (event["surface"], event["status"], event["model"], event["attempts"]) == (
        "chat",
        200,
        "tests/live",
        1,
    )
    usage = answer.json()["usage"]
    assert (event["input_tokens"], event["output_tokens"]) == (
        usage["prompt_tokens"],
        usage["completion_tokens"],
    )
    assert event["request"] is event["response"] is None  # the test records metadata only


def test_both_variants_are_served_each_with_its_own_model_prompt_and_parameters(stage):
    seen = Counter(stage.chat(user=f"unit {n}").headers["x-tiebreak-variant"] for n in range(30))
    assert set(seen) == {"large", "small"}
    small = [call for call in stage.calls() if call["model"] == "swift"]
    assert small
    swift = stage.chat(model="vendor/swift", question="9 + 9?")
    assert swift.json()["model"] == "swift"


def test_a_price_makes_a_cost_in_the_answer_and_in_the_record(stage):
    answer = stage.chat(model="vendor/careful")
    usage = answer.json()["usage"]
    cost = (10 * usage["prompt_tokens"] + 30 * usage["completion_tokens"]) / 1e6
    assert float(answer.headers["x-tiebreak-cost-usd"]) == pytest.approx(cost, abs=1e-9)
    event = stage.recorded(answer.headers["x-tiebreak-request-id"])
    assert event["cost_usd"] == pytest.approx(cost, abs=1e-9)
    assert event["exposure"] is None


def test_a_stream_is_the_vendors_byte_for_byte_without_the_usage_that_only_we_asked_for(stage):
    streamed = stage.chat(model="vendor/swift", stream=True)
    assert streamed.headers["content-type"].startswith("text/event-stream")
    assert streamed.body.endswith(b"data: [DONE]\n\n")
    assert b'"choices":[]' not in streamed.body
    asked = stage.chat(model="vendor/swift", stream=True, stream_options={"include_usage": True})
    assert b'"choices":[]' in asked.body
    event = stage.recorded(streamed.headers["x-tiebreak-request-id"])
    assert event["stream"]
    assert event["output_tokens"] > 0
    assert event["first_token_ms"] > 0
    assert not event["usage_estimated"]


def test_an_unknown_field_reaches_a_vendor_of_the_same_dialect(stage):
    answer = stage.chat(model="vendor/swift", logprobs=False, something_new={"x": [1, 2.5]})
    assert answer.status == 200


@pytest.mark.parametrize(
    ("body", "headers", "status", "said"),
    [
        ({"model": "tests/nope"}, {}, 404, "no test 'nope' takes live traffic"),
        ({"model": "nobody/x"}, {}, 404, "no provider 'nobody'"),
        ({"model": "plain"}, {}, 400, "name a test as `tests/<slug>`"),
        ({"messages": []}, {}, 400, "missing required field `model`"),
        (b"{", {}, 400, "truncated"),
        ({"model": "tests/live", "messages": []}, {"x_tiebreak_tags": "odd"}, 400, "is not `key=value`"),
        ({"model": "tests/live", "messages": [], "user": "x" * 300}, {}, 400, "has 300 characters"),
    ],
)
def test_what_cannot_be_served_is_told_in_the_callers_dialect(stage, body, headers, status, said):
    for path, where in (("/v1/chat/completions", "error"), ("/v1/messages", "error")):
        answer = stage.ask(path, body, **headers)
        assert answer.status == status
        document = answer.json()
        assert said in document[where]["message"]
        assert ("type" in document) == (path == "/v1/messages")


def test_paths_and_methods_that_are_not_there_and_foreign_pages_are_refused_in_the_dialect_too(stage):
    assert stage.ask("/v1/nothing", {}).json()["error"]["code"] == "model_not_found"
    foreign = stage.chat(headers={"sec_fetch_site": "cross-site"})
    assert (foreign.status, foreign.json()["error"]["type"]) == (403, "invalid_request_error")


def test_units_are_forced_and_excluded_by_headers_and_both_are_no_chance(stage):
    forced = stage.chat(user="ann", headers={"x_tiebreak_variant": "small"})
    assert (forced.headers["x-tiebreak-variant"], forced.headers["x-tiebreak-assignment"]) == (
        "small",
        "forced",
    )
    excluded = stage.chat(user="ann", headers={"x_tiebreak_exclude": "true"})
    assert (excluded.headers["x-tiebreak-variant"], excluded.headers["x-tiebreak-assignment"]) == (
        "large",
        "excluded",
    )
    assert stage.chat(headers={"x_tiebreak_variant": "nope"}).status == 400


def test_feedback_is_taken_late_and_repeated_and_bad_feedback_is_named(stage):
    request_id = stage.chat(user="ann").headers["x-tiebreak-request-id"]
    for value in (0, 1):
        taken = stage.ask("/v1/feedback", {"request_id": request_id, "metric": "liked", "value": value})
        assert (taken.status, taken.json()) == (202, {"accepted": 1})
    stage.recorded(request_id)

    def landed() -> bool:
        feedback = stage.server.get(f"/api/v1/requests/{request_id}")[1]["feedback"]
        return [each["value"] for each in feedback] == [1]

    until(landed, "the last feedback")
    wrong = stage.ask("/v1/feedback", {"metric": "liked", "value": 1})
    assert wrong.status == 400


def test_a_change_of_the_test_counts_within_a_second(own):
    own.cli("test", "traffic", "live", "--share", "0")
    began = time.monotonic()
    until(lambda: own.chat(user="ann").headers["x-tiebreak-assignment"] == "not_in_share", "the new share")
    assert time.monotonic() - began < 5.0  # five times the figure


def test_with_a_key_there_is_no_way_in_without_it_and_a_revoked_one_is_refused(own):
    made = json.loads(own.cli("key", "create", "--name", "app", "--scope", "gateway", "--json"))
    key, prefix = made["key"], made["prefix"]
    bearer = {"authorization": f"Bearer {key}"}
    until(lambda: own.chat(user="ann").status == 401, "the lock")
    assert own.chat(user="ann", headers=bearer).status == 200
    assert own.ask("/v1/feedback", {}, **bearer).status == 403
    assert own.chat(user="ann", headers=bearer | {"x_tiebreak_variant": "small"}).status == 403
    own.cli("key", "revoke", prefix)
    until(lambda: own.chat(user="ann", headers=bearer).status == 401, "the revocation")


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.faults)])
def test_p1_killed_workers_lose_no_answered_request_and_new_ones_do_not_fail(
    tmp_path, dsn, kills, record_property
):
    with staged(tmp_path, dsn, workers=2) as stage:
        load, killed = Load(stage), []
        with load.running():
            for _ in range(kills):
                until(
                    lambda: sum(name.startswith("requests") for name in stage.server.children()) == 2,
                    "both workers",
                )
                time.sleep(0.7)
                pid = next(
                    pid
                    for name, pid in sorted(stage.server.children().items())
                    if name.startswith("requests")
                )
                before = len(load.answered)
                killed.append(time.monotonic())
                subprocess.run(["kill", "-9", str(pid)], check=True)
                until(lambda pid=pid: not alive(pid), "the end of the worker")
                until(lambda before=before: len(load.answered) > before + 20, "answers after the kill")
        late = [at for at, _ in load.failed if not any(0 <= at - kill < 0.3 for kill in killed)]
        record_property("answers", len(load.answered))
        record_property("failed within 300 ms of a kill", len(load.failed) - len(late))
        assert late == []
        landed_exactly_once(stage, load.answered)

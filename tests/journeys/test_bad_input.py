"""Everything a user can get wrong, each with the text that tells what was wrong, where, and what to do."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.conftest import DatabaseServer
from tests.serving import environment, serving

from tiebreak import migrations

TEST = """\
name: Trial
dataset: trial
variants:
  - {key: a, model: mock/steady, template: "{{ question }}"}
  - {key: b, model: mock/steady, template: "{{ question }}"}
metrics:
  - {name: correct, role: primary, check: {kind: numeric, line: "A:"}}
"""
ITEMS = "question,expected\nWhat is 1 + 1?,2\nWhat is 2 + 2?,4\n"
BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join(['*' + old] * 10)}]\n" for old, new in zip("abcdef", "bcdefg", strict=True)
)
MODELS = """\
models:
  steady: {kind: simulated, skill: 1.0, latency: {kind: fixed, ms: 1}}
  fails: {kind: simulated, skill: 1.0, latency: {kind: fixed, ms: 1}, faults: [{status: 500, share: 1.0}]}
  limits: {kind: simulated, skill: 1.0, latency: {kind: fixed, ms: 1}, faults: [{status: 429, share: 1.0, retry_after: "1"}]}
  page: {kind: simulated, skill: 1.0, latency: {kind: fixed, ms: 1}, faults: [{status: 200, share: 1.0, body: html}]}
  cut: {kind: simulated, skill: 1.0, latency: {kind: fixed, ms: 1}, faults: [{status: 200, share: 1.0, body: truncated}]}
  nothing: {kind: simulated, skill: 1.0, latency: {kind: fixed, ms: 1}, faults: [{status: 200, share: 1.0, body: closed}]}
"""

Tiebreak = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def tiebreak(tmp_path_factory: pytest.TempPathFactory, database_server: DatabaseServer) -> Iterator[Tiebreak]:
    """Commands against one server, with a vendor called `mock` whose models misbehave by name."""
    folder = tmp_path_factory.mktemp("bad")
    dsn = database_server.dsn  # a database of the private server that no other test uses
    migrations.upgrade(dsn)
    (folder / "models.yaml").write_text(MODELS)
    vendor = subprocess.Popen(
        [sys.executable, "-m", "tiebreak", "mock-provider", "--models", "models.yaml", "--port", "0"],
        cwd=folder,
        env=environment(folder / "home", dsn),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert vendor.stdout is not None
    base_url = vendor.stdout.readline().split()[-1]
    try:
        with serving(folder / "home", dsn) as server:

            def run(*arguments: str | Path, **files: str | bytes) -> subprocess.CompletedProcess[str]:
                for name, content in files.items():
                    path = folder / name.replace("_", ".")
                    path.write_bytes(content.encode() if isinstance(content, str) else content)
                return subprocess.run(
                    [sys.executable, "-m", "tiebreak", "--url", server.url, *arguments],
                    cwd=folder,
                    env=environment(folder / "home", dsn, COLUMNS="200"),
                    capture_output=True,
                    text=True,
                    timeout=120,
                    check=False,
                )

            added = run("provider", "add", "mock", "--base-url", base_url, "--max-retries", "1")
            assert added.returncode == 0, added.stderr
            yield run
    finally:
        vendor.terminate()
        vendor.communicate(timeout=30)


def check(done: subprocess.CompletedProcess[str], *said: str, code: int = 2) -> None:
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    for words in said:
        assert words in done.stderr


@pytest.mark.parametrize(
    ("test", "said"),
    [
        pytest.param("name: [unclosed\nvariants: x", ["line 2", "bad.yaml"], id="broken YAML"),
        pytest.param(TEST.replace("dataset:", "datset:"), ["line 2", "datset", "did you mean 'dataset'"], id="unknown key"),
        pytest.param(BOMB, ["alias"], id="alias bomb"),
        pytest.param(TEST.replace('line: "A:"', "tolerance: -1"), ["line 7", "tolerance", "-1"], id="bad value"),
        pytest.param(
            TEST.replace('{kind: numeric, line: "A:"}', "{kind: regex, pattern: '(unclosed'}"),
            ["line 7", "(unclosed"],
            id="broken pattern",
        ),
        pytest.param(
            TEST.replace('{kind: numeric, line: "A:"}', "{kind: json_schema, schema: {$ref: 'https://example.com/s'}}"),
            ["line 7", "https://example.com/s"],
            id="remote reference",
        ),
        pytest.param(TEST.replace("{{ question }}", "{{ question"), ["line 4"], id="broken template"),
    ],
)  # fmt: skip
def test_a_bad_test_file_is_named_with_its_place(tiebreak: Tiebreak, test: str, said: list[str]) -> None:
    """Before anything is uploaded or stored."""
    check(tiebreak("run", "bad.yaml", "--dataset", "items.csv", bad_yaml=test, items_csv=ITEMS), *said)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        pytest.param("short.csv", "question,expected\nWhat?\n", ["line 2", "expected"], id="missing column in a line"),
        pytest.param("utf.csv", b"question,expected\nWh\xffat?,2\n", ["line 2", "UTF-8"], id="bad UTF-8"),
        pytest.param("long.csv", "question,expected\n" + "x" * (11 * 2**20) + ",1\n", ["line 2", "10"], id="endless line"),
        pytest.param("twice.csv", "id,question\na,x\nb,y\na,z\n", ["line 4", "'a'", "line 2"], id="duplicate ids"),
        pytest.param("empty.csv", "question,expected\n", ["no items"], id="empty dataset"),
        pytest.param("broken.jsonl", '{"question": "x"}\n{"question": \n', ["line 2"], id="broken JSON"),
        pytest.param("notes.txt", "hello", [".csv", ".jsonl"], id="unknown type"),
    ],
)  # fmt: skip
def test_a_bad_dataset_is_named_with_its_place(
    tiebreak: Tiebreak, name: str, content: str | bytes, said: list[str]
) -> None:
    """And nothing of it is stored."""
    check(tiebreak("dataset", "import", name, "--name", "never", **{name.replace(".", "_"): content}), *said)
    check(tiebreak("dataset", "show", "never"), "no dataset 'never'")


def test_live_traffic_that_cannot_be_is_named(tiebreak: Tiebreak) -> None:
    """Before it starts, while it is changed, and for a test that has none."""
    live = TEST.replace("dataset: trial\n", "").replace('line: "A:"', 'line: "B:"')
    check(
        tiebreak("test", "create", "live.yaml", live_yaml=live.replace("key: a,", "key: a, weight: x,")),
        "line 3",
    )
    made = tiebreak("test", "create", "live.yaml", live_yaml=live.replace("name: Trial", "name: Live trial"))
    assert "`tiebreak test start-live live-trial`" in made.stdout, made.stderr
    check(tiebreak("test", "traffic", "live-trial", "--share", "1"), "start it live first")
    assert tiebreak("test", "start-live", "live-trial").returncode == 0
    for arguments, said in (
        (["--weight", "a"], "--weight 'a' is not VARIANT=WEIGHT"),
        (["--weight", "a=1", "--weight", "a=2"], "--weight is given twice for 'a'"),
        (["--weight", "a=1"], "the weight of variant 'b' is missing"),
        (["--weight", "a=nan", "--weight", "b=1"], "/weights/a: Input should be a finite number"),
        (["--share", "2"], "less than or equal to 1"),
        (["--why", "because"], "--why goes with a change"),
    ):
        check(tiebreak("test", "traffic", "live-trial", *arguments), said)


def test_a_mapped_column_that_is_not_there_is_named(tiebreak: Tiebreak) -> None:
    """With what there is."""
    done = tiebreak("dataset", "import", "items.csv", "--expected", "solution", items_csv=ITEMS)
    check(done, "'solution'", "question")


@pytest.mark.parametrize(
    ("test", "said"),
    [
        pytest.param(TEST.replace("mock/steady", "nobody/x"), ["no provider 'nobody'", "provider list"], id="unknown provider"),
        pytest.param(TEST.replace("{{ question }}", "{{ query }}"), ["query", "question"], id="missing variable"),
        pytest.param(TEST.replace("template: \"{{ question }}\"}", "prompt: nowhere@3}"), ["nowhere"], id="unknown prompt"),
    ],
)  # fmt: skip
def test_what_a_test_refers_to_must_exist_before_anything_is_spent(
    tiebreak: Tiebreak, test: str, said: list[str]
) -> None:
    """The draft that cannot run is not kept."""
    before = tiebreak("test", "list", "--json").stdout
    check(tiebreak("run", "bad.yaml", "--dataset", "items.csv", bad_yaml=test, items_csv=ITEMS), *said)
    assert tiebreak("test", "list", "--json").stdout == before


def test_a_negative_price_is_refused(tiebreak: Tiebreak) -> None:
    """By its value."""
    done = tiebreak("provider", "price", "mock", "steady", "--input=-1", "--output", "2")
    check(done, "input_price", "-1")


def test_a_metadata_address_is_refused(tiebreak: Tiebreak) -> None:
    """Under every setting."""
    done = tiebreak("provider", "add", "cloud", "--base-url", "http://169.254.169.254/v1")
    check(done, "169.254.169.254")


def test_a_catastrophic_pattern_leaves_items_unscored_and_says_why(tiebreak: Tiebreak) -> None:
    """The response is not to blame, so it is not a 0."""
    slow = TEST.replace(
        '{kind: numeric, line: "A:"}',
        "{kind: regex, pattern: '(?:[^0-9]|[^0-9][^0-9])+$', time_limit_ms: 20}",
    )
    done = tiebreak("run", "slow.yaml", "--dataset", "items.csv", "--json", slow_yaml=slow, items_csv=ITEMS)
    assert done.returncode == 0, done.stderr
    metric = json.loads(done.stdout)["variants"][0]["metrics"]["correct"]
    assert (metric["unscored"], metric["mean"]) == (2, None)
    assert metric["reasons"] == {"time_limit": 2}


@pytest.mark.parametrize(
    ("model", "failure", "said"),
    [
        pytest.param("unheard", "not_found", "unheard", id="unknown model"),
        pytest.param("fails", "server_error", "500", id="500"),
        pytest.param("limits", "rate_limited", "429", id="429 with Retry-After"),
        pytest.param("page", "malformed", "it begins with '<", id="HTML"),
        pytest.param("cut", "malformed", "truncated", id="truncated JSON"),
        pytest.param("nothing", "connection", "closed", id="nothing"),
    ],
)
def test_an_upstream_that_misbehaves_is_named(
    tiebreak: Tiebreak, model: str, failure: str, said: str
) -> None:
    """In the run's reason where no call can succeed, else in every answer; the test is never called a winner."""
    test = TEST.replace("key: b, model: mock/steady", f"key: b, model: mock/{model}")
    if model == "unheard":
        test = test.replace("mock/steady", "mock/unheard")
    done = tiebreak("run", "up.yaml", "--dataset", "items.csv", "--json", up_yaml=test, items_csv=ITEMS)
    document = json.loads(done.stdout)
    tasks = transcripts(tiebreak, document)
    if document["run"]["state"] == "paused":
        assert said in done.stderr
        assert done.returncode == 3
    else:
        errors = {
            (task["error"], said in (task["error_detail"] or "")) for task in tasks if task["variant"] == "b"
        }
        assert errors == {(failure, True)}, tasks
        assert document["verdict"]["kind"] == "unhealthy"


def transcripts(tiebreak: Tiebreak, document: dict) -> list[dict]:
    """The tasks of the document's run, over the API."""
    arguments = tiebreak("provider", "list").args
    url = arguments[arguments.index("--url") + 1]
    with urllib.request.urlopen(f"{url}/api/v1/runs/{document['run']['id']}/tasks", timeout=30) as answer:
        return json.load(answer)["data"]

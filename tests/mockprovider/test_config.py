"""Reading models, questions and recorded answers; what is wrong with them, where, and what to do."""

from pathlib import Path

import pytest

from tiebreak.errors import InvalidInput
from tiebreak.mockprovider.config import MockOptions, load
from tiebreak.mockprovider.description import Fault, Fixed, Lognormal, Price, Recorded, Simulated

QUESTION = '{"id": "q1", "question": "How many legs has a spider?", "answer": 8, "more": [1]}\n'
ANSWER = '{"id": "q1", "model": "small", "text": "A: 8", "more": null}\n'
MODELS = """
seed: 5
questions: questions.jsonl
recorded: recorded.jsonl
models:
  careful:
    kind: simulated
    skill: 0.9
    difficulty: {hard: -0.2}
    latency: {kind: lognormal, median_ms: 400, sigma: 0.3}
    first_token: {kind: fixed, ms: 50}
    price: {input: 3, output: 15}
    seed: 2
    faults:
      - {status: 429, share: 0.1, retry_after: "2"}
      - {status: 200, first: 3, body: html}
  echo: {kind: recorded, model: small, latency: {kind: fixed, ms: 20}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "questions.jsonl").write_text(QUESTION)
    (tmp_path / "recorded.jsonl").write_text(ANSWER)
    (tmp_path / "models.yaml").write_text(MODELS)
    return tmp_path


def test_a_models_file_names_its_files_beside_it(folder):
    config = load(MockOptions(models=folder / "models.yaml"))
    assert config.models == {
        "careful": Simulated(
            skill=0.9,
            difficulty={"hard": -0.2},
            latency=Lognormal(400, 0.3),
            first_token=Fixed(50),
            price=Price(3, 15),
            seed=2,
            faults=(Fault(429, share=0.1, retry_after="2"), Fault(200, first=3, body="html")),
        ),
        "echo": Recorded(model="small", latency=Fixed(20)),
    }
    assert config.bank.find("How many legs has a spider?").expected == "8"
    assert config.recorded == {("small", "q1"): "A: 8"}
    assert config.seed == 5


def test_options_replace_what_the_file_says(folder):
    other = folder / "other.jsonl"
    other.write_text(QUESTION.replace("spider", "beetle") + "\n  \n")
    log = folder / "log.jsonl"
    config = load(
        MockOptions(models=folder / "models.yaml", questions=other, seed=0, delay_ms=7, log=log, api_key="k")
    )
    assert config.bank.find("How many legs has a beetle?") is not None
    assert (config.seed, config.delay_ms, config.log, config.api_key) == (0, 7, log, "k")


def test_recorded_answers_alone_serve_each_of_their_models(folder):
    answers = folder / "recorded.jsonl"
    answers.write_text(ANSWER + ANSWER.replace("small", "big"))
    config = load(MockOptions(recorded=answers, questions=folder / "questions.jsonl"))
    assert config.models == {"small": Recorded(), "big": Recorded()}
    assert config.seed == 0


def refusal(options: MockOptions) -> str:
    with pytest.raises(InvalidInput) as caught:
        load(options)
    return caught.value.detail


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("models: [", "is not YAML: line 1, column 10: "),
        ("models: {}", "Expected `object` of length >= 1 - at `$.models`"),
        ("model: {}", "Object contains unknown field `model`"),
        ("[]", "Expected `object`, got `array`"),
        ("models: {m: {kind: simulated, skil: 1}}", "contains unknown field `skil` - at `$.models[...]`"),
        ("models: {m: {kind: simulated}}", "missing required field `skill`"),
        ("models: {m: {kind: simulated, skill: 1.5}}", "Expected `float` <= 1.0 - at `$.models[...].skill`"),
        ("models: {m: {kind: simulated, skill: .nan}}", "Expected `float`"),
        ("models: {m: {kind: real, skill: 1}}", "Invalid value 'real' - at `$.models[...].kind`"),
        ("models: {m: {kind: simulated, skill: 1, price: {input: -1, output: 0}}}", "Expected `float` >= 0.0"),
        ("models: {m: {kind: simulated, skill: 1, faults: [{status: 500}]}}", "either `share` or `first`"),
        ('models: {m: {kind: simulated, skill: 1, faults: [{first: 1, retry_after: "2\\r\\nx: y"}]}}', "retry_after"),
        ("models: {m m: {kind: simulated, skill: 1}}", "Expected `str` matching regex"),
        ("models: {m: {kind: recorded}}", "model 'm' has no recorded answer to any of the 0 questions"),
        ("\x00", "is not YAML"),
        ("[" * 1000, "is not YAML"),
        ("!!python/object:os.system {}", "is not YAML: line 1, column 1: could not determine a constructor"),
    ],
)  # fmt: skip
def test_a_broken_models_file_is_refused_by_name_and_place(tmp_path, text, reason):
    path = tmp_path / "models.yaml"
    path.write_text(text)
    message = refusal(MockOptions(models=path))
    assert reason in message


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (QUESTION + "{", "questions.jsonl, line 2: Input data was truncated"),
        (QUESTION + "\n\xff", "questions.jsonl, line 3: "),
        ('{"id": "q1"}', "line 1: Object missing required field `question`"),
        ('{"id": "q1", "question": " "}', "line 1: question 'q1' is empty"),
        (QUESTION + QUESTION.replace("spider", "beetle"), "line 2: the id 'q1' is that of line 1 too; make it unique"),
        (QUESTION + QUESTION.replace("q1", "q2"), "line 2: the question 'How many legs has a spider?' is that of line 1"),
        ((QUESTION.replace("q1", "q" * 99)) * 2, "qqqq…' is that of line 1 too"),
    ],
)  # fmt: skip
def test_a_broken_question_names_its_line(folder, lines, reason):
    (folder / "questions.jsonl").write_bytes(lines.encode("latin-1"))
    assert reason in refusal(MockOptions(models=folder / "models.yaml"))


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (ANSWER * 2, "recorded.jsonl, line 2: model 'small' answers 'q1' a second time; keep one"),
        ('{"id": "q1", "model": "small"}', "line 1: Object missing required field `text`"),
        (ANSWER.replace("q1", "q9"), "model 'echo' has no recorded answer to any of the 1 questions"),
        ("", "model 'echo' has no recorded answer to any of the 1 questions"),
    ],
)
def test_a_broken_recording_names_its_line(folder, lines, reason):
    (folder / "recorded.jsonl").write_text(lines)
    assert reason in refusal(MockOptions(models=folder / "models.yaml"))


def test_a_missing_file_is_named(tmp_path):
    assert (
        refusal(MockOptions(models=tmp_path / "gone.yaml"))
        == f"cannot read {tmp_path}/gone.yaml: No such file or directory"
    )
    assert "cannot read" in refusal(MockOptions(recorded=tmp_path))


def test_nothing_to_serve_is_an_error():
    assert refusal(MockOptions()).startswith("nothing to serve: ")


@pytest.mark.parametrize("delay", [-1, 3_600_001, float("nan")])
def test_a_delay_is_between_nothing_and_an_hour(delay):
    assert "is not between 0 and 3,600,000" in refusal(MockOptions(delay_ms=delay))


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_is_a_port(port):
    assert refusal(MockOptions(port=port)).startswith(f"port {port} is not between")

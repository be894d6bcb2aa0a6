"""What to serve, read from files: a models file, a question bank, recorded answers."""

import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec
import yaml
from msgspec import Struct

from tiebreak.errors import Fault, InvalidInput
from tiebreak.mockprovider.description import Model, ModelsFile, Recorded
from tiebreak.mockprovider.questions import Question, QuestionBank

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class MockOptions:
    """The options of the command. `port` 0 is any free one; `seed` and `delay_ms` replace what the file says."""

    models: Path | None = None
    questions: Path | None = None
    recorded: Path | None = None
    host: str = "127.0.0.1"
    port: int = 0
    delay_ms: float | None = None
    log: Path | None = None
    api_key: str | None = None
    seed: int | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None


@dataclass(frozen=True, slots=True)
class MockConfig:
    """Everything a mock vendor knows. `recorded` holds texts by (model's name in the recorded file, question id)."""

    models: Mapping[str, Model]
    bank: QuestionBank = field(default_factory=lambda: QuestionBank(()))
    recorded: Mapping[tuple[str, str], str] = field(default_factory=dict)
    seed: int = 0
    delay_ms: float | None = None
    log: Path | None = None
    api_key: str | None = None
    tls: ssl.SSLContext | None = None


class _RecordedLine(Struct, frozen=True):
    id: str
    model: str
    text: str


def load(options: MockOptions) -> MockConfig:
    """Read the files that the options name; InvalidInput says which of them is wrong, where and why.

    With recorded answers and no models file each recorded model is served under its own name, without delay.
    """
    if options.delay_ms is not None and not 0 <= options.delay_ms <= 3_600_000:
        raise InvalidInput(f"a delay of {options.delay_ms} ms is not between 0 and 3,600,000 (an hour)")
    if not 0 <= options.port <= 65535:
        raise InvalidInput(f"port {options.port} is not between 0 and 65535; 0 takes a free one")
    if options.models is None and options.recorded is None:
        raise InvalidInput("nothing to serve: give a models file, or recorded answers with their questions")
    path = options.models
    file = read_models(path) if path else None
    questions = options.questions or _beside(path, file.questions if file else None)
    answers = options.recorded or _beside(path, file.recorded if file else None)
    bank = read_questions(questions) if questions else QuestionBank(())
    recorded = read_recorded(answers) if answers else {}
    models = file.models if file else {name: Recorded() for name, _ in recorded}
    _check_recorded(models, recorded, bank)
    return MockConfig(
        models=models,
        bank=bank,
        recorded=recorded,
        seed=options.seed if options.seed is not None else file.seed if file else 0,
        delay_ms=options.delay_ms,
        log=options.log,
        api_key=options.api_key,
        tls=server_tls(options.tls_cert, options.tls_key),
    )


def server_tls(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """TLS with the certificate chain and the private key of these PEM files; None without a certificate."""
    if certificate is None:
        if key is not None:
            raise InvalidInput(f"the TLS key {key} has no certificate; give --tls-cert too")
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        # A password is never asked for on the terminal: an encrypted key is refused instead.
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"cannot serve TLS with the certificate {certificate} and the key {key or certificate}: {error}; "
            "give both as PEM files that belong together, the key without a password"
        ) from error
    return context


def read_models(path: Path) -> ModelsFile:
    """The models file."""
    try:
        return msgspec.convert(yaml.safe_load(_read(path)), ModelsFile)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = Fault("", str(error.problem), line=mark.line + 1, column=mark.column + 1) if mark else None
        raise InvalidInput(
            f"{path} is not YAML: {place or error}", faults=[place] if place else ()
        ) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise InvalidInput(f"{path} is not YAML: {error}") from error
    except msgspec.ValidationError as error:
        raise InvalidInput(f"{path} does not describe models: {error}") from error


def read_questions(path: Path) -> QuestionBank:
    """The question bank: JSONL of {id, question, answer, category, difficulty}, the last three optional."""
    questions: list[Question] = []
    ids: dict[str, int] = {}
    texts: dict[str, int] = {}
    for line, question in _lines(path, Question):
        if not question.text:
            raise _wrong(path, line, f"question {question.id!r} is empty")
        for what, key, seen in (("id", question.id, ids), ("question", question.text, texts)):
            if key in seen:
                short = repr(key if len(key) <= 60 else key[:59] + "…")
                raise _wrong(
                    path, line, f"the {what} {short} is that of line {seen[key]} too; make it unique"
                )
            seen[key] = line
        questions.append(question)
    return QuestionBank(questions)


def read_recorded(path: Path) -> dict[tuple[str, str], str]:
    """Recorded answers: JSONL of {id, model, text}, by model and id."""
    recorded: dict[tuple[str, str], str] = {}
    for line, answer in _lines(path, _RecordedLine):
        key = (answer.model, answer.id)
        if key in recorded:
            raise _wrong(path, line, f"model {answer.model!r} answers {answer.id!r} a second time; keep one")
        recorded[key] = answer.text
    return recorded


def _check_recorded(
    models: Mapping[str, Model], recorded: Mapping[tuple[str, str], str], bank: QuestionBank
) -> None:
    """Say now what every single call would say otherwise."""
    known = {question.id for question in bank.questions}
    usable = {name for name, question in recorded if question in known}
    for name, model in models.items():
        if isinstance(model, Recorded) and (model.model or name) not in usable:
            raise InvalidInput(
                f"model {name!r} has no recorded answer to any of the {len(known)} questions: "
                f"give both files (--questions, --recorded) with the same ids, and the model's name in the second"
            )


def _beside(path: Path | None, name: str | None) -> Path | None:
    return path.parent / name if path and name else None


def _lines(path: Path, kind: type[_T]) -> Iterator[tuple[int, _T]]:
    decoder = msgspec.json.Decoder(kind)
    for number, line in enumerate(_read(path).split(b"\n"), start=1):
        if line.strip():
            try:
                yield number, decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise _wrong(path, number, str(error)) from error


def _wrong(path: Path, line: int, reason: str) -> InvalidInput:
    return InvalidInput(f"{path}, line {line}: {reason}", faults=[Fault("", reason, line=line)])


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}") from error

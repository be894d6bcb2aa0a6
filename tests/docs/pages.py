"""What a page of documentation contains: commands with the output it promises, and files it tells the reader to write."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

FENCE = re.compile(r"^```(?P<info>[^\n]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)

PROMPT = re.compile(
    r"\$ (?=([A-Z_]+=\S+ )?(tiebreak|curl) )"
)  # a results table may begin with a dollar sign, too


@dataclass
class Command:
    """One `$ …` line of a console block and what the page says it prints."""

    line: str
    output: list[str] = field(default_factory=list)

    @property
    def background(self) -> bool:
        """Whether the page leaves it running."""
        return self.line.endswith(" &")

    def promised(self) -> re.Pattern[str]:
        """The promised output as a pattern; `…` stands for anything, also for several lines.

        So does a line with milliseconds: they are measured anew each time.
        """
        text = "\n".join("…" if re.search(r"\bms\b|_ms", line) else line for line in self.output).strip()
        return re.compile(".*?".join(re.escape(part) for part in text.split("…")), re.DOTALL)


@dataclass
class File:
    """A block the reader saves, without its first line, which says under which name."""

    name: str
    text: str


def steps(page: str) -> Iterator[Command | File]:
    """Everything on the page that is carried out, in order."""
    for block in FENCE.finditer(page):
        info, body = block["info"].strip(), block["body"]
        if info == "console":
            yield from _commands(body)
        elif named := re.match(r"# file: (\S+)\n", body):
            yield File(named[1], body.removeprefix(named[0]))


def _commands(body: str) -> Iterator[Command]:
    command: Command | None = None
    for line in body.splitlines():
        if PROMPT.match(line):
            if command is not None:
                yield command
            command = Command(line[2:])
        elif command is not None and command.line.endswith("\\"):
            command.line = command.line[:-1] + line.strip()
        elif command is not None:
            command.output.append(line)
    if command is not None:
        yield command

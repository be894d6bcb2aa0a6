"""The question bank: which question a message asks, by the text contained in it. Pure."""

from collections.abc import Iterable

from msgspec import Struct

# Long enough that few questions begin alike, short enough that few questions are shorter.
ANCHOR = 16


class Question(Struct, frozen=True):
    """A question with what is known of it; other keys of its line are ignored."""

    id: str
    question: str
    answer: str | int | float | None = None
    category: str | None = None
    difficulty: str | None = None

    @property
    def text(self) -> str:
        """The question as it is looked for."""
        return self.question.strip()

    @property
    def expected(self) -> str:
        """The answer as text; "" when none is known."""
        return "" if self.answer is None else str(self.answer).strip()


class QuestionBank:
    """Questions with distinct texts, found by the longest one that a message contains."""

    def __init__(self, questions: Iterable[Question]) -> None:
        self.questions = tuple(questions)
        self._whole = {question.text: question for question in self.questions}
        self._anchored: dict[str, list[tuple[str, Question]]] = {}
        self._short: list[tuple[str, Question]] = []
        for text, question in sorted(self._whole.items(), key=lambda entry: -len(entry[0])):
            place = self._anchored.setdefault(text[:ANCHOR], []) if len(text) >= ANCHOR else self._short
            place.append((text, question))

    def find(self, message: str) -> Question | None:
        """The question whose text the message contains; of several the longest, of those the first; else None."""
        if whole := self._whole.get(message.strip()):
            return whole
        return self._longest(message) or next((found for text, found in self._short if text in message), None)

    def _longest(self, message: str) -> Question | None:
        length, best = 0, None
        anchored = self._anchored
        for start in range(len(message) - ANCHOR + 1):
            for text, question in anchored.get(message[start : start + ANCHOR], ()):
                if len(text) <= length:
                    break
                if message.startswith(text, start):
                    length, best = len(text), question
                    break
        return best

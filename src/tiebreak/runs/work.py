"""How one task is answered: write the request, call, score, make the row."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from tiebreak.errors import InvalidInput
from tiebreak.evaluation.model import Answer
from tiebreak.providers.model import Account, ProviderError
from tiebreak.providers.pipeline import Pipeline
from tiebreak.runs import scoring
from tiebreak.runs.model import Plan, PlannedVariant, Result, Task
from tiebreak.runs.scoring import Checks, Writer


@dataclass(frozen=True, slots=True)
class Work:
    """What answering the tasks of a run takes; prepared once, when a worker takes the run up."""

    variants: tuple[PlannedVariant, ...]
    writers: tuple[Writer, ...]
    checks: Checks
    accounts: Mapping[UUID, Account]
    pipeline: Pipeline

    @property
    def widest(self) -> int:
        """As many calls as the providers take at once; more in flight would only wait in front of them."""
        return sum(account.concurrency for account in self.accounts.values())

    async def answer(self, task: Task) -> Result:
        """Call and score. A failed call is a result too; checks count it as wrong."""
        writer = self.writers[task.key.variant]
        try:
            request = writer.request(task.inputs)
        except InvalidInput as exc:
            scores = await self._score(Answer(None, None, task.expected))
            return scoring.failed(task.key, scoring.TEMPLATE_FAILURE, exc.detail, 0, scores)
        try:
            response = await self.pipeline.complete(self.accounts[writer.variant.provider_id], request)
        except ProviderError as exc:
            scores = await self._score(Answer(None, None, task.expected))
            return scoring.failed(task.key, exc.failure, exc.detail, exc.calls, scores)
        scores = await self._score(Answer(response.text, response.ending, task.expected))
        return scoring.answered(task.key, response, writer.price, scores)

    async def _score(self, answer: Answer) -> str:
        if (
            self.checks.slow
        ):  # a thread costs more than a quick check, but a slow one would stop every other call
            return await asyncio.to_thread(self.checks.score, answer)
        return self.checks.score(answer)


def prepare(plan: Plan, accounts: Mapping[UUID, Account], pipeline: Pipeline) -> Work:
    """Compile the templates and checks of a run."""
    return Work(
        variants=tuple(plan.variants),
        writers=scoring.build_writers(plan),
        checks=scoring.build_checks(plan.definition),
        accounts=accounts,
        pipeline=pipeline,
    )

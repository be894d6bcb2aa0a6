"""How one task is answered: write the request, call, score, make the row."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from uuid import UUID

from tiebreak.errors import InvalidInput
from tiebreak.evaluation.model import Answer
from tiebreak.experiments.plans import PlannedVariant
from tiebreak.providers.account import Account
from tiebreak.providers.fallback import AllFailed, Answered, Target, ask_in_order
from tiebreak.providers.model import ChatRequest, ChatResponse
from tiebreak.providers.pipeline import Pipeline
from tiebreak.providers.sharing import Scope
from tiebreak.runs import scoring
from tiebreak.runs.model import Plan, Result, Run, Task
from tiebreak.runs.scoring import Checks, Writer


@dataclass(frozen=True, slots=True)
class Work:
    """What answering the tasks of a run takes; prepared once, when a worker takes the run up.

    `scopes` and `targets` stand in the order of the variants.
    """

    variants: tuple[PlannedVariant, ...]
    writers: tuple[Writer, ...]
    checks: Checks
    scopes: tuple[Scope, ...]
    targets: tuple[tuple[Target, ...], ...]
    pipeline: Pipeline

    @property
    def widest(self) -> int:
        """As many calls as the providers take at once; more in flight would only wait in front of them."""
        accounts = {
            target.account.provider_id: target.account for targets in self.targets for target in targets
        }
        return sum(account.concurrency for account in accounts.values())

    async def answer(self, task: Task, patience: float) -> Result:
        """Call and score. A failed call is a result too; checks count it as wrong. `patience` is as for `Pipeline`."""
        variant = task.key.variant
        try:
            request = self.writers[variant].request(task.inputs)
        except InvalidInput as exc:
            scores = await self._score(Answer(None, None, task.expected))
            return scoring.failed(task.key, scoring.TEMPLATE_FAILURE, exc.detail, 0, scores)
        try:
            answered = await self._ask(variant, request, patience)
        except AllFailed as exc:
            scores = await self._score(Answer(None, None, task.expected))
            return scoring.failed(
                task.key, exc.failure, exc.detail, exc.calls, scores, fallbacks=exc.fallbacks
            )
        response = answered.response
        scores = await self._score(Answer(response.text, response.ending, task.expected))
        return scoring.answered(task.key, answered, self.writers[variant].prices[answered.place], scores)

    async def _ask(self, variant: int, request: ChatRequest, patience: float) -> Answered:
        targets = self.targets[variant]
        waiting = patience if len(targets) == 1 else 0.0  # who has somebody to fall back on need not wait

        async def ask(target: Target) -> ChatResponse:
            asked = replace(request, model=target.model)
            return await self.pipeline.complete(target.account, asked, self.scopes[variant], waiting)

        return await ask_in_order(targets, ask)

    async def _score(self, answer: Answer) -> str:
        if (
            self.checks.slow
        ):  # a thread costs more than a quick check, but a slow one would stop every other call
            return await asyncio.to_thread(self.checks.score, answer)
        return self.checks.score(answer)


def prepare(run: Run, accounts: Mapping[UUID, Account], pipeline: Pipeline) -> Work:
    """Compile the templates and checks of a run."""
    plan = run.plan
    return Work(
        variants=tuple(plan.variants),
        writers=scoring.build_writers(plan),
        checks=scoring.build_checks(plan.definition),
        scopes=tuple(_scope(run, plan, variant) for variant in plan.variants),
        targets=tuple(
            tuple(Target(accounts[model.provider_id], model.model) for model in variant.models)
            for variant in plan.variants
        ),
        pipeline=pipeline,
    )


def _scope(run: Run, plan: Plan, variant: PlannedVariant) -> Scope:
    """A run is a phase of its own: another run of the same test draws again."""
    if plan.definition.share_responses:
        return Scope.shared(str(run.test_id), f"run {run.id}", variant.key)
    return Scope.own(f"run:{run.id}")

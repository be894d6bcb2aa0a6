import json
from datetime import timedelta
from decimal import Decimal

import pytest
from tests.runs.stage import (
    CLOCK,
    add_dataset,
    add_provider,
    add_test,
    definition,
    read,
    rows,
    set_stage,
    start,
)

from tiebreak.errors import Conflict, IllegalTransition, InvalidInput, NotFound
from tiebreak.experiments import service as experiments
from tiebreak.experiments.definition import Budget, digest
from tiebreak.experiments.model import Step
from tiebreak.ids import new_id
from tiebreak.prompts import service as prompts
from tiebreak.providers import service as providers
from tiebreak.providers.account import Price
from tiebreak.runs import planning, service
from tiebreak.runs.budget import REASONS, Limit
from tiebreak.runs.model import RunState, TaskKey
from tiebreak.runs.store import RunFilter


@pytest.fixture
async def stage(database):
    await add_dataset(database)
    await add_provider(database)
    return database


async def refused(database, **changes) -> InvalidInput:
    draft = await add_test(database, **changes)
    with pytest.raises(InvalidInput) as caught:
        await start(database, draft)
    async with database.transaction() as tx:
        assert (await experiments.get(tx, draft.slug)).state == "draft"
        assert await service.latest_for_test(tx, draft.id) is None
    return caught.value


async def test_starting_freezes_the_plan_and_lays_out_the_tasks(stage):
    run = await start(stage, await add_test(stage, repeats=2))
    assert (run.state, run.total, run.done, run.concurrency) == (RunState.RUNNING, 24, 0, 8)
    assert [(v.key, v.provider, v.model, v.system) for v in run.plan.variants] == [
        ("small", "vendor", "small", None),
        ("large", "vendor", "large", "Be exact."),
    ]
    laid_out = await rows(stage, run)
    assert {(r["position"], r["variant"], r["repeat"]) for r in laid_out} == {
        (p, v, r) for p in range(6) for v in range(2) for r in range(2)
    }
    assert {row["state"] for row in laid_out} == {"queued"}


async def test_a_parameter_without_words_in_the_providers_dialect_stops_the_start(stage):
    await add_provider(stage, name="claude", dialect="anthropic")
    variants = [
        {"key": "one", "model": "vendor/small", "template": "{{ question }}", "parameters": {"seed": 7}},
        {"key": "two", "model": "claude/small", "template": "{{ question }}", "parameters": {"seed": 7}},
    ]
    why = await refused(stage, variants=variants)
    assert [fault.pointer for fault in why.faults] == ["/variants/1/parameters"]
    assert "variant 'two': Anthropic takes no seed" in why.detail


async def test_a_variant_that_only_live_traffic_can_ask_is_refused_before_the_dataset_is_known(stage):
    variants = [
        {"key": "one", "model": "vendor/small"},
        {"key": "two", "model": "vendor/small", "template": "{{ question }}"},
    ]
    why = await refused(stage, variants=variants, dataset=None)
    assert [fault.pointer for fault in why.faults] == ["/dataset", "/variants/0"]
    assert "variant 'one': it needs either `prompt` or `template`" in why.detail
    with pytest.raises(InvalidInput, match="variant 'one': it needs either `prompt` or `template`"):
        await add_test(stage, variants=variants)


async def test_a_stored_prompt_is_frozen_in_the_version_of_the_start(stage):
    async with stage.transaction() as tx:
        await prompts.create(tx, "solve", template="Solve: {{ question }}", system="Now {{ question }}")
    variants = [
        {"key": "old", "model": "vendor/small", "prompt": "solve"},
        {"key": "new", "model": "vendor/small", "prompt": "solve@1"},
    ]
    draft = await add_test(stage, variants=variants)
    run = await start(stage, draft)
    async with stage.transaction() as tx:
        await prompts.add_version(tx, "solve", template="Other: {{ question }}")
    run = await read(stage, run)
    assert {v.template for v in run.plan.variants} == {"Solve: {{ question }}"}
    assert {v.system for v in run.plan.variants} == {"Now {{ question }}"}


@pytest.mark.parametrize(
    ("changes", "pointer", "message"),
    [
        ({"dataset": None}, "/dataset", "no dataset; name one"),
        ({"dataset": "nothing"}, "/dataset", "no dataset 'nothing'"),
        ({"dataset": "sums@7"}, "/dataset", "has no version 7"),
    ],
)
async def test_a_test_needs_its_dataset(stage, changes, pointer, message):
    error = await refused(stage, **changes)
    assert error.faults[0].pointer == pointer
    assert message in error.faults[0].message


@pytest.mark.parametrize(
    ("change", "pointer", "message"),
    [
        ({"model": "nobody/small"}, "/variants/1/model", "variant 'bad': no provider 'nobody'"),
        ({"template": None, "prompt": "unwritten"}, "/variants/1/prompt", "no prompt 'unwritten'"),
        (
            {"template": "{{ question }} {{ hint }}"},
            "/variants/1/template",
            "the prompt uses 'hint', which dataset sums@1 does not have; it has 'question'",
        ),
        ({"system": "{{ tone }}"}, "/variants/1/template", "the prompt uses 'tone'"),
        ({"parameters": {"n": 2}}, "/variants/1/parameters/n", "use `repeats` for more than one answer"),
    ],
)
async def test_a_variant_that_cannot_be_called_is_named_before_anything_is_spent(
    stage, change, pointer, message
):
    good = {"key": "good", "model": "vendor/small", "template": "{{ question }}"}
    error = await refused(stage, variants=[good, {**good, "key": "bad", **change}])
    assert [fault.pointer for fault in error.faults] == [pointer]
    assert message in error.faults[0].message


async def test_every_fault_is_named_at_once(stage):
    variants = [{"key": k, "model": f"no-{k}/m", "template": "{{ question }}"} for k in ("a", "b")]
    error = await refused(stage, variants=variants, dataset="nothing")
    assert [fault.pointer for fault in error.faults] == ["/dataset", "/variants/0/model", "/variants/1/model"]


async def test_a_money_budget_needs_prices(stage):
    error = await refused(stage, budget={"max_cost": 1})
    assert error.faults[0].pointer == "/budget/max_cost"
    assert "none is known of 'vendor/large', 'vendor/small'" in error.detail
    assert "`tiebreak provider price vendor large`" in error.detail


async def test_limits_of_the_start_go_before_those_of_the_definition(stage):
    draft = await add_test(stage, budget={"max_requests": 5, "max_seconds": 60})
    run = await start(stage, draft, concurrency=3, budget={"max_requests": 7})
    assert (run.concurrency, run.max_requests, run.max_seconds) == (3, 7, 60)
    assert service.budget_of(run) == Budget(max_requests=7, max_seconds=60)


async def test_money_survives_the_way_into_the_database(database):
    run = await set_stage(database, priced=True, budget={"max_cost": 0.1})
    assert run.max_cost_nano == 100_000_000
    assert service.budget_of(run).max_cost == 0.1


async def test_a_sample_takes_some_of_the_items(stage):
    run = await start(stage, await add_test(stage, sample={"size": 2}))
    again = await start(stage, await add_test(stage, sample={"size": 2}))
    positions = {row["position"] for row in await rows(stage, run)}
    assert (run.total, len(positions)) == (4, 2)
    assert positions == {row["position"] for row in await rows(stage, again)}


async def test_a_stratified_sample_takes_of_every_stratum(stage):
    run = await start(stage, await add_test(stage, sample={"size": 4, "stratify": "category"}))
    assert sorted(p % 2 for p in {row["position"] for row in await rows(stage, run)}) == [0, 0, 1, 1]


async def test_a_sample_of_everything_is_everything(stage):
    assert (await start(stage, await add_test(stage, sample={"size": 600}))).total == 12


async def test_a_run_has_an_upper_size(stage, database):
    pool = await database.pool()
    await pool.execute("update dataset_versions set item_count = 1000000")
    error = await refused(stage, repeats=2)
    assert "4000000 calls are more than one run takes (2000000)" in error.detail


async def test_a_test_that_measures_the_first_token_streams(stage):
    metrics = [*definition().model_dump(mode="json")["metrics"], {"name": planning.STREAMED_METRIC}]
    assert (await start(stage, await add_test(stage, metrics=metrics))).plan.stream
    assert not (await start(stage, await add_test(stage))).plan.stream


async def test_run_and_test_move_together(stage):
    draft = await add_test(stage)
    run = await start(stage, draft)

    async def states():
        async with stage.transaction() as tx:
            test = await experiments.get(tx, draft.slug)
            now = await service.get(tx, run.id)
            assert (test.state, test.reason) == (now.state, now.reason)
            return now

    assert (await states()).state is RunState.RUNNING
    async with stage.transaction() as tx:
        await service.pause(tx, run.id, at=CLOCK.now())
    paused = await states()
    assert (paused.state, paused.reason) == (RunState.PAUSED, "on request")
    async with stage.transaction() as tx:
        await service.resume(tx, run.id, at=CLOCK.now())
    assert (await states()).reason is None
    async with stage.transaction() as tx:
        await service.cancel(tx, run.id, at=CLOCK.now(), reason="enough")
    ended = await states()
    assert (ended.state, ended.reason, ended.ended_at is not None) == (RunState.CANCELLED, "enough", True)


async def test_a_pause_does_not_use_up_time(stage, database):
    run = await start(stage, await add_test(stage))
    pool = await database.pool()
    await pool.execute("update runs set resumed_at = resumed_at - interval '10 seconds'")
    async with stage.transaction() as tx:
        await service.pause(tx, run.id, at=CLOCK.now())
    await pool.execute("update runs set resumed_at = resumed_at - interval '1 hour'")
    async with stage.transaction() as tx:
        resumed = await service.resume(tx, run.id, at=CLOCK.now())
    assert 10_000 <= resumed.active_ms < 100_000


@pytest.mark.parametrize("step", [service.pause, service.resume, service.cancel])
async def test_an_ended_run_stays_as_it_is(stage, step):
    run = await start(stage, await add_test(stage))
    async with stage.transaction() as tx:
        await service.cancel(tx, run.id, at=CLOCK.now())
    with pytest.raises(IllegalTransition):
        async with stage.transaction() as tx:
            await step(tx, run.id, at=CLOCK.now())
    with pytest.raises(IllegalTransition, match="its limits cannot be changed any more"):
        async with stage.transaction() as tx:
            await service.change_limits(tx, run.id, concurrency=3)


async def test_a_started_test_cannot_be_started_again(stage):
    draft = await add_test(stage)
    await start(stage, draft)
    async with stage.transaction() as tx:
        running = await experiments.get(tx, draft.slug)
    with pytest.raises(IllegalTransition):
        await start(stage, running)
    with pytest.raises(Conflict):
        await start(stage, draft)


async def test_a_step_of_a_test_acts_on_its_run(stage):
    draft = await add_test(stage)
    with pytest.raises(IllegalTransition, match="start it first"):
        async with stage.transaction() as tx:
            await service.of_test(tx, draft, Step.PAUSE)
    run = await start(stage, draft)
    async with stage.transaction() as tx:
        running = await experiments.get(tx, draft.slug)
        assert (await service.of_test(tx, running, Step.PAUSE)).id == run.id


async def test_a_test_that_runs_without_a_run_has_nothing_to_pause(stage):
    draft = await add_test(stage)
    async with stage.transaction() as tx:
        running = draft.start(CLOCK.now())
        await experiments.save(tx, draft, running)
        with pytest.raises(IllegalTransition, match="has no run; start it first"):
            await service.of_test(tx, running, Step.PAUSE)


async def test_resuming_needs_a_budget_that_is_not_used_up(stage):
    run = await start(stage, await add_test(stage), budget={"max_requests": 0})
    async with stage.transaction() as tx:
        await service.pause(tx, run.id, at=CLOCK.now())
    with pytest.raises(Conflict, match="raise max_requests"):
        async with stage.transaction() as tx:
            await service.resume(tx, run.id, at=CLOCK.now())
    async with stage.transaction() as tx:
        resumed = await service.resume(
            tx, run.id, concurrency=2, budget=Budget(max_requests=None), at=CLOCK.now()
        )
    assert (resumed.state, resumed.max_requests, resumed.concurrency) == (RunState.RUNNING, None, 2)
    assert REASONS[Limit.REQUESTS].startswith("budget: ")


async def test_resuming_a_running_run_is_refused(stage):
    run = await start(stage, await add_test(stage))
    with pytest.raises(IllegalTransition):
        async with stage.transaction() as tx:
            await service.resume(tx, run.id, at=CLOCK.now())


async def test_a_money_budget_cannot_be_added_without_prices(stage):
    run = await start(stage, await add_test(stage))
    with pytest.raises(InvalidInput, match="max_cost needs a price"):
        async with stage.transaction() as tx:
            await service.change_limits(tx, run.id, budget=Budget(max_cost=1.0))


async def test_an_unknown_run_is_named(stage):
    unknown = new_id()
    with pytest.raises(NotFound, match=str(unknown)):
        async with stage.transaction() as tx:
            await service.get(tx, unknown)


async def test_runs_are_listed_by_age_and_filtered(stage):
    drafts = [await add_test(stage), await add_test(stage, repeats=2), await add_test(stage)]
    runs = [await start(stage, draft) for draft in drafts]
    async with stage.transaction() as tx:
        await service.cancel(tx, runs[2].id, at=CLOCK.now())

        async def ids(limit=10, after=None, **wanted):
            return [run.id for run in await service.list_page(tx, limit, after, RunFilter(**wanted))]

        assert await ids() == [run.id for run in runs]
        assert await ids(limit=1) == [run.id for run in runs[:2]]
        assert await ids(after=runs[0].id) == [run.id for run in runs[1:]]
        assert await ids(test_id=drafts[1].id) == [runs[1].id]
        assert await ids(definition_hash=digest(drafts[0].definition)) == [runs[0].id, runs[2].id]
        assert await ids(content_hash="c" * 64, unfinished=True) == [runs[0].id, runs[1].id]
        assert await ids(content_hash="d" * 64) == []
        assert await ids(state=RunState.CANCELLED) == [runs[2].id]


async def test_the_newest_unfinished_run_of_the_same_kind_can_be_resumed(stage):
    hashed = digest(definition(budget={"max_requests": 3}, concurrency=2))
    first = await start(stage, await add_test(stage))
    second = await start(stage, await add_test(stage))
    async with stage.transaction() as tx:
        assert (await service.find_resumable(tx, hashed, "c" * 64)).id == second.id
        await service.cancel(tx, second.id, at=CLOCK.now())
        assert (await service.find_resumable(tx, hashed, "c" * 64)).id == first.id
        assert await service.find_resumable(tx, hashed, "d" * 64) is None
        assert await service.find_resumable(tx, "e" * 64, "c" * 64) is None


async def test_tasks_are_paged_in_the_order_of_the_dataset(stage, database):
    run = await start(stage, await add_test(stage))
    pool = await database.pool()
    await pool.execute(
        "update run_tasks set state = 'done', text = 'hm', scores = $1 where position = 1 and variant = 0",
        json.dumps({"correct": [None, "no_expected"]}),
    )
    async with stage.transaction() as tx:
        page = await service.tasks_page(tx, run, 3, None)
        assert [tuple(task.key) for task in page] == [(0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 0)]
        rest = await service.tasks_page(tx, run, 100, TaskKey(4, 1, 0))
        assert [tuple(task.key) for task in rest] == [(5, 0, 0), (5, 1, 0)]
        [done] = await service.tasks_page(tx, run, 3, None, "done")
    assert (done.item_id, done.inputs, done.expected, done.text) == (
        "item-1",
        {"question": "What is 1 + 1?"},
        "2",
        "hm",
    )
    assert done.scores == {"correct": [None, "no_expected"]}


async def test_the_plan_has_the_prices_in_force_when_the_run_begins(stage):
    began = CLOCK.now()
    async with stage.transaction() as tx:
        provider = await providers.by_name(tx, "vendor")
        for price, days in ((1.0, -2), (2.0, -1), (3.0, 1)):
            await providers.put_model(
                tx,
                provider,
                "small",
                input_price=price,
                output_price=price,
                cached_input_price=price / 10,
                valid_from=began + timedelta(days=days),
            )
    run = await start(stage, await add_test(stage))
    small, large = run.plan.variants
    assert small.price() == Price(Decimal(2), Decimal(2), "list", Decimal("0.2"))
    assert large.price() is None

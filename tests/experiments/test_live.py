"""Live tests over a real database: frozen plans, phases, who is told, and what a gateway reads."""

import asyncio
from dataclasses import replace

import asyncpg
import pytest
from tests.clocks import ManualClock
from tests.runs.stage import add_dataset, add_provider

from tiebreak.errors import Conflict, IllegalTransition, InvalidInput, NotFound
from tiebreak.experiments import live, service, store
from tiebreak.experiments.assignment import Reason
from tiebreak.experiments.definition import Definition
from tiebreak.experiments.live_test import LiveTest
from tiebreak.experiments.phases import PhaseKind
from tiebreak.prompts import service as prompts
from tiebreak.runs import service as runs

CLOCK = ManualClock()
UNITS = [f"user-{number}" for number in range(500)]


def definition(**changes):
    return Definition.model_validate(
        {
            "name": "chat",
            "variants": [
                {"key": "large", "model": "vendor/large", "weight": 9},
                {"key": "small", "model": "vendor/small", "weight": 1, "system": "Be brief."},
            ],
            "metrics": [{"name": "cost_usd", "role": "primary"}],
        }
        | changes
    )


@pytest.fixture
async def stage(database):
    await add_provider(database)
    return database


async def draft(database, **changes):
    async with database.transaction() as tx:
        return await service.create(tx, definition(**changes))


async def do(database, use_case, slug, **arguments):
    async with database.transaction() as tx:
        return await use_case(tx, await service.get(tx, slug), at=CLOCK.now(), **arguments)


async def started(database, **changes):
    return await do(database, live.start, (await draft(database, **changes)).slug)


async def test_a_draft_goes_live_with_its_plan_frozen_and_its_first_phase_open(stage):
    async with stage.transaction() as tx:
        await prompts.create(tx, "solve", template="Solve: {{ input }} for {{ who }}", system="{{ system }}")
    variants = [
        {"key": "a", "model": "vendor/large", "prompt": "solve"},
        {"key": "b", "model": "vendor/small", "parameters": {"temperature": 0}, "weight": 3},
    ]
    test = await started(stage, variants=variants, share=0.5, holdout=0.1)
    async with stage.transaction() as tx:
        await prompts.add_version(tx, "solve", template="Other", system=None)
    async with stage.transaction() as tx:
        stored = await service.get(tx, "chat")
        again = await live.get(tx, stored)
    assert (stored.state, stored.live, stored.revision) == ("running", True, 2)
    assert again == test
    assert again.plan.variables == ("who",)
    assert [(v.key, v.model, v.system, v.template, v.parameters) for v in again.plan.variants] == [
        ("a", "large", "{{ system }}", "Solve: {{ input }} for {{ who }}", {}),
        ("b", "small", None, None, {"temperature": 0}),
    ]
    phase = again.phase
    assert (phase.number, phase.kind, phase.share, phase.holdout) == (1, PhaseKind.START, 0.5, 0.1)
    assert (dict(phase.weights), phase.config_version) == ({"a": 1, "b": 3}, 2)
    assert (phase.started_at, phase.ended_at) == (CLOCK.now(), None)


async def test_what_does_not_resolve_stops_the_start_and_leaves_a_draft(stage):
    variants = [
        {"key": "a", "model": "nobody/large"},
        {"key": "b", "model": "vendor/small", "parameters": {"messages": []}},
        {"key": "c", "model": "vendor/small", "prompt": "lost"},
    ]
    await draft(stage, variants=variants)
    with pytest.raises(InvalidInput) as caught:
        await do(stage, live.start, "chat")
    assert [fault.pointer for fault in caught.value.faults] == [
        "/variants/0/model",
        "/variants/1/parameters/messages",
        "/variants/2/prompt",
    ]
    async with stage.transaction() as tx:
        experiment = await service.get(tx, "chat")
        assert (experiment.state, experiment.live) == ("draft", False)
        with pytest.raises(NotFound, match="`tiebreak test start-live chat` starts a draft"):
            await live.get(tx, experiment)


async def test_other_traffic_opens_a_phase_and_ends_the_one_before(stage):
    await started(stage)
    ramped = await do(stage, live.reroute, "chat", weights={"large": 5, "small": 5}, who="ann", why="fine")
    grown = await do(stage, live.reroute, "chat", share=0.5)
    _, second, third = grown.phases
    assert ramped.phase == replace(second, ended_at=None)
    assert [phase.kind for phase in grown.phases] == [PhaseKind.START, PhaseKind.RAMP, PhaseKind.SHARE]
    assert (second.who, second.why, third.share, third.ranges) == ("ann", "fine", 0.5, second.ranges)
    assert [phase.ended_at for phase in grown.phases] == [second.started_at, third.started_at, None]
    assert [phase.config_version for phase in grown.phases] == [2, 3, 4]
    assert grown.revision == 4


async def test_a_ramp_moves_no_user_back_and_marks_those_it_moved(stage):
    before = (await started(stage)).assigner()
    after = (await do(stage, live.reroute, "chat", weights={"large": 5, "small": 5})).assigner()
    pairs = [(before.assign(unit), after.assign(unit)) for unit in UNITS]
    assert {(old.variant, new.variant, new.carried_over) for old, new in pairs} == {
        ("large", "large", False),
        ("large", "small", True),
        ("small", "small", False),
    }
    assert {(new.phase, new.config_version, new.reason) for _, new in pairs} == {(2, 3, Reason.HASH)}


async def test_a_paused_test_assigns_nobody_and_afterwards_as_before(stage):
    test = await started(stage)
    paused = await do(stage, live.pause, "chat", reason="alarm")
    assert (paused.state, paused.reason) == ("paused", "alarm")
    async with stage.transaction() as tx:
        held = await live.get(tx, paused)
    assert (held.assigner(), held.outside, held.phases) == (None, "large", test.phases)
    resumed = await do(stage, live.resume, "chat")
    async with stage.transaction() as tx:
        again = await live.get(tx, resumed)
    assert [again.assigner().assign(unit) for unit in UNITS] == [
        test.assigner().assign(unit) for unit in UNITS
    ]


async def test_a_stopped_test_goes_on_serving_what_was_shipped(stage):
    await started(stage)
    shipped = await do(stage, live.reroute, "chat", weights={"large": 0, "small": 1}, why="ship")
    assert shipped.phase.kind is PhaseKind.SHIP
    assert shipped.outside == "large"
    end = await do(stage, live.stop, "chat", who="ann", why="done")
    assert (end.state, end.assigner(), end.outside) == ("completed", None, "small")
    assert end.variant(end.outside).system == "Be brief."
    assert (end.phase.kind, end.phase.who, end.phase.why) == (PhaseKind.STOP, "ann", "done")
    assert all(phase.ended_at is not None for phase in end.phases)


async def test_a_cancelled_test_says_so_and_serves_the_control(stage):
    await started(stage)
    cancelled = await do(stage, live.cancel, "chat", reason="wrong prompt")
    async with stage.transaction() as tx:
        end = await live.get(tx, cancelled)
    assert (end.state, end.outside, end.phase.why) == ("cancelled", "large", "wrong prompt")
    for use_case in (live.stop, live.pause, live.resume, live.cancel):
        with pytest.raises(IllegalTransition, match="a test that has ended stays as it is"):
            await do(stage, use_case, "chat")


async def test_a_test_on_a_dataset_takes_no_live_step(stage):
    await add_dataset(stage)
    variants = [{"key": key, "model": "vendor/small", "template": "{{ question }}"} for key in ("a", "b")]
    await draft(stage, variants=variants, dataset="sums")
    await do(stage, runs.start, "chat")
    with pytest.raises(IllegalTransition, match="it runs on a dataset and takes no live traffic"):
        await do(stage, live.reroute, "chat", share=0.5)
    with pytest.raises(IllegalTransition, match="it has been started already"):
        await do(stage, live.start, "chat")
    async with stage.transaction() as tx:
        assert await live.snapshot(tx) == []


async def test_of_two_changes_at_once_one_is_told_to_look_again(stage):
    await started(stage)
    async with stage.transaction() as tx:
        seen = await service.get(tx, "chat")
    async with stage.transaction() as tx:
        await live.reroute(tx, seen, share=0.5, at=CLOCK.now())
    with pytest.raises(Conflict, match="was changed by somebody else meanwhile"):
        async with stage.transaction() as tx:
            await live.reroute(tx, seen, share=0.7, at=CLOCK.now())
    async with stage.transaction() as tx:
        assert [phase.share for phase in (await live.get(tx, seen)).phases] == [1, 0.5]


async def test_every_change_of_a_live_test_is_told_with_its_id(stage, dsn):
    connection = await asyncpg.connect(dsn)
    heard: asyncio.Queue[str] = asyncio.Queue()
    try:
        await connection.add_listener(store.CHANNEL, lambda *message: heard.put_nowait(message[3]))
        test = await started(stage)
        assert await asyncio.wait_for(heard.get(), 5) == str(test.id)
        for use_case, arguments in (
            (live.reroute, {"share": 0.5}),
            (live.pause, {}),
            (live.resume, {}),
            (live.stop, {}),
        ):
            await do(stage, use_case, "chat", **arguments)
            assert await asyncio.wait_for(heard.get(), 5) == str(test.id)
        async with stage.transaction() as tx:
            await service.delete(tx, await service.get(tx, "chat"))
        assert await asyncio.wait_for(heard.get(), 5) == str(test.id)
        async with stage.transaction() as tx:
            assert await live.snapshot(tx) == []
    finally:
        await connection.close()


async def test_a_snapshot_holds_every_live_test_active_ones_first_and_survives_a_file(stage):
    for name in ("one", "two", "three"):
        await do(stage, live.start, (await draft(stage, name=name)).slug)
    await draft(stage, name="four")
    await do(stage, live.stop, "three")
    await do(stage, live.reroute, "one", share=0.25)
    async with stage.transaction() as tx:
        found = await live.snapshot(tx)
        first = await store.list_live(tx, 1)
    assert [(test.slug, len(test.phases)) for test in found] == [("two", 1), ("one", 2), ("three", 2)]
    assert [test.slug for test in first] == ["two"]
    for test in found:
        read = LiveTest.model_validate_json(test.model_dump_json())
        assert read == test
        if test.state == "running":
            assert [read.assigner().assign(unit) for unit in UNITS] == [
                test.assigner().assign(unit) for unit in UNITS
            ]

"""The page about the mock provider says what the mock provider does."""

import re
from pathlib import Path
from typing import get_args

import aiohttp
import pytest

from tiebreak.mockprovider.config import MockOptions, load
from tiebreak.mockprovider.fault import Body, Fault, Malformation
from tiebreak.mockprovider.server import running

PAGE = (Path(__file__).parents[2] / "docs/mock-provider.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def examples(tmp_path):
    """What is loaded from each example of the page."""
    configs = []
    for number, text in enumerate(EXAMPLES):
        path = tmp_path / f"{number}.yaml"
        path.write_text(text)
        configs.append(load(MockOptions(models=path)))
    return configs


def test_every_example_loads_and_every_fault_is_in_one(examples):
    assert len(examples) == 2
    shown = {fault.body for config in examples for model in config.models.values() for fault in model.faults}
    assert shown == set(get_args(Body))


def test_every_fault_and_every_word_of_one_is_explained():
    table = PAGE.partition("| `body` |")[2]
    words = [*get_args(Body), *get_args(Malformation)]
    assert [word for word in words if f"`{word}`" not in table] == []
    assert [
        field for field in Fault.__struct_fields__ if f"`{field}`" not in PAGE and f"`{field}:" not in PAGE
    ] == []
    assert [word for word in get_args(Body) if f"`{word}`" not in Fault.__doc__] == []


async def test_every_model_of_the_page_answers(examples):
    for config in examples:
        async with running(config) as base_url, aiohttp.ClientSession() as session:
            async with session.get(f"{base_url}/models") as response:
                listed = await response.json()
            assert [model["id"] for model in listed["data"]] == list(config.models)

"""The list of models in both forms."""

import json

from anthropic.types import ModelInfo
from openai.types import Model

from tiebreak.gateway.surfaces import models

NAMES = ["tests/greeting", "acme/small"]


def test_openais_sdk_reads_every_name():
    body = json.loads(models.openai(NAMES))
    assert [Model.model_validate(entry, strict=True).id for entry in body["data"]] == NAMES
    assert body["object"] == "list"


def test_anthropics_sdk_reads_every_name_on_one_page():
    body = json.loads(models.anthropic(NAMES))
    assert [ModelInfo.model_validate(entry).display_name for entry in body["data"]] == NAMES
    assert (body["has_more"], body["first_id"], body["last_id"]) == (False, *NAMES)


def test_no_names_are_an_empty_list():
    assert json.loads(models.openai([]))["data"] == json.loads(models.anthropic([]))["data"] == []

"""What is wrong inside the parts of a definition that only more than their schema can tell. Pure.

Templates and checks have their own languages, and weights have to make buckets.
"""

from collections.abc import Iterator

from tiebreak.errors import Fault, InvalidInput
from tiebreak.evaluation.checks import validate
from tiebreak.experiments.buckets import counts
from tiebreak.experiments.definition import Definition, Variant
from tiebreak.prompts.template import variables


def faults(definition: Definition) -> list[Fault]:
    """Variants that cannot be asked, templates that are none, checks and weights that cannot work, each with its pointer.

    What a definition refers to (models, stored prompts, a dataset) is looked up when the test starts.
    """
    return [*_prompts(definition), *_templates(definition), *_checks(definition), *_weights(definition)]


def require(definition: Definition) -> None:
    """Pass when every part can work.

    Raises:
        InvalidInput: with `faults`.
    """
    if found := faults(definition):
        raise InvalidInput("; ".join(fault.message for fault in found[:5]), faults=found)


def _prompts(definition: Definition) -> Iterator[Fault]:
    if definition.dataset is None:
        return
    for place, variant in enumerate(definition.variants):
        if (message := missing_prompt(variant)) is not None:
            yield Fault(f"/variants/{place}", f"variant {variant.key!r}: {message}")


def missing_prompt(variant: Variant) -> str | None:
    """Why a dataset's items cannot be put to this variant, or None when they can."""
    if variant.prompt is None and variant.template is None:
        return "it needs either `prompt` or `template`, because the items of a dataset are no messages"
    return None


def _templates(definition: Definition) -> Iterator[Fault]:
    for place, variant in enumerate(definition.variants):
        for field, text in (("template", variant.template), ("system", variant.system)):
            if text is None:
                continue
            try:
                variables(text)
            except InvalidInput as exc:
                message = f"variant {variant.key!r}, {field}: {exc.detail}"
                yield Fault(f"/variants/{place}/{field}", message)


def _checks(definition: Definition) -> Iterator[Fault]:
    for place, metric in enumerate(definition.metrics):
        if metric.check is None:
            continue
        try:
            validate(metric.check)
        except InvalidInput as exc:
            inner = exc.faults[0].pointer if exc.faults else ""
            yield Fault(f"/metrics/{place}/check{inner}", f"metric {metric.name!r}: {exc.detail}")


def _weights(definition: Definition) -> Iterator[Fault]:
    try:
        counts({variant.key: variant.weight for variant in definition.variants})
    except InvalidInput as exc:
        yield Fault("/variants", exc.detail)

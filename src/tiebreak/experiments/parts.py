"""What is wrong inside the parts of a definition: templates and checks, which have their own languages. Pure."""

from collections.abc import Iterator

from tiebreak.errors import Fault, InvalidInput
from tiebreak.evaluation.checks import validate
from tiebreak.experiments.definition import Definition
from tiebreak.prompts.template import variables


def faults(definition: Definition) -> list[Fault]:
    """Templates that are none and checks that cannot work, each with its pointer into the definition.

    What a definition refers to (models, stored prompts, a dataset) is looked up when the test starts.
    """
    return [*_templates(definition), *_checks(definition)]


def require(definition: Definition) -> None:
    """Pass when every part can work.

    Raises:
        InvalidInput: with `faults`.
    """
    if found := faults(definition):
        raise InvalidInput("; ".join(fault.message for fault in found[:5]), faults=found)


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

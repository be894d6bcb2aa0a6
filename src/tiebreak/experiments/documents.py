"""A definition from a YAML or JSON file, every error with its line and column. Pure."""

from tiebreak.experiments import parts
from tiebreak.experiments.definition import Definition, schema
from tiebreak.infrastructure.documents.reading import Source


def parse(text: str | bytes, *, name: str) -> Definition:
    """The definition in a file; `name` is the file's, for messages and for its ending (`.json` is JSON).

    Raises:
        PayloadTooLarge: over 1 MB.
        InvalidInput: not UTF-8, not YAML, over the limits of `yaml_nodes`, or not a definition that can work.
    """
    source = Source(text, name=name)
    definition = source.validated(Definition, schema())
    if broken := parts.faults(definition):
        raise source.invalid(broken)
    return definition

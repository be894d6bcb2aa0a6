"""The reference is complete because it is written by the program; this says when it was not written again."""

from tests.docs import reference


async def test_the_reference_page_is_what_make_docs_writes() -> None:
    """Settings, commands, routes, errors and both documents."""
    assert reference.PAGE.read_text() == await reference.build(), "run `make docs` and commit the page"

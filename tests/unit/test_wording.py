"""Numbers and lists of names in messages."""

from sctransformer.wording import counted, some


def test_numbers_agree_with_their_nouns() -> None:
    assert [counted(number, "edge") for number in (0, 1, 43178)] == ["0 edges", "1 edge", "43,178 edges"]
    assert (counted(1, "batch", "batches"), counted(2, "batch", "batches")) == ("1 batch", "2 batches")


def test_lists_of_names_are_short() -> None:
    names = [f"GENE{index}" for index in range(1007)]
    assert some(names[:2]) == "GENE0, GENE1"
    assert some(names, 1) == "GENE0 and 1,006 more"
    assert some(["x" * 100]) == "x" * 60 + "..."
    assert some([]) == ""

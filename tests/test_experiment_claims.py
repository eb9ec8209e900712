"""The claims' share of the report: every number and name in its words is computed from the verdicts."""

import pytest

from commute_verify.report import Claims, Paragraph, Table
from experiments import claims_page
from experiments.claims_page import blocks, glance, sentence

SCHEDULE, COMPOSITION = "schedule reading (12 = 1 first)", "composition reading (12 = Φ1∘Φ2, 2 first)"


def record(key: str, verdict: str, source: str = "§3", statement: str = "said") -> dict[str, str | None]:
    return {"id": key, "source": source, "statement": statement, "verdict": verdict, "correction": None}


def results(**verdicts: str) -> dict[str, list[dict[str, str | None]]]:
    """Two files: the main claims with the given verdicts (else they hold), and two extensions."""
    main = {"affine-flow": "holds", "eq4": "holds", "eq7": "holds", "eq8": "holds", "cor3.2b": "holds"}
    main |= {key.replace("_", "."): verdict for key, verdict in verdicts.items()}
    extensions = [record("levy", "holds", "extension: a"), record("hvps", "false", "extension: b")]
    return {"1": [record(key, verdict) for key, verdict in main.items()], "2": extensions}


def test_claims_of_the_paper_and_extensions_are_counted_apart():
    assert sentence(results()) == (
        "5 claims of the paper, each held against a derivation or a computation: 5 hold. "
        "Of 2 extensions of it, 1 holds."
    )


@pytest.mark.parametrize(
    ("verdicts", "words"),
    [
        ({"eq8": "corrected"}, "4 hold and 1 needs a correction (among them the ½ of eq. 8)."),
        ({"eq8": "false"}, "4 hold and 1 is false (among them the ½ of eq. 8)."),
        (
            {"eq7": "corrected", "eq8": "corrected", "cor3_2b": "false"},
            "2 hold, 2 need a correction (among them the sign of eq. 7 and the ½ of eq. 8) and 1 is false "
            "(among them corollary 3.2(b)).",
        ),
        ({"eq4": "undetermined"}, "4 hold and 1 is undetermined."),
    ],
)
def test_a_correction_is_named_only_under_the_verdict_that_was_found(verdicts, words):
    assert f": {words} Of" in sentence(results(**verdicts))


def test_every_claim_that_the_words_name_is_one_of_the_proofs():
    import proofs

    known = proofs.claims()
    assert {*claims_page._WEIGHTIEST, *claims_page._ON_DEFINITIONS} <= known.keys()
    assert any(claim.source.startswith("extension") for claim in known.values())


def test_false_and_corrected_claims_come_first_and_the_rest_stays_in_order():
    _, table = glance(results(eq4="undetermined", eq8="false", eq7="corrected"))
    assert isinstance(table, Claims)
    order = [claim.id for claim in table.claims]
    assert order == ["eq8", "hvps", "eq7", "affine-flow", "eq4", "cor3.2b", "levy"]


def conventions(records: list[dict[str, str | None]]) -> tuple[tuple[str, ...], ...]:
    (table,) = [block for block in blocks({"1": records}) if isinstance(block, Table)]
    return table.rows


def test_the_table_of_conventions_is_read_off_the_statements():
    said = [
        record("eq4", "holds", statement=f"[A1, A2]θ [{COMPOSITION} only]"),
        record("eq5", "holds", statement=f"R [{SCHEDULE} only]"),
        record("eq6", "holds", statement=f"R [{SCHEDULE} only]"),
        record("d1", "holds", statement=f"in the {SCHEDULE} only, as [A1, A2]"),
    ]
    assert conventions(said) == ((COMPOSITION, "`eq4`"), (SCHEDULE, "`eq5`, `eq6`"))
    moved = [{**said[0], "statement": f"θ [{SCHEDULE} only]"}, *said[1:]]
    assert conventions(moved) == ((SCHEDULE, "`eq4`, `eq5`, `eq6`"),)


def test_the_readings_that_proofs_write_are_recognised():
    from proofs.claim import Claim, Judgement
    from proofs.compare import COMPOSITION as COMPOSED
    from proofs.compare import SCHEDULE as SCHEDULED

    for reading in (COMPOSED, SCHEDULED):
        judgement = Judgement("holds", "why", reading=reading)
        made = Claim("x", "§3", "said", "x", 1, 2, lambda printed, j=judgement: j).run().as_dict()
        assert conventions([made]) == ((reading, "`x`"),)


def test_what_our_copy_lacks_names_the_verdicts_that_depend_on_it():
    def text(verdict: str) -> str:
        return [b.text for b in blocks(results(**{"affine-flow": verdict})) if isinstance(b, Paragraph)][-1]

    assert "rest `affine-flow` (corrected)." in text("corrected")
    assert "rest `affine-flow` (holds)." in text("holds")
    assert "taken from table 4" in text("holds")

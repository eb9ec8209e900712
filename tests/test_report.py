"""The report's page and Markdown: safe against any text, the same bytes twice, nothing fetched."""

import io
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure as Drawing

from commute_verify.errors import CommuteError
from commute_verify.report import (
    Claim,
    Claims,
    Document,
    Figure,
    Formula,
    Heading,
    Paragraph,
    Table,
    inline_html,
    literal,
    to_html,
    to_markdown,
)
from commute_verify.report.claims_html import SHOWN
from commute_verify.report.figures import BLUE, INK, style, svg
from commute_verify.report.inline import pieces
from commute_verify.report.mathml import mathml as draw

HOSTILE = (
    """<script>alert("x")</script> ' onload=" &amp; </style> <img src=http://a.b> --> ]]> | * _ [x](y)"""
)
SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"><path d="M0 0"/></svg>'
VOID = {"meta", "br", "hr", "img", "input", "link"}


class Reader(HTMLParser):
    """Collects tags, attributes and text, and complains about tags that do not match."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.faults: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, key, value or "") for key, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, key, value or "") for key, value in attrs]

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}>")

    def handle_data(self, data):
        self.text += data


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    return reader


def faults(page: str) -> list[str]:
    """What is wrong with a page: unbalanced or active tags, handlers, fetches, ids given twice."""
    reader = read(page)
    found = reader.faults + [f"<{tag}> stays open" for tag in reader.open]
    found += [
        f"<{tag}>" for tag in reader.tags if tag in {"script", "iframe", "link", "img", "object", "base"}
    ]
    ids = [value for _, key, value in reader.attributes if key == "id"]
    found += [f"id {value} twice" for value in set(ids) if ids.count(value) > 1]
    for tag, key, value in reader.attributes:
        if key.startswith("on"):
            found.append(f"{tag} {key}")
        if key in {"href", "src", "xlink:href", "action", "srcset"} and not value.startswith("#"):
            found.append(f"{tag} {key}={value}")
        if key in {"href", "xlink:href"} and value.startswith("#") and value[1:] not in ids:
            found.append(f"{value} leads nowhere")
    found += re.findall(r"@import|url\((?!#)|fetch\(", page)
    return found


def claim(key: str = "eq8", verdict: str = "corrected", text: str = "½ should be $1$") -> Claim:
    return Claim(key, text, text, verdict, text, text, r"\tfrac12")


def drawing(name: str, label: str = "$L_1$") -> str:
    with style():
        figure = Drawing(figsize=(3, 2))
        axes = figure.subplots()
        axes.plot([0, 1, 2], [0, 1, 4], label=label, color=BLUE)
        axes.legend()
        axes.set_title(label)
        return svg(figure, name)


def sample() -> Document:
    return Document(
        "A report",
        Paragraph("Of 4 claims, $1$ holds."),
        (
            Heading("Claims"),
            Claims(tuple(claim(v, v) for v in ("holds", "corrected", "false", "undetermined"))),
            Heading("Claims"),
            Paragraph(r"Text with $\theta_1$ and `code`."),
            Formula(r"[g_1, g_2] = H_2 g_1 - H_1 g_2"),
            Table(("t", "$a|b$"), (("0.1", "1"),), "A table", "A note", (("", 1), ("published", 1))),
            Figure("first", drawing("first"), "One $L_1$", "a rising curve"),
            Figure("second", drawing("second"), "Two", "a rising curve"),
        ),
    )


def test_a_page_is_balanced_passive_and_fetches_nothing():
    assert faults(to_html(sample())) == []


@pytest.mark.parametrize(
    "planted",
    [
        "<p>open",
        "</div>",
        "<script>1</script>",
        '<b onclick="x">a</b>',
        '<img src="https://a.b/c.png">',
        '<a href="https://a.b">x</a>',
        '<a href="#nowhere">x</a>',
        '<i id="a">x</i><i id="a">y</i>',
        "<style>@import 'x'</style>",
        "<style>a{background:url(http://a.b)}</style>",
    ],
)
def test_the_check_of_a_page_rejects_a_planted_fault(planted):
    page = to_html(sample()).replace("</main>", planted + "</main>")
    assert faults(page) != []


def hostile() -> Document:
    text = literal(HOSTILE)
    return Document(
        HOSTILE,
        Paragraph(text),
        (
            Heading(text),
            Paragraph(text),
            Paragraph(f"`{HOSTILE}`"),
            Table((text,), ((text,),), text, text, ((text, 1),)),
            Figure("drawing", SVG, text, HOSTILE),
            Claims((claim(HOSTILE, "false", text),)),
            Formula(
                r"\text{<script>alert(1)</script> & "
                r"onload=1}"
            ),
        ),
    )


TEXT_FIELDS = 18
"""Title twice (head and h1), lead, nav, heading, paragraph, code, 5 of the table, caption, 5 of the claim."""


def hostile_faults(page: str) -> list[str]:
    reader = read(page)
    alt = [value for _, key, value in reader.attributes if key == "aria-label"]
    missing = [] if reader.text.count(HOSTILE) == TEXT_FIELDS and HOSTILE in alt else ["text lost"]
    return faults(page) + missing


def test_hostile_text_is_shown_as_it_is_in_every_field():
    assert hostile_faults(to_html(hostile())) == []


@pytest.mark.parametrize("module", ["inline_html", "claims_html", "html"])
def test_the_check_of_hostile_text_fails_where_a_module_forgets_to_escape(module, monkeypatch):
    monkeypatch.setattr(f"commute_verify.report.{module}.escape", lambda text: text)
    assert hostile_faults(to_html(hostile())) != []


def test_hostile_text_in_markdown_leaves_no_markup():
    bare = re.sub(r"\\[!-/:-@\[-`{-~]", "", to_markdown(hostile()))
    bare = re.sub(r"```math\n.*?\n```|</?(details|summary|code)>|!\[", "", bare, flags=re.S)
    assert re.findall(r"[<>*_\[`]", bare.replace("**", "")) == []


def test_the_markdown_check_sees_an_escape_left_out(monkeypatch):
    monkeypatch.setattr("commute_verify.report.markdown._MARKS", re.compile(r"([*])"))
    assert "<script>" in re.sub(r"\\[!-/:-@\[-`{-~]", "", to_markdown(hostile()))


def test_markdown_holds_the_same_words_as_data():
    text = to_markdown(sample())
    assert "![a rising curve](figures/first.svg)" in text
    assert "```math\n[g_1, g_2] = H_2 g_1 - H_1 g_2\n```" in text
    assert "| t | published: $`a\\vert b`$ |" in text
    assert "**corrected** (corrected). ½ should be $`1`$" in text


def survives_markdown(shown: str, latex: str) -> bool:
    """Whether a formula stands in a code span, whose content Markdown leaves alone, or has no marks in it."""
    return f"`{latex}`" in shown or not re.search(r"\\[!-/:-@\[-`{-~]|[*<]|_.*_", latex)


@pytest.mark.parametrize("latex", [r"\{1, 2\}", r"a \, b", r"a_1 + b_2", "i < j", "a * b * c"])
def test_marks_within_a_formula_are_not_read_as_markdown(latex):
    statement = f"so ${latex}$ here"
    shown = to_markdown(Document("t", Paragraph(""), (Claims((claim("a", "false", statement),)),)))
    assert shown.count(f"$`{latex}`$") == 4
    assert survives_markdown(shown, latex)
    assert not survives_markdown(shown.replace("`", ""), latex)  # planted: bare dollars


@given(st.text())
def test_any_text_survives_literal_and_the_page(text):
    assert "".join(content for _, content in pieces(literal(text))) == text
    shown = re.sub(r"[\r\0\ud800-\udfff]", "", text)
    assert read(inline_html.inline(literal(shown))).text == shown


@given(st.text(max_size=12), st.text(max_size=12))
def test_anchors_are_safe_and_never_given_twice(first, second):
    anchors = inline_html.Anchors()
    taken = [anchors.take(text) for text in (first, second, first)]
    assert len(set(taken)) == 3
    assert all(re.fullmatch(r"[a-z0-9.-]+", anchor) for anchor in taken)


def test_the_same_document_gives_the_same_bytes():
    assert to_html(sample()) == to_html(sample())
    assert to_markdown(sample()) == to_markdown(sample())


def test_a_figure_without_a_fixed_salt_would_not_give_the_same_bytes():
    figure = Drawing()
    figure.subplots().plot([0, 1], [0, 1])
    unsalted = [io.StringIO(), io.StringIO()]
    for buffer in unsalted:
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    assert unsalted[0].getvalue() != unsalted[1].getvalue()


def test_a_figure_holds_no_date_and_its_colours_follow_the_page():
    text = drawing("curve")
    assert not re.search(r"<metadata|\d{4}-\d\d-\d\d|matplotlib\.org", text)
    assert f"var(--ink, {INK})" in text
    assert f"var(--blue, {BLUE})" in text


def test_hostile_labels_stay_text_in_a_figure():
    Figure("curve", drawing("curve", "<script>--></svg>"), "caption", "alt")


@pytest.mark.parametrize(
    ("inside", "word"),
    [
        ("<script>1</script>", "script"),
        ('<path onload="x"/>', "onload"),
        ('<image href="http://a.b/c.png"/>', "links"),
        ('<path style="fill: url(http://a.b)"/>', "loads"),
        ("<foreignObject/>", "foreignObject"),
        ("<path>", "well-formed"),
    ],
)
def test_an_svg_with_something_active_in_it_is_refused(inside, word):
    with pytest.raises(CommuteError, match=word):
        Figure("f", f'<svg xmlns="http://www.w3.org/2000/svg">{inside}</svg>', "caption", "alt")


def test_formulas_are_mathml_inline_and_displayed():
    page = to_html(sample())
    assert "<math><mrow><msub><mi>θ</mi><mn>1</mn></msub></mrow></math>" in page
    assert '<math display="block">' in page
    assert re.findall(r"[$\\]", page) == []


@pytest.mark.parametrize(
    "latex",
    [
        r"\foo",
        r"\frac{1",
        r"x^",
        "}",
        "",
        r"\href{javascript:1}{x}",
        r"\style{color:red}{x}",
        "a & b",
        r"\unicode{x}",
        r"\class{a}{x}",
    ],
)
def test_a_formula_that_cannot_be_drawn_is_named(latex):
    with pytest.raises(CommuteError) as raised:
        draw(latex)
    assert repr(latex) in str(raised.value)


def test_markup_inside_a_formula_is_text():
    assert draw(r"\text{<script> a & b}").count("<") == 6
    assert "&lt;script&gt;" in draw(r"\text{<script> a & b}")


def test_letters_of_other_alphabets_are_characters_of_their_own():
    drawn = [
        re.sub("<[^>]*>", "", draw(latex)) for latex in (r"\mathbb{R}", r"\mathfrak g", r"\boldsymbol\theta")
    ]
    assert drawn == ["ℝ", "𝔤", "𝜽"]


def test_every_claim_has_an_anchor_a_badge_in_words_and_a_filter():
    page = to_html(sample())
    reader = read(page)
    for verdict in ("holds", "corrected", "false", "undetermined"):
        assert ("details", "id", f"claim-{verdict}") in reader.attributes
        assert ("input", "id", f"show-{verdict}") in reader.attributes
        assert page.count(f'class="badge {verdict}"') == 1
        assert f"#show-{verdict}:checked" in page


def collapsed(page: str) -> list[str]:
    """The text of each claim's closed row."""
    return [read(row).text for row in re.findall(r"<summary>.*?</summary>", page, re.S)]


def test_a_closed_row_is_verdict_id_and_statement_and_the_rest_waits_inside():
    shown = Claim("eq8", "Corollary", "the factor is $x$", "corrected", "it is 1", "derived", r"\frac12")
    page = to_html(Document("t", Paragraph(""), (Claims((shown,)),)))
    assert collapsed(page) == ["✎ corrected eq8 the factor is x"]
    assert "<summary>" in page
    assert "<math>" in page.partition("</summary>")[0]
    inside = read(page.partition("</summary>")[2]).text
    for words in ("Corollary", "Instead: it is 1", "As printed:", "derived"):
        assert words in inside
    planted = page.replace("</summary>", "<span>Instead: it is 1</span></summary>")
    assert collapsed(planted) != collapsed(page)


def test_a_narrow_page_folds_all_but_the_first_claims_and_says_how_many_there_are():
    page = to_html(Document("t", Paragraph(""), (Claims(tuple(claim(f"c{n}") for n in range(7))),)))
    assert '<label for="every-claim" class="fold"><span>all 7 claims</span>' in page
    assert f".claim:nth-child(n + {SHOWN + 1})" in page
    few = to_html(Document("t", Paragraph(""), (Claims(tuple(claim(f"c{n}") for n in range(SHOWN))),)))
    assert 'id="every-claim"' not in few


@pytest.mark.parametrize("character", ["\x00", "\x08", "\x1b", "\x7f", "\x9b", "\ud800", "\uffff"])
@pytest.mark.parametrize("render", [to_html, to_markdown])
def test_a_control_character_is_refused_wherever_it_stands(character, render):
    text = f"a{character}b"
    for document in (
        Document(text, Paragraph(""), ()),
        Document("t", Paragraph(text), ()),
        Document("t", Paragraph(""), (Claims((Claim(text, "b", "c", "holds"),)),)),
        Document("t", Paragraph(""), (Figure("f", SVG, "c", text),)),
    ):
        with pytest.raises(CommuteError, match="control character"):
            render(document)
    render(Document("t\t\n", Paragraph("θ 𝜽"), ()))


def test_null_fields_of_a_claim_count_as_empty():
    fields = {"id": "a", "source": "b", "statement": "c", "verdict": "holds"}
    assert Claims.of([{**fields, "correction": None, "reason": None, "latex": None}]) == Claims.of([fields])


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: Heading("x", 1), "level 1"),
        (lambda: Paragraph("costs $5"), "without its partner"),
        (lambda: Paragraph("`x"), "without its partner"),
        (lambda: Table(("a", "b"), (("1",),), "t"), "row 0 has 1 cells"),
        (lambda: Table(("a",), (), "t", "", (("g", 2),)), "do not add up"),
        (lambda: Figure("A b", SVG, "c", "alt"), "Figure name"),
        (lambda: Figure("a", SVG, "c", " "), "no alt text"),
        (lambda: Figure("a", "<p/>", "c", "alt"), "expected <svg>"),
        (lambda: claim("a", "maybe"), "'maybe' is none of"),
        (lambda: Claims((claim("a"), claim("a"))), "come twice: a"),
        (
            lambda: Claims.of([{"id": "a", "source": "b", "statement": 0, "verdict": "holds"}]),
            "statement is 0",
        ),
        (lambda: Claim("a", "b", "c", "holds", latex=["x"]), "latex is ['x'], expected text"),
        (lambda: Document("t", Paragraph(""), (Figure("a", SVG, "c", "d"),) * 2), "come twice: a"),
    ],
)
def test_bad_blocks_are_refused_when_they_are_built(build, words):
    with pytest.raises(CommuteError, match=re.escape(words)):
        build()


def test_the_report_loads_no_heavy_package_until_it_draws():
    code = (
        "import sys, commute_verify.report; print({'matplotlib', 'latex2mathml', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"

"""Everything of a text that is not translated stays as it is."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer.serving.documents import Document, read_html, read_text

PARTS = (
    *(
        "<p>",
        "</p>",
        "<br>",
        "<a href='x>y'>",
        "</a>",
        "<b",
        "<",
        ">",
        "&",
        "&amp;",
        "&#65;",
        "&lt;",
        "word",
        " ",
        "\n",
    ),
    *(
        "<!--",
        "-->",
        "<script>",
        "</script>",
        "<code>",
        "</code>",
        "<style>",
        "</style>",
        "<pre>",
        "</pre>",
        "<?x?>",
        "</>",
        "<!doctype html>",
    ),
    *('"', "'", "\xe4", "<img alt=a>", '<span translate="no">', "</span>"),
)
HTML = st.lists(st.sampled_from(PARTS), max_size=12).map("".join)


def upper(document: Document) -> str:
    return document.rebuilt([line.upper() for line in document.lines])


@given(HTML)
def test_html_without_changes_is_the_same(text: str) -> None:
    document = read_html(text)
    assert "".join(document.parts) == text
    assert all(line.strip() == line != "" for line in (document.parts[place] for place in document.places))


@given(st.text(alphabet="ab \n\t\u3000"))
def test_text_without_changes_is_the_same(text: str) -> None:
    document = read_text(text)
    assert document.rebuilt(document.lines) == text
    assert upper(document) == text.upper()


@pytest.mark.parametrize(
    ("text", "translated"),
    [
        ("<p>a <b>c</b> d</p>\n", "<p>A <b>C</b> D</p>\n"),
        ("a &amp; b &lt;i&gt; &eacute;", "A &amp; B &lt;I&gt; É"),
        ("<p class='a'>a<br/>b<!-- c --></p>", "<p class='a'>A<br/>B<!-- c --></p>"),
        (
            "<script>a = '<b>';</script>b<code>c <i>d</i></code>e",
            "<script>a = '<b>';</script>B<code>c <i>d</i></code>E",
        ),
        ("<b translate='no'>a<br><i>b</i></b>c", "<b translate='no'>a<br><i>b</i></b>C"),
        ("a <img alt='b'> c", "A <img alt='b'> C"),
        ('<embed src="a"><img translate="no">a', '<embed src="a"><img translate="no">A'),
        ("<b translate=NO>a</b> b", "<b translate=NO>a</b> B"),
        ("<p>&nbsp;</p><p>&#32;&nbsp;</p>a", "<p>&nbsp;</p><p>&#32;&nbsp;</p>A"),
        ("a<code>b", "A<code>b"),
        ("a<script>b", "A<script>b"),
        ("</b>a < b", "</b>A &lt; B"),
        ("", ""),
    ],
)
def test_text_of_html_is_translated(text: str, translated: str) -> None:
    assert upper(read_html(text)) == translated


def test_lines_of_preformatted_text_stay_lines() -> None:
    document = read_html("<p>a\nb</p><pre>c\n  d &amp; e\n\nf</pre></pre>g\nh")
    assert document.lines == ["a\nb", "c", "d & e", "f", "g\nh"]
    assert upper(document) == "<p>A\nB</p><pre>C\n  D &amp; E\n\nF</pre></pre>G\nH"


def test_a_translation_cannot_make_tags() -> None:
    document = read_html("<p>a</p>")
    assert document.rebuilt(["<script>&"]) == "<p>&lt;script&gt;&amp;</p>"


def test_html_that_cannot_be_read_is_an_error() -> None:
    with pytest.raises(ValueError, match="expected name token"):
        read_html("<![<p>")


@pytest.mark.parametrize("part", ["<a ", "<", "</", "<!--", "<a b='", "&", "<script>", "<p>&", "<title>\n"])
def test_html_made_to_be_slow_is_read_in_time(part: str) -> None:
    started = time.process_time()
    read_html((part * 10_000)[:10_000])
    assert time.process_time() - started < 0.7

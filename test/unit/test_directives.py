"""The ``#multiplex`` and ``#depend`` lines."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipelet.core.directives import KINDS, Directives, Multiplex, read_directives
from pipelet.errors import CodeError, DirectiveError


def multiplex(text: str, *parents: str) -> Multiplex:
    return read_directives(f"#multiplex{text}\n", "melt.py", parents).multiplex


def refusal(text: str, *parents: str) -> str:
    with pytest.raises(DirectiveError) as caught:
        multiplex(text, *parents)
    return str(caught.value)


def caret(message: str) -> str:
    """Return what stands at the caret of a message, to the end of the line."""
    _, shown, pointer, *_ = message.split("\n")
    return shown[pointer.index("^") :]


class TestLines:
    def test_a_source_without_directives_has_the_default(self):
        assert read_directives("x = 1\n", "melt.py") == Directives(Multiplex("cross_prod", None, None), ())

    def test_the_last_multiplex_stands_and_it_knows_its_line(self):
        source = "#multiplex zip\nx = 1\n#multiplex union\n"
        found = read_directives(source, "melt.py").multiplex
        assert found == Multiplex("union")
        assert found.line == 3

    def test_only_the_last_multiplex_is_parsed(self):
        assert read_directives("#multiplex nonsense\n#multiplex zip\n", "melt.py").multiplex.kind == "zip"

    @pytest.mark.parametrize(
        "source",
        [
            " #multiplex zip\n",
            "# multiplex zip\n",
            "#Multiplex zip\n",
            "x = 1 #multiplex zip\n",
            "'''\n#multiplex zip\n'''\n",
            'x = """\n#depend lib.py\n"""\n',
            "#multiplexing is nice\n",
            "#multiplex_zip\n",
            "#dependent variables: x\n",
            "#depend-on-nothing\n",
            "##multiplex zip\n",
            "if 1:\n    #multiplex zip\n    pass\n",
        ],
    )
    def test_what_is_no_directive(self, source):
        assert read_directives(source, "melt.py") == Directives()

    def test_a_directive_within_brackets_of_code_counts(self):
        assert read_directives("x = (1,\n#multiplex zip\n2)\n", "melt.py").multiplex.kind == "zip"

    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
    def test_ends_of_lines(self, end):
        source = end.join(["#depend lib.py", "x = 1", "#multiplex zip  ", "#depend tab.txt"])
        found = read_directives(source, "melt.py")
        assert found.multiplex.kind == "zip"
        assert found.multiplex.line == 3
        assert found.depends == (("lib.py", 1), ("tab.txt", 4))

    def test_a_byte_order_mark_is_no_text(self):
        assert read_directives("\ufeff#multiplex zip\n", "melt.py").multiplex.kind == "zip"

    @pytest.mark.parametrize("source", ["x = (\n", "x = 'abc\n", "  x\n y\n", "def f(:\n", "'''\n#multiplex zip\n"])
    def test_a_source_that_is_no_python(self, source):
        with pytest.raises(CodeError, match=r"melt\.py, line \d, column \d+: this is no Python"):
            read_directives(source, "melt.py")

    def test_a_source_with_a_nul(self):
        with pytest.raises(CodeError, match=r"melt\.py"):
            read_directives("x = 1\0\n", "melt.py")

    def test_the_code_error_points_at_the_column(self):
        with pytest.raises(CodeError) as caught:
            read_directives("x = 1\ny = 2 +* 3\n", "melt.py")
        assert "line 2" in str(caught.value)
        assert caret(str(caught.value)).startswith("* 3")

    def test_style_warnings_of_the_compiler_are_no_errors(self):
        found = read_directives("x = '\\d' is 1\n#multiplex where a is 1\n", "melt.py", ["a"])
        assert found.multiplex.where == "a is 1"


class TestDepend:
    def test_all_lines_count_and_patterns_are_separated_by_blanks(self):
        source = "#depend lib.py  tables/*.txt\nx = 1\n#depend\tmore.py  # a note\n"
        expected = (("lib.py", 1), ("tables/*.txt", 1), ("more.py", 3))
        assert read_directives(source, "melt.py").depends == expected

    def test_names_with_blanks(self):
        source = "#depend 'my lib.py' \"it's.txt\" with\\ blank.py\n"
        assert [name for name, _ in read_directives(source, "m.py").depends] == [
            "my lib.py",
            "it's.txt",
            "with blank.py",
        ]

    @pytest.mark.parametrize("text", ["#depend", "#depend   ", "#depend # nothing", "#depend ''"])
    def test_no_pattern(self, text):
        with pytest.raises(DirectiveError, match=r"(?s)melt\.py, line 1, .*#depend lib\.py tables"):
            read_directives(text, "melt.py")

    def test_an_open_quote(self):
        with pytest.raises(DirectiveError) as caught:
            read_directives("#depend 'a' 'lib.py\n", "melt.py")
        assert caret(str(caught.value)) == "'lib.py"

    def test_a_colon(self):
        with pytest.raises(DirectiveError) as caught:
            read_directives("#depend: lib.py\n", "melt.py")
        assert caret(str(caught.value)) == ": lib.py"
        assert "a blank is missing after #depend" in str(caught.value)


class TestGrammar:
    @pytest.mark.parametrize("kind", KINDS)
    def test_kinds(self, kind):
        assert multiplex(f" {kind} ") == Multiplex(kind)

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("", Multiplex()),
            ("   ", Multiplex()),
            ("\tzip\t", Multiplex("zip")),
            (" zip # pairs, where they exist", Multiplex("zip")),
            (" where a[0] == b[0]", Multiplex(where="a[0] == b[0]")),
            (" cross_prod where 'a[0] == b[0]'", Multiplex(where="a[0] == b[0]")),
            (" cross_prod where \"a[0] == 'x y'\"", Multiplex(where="a[0] == 'x y'")),
            (" cross_prod where 'a[0] == \\'x\\''", Multiplex(where="a[0] == 'x'")),
            (" where 'a == \"\\\\n\"'", Multiplex(where='a == "\\\\n"')),
            (" cross_prod where ' a ' group_by ' b '", Multiplex(where="a", group_by="b")),
            (" cross_prod group_by 'b' where 'a'", Multiplex(where="a", group_by="b")),
            (" union group_by b where a", Multiplex("union", "a", "b")),
            (" cross_prod where (a[0] == b[0]) group_by 'a[0]'", Multiplex(where="(a[0] == b[0])", group_by="a[0]")),
            (" where(a[0] == b[0])group_by'a[0]'", Multiplex(where="(a[0] == b[0])", group_by="a[0]")),
            (" group_by (a[0], a[-1])  ", Multiplex(group_by="(a[0], a[-1])")),
            (" group_by '0'", Multiplex(group_by="0")),
            (" group_by \"'all'\"", Multiplex(group_by="'all'")),
            (" where a == ' where ' and b == \"group_by\"", Multiplex(where="a == ' where ' and b == \"group_by\"")),
            (" where (where(a)) group_by [group_by]", Multiplex(where="(where(a))", group_by="[group_by]")),
            (
                " where nowhere + where_a group_by a.group_by",
                Multiplex(where="nowhere + where_a", group_by="a.group_by"),
            ),
            (" where any(x > 0 for x in a) # note's", Multiplex(where="any(x > 0 for x in a)")),
            (" where 'a' # note", Multiplex(where="a")),
            (" where '#' in a", Multiplex(where="'#' in a")),
            (" where 'x' in a or 'y' in b", Multiplex(where="'x' in a or 'y' in b")),
            (" where f'{a}' == b", Multiplex(where="f'{a}' == b")),
            (" where (lambda x: x > a)(b)", Multiplex(where="(lambda x: x > a)(b)")),
        ],
    )
    def test_spellings(self, text, expected):
        assert multiplex(text) == expected

    @given(
        st.sampled_from(
            [
                "a[0] == b[0]",
                "b[1] in a",
                "[x for x in a if x]",
                "a['k where'] > 0",
                'a == "group_by"',
                "{a: b}",
                "(a, b)",
            ]
        ),
        st.sampled_from(["a", "(a[0], b[-1])", "0", "len(a) + 1", "max(a, key=lambda x: -x)", "'text'"]),
        st.sampled_from(["", "cross_prod", "union", "zip"]),
        st.booleans(),
        st.data(),
    )
    def test_spellings_of_one_directive_have_one_canonical_text(self, where, group_by, kind, swap, data):
        def spelt(word, expression):
            spellings = [expression + " ", f" ({expression}) "]
            spellings += [f" {q}{expression}{q} " for q in "'\"" if q not in expression]
            blank = data.draw(st.sampled_from([" ", "  ", "\t"]))
            return f"{word}{blank}{data.draw(st.sampled_from(spellings))}"

        clauses = [spelt("where", where), spelt("group_by", group_by)]
        if group_by == "'text'":
            clauses[1] = f'group_by "{group_by}"'
        found = multiplex(f" {kind} {' '.join(clauses[::-1] if swap else clauses)}", "a", "b")
        plain = Multiplex(kind or "cross_prod", where, group_by)
        assert found.canonical == plain.canonical
        assert found.canonical != Multiplex(plain.kind, where, None).canonical
        assert found.canonical != Multiplex(plain.kind, group_by, where).canonical

    def test_the_canonical_text_tells_directives_apart(self):
        texts = ["", " zip", " where a", " group_by a", " where b", " where a group_by b", " where b group_by a"]
        assert len({multiplex(text).canonical for text in texts}) == len(texts)
        assert multiplex("").canonical == multiplex(" cross_prod").canonical


class TestLoneNames:
    @pytest.mark.parametrize("text", [" group_by 'all'", ' group_by "all"', " group_by all", " group_by \"'all'\""])
    def test_a_name_that_is_no_parent_is_a_text(self, text):
        assert multiplex(text, "knights").group_by == "'all'"

    def test_a_parent_is_a_parent(self):
        assert multiplex(" group_by 'all'", "all").group_by == "all"

    def test_any_quoted_name_will_do(self):
        assert multiplex(" group_by 'together'", "knights").group_by == "'together'"

    def test_a_bare_one_must_be_known(self):
        message = refusal(" group_by together", "knights")
        assert "write \"'together'\"" in message
        assert caret(message) == "together"

    def test_a_misspelt_parent_is_an_error(self):
        message = refusal(" group_by 'movie'", "movies")
        assert "Did you mean `movies`?" in message
        assert caret(message) == "movie'"


class TestErrors:
    @pytest.mark.parametrize(
        ("text", "where", "what"),
        [
            (" crossprod", "crossprod", "Did you mean `cross_prod`?"),
            (" a[0] == b[0]", "a[0] == b[0]", "A condition begins with the word where"),
            (" zip union", "union", "`union` is not expected after `zip`"),
            (" where a where b", "where b", "a second time"),
            (" group_by a where b group_by c", "group_by c", "a second time"),
            (" where", "", "`where` has no expression"),
            (" where  group_by a", "group_by a", "`where` has no expression"),
            (" group_by ''", "'", "`group_by` has no expression"),
            (" where 'a", "'a", "never closed"),
            (" where a b", "b", "no Python"),
            (" where 'a b'", "b'", "no Python"),
            (" group_by 'all of them'", "of them'", "\"'all'\""),
            (" where 'a == \\'x\\' y'", "y'", "no Python"),
            (" where a ==", "", "no Python"),
            (" where 'é == ü ü'", "ü'", "no Python"),
            (" where (a[0] == b[0] group_by 'a'", "(a[0] == b[0] group_by 'a'", "never closed"),
            (" where (a[0", "[0", "never closed"),
            (" where a)", ")", "closes nothing"),
            (" where '(a[0]'", "(a[0]'", "'(' was never closed"),
            (" where x = 1", "= 1", "no Python"),
            (" where yield a", "yield a", "no Python"),
            (" where ('a == b')", "('a == b')", "always be true"),
            (":zip", ":zip", "a blank is missing after #multiplex"),
            (" where é + obsrve[0]", "obsrve[0]", "Did you mean `observe`?"),
            (" where 'é + observe[0] == fit'", "fit'", "Did you mean `fits`?"),
            (" where [y for x in fits]", "y for x in fits]", "parents (observe, fits, é)"),
            (" group_by nosuch(fits)", "nosuch(fits)", "the name `nosuch` is not known"),
        ],
    )
    def test_each_shows_the_line_and_points(self, text, where, what):
        message = refusal(text, "observe", "fits", "é", *(["a", "b", "c"] if "f" not in text else []))
        assert message.startswith("melt.py, line 1, column ")
        assert f"\n    #multiplex{text}\n" in message
        assert caret(message) == where
        column = int(re.findall(r"column (\d+):", message)[0])
        assert f"#multiplex{text}"[column - 1 :] == where
        assert what in message

    def test_the_caret_stands_under_its_column_after_tabs(self):
        message = refusal("\twhere\ta\tb")
        assert message.split("\n")[2] == "    " + "          \t     \t \t" + "^"

    def test_names_that_are_bound_inside_are_known(self):
        parts = [
            "any((y := x) and y for x in a for _ in [x])",
            "(lambda z, *q, k=len(a), **o: z + k)(1)",
            "{w: 1 for w in a}",
        ]
        text = " and ".join(parts)
        assert multiplex(f" where {text}", "a").where == text

    def test_a_comprehension_binds_only_inside(self):
        assert caret(refusal(" where [x for x in a] and x", "a")).startswith("x for x")
        assert "the name `x`" in refusal(" where [x for x in x]", "a")

    def test_without_parents_names_are_not_checked(self):
        assert multiplex(" where nosuch").where == "nosuch"

    def test_too_deep_an_expression(self):
        assert "no Python" in refusal(" where " + "(" * 5000 + "a" + ")" * 5000)
        assert "no Python" in refusal(" where " + "-" * 50000 + "a")

    @given(st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"])))
    @example(" where 'a\\")
    @example(" group_by \\'")
    @example(" where '\\'' # '")
    @example(" where \f a")
    def test_any_text_gives_a_directive_or_an_error(self, text):
        for word in ("multiplex", "depend"):
            with contextlib.suppress(DirectiveError, CodeError):
                read_directives(f"#{word} {text}", "melt.py", ["a"])


WRITE = "Write: #multiplex [cross_prod | union | zip] [where CONDITION] [group_by EXPRESSION]"
ONE_EXPRESSION = "Write one Python expression, bare or in quotes"
KNOWN = "An expression knows the parents (observe, fits) and Python's built-in names."


class TestAdvice:
    @pytest.mark.parametrize(
        ("source", "message", "advice"),
        [
            (
                "#depend lib.py 'a",
                "this quote is never closed",
                "Put quotes on both sides of a name that has blanks, and a backslash before a quote that is meant.",
            ),
            ("#depend ''", "one of the patterns is empty", "Name the files: #depend lib.py tables/*.txt"),
            ("#depend", "#depend names no file", "Name the files: #depend lib.py tables/*.txt"),
            (
                "#depend:lib.py",
                "a blank is missing after #depend",
                "Write it with a blank: #depend ..., or put a blank behind the # if it is a mere comment.",
            ),
            (
                "#multiplex where fits where fits",
                "`where` stands here a second time",
                "Join conditions with `and`.",
            ),
            (
                "#multiplex group_by fits group_by fits",
                "`group_by` stands here a second time",
                "Join the values to a tuple: (x, y).",
            ),
            ("#multiplex where 'fits", "this quote is never closed", "Close it, or remove it."),
            ("#multiplex where fits)", "this bracket closes nothing", "Open it, or remove it."),
            ("#multiplex where (fits", "this bracket is never closed", "Close it, or remove it."),
            ("#multiplex zip union", "`union` is not expected after `zip`", WRITE),
            ("#multiplex uion", "`uion` is no way to combine outputs", f"Did you mean `union`? {WRITE}"),
            (
                "#multiplex fits",
                "`fits` is no way to combine outputs",
                f"A condition begins with the word where. {WRITE}",
            ),
            ("#multiplex where", "`where` has no expression", "Write, for example: where 'a[0] == b[0]'"),
            ("#multiplex group_by", "`group_by` has no expression", "Write, for example: group_by 'a[0]'"),
            ("#multiplex where fits fits", "the expression after `where` is no Python: ", f"{ONE_EXPRESSION}."),
            ("#multiplex where 'fits fits'", "the expression after `where` is no Python: ", f"{ONE_EXPRESSION}."),
            ("#multiplex group_by fits fits", "the expression after `group_by` is no Python: ", f"{ONE_EXPRESSION}."),
            (
                "#multiplex group_by 'fits fits'",
                "the expression after `group_by` is no Python: ",
                f"{ONE_EXPRESSION}; a text as the value needs quotes in the quotes, such as \"'all'\".",
            ),
            (
                "#multiplex where ('fits')",
                "this condition is a text, so it would always be true",
                "Write the condition with one pair of quotes around it, or none.",
            ),
            ("#multiplex where nosuch", "the name `nosuch` is not known here", KNOWN),
            ("#multiplex group_by nosuch[0]", "the name `nosuch` is not known here", KNOWN),
            (
                "#multiplex group_by nosuch",
                "the name `nosuch` is not known here",
                f"For the text as the value, write \"'nosuch'\". {KNOWN}",
            ),
            ("#multiplex where fit", "the name `fit` is not known here", f"Did you mean `fits`? {KNOWN}"),
            ("x = (\n", "this is no Python: ", "Correct the script."),
        ],
    )
    def test_an_error_says_what_is_wrong_and_what_to_write(self, source, message, advice):
        with pytest.raises((DirectiveError, CodeError)) as caught:
            read_directives(source, "melt.py", ["observe", "fits"])
        first, shown, _, last = str(caught.value).split("\n")
        assert first.split(": ", 1)[1].startswith(message)
        assert shown == f"    {source.rstrip()}"
        assert last == advice

    @pytest.mark.parametrize(
        ("text", "where"),
        [(" zip zip", "zip"), (" zip p p", "p p"), (" union cross_prod o", "cross_prod o"), ("  zip  l", "l")],
    )
    def test_it_points_at_the_word_that_is_too_many(self, text, where):
        assert caret(refusal(text)) == where

    def test_blanks_at_the_end_move_no_caret(self):
        with pytest.raises(DirectiveError, match="line 1, column 8: #depend names no file"):
            read_directives("#depend   \n", "melt.py")

    @pytest.mark.parametrize(("text", "where"), [("a\\' 'b", "'b"), ("a\\''b c", "'b c"), ("'a' \"b 'c'", "\"b 'c'")])
    def test_it_points_at_the_quote_that_is_open(self, text, where):
        with pytest.raises(DirectiveError, match="never closed") as caught:
            read_directives(f"#depend {text}\n", "melt.py")
        assert caret(str(caught.value)) == where

    def test_a_backslash_in_single_quotes_protects_no_quote(self):
        assert read_directives("#depend 'a\\' b\n", "melt.py").depends == (("a\\", 1), ("b", 1))
        with pytest.raises(DirectiveError, match="never closed"):
            read_directives("#depend 'a\\' 'b\n", "melt.py")

    def test_code_errors_show_the_line_as_it_is(self):
        with pytest.raises(CodeError, match=r"(?s)^melt\.py, line 2, column 5: .*\n    y = = XX \n        \^\n"):
            read_directives("x = 1\ny = = XX \n", "melt.py")
        with pytest.raises(CodeError, match=r"\n    = = X\n"):
            read_directives("= = X\r\n", "melt.py")
        with pytest.raises(CodeError, match=r"(?s)^melt\.py, line 1, column 1: .*\n    \)\n    \^\n"):
            read_directives(")\n", "melt.py")

    def test_a_nul_has_no_line_to_show(self):
        with pytest.raises(CodeError) as caught:
            read_directives("x = 1\0\n", "melt.py")
        first, *shown = str(caught.value).splitlines()
        # older versions of Python name no place at all
        assert first.startswith(("melt.py, line 1, column 1: this is no Python: ", "melt.py: this can't be read"))
        assert [line.strip() for line in shown] in ([], ["", "^", "Correct the script."])

    def test_code_errors_without_a_place_name_the_file(self):
        with pytest.raises(CodeError, match=r"^melt\.py: this can't be read as Python: .*\. Correct the script\.$"):
            read_directives("-" * 100000 + "1", "melt.py")

    def test_a_quoted_name_somewhat_like_a_parent_is_a_text(self):
        assert multiplex(" group_by 'night'", "eights").group_by == "'night'"

    def test_any_letters_may_stand_in_a_pattern(self):
        assert read_directives("#depend LUXOR.TXT a#b\n", "melt.py").depends == (("LUXOR.TXT", 1), ("a#b", 1))

"""Templates that would loop for ever or fill the memory, each in one way."""

from __future__ import annotations

DEEP = (
    "{% set n = namespace(x='aaaaaaaa') %}{% for i in range(60) %}"
    "{% set n.x = [n.x, n.x] %}{% endfor %}"
)
"""A list that is small in memory, and 2 ** 60 texts written out."""
LONG = "{% set s = 'ab\n' * 50000 %}"
TURNS = "{% for i in range(90000) %}{% for j in range(90000) %}"

HOSTILE = {
    "a loop in a loop": TURNS + "{% endfor %}{% endfor %}",
    "a loop in a loop whose test fails": "{% for i in range(90000) %}"
    "{% for j in range(90000) if false %}{% endfor %}{% endfor %}",
    "a loop over a loop's recursion": "{% for x in range(90000) recursive %}"
    "{{ loop(range(90000)) }}{% endfor %}",
    "a macro that calls itself": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "a macro that calls itself twice": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}"
    "{% endif %}{% endmacro %}{{ f(60) }}",
    "a caller that calls itself": "{% macro f() %}{{ caller() }}{% call f() %}{% endcall %}"
    "{% endmacro %}{% call f() %}{% endcall %}",
    "a block in itself": "{% block a %}{{ self.a() }}{% endblock %}",
    "long text in a loop": "{% for i in range(90000) %}" + 10_000 * "x" + "{% endfor %}",
    "a text times a number": "{{ 'a' * 10 ** 10 }}",
    "a number times a text": "{{ 10 ** 10 * 'a' }}",
    "a list times a number": "{{ ([0] * 10 ** 10) | length }}",
    "a power": "{{ 10 ** (10 ** 10) }}",
    "squares": "{% set n = namespace(x=10) %}{% for i in range(60) %}{% set n.x = n.x * n.x %}"
    "{% endfor %}{{ n.x }}",
    "sums": "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = n.x + n.x %}"
    "{% endfor %}{{ n.x }}",
    "texts put together": "{% set n = namespace(x='a') %}{% for i in range(60) %}"
    "{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}",
    "a macro's text twice": "{% set n = namespace(x='a') %}{% for i in range(60) %}"
    "{% set y %}{{ n.x }}{{ n.x }}{% endset %}{% set n.x = y %}{% endfor %}{{ n.x }}",
    "a width in %": "{{ '%10000000000d' % 1 }}",
    "a width among the values of %": "{{ '%*d' % (10 ** 10, 1) }}",
    "a width in format": "{{ '{:>10000000000}'.format(1) }}",
    "a width among the values of format": "{{ '{:>{w}}'.format(1, w=10 ** 10) }}",
    "a width in format_map": "{{ '{a:>10000000000}'.format_map({'a': 1}) }}",
    "a value many times in format": LONG + "{{ ('{0}' * 10000).format(s) }}",
    "the filter format": "{{ '%10000000000d' | format(1) }}",
    "center": "{{ 'a'.center(10 ** 10) }}",
    "ljust": "{{ 'a'.ljust(10 ** 10) }}",
    "zfill": "{{ 'a'.zfill(10 ** 10) }}",
    "expandtabs": "{{ '\t'.expandtabs(10 ** 10) }}",
    "replace": LONG + "{{ s.replace('a', s) }}",
    "join": LONG + "{{ s.join(s) }}",
    "translate": LONG + "{{ s.translate({97: s}) }}",
    "to_bytes": "{{ (1).to_bytes(10 ** 10, 'big') }}",
    "the filter center": "{{ 'a' | center(10 ** 10) }}",
    "the filter center by name": "{{ 'a' | center(width=10 ** 10) }}",
    "indent": "{{ 'a\nb' | indent(10 ** 10) }}",
    "batch": "{{ [1] | batch(10 ** 10, 'x') | list | length }}",
    "slice": "{{ [1] | slice(10 ** 10) | list | length }}",
    "round": "{{ 1.5 | round(10 ** 10, 'ceil') }}",
    "tojson": "{{ [1] | tojson(indent=10 ** 10) }}",
    "the filter replace": LONG + "{{ s | replace('a', s) }}",
    "the filter join": LONG + "{{ s | join(s) }}",
    "the filter join of a generator": LONG + "{{ ([s] * 1000) | select | join }}",
    "the filter join of pairs": LONG + "{{ dict(a=[s] * 1000).items() | join }}",
    "map": "{{ range(90000) | map('center', 90000) | join }}",
    "tags taken out": "{{ ('<b>' * 500000) | striptags }}",
    "wordwrap": LONG + "{{ s | wordwrap(1, wrapstring=s) }}",
    "a sum of lists": "{{ ([[1] * 100] * 5000) | sum(start=[]) | length }}",
    "a nested list printed": DEEP + "{{ n.x }}",
    "a namespace printed": DEEP + "{{ n }}",
    "a nested list as text": DEEP + "{{ n.x | string }}",
    "a nested list as JSON": DEEP + "{{ n.x | tojson }}",
    "a nested list in a text": DEEP + "{{ 'x' ~ n.x }}",
    "a nested list in %": DEEP + "{{ '%s' % n.x }}",
    "a nested list in format": DEEP + "{{ '{}'.format(n.x) }}",
    "nested lists compared": DEEP + "{% set a = n.x %}" + DEEP + "{{ a == n.x }}",
    "nested lists compared by a test": DEEP + "{% set a = n.x %}" + DEEP + "{{ a is eq n.x }}",
    "nested lists searched": DEEP + "{% set a = n.x %}" + DEEP + "{{ a in [n.x] }}",
    "nested lists sorted": DEEP + "{% set a = n.x %}" + DEEP + "{{ [a, n.x] | sort | length }}",
    "a nested key": DEEP.replace("[n.x, n.x]", "(n.x, n.x)") + "{{ {n.x: 1} | length }}",
    "a nested key looked up": DEEP.replace("[n.x, n.x]", "(n.x, n.x)") + "{{ {}[n.x] }}",
    "a long text cut again and again": LONG + "{% for i in range(90000) %}{% if s[1:] %}{% endif %}"
    "{% endfor %}",
    "a long text searched again and again": LONG + "{% for i in range(90000) %}"
    "{% if 'x' ~ i in s %}{% endif %}{% endfor %}",
    "a long text stripped again and again": LONG + "{% for i in range(90000) %}"
    "{% if s.upper() %}{% endif %}{% endfor %}",
    "a long number from hexadecimal": "{{ ('f' * 1000000) | int(base=16) % 7 }}",
}

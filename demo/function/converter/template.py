"""Fills `{{ expression }}` in a template.

Flaw: the expression goes to eval(), and the template is the caller's. That is arbitrary Python in the function.
"""

import re

EXPRESSION = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)


def render(text, names):
    def value(match):
        return str(eval(match.group(1).strip(), dict(names)))

    return EXPRESSION.sub(value, text)

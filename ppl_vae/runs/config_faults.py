"""What is wrong with an entry of a configuration, in the words of a user."""

from __future__ import annotations

import re
from typing import Literal, get_args, get_origin, get_type_hints

from ppl_vae.data.text_file import shown

__all__ = ["fault_of"]

_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "object": "a table",
    "array": "a list",
    "null": "null",
}


def fault_of(message: str, kind: type, content: dict[str, object]) -> str:
    """A message of msgspec such as ``Expected `float`, got `str` - at `$.settings.clip``` in the words of a user."""
    text, _, path = message.rstrip("`").partition(" - at `$")
    parts: list[str] = re.findall(r"\w+|\[\.\.\.\]", path)
    value: object = content
    hint: object = kind
    for part in parts:
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal():
            value = value[int(part)]
        hint = get_type_hints(hint).get(part) if isinstance(hint, type) else None
    place = re.sub(r"\.?\[\.\.\.\]", "", path.lstrip("."))
    if text.startswith("Object missing required field"):
        return f"{place}{'.' if place else ''}{text.split('`')[1]} is missing"
    if text.startswith("Invalid enum value"):
        literals = [part for part in (hint, *get_args(hint)) if get_origin(part) is Literal]
        choices = ", ".join(str(choice) for part in literals for choice in get_args(part))
        return f"{place} is {shown(value, 80)}; choose from {choices}"
    if expected := re.match(r"Expected `([^`]*)`(.*)", text):
        types = " or ".join(_TYPES.get(name, name) for name in expected[1].split(" | "))
        return f"{place or 'the file'} is {shown(value, 80)}; give {types}{expected[2].split(', got')[0]}"
    return f"{place}: {text}"

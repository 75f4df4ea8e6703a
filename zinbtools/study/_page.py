"""Pages that hold everything: no script, font or picture from elsewhere, and no request."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def page(template: str, **content: Any) -> str:
    """Fill a template of this folder; a name that it asks for and does not get is an error."""
    environment = Environment(
        loader=PackageLoader("zinbtools", "study"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["unbroken"] = lambda text: text.replace(" %", "\N{NO-BREAK SPACE}%")
    environment.filters["base64"] = lambda data: b64encode(data).decode("ascii")
    return environment.get_template(template).render(**content)

"""Reads a page as a browser does, with the parser of the standard library."""

from collections import Counter
from html.parser import HTMLParser

VOID = {"meta", "img", "br", "hr", "input", "link"}


class Page(HTMLParser):
    """Elements, text and faults of a page.

    Arguments:
        html: The page.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.faults: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        self.faults += [f"{tag} is not closed" for tag in self.open]

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> closes another element")

    def handle_data(self, data):
        self.text += data

    def named(self, *tags: str) -> list[dict[str, str | None]]:
        """The attributes of the elements of these names."""
        return [attributes for tag, attributes in self.elements if tag in tags]

    def ids(self) -> Counter:
        """How often each id occurs."""
        return Counter(attributes["id"] for _, attributes in self.elements if "id" in attributes)

    def addresses(self) -> list[str]:
        """All addresses that the page names."""
        return [value for _, a in self.elements for key, value in a.items() if key in ("src", "href", "xlink:href")]


def check(html: str) -> Page:
    """The page, if it is well formed, needs nothing else, and can be read without seeing or pointing.

    Nothing is fetched; elements are nested; ids are unique, and every address within the page leads somewhere; pictures
    and charts say what they show; tables say what their heads are heads of, and scroll under the keyboard.
    """
    page = Page(html)
    assert page.faults == []
    assert [key for key, count in page.ids().items() if count > 1] == []
    for address in page.addresses():
        assert address.startswith("data:image/png;base64,") or address[:1] == "#", address[:80]
        assert address[:1] != "#" or address[1:] in page.ids(), address
    assert page.named("script", "link", "iframe", "object", "form") == []
    assert not [a for _, a in page.elements if any(key.startswith("on") for key in a)]
    assert all(a.get("alt") for a in page.named("img"))
    assert all(a.get("aria-label") and a["role"] == "img" for a in page.named("svg"))
    assert all(a.get("scope") in ("col", "row") for a in page.named("th"))
    regions = [a for a in page.named("div") if a.get("class") == "scroll"]
    assert all(a["tabindex"] == "0" and a["role"] == "region" and a["aria-label"] for a in regions)
    assert {"header", "nav", "main", "footer"} <= {tag for tag, _ in page.elements}
    assert page.named("html")[0]["lang"] == "en"
    assert len(page.named("h1")) == 1
    assert "url(" not in html.replace("url(data:", "")
    assert "@import" not in html
    return page

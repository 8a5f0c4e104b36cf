"""The dossier as a reader's program sees it: parsed, with every tag closed in order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

from sextant_components.closing.dossier import run_dossier
from sextant_components.runs.context import RunContext

VOID = {"meta", "link", "img", "br", "use", "path", "circle", "line", "rect"}


@dataclass
class Element:
    """One element of the page."""

    tag: str
    attributes: dict[str, str | None]
    parent: Element | None
    content: list[Element | str] = field(default_factory=list)

    def walk(self) -> Iterator[Element]:
        """Yield the element and all below it, in document order."""
        yield self
        for part in self.content:
            if isinstance(part, Element):
                yield from part.walk()

    def find(self, tag: str, css: str = "") -> list[Element]:
        """Return the descendants of a tag, and of a class if one is given."""
        return [e for e in self.walk() if e.tag == tag and css in ["", *(e.attributes.get("class") or "").split()]]

    @property
    def text(self) -> str:
        """The text of the element and all below it, in document order."""
        parts = [part if isinstance(part, str) else f" {part.text} " for part in self.content]
        return " ".join("".join(parts).split())


class Page(HTMLParser):
    """A parsed page; a tag that is closed out of order fails."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.root = Element("", {}, None)
        self._at = self.root
        self.feed(html)
        assert self._at is self.root, f"<{self._at.tag}> is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs), self._at)
        self._at.content.append(element)
        if tag not in VOID:
            self._at = element

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._at.tag == tag, f"</{tag}> closes <{self._at.tag}>"
            assert self._at.parent is not None
            self._at = self._at.parent

    def handle_data(self, data: str) -> None:
        self._at.content.append(data)

    def by_id(self, name: str) -> Element:
        """Return the one element of this id."""
        (found,) = [element for element in self.root.walk() if element.attributes.get("id") == name]
        return found


def page_of(context: RunContext) -> Page:
    """Write the run's dossier and parse it."""
    return Page(run_dossier(context).read_text(encoding="utf-8"))


def answer_of(page: Page) -> str:
    """Return the text of the answer."""
    return page.by_id("answer").text

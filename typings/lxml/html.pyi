from collections.abc import Iterator, MutableMapping

class HtmlElement:
    attrib: MutableMapping[str, str]
    def iter(self, tag: str) -> Iterator[HtmlElement]: ...
    def get(self, key: str) -> str | None: ...
    def getparent(self) -> HtmlElement | None: ...
    def drop_tree(self) -> None: ...

class HTMLParser:
    def __init__(
        self,
        *,
        encoding: str | None = ...,
        huge_tree: bool = ...,
        remove_comments: bool = ...,
        remove_pis: bool = ...,
        no_network: bool = ...,
    ) -> None: ...

def document_fromstring(html: bytes | str, parser: HTMLParser | None = ...) -> HtmlElement: ...

"""A scan process whose images are joined before delivery, and the package that brings the filter."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from lxml import etree

from postscan.contracts.psp import FilterToProcess, write_process
from postscan.directory.model import ProcessDraft, StoredProcess
from postscan.soap.names import PSP, qname
from support.packages import install
from support.scanning import Site

DIALECT = "urn:test:joining-package"
NAME = "Scan to one document"

_SOURCE = f"""
    import asyncio
    from pathlib import Path

    from postscan.contracts.formats import DerivedFormat
    from postscan.filters.contract import PROCESSING, FilterKind, Product

    class Joining:
        dialect = "{DIALECT}"

        def destinations(self, instructions, job):
            return [PROCESSING]

        async def process(self, order, bench):
            '''Join the pages; takes long enough for a kill to come in between.'''
            number = await bench.count("documents")
            path = bench.folder / "joined"
            with path.open("wb") as joined:
                for done, page in enumerate(order.documents, start=1):
                    joined.write(page.path.read_bytes())
                    bench.progress(done, len(order.documents))
                    await asyncio.sleep(0.02)
            if number % 2:
                await bench.warn("the number is odd")
            sources = tuple(source for page in order.documents for source in page.sources)
            name = f"document {{number}}"
            return [Product(path, DerivedFormat.PDF, sources, name=name, pages=len(sources))]

    kind = FilterKind("joining", "{DIALECT}", lambda environment: Joining())
"""


def install_joining(folder: Path) -> None:
    """Lay the package down in a folder, which is to be on the path of the server."""
    folder.mkdir()
    install(folder, "postscan-joining", {"joining": "kind"}, _SOURCE)


async def add_process(site: Site, *, go_on: bool = False) -> StoredProcess:
    """Add the process, for everyone; it delivers to the users' folders."""
    plain = (await site.process()).process
    instructions = etree.Element(qname(PSP, "Instructions"), nsmap={"psp": PSP})
    etree.SubElement(instructions, f"{{{DIALECT}}}Join")
    joining = FilterToProcess(dialect=DIALECT, instructions=instructions)
    process = replace(
        plain,
        instructions=replace(
            plain.instructions,
            filters=(joining, *plain.instructions.filters),
            continue_on_error=go_on,
        ),
    )
    draft = ProcessDraft(uuid4(), NAME, write_process(process), groups=frozenset({"Everyone"}))
    return await site.directory.create_process(draft)

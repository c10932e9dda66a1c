"""A whole scan server that delivers to a real web server, which dies and comes back meanwhile."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from postscan.cli.installation import Installation
from postscan.contracts.keywords import DocumentFormat, FilterState
from postscan.device.imaging import ScannedImage
from postscan.device.session import Outcome, ScanSession
from support.scanning import Site, Witness, jpeg, make_installation, running, stream
from testservers.webserver import ACCOUNT, LIBRARY, PASSWORD, Logon, WebServer

FSF = "http://schemas.microsoft.com/windows/2007/10/imaging/postscan/filter/fileshare"
SPF = "http://schemas.microsoft.com/windows/2007/10/imaging/postscan/filter/sharepoint"


def installation(folder: Path, web: WebServer, web_pki: Path) -> Installation:
    """Make a server whose process "Scan to my folder" goes to a library instead."""
    password = folder / "password"
    password.touch(mode=0o600)
    password.write_text(PASSWORD)
    site = {
        "auth": "basic",
        "account": ACCOUNT,
        "password_file": str(password),
        "ca": str(web_pki / "ca.pem"),
        "columns": {"Title": "{document}"},
    }
    made = make_installation(
        folder / "site", sharepoint={"sites": {web.origin(Logon.BASIC): site}}, retry={"first_seconds": 1}
    )
    [process] = made.directory.glob("processes/scan-to-my-folder.xml")
    url = f"{web.origin(Logon.BASIC)}{LIBRARY}/Forms/AllItems.aspx"
    config = (
        f'<s:SharePointConfig xmlns:s="{SPF}"><s:SaveToSharePointSites><s:SaveToSharePointSiteURL>{url}'
        "</s:SaveToSharePointSiteURL></s:SaveToSharePointSites></s:SharePointConfig>"
    )
    text = process.read_text().replace(f"Dialect>{FSF}<", f"Dialect>{SPF}<")
    process.write_text(re.sub(r"<fsf:FileShareConfig.*</fsf:FileShareConfig>", config, text, flags=re.DOTALL))
    return made


async def scan(site: Site, count: int) -> Outcome:
    pages = [ScannedImage(jpeg(n, 20_000), DocumentFormat.JFIF, name=f"page {n}") for n in range(count)]
    async with site.device("alice") as device:
        session = ScanSession(
            device, await site.user("alice"), Witness(), sink_address="127.0.0.1", use_events=True
        )
        return await session.run(
            await site.process("Scan to my folder"), stream(pages), wait_seconds=90, cancel_after=None
        )


async def test_a_scan_waits_for_a_web_server_that_is_away(
    tmp_path: Path, web: WebServer, web_pki: Path
) -> None:
    made = installation(tmp_path, web, web_pki)
    web.kill()
    async with running(tmp_path / "site", made=made) as site:
        scanning = asyncio.create_task(scan(site, 3))
        while not site.spooled():
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)
        assert not scanning.done()
        web.start()
        outcome = await scanning

    assert outcome.delivered
    assert [one.state for one in outcome.filters] == [FilterState.COMPLETED_SUCCESSFULLY]
    stored = web.stored()
    assert sorted(stored.values()) == sorted(jpeg(n, 20_000) for n in range(3))
    assert all(re.fullmatch(r"alice@example\.com/.*_alice_00[123]\.jpg", name) for name in stored)

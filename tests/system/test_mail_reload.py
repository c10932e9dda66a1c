"""Settings that change while mail waits: what was entered for one mail server is not shown to another."""

from __future__ import annotations

import asyncio
import base64
import re
from pathlib import Path

from postscan.cli.filters_email import email_secret_uses
from postscan.cli.installation import Installation
from postscan.cli.settings import load_settings
from postscan.contracts.keywords import END_STATES, DocumentFormat, JobState
from postscan.core.secret import Secret
from postscan.device.client import ScanServerClient
from postscan.soap.names import EMLF, FSF
from support.commands import postscan
from support.odd_mail import OddMailServer
from support.scanning import Site, jpeg, make_installation, running

PASSWORD = "Mail-Passw0rd-canary"


def make_site(folder: Path, port: int) -> Installation:
    """Make an installation whose process sends mail to alice."""
    made = make_installation(
        folder,
        retry={"first_seconds": 1},
        email={
            "server": "127.0.0.1",
            "port": port,
            "security": "none",
            "insecure_plain_auth": True,
            "account": "scan",
            "sender": "scan@example.com",
            "timeout_seconds": 20,
        },
    )
    [process] = made.directory.glob("processes/scan-to-my-folder.xml")
    to = "<e:SendToAddresses><e:EmailAddress>alice@example.com</e:EmailAddress></e:SendToAddresses>"
    config = f"<e:EmailConfig xmlns:e='{EMLF}'>{to}</e:EmailConfig>"
    text = process.read_text().replace(f"Dialect>{FSF}<", f"Dialect>{EMLF}<")
    process.write_text(re.sub(r"<fsf:FileShareConfig.*</fsf:FileShareConfig>", config, text, flags=re.DOTALL))
    return made


def enter_password(made: Installation) -> None:
    """Do what `postscan secrets set email.password` does."""
    loaded = load_settings(made.config, {})
    (use,) = email_secret_uses(loaded.settings)
    loaded.secrets.store.keep(use, Secret(PASSWORD))


async def shown(site: Site, token: str, words: str) -> None:
    """Wait until `postscan jobs show` says these words."""
    async with asyncio.timeout(60):
        while True:
            said = await asyncio.to_thread(postscan, "jobs", "show", token, "--config", site.made.config)
            if words in " ".join(said.stdout.split()):
                return


async def state_of(device: ScanServerClient, token: str) -> JobState | str:
    """Wait until a job has ended; return its state."""
    async with asyncio.timeout(60):
        while (status := await device.status(token)).state not in END_STATES:
            await asyncio.sleep(0.05)
    return status.state


async def test_case_26_a_waiting_delivery_shows_the_password_to_no_other_server(tmp_path: Path) -> None:
    busy = OddMailServer({"MAIL": "450 4.3.0 Later"})
    async with busy as first, OddMailServer() as other:
        made = make_site(tmp_path / "site", first.port)
        enter_password(made)
        async with running(tmp_path / "site", made=made) as site, site.device() as device:
            token = await device.create(await site.process(), (await site.user()).sid)
            await device.send_image(token, 1, DocumentFormat.JFIF, jpeg(1))
            await device.end(token)
            while not any(line.startswith("MAIL") for line in first.commands):
                await asyncio.sleep(0.01)

            text = made.config.read_text()
            made.config.write_text(text.replace(f"port = {first.port}", f"port = {other.port}"))
            assert site.server is not None
            await site.server.reload()
            await shown(site, token, "was entered for another destination")

            said = "\n".join(other.commands)
            assert "AUTH" not in said
            assert PASSWORD not in said
            assert base64.b64encode(PASSWORD.encode()).decode() not in said
            assert other.messages == []

            enter_password(made)
            assert await state_of(device, token) is JobState.COMPLETED
    assert len(other.messages) == 1
    assert first.messages == []

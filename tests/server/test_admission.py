"""What the server decides about a Create beyond its form, and what it tells of large jobs."""

import asyncio
from pathlib import Path

from support.scanning import jpeg, running
from support.wire import create_request, elements_request, new_id, wire


async def test_a_message_id_used_again_for_another_process_makes_another_job(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site, wire(site) as peer:
        sid, message_id = (await site.user()).sid, new_id()
        requests = [
            create_request(await site.process(name), sid, message_id=message_id)
            for name in ("Scan to my folder", "Invoices", "Invoices")
        ]
        first, other, again = [(await peer.post(request)).text("JobToken") for request in requests]
        assert first != other == again
        assert site.server is not None
        assert (await site.server.engine.job(other, None)).process_name == "Invoices"


async def test_an_account_that_was_disabled_begins_no_further_job(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site, wire(site) as peer:
        await peer.create()
        users = site.made.directory / "users.toml"
        text = users.read_text()
        users.write_text(text.replace('name = "alice"', 'name = "alice"\nenabled = false', 1))
        process, sid = await site.process(), (await site.user()).sid
        async with asyncio.timeout(20):
            # Files are looked at again after a second; who a certificate stands for is remembered for longer.
            while (answer := await peer.post(create_request(process, sid))).status == 200:
                await asyncio.sleep(0.1)
        assert (answer.subcode, answer.detail) == ("InvalidArgs", "dsp:UserIdentifier")


async def test_an_answer_never_grows_beyond_what_peers_accept(tmp_path: Path) -> None:
    async with running(tmp_path / "site") as site, wire(site) as peer:
        token = await peer.create()
        for number in range(1, 261):
            assert (await peer.upload(token, jpeg(number, 64), document_id=number)).status == 200
        # The helper fails on an answer of more than 32,767 octets (trap 17).
        answer = await peer.post(elements_request(token, "dsp:JobStatus", "dsp:Documents", "dsp:JobStatus"))
        assert answer.envelope.body is not None
        valid = [
            next(value for name, value in data.attrib.items() if str(name).endswith("Valid"))
            for data in answer.envelope.body.iter("{*}ElementData")
        ]
        assert valid == ["true", "false", "true"]


async def test_a_data_folder_may_have_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "what? 50%41#x" / "site"
    folder.parent.mkdir()
    async with running(folder) as site, wire(site) as peer:
        await peer.create()
        assert (site.made.folder / "data" / "jobs.sqlite").exists()
    assert list(tmp_path.iterdir()) == [folder.parent]

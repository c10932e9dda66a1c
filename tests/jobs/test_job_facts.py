"""What administrators are told of a job, as JSON and in words."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from postscan.cli.job_text import print_job, short_dialect
from postscan.cli.output import Output
from postscan.filters.contract import ProcessingOrder, Product, Workbench
from postscan.jobs.model import Job
from postscan.server.job_facts import full_job_facts, job_facts
from postscan.soap.names import EMLF, FSF, NAMES
from support.chains import MADE, Chain, broken, busy, waits
from support.filters import product


async def facts(chain: Chain, job: Job) -> dict[str, Any]:
    """Return a job as the local socket answers it."""
    engine = chain.shop.engine
    now = await engine.job(job.token, None)
    told: dict[str, Any] = json.loads(
        json.dumps(
            full_job_facts(
                now,
                await engine.documents(job.token, None),
                await engine.products(job.token, None),
                engine.progress(job.token),
            )
        )
    )
    return told


def words(told: dict[str, Any]) -> str:
    """Return what a person reads."""
    stream = io.StringIO()
    print_job(Output(stream=stream), told)
    return stream.getvalue()


async def test_what_was_made_and_what_was_delivered_where_is_told(chain: Chain) -> None:
    job = await chain.scan()
    await chain.done(job)
    told = await facts(chain, job)
    step, share = told["filters"]
    (made,) = step["made"]
    octets = sum(document["size"] for document in told["documents"])
    assert made | {"sha256": ""} == {
        "document": MADE,
        "number": 1,
        "format": "pdf",
        "size": octets,
        "sha256": "",
        "name": None,
        "pages": 2,
        "sources": [1, 2],
        "handed_on": False,
    }
    assert len(made["sha256"]) == 64
    ((delivered,),) = [place["delivered"] for place in share["destinations"]]
    assert (delivered["document"], delivered["size"]) == (MADE, octets)
    assert (step["kind"], share["kind"], share["made"]) == ("processing", "delivery", [])
    said = words(told)
    assert "joining 1" in said
    assert str(MADE) not in said
    assert "1-2" in said
    assert delivered["name"] in said


async def test_documents_that_are_handed_on_keep_their_numbers(chain: Chain) -> None:
    async def rename(order: ProcessingOrder, bench: Workbench) -> list[Product]:
        return [product(document, f"named {document.number}") for document in order.documents]

    chain.joining._process = rename
    job = await chain.scan()
    await chain.done(job)
    told = await facts(chain, job)
    made = told["filters"][0]["made"]
    assert [(one["document"], one["name"], one["handed_on"]) for one in made] == [
        (1, "named 1", True),
        (2, "named 2", True),
    ]
    assert "named 2" in words(told)


async def test_progress_is_told_while_a_step_works(chain: Chain) -> None:
    go_on = chain.joining.block()
    job = await chain.scan(pages=3)
    await chain.joining.waiting.wait()
    told = await facts(chain, job)
    assert told["filters"][0]["progress"] == {"done": 3, "total": 3}
    assert "Processing, 3 of 3" in words(told)
    go_on.set()
    await chain.done(job)
    assert (await facts(chain, job))["filters"][0]["progress"] is None


async def test_warnings_are_told_with_the_step_they_come_from(chain: Chain) -> None:
    chain.joining.warnings = ["page 2 is upside down"]
    job = await chain.scan()
    await chain.done(job)
    told = await facts(chain, job)
    assert told["filters"][0]["destinations"][0]["warnings"] == ["page 2 is upside down"]
    assert "warning: joining: page 2 is upside down" in words(told)


async def test_a_failure_is_told_with_what_to_do(chain: Chain) -> None:
    chain.joining.failing = [broken()]
    job = await chain.scan()
    await chain.done(job)
    told = await facts(chain, job)
    place = told["filters"][0]["destinations"][0]
    assert (place["state"], place["last_error"], place["advice"]) == (
        "Failed",
        "page 2 is broken",
        "Scan page 2 again.",
    )
    said = words(told)
    assert "page 2 is broken\n  what to do: Scan page 2 again." in said


async def test_a_step_that_waits_tells_until_when(chain: Chain) -> None:
    chain.joining.failing = [busy()]
    job = await chain.scan()
    await waits(chain, job, 1)
    place = (await facts(chain, job))["filters"][0]["destinations"][0]
    assert (place["state"], place["attempts"], place["advice"]) == ("Waiting", 1, None)
    assert place["next_attempt"]


async def test_a_list_of_jobs_leaves_out_what_is_long(chain: Chain) -> None:
    job = await chain.scan()
    short = job_facts(await chain.done(job))
    assert "documents" not in short
    assert not {"made", "progress"} & set(short["filters"][0])
    print_job(Output(stream=io.StringIO()), short)


@pytest.mark.parametrize(
    ("dialect", "name"),
    [
        (FSF, "fileshare"),
        (EMLF, "email"),
        (NAMES, "names"),
        ("http://example.com/own/", "own"),
        ("own", "own"),
    ],
)
def test_a_dialect_is_told_by_its_last_segment(dialect: str, name: str) -> None:
    assert short_dialect(dialect) == name

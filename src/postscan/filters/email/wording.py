"""What messages say: subject, text and HTML out of templates, with the facts of the job."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path
from typing import Final

from postscan.core.errors import ConfigurationError
from postscan.filters.contract import InstructionsError, JobFacts
from postscan.filters.email.message import Texts
from postscan.filters.templates import Field, FieldKind, FieldValue, Template, TemplateError

_MAX_TEXT: Final = 20_000
_MAX_FILE_OCTETS: Final = 100_000
_PART: Final = {
    "documents": Field(FieldKind.NUMBER, "how many documents are attached"),
    "part": Field(FieldKind.NUMBER, "which of several messages this is"),
    "parts": Field(FieldKind.NUMBER, "how many messages there are"),
}
FIELDS: Final[Mapping[str, Field]] = {
    "root": Field(FieldKind.TEXT, "what the files' names begin with (DocumentRootName)", longest=200),
    "process": Field(FieldKind.TEXT, "the scan process", longest=200),
    "user": Field(FieldKind.TEXT, "who scanned: the account's name", longest=200),
    "name": Field(FieldKind.TEXT, "who scanned, as people say it", longest=200),
    "date": Field(FieldKind.MOMENT, "when it was scanned", default="%Y-%m-%d"),
    "time": Field(FieldKind.MOMENT, "when it was scanned", default="%H:%M"),
    "job": Field(FieldKind.TEXT, "the job's token", longest=100),
    **_PART,
}
"""The fields of all templates; the bodies have ``files`` besides."""
BODY_FIELDS: Final[Mapping[str, Field]] = {
    **FIELDS,
    "files": Field(FieldKind.TEXT, "the names of the attachments, a line each", longest=60_000),
}
_SUBJECT: Final = "{root} ({process}, {date} {time})"
_TEXT: Final = """\
{name} scanned this on {date} at {time} with "{process}".

Attached ({documents}):

{files}

Job {job}
"""
_HTML: Final = """\
<!DOCTYPE html>
<html>
<head><meta charset="utf-8"><title>{root}</title></head>
<body style="font-family: sans-serif">
<p>{name} scanned this on {date} at {time} with &ldquo;{process}&rdquo;.</p>
<p>Attached ({documents}):</p>
<pre>{files}</pre>
<p style="color: #666666; font-size: smaller">Job {job}</p>
</body>
</html>
"""


@dataclass(frozen=True, slots=True)
class Part:
    """One message of a job: the names of what is attached, and which of how many messages it is."""

    names: Sequence[str]
    number: int = 1
    of: int = 1


@dataclass(frozen=True, slots=True)
class Wording:
    """Templates of a message; ``html`` is None for messages of plain text."""

    subject: Template
    text: Template
    html: Template | None

    @classmethod
    def of(cls, folder: Path | None) -> Wording:
        """Return what is built in, with subject.txt, body.txt and body.html of a folder in place of it.

        A folder with body.txt and without body.html makes messages of plain text.

        :raises ConfigurationError: a file cannot be read, or is no template.
        """
        subject = _read(folder, "subject.txt", FIELDS)
        text = _read(folder, "body.txt", BODY_FIELDS)
        markup = _read(folder, "body.html", BODY_FIELDS)
        if markup is None and text is None:
            markup = Template.parse(_HTML, BODY_FIELDS, longest=_MAX_TEXT)
        return cls(
            subject or Template.parse(_SUBJECT, FIELDS),
            text or Template.parse(_TEXT, BODY_FIELDS, longest=_MAX_TEXT),
            markup,
        )

    def with_instructions(self, subject: str | None, body: str | None) -> Wording:
        """Return it with the texts of a scan process (px:Subject, px:Body); raises InstructionsError."""
        wording = self
        if subject is not None:
            wording = Wording(_of_process("px:Subject", subject, FIELDS), wording.text, wording.html)
        if body is not None:
            # The server's HTML would say something else.
            wording = Wording(wording.subject, _of_process("px:Body", body, BODY_FIELDS), None)
        return wording

    def texts(self, job: JobFacts, part: Part, zone: tzinfo | None) -> Texts:
        """Return what one message says."""
        moment = job.created.astimezone(zone)
        values: dict[str, FieldValue] = {
            "root": job.document_root_name,
            "process": job.process_name,
            "user": job.user_name,
            "name": job.user_display_name or job.user_name,
            "date": moment,
            "time": moment,
            "job": job.token,
            "documents": len(part.names),
            "part": part.number,
            "parts": part.of,
            "files": "\n".join(part.names),
        }
        subject = self.subject.render(values)
        if part.of > 1 and "part" not in self.subject.fields:
            subject = f"{subject} ({part.number}/{part.of})"
        markup = None if self.html is None else self.html.render(values, escape=html.escape)
        return Texts(subject, self.text.render(values), markup)


def _of_process(element: str, text: str, fields: Mapping[str, Field]) -> Template:
    try:
        return Template.parse(text, fields, longest=_MAX_TEXT)
    except TemplateError as error:
        raise InstructionsError(f"{element}, {error}", detail=element, advice=error.what_to_do) from error


def _read(folder: Path | None, name: str, fields: Mapping[str, Field]) -> Template | None:
    if folder is None:
        return None
    path = folder / name
    try:
        with path.open("rb") as file:
            octets = file.read(_MAX_FILE_OCTETS + 1)
        text = octets.decode("utf-8-sig").rstrip("\r\n")
        return Template.parse(text, fields, longest=_MAX_TEXT)
    except FileNotFoundError:
        if folder.is_dir():
            return None
        raise ConfigurationError(
            f"{folder}, the folder of mail templates, does not exist",
            advice="Make it, or take `templates` out of [email].",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise ConfigurationError(f"{path} cannot be read: {why}", advice="Correct the template.") from error
    except TemplateError as error:
        raise ConfigurationError(f"{path}, {error}", advice=error.what_to_do) from error

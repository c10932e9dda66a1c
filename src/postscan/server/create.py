"""Everything that is checked before a job exists (abuse cases 22 to 24, R-9)."""

from __future__ import annotations

from dataclasses import dataclass

from lxml import etree

from postscan.contracts import compare, dsp
from postscan.contracts.identifiers import parse_process_identifier
from postscan.core.errors import FaultKind, FaultParty, InvalidArgument, PostscanError
from postscan.directory.model import Directory, StoredProcess, User, is_sid
from postscan.dpws.service import Caller
from postscan.jobs.model import NewFilter, NewJob
from postscan.server.identity import Authenticator
from postscan.soap.xml import serialize


class NoValidInstructions(PostscanError):
    """The instructions sent are not those of the scan process, or it is not for this server.

    ws-dsp.md has the keyword as a job's reason; as the fault's subcode it tells the device the same.
    """

    fault = FaultKind(
        FaultParty.SENDER,
        "NoValidPostScanInstructionsFound",
        "The CreatePostScanJobRequest contains an invalid scan processing instruction.",
    )
    advice = "Read the scan process from the directory again and send its instructions unchanged."
    exit_code = 4


@dataclass(frozen=True, slots=True)
class Admission:
    """Decides whether a CreatePostScanJobRequest becomes a job; ``server_names`` are this server's."""

    directory: Directory
    authenticator: Authenticator
    server_names: frozenset[str]

    async def admit(
        self, request: dsp.CreatePostScanJobRequest, caller: Caller, message_id: str | None
    ) -> NewJob:
        """Return the job to create.

        :raises InvalidArgument: a malformed SID or GUID, an unknown user, a process unknown or not granted
            (the same answer for both, so that nobody can list processes by guessing).
        :raises NoValidInstructions: the process is another server's, or the instructions differ.
        :raises AuthenticationFailed: the caller may not speak for the user.
        """
        owner = await self.authenticator.owner(caller)
        user = await self._user(request, caller)
        stored = await self._process(request, user)
        self._compare(stored, request)
        instructions = request.instructions
        return NewJob(
            owner=owner,
            user=user,
            process_id=stored.identifier,
            process_name=stored.display_name,
            document_root_name=instructions.document_root_name,
            continue_on_error=instructions.continue_on_error,
            filters=tuple(
                NewFilter(dialect=f.dialect, instructions=serialize(f.instructions))
                for f in instructions.filters
            ),
            request_id=message_id,
            correlation_id=caller.correlation_id,
            origin=caller.peer.address,
            vouched_by=self.authenticator.voucher(caller, owner),
        )

    async def _user(self, request: dsp.CreatePostScanJobRequest, caller: Caller) -> User:
        sid = request.user_identifier.strip()
        if not is_sid(sid):
            raise InvalidArgument("UserIdentifier is no SID", detail="dsp:UserIdentifier")
        user = await self.authenticator.user(caller, sid)
        if user is None or not user.enabled:
            raise InvalidArgument(f"user {sid} is unknown or disabled", detail="dsp:UserIdentifier")
        return user

    async def _process(self, request: dsp.CreatePostScanJobRequest, user: User) -> StoredProcess:
        identifier = parse_process_identifier(request.psp_identifier)
        stored = await self.directory.process(identifier)
        if stored is None or not stored.granted_to(user):
            known = "not granted" if stored else "unknown"
            raise InvalidArgument(
                f"process {identifier} is {known} to {user.upn}", detail="dsp:PSP_Identifier"
            )
        return stored

    def _compare(self, stored: StoredProcess, request: dsp.CreatePostScanJobRequest) -> None:
        repository = stored.process.scan_repository.strip().rstrip(".").casefold()
        if repository not in self.server_names:
            raise NoValidInstructions(
                f"process {stored.display_name} is for {repository}", detail="psp:ScanRepository"
            )
        sent: etree._Element = request.instructions_element
        differences = compare.differences(stored.process, sent)
        if differences:
            first = differences[0]
            raise NoValidInstructions(
                f"instructions differ from process {stored.display_name} at {first.path}", detail=first.name
            )

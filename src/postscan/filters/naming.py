"""The one place that makes file and folder names out of input (abuse case 28, R-6).

A name made here is safe wherever it may be written, now or copied later: POSIX file systems, NTFS, FAT, SMB
shares and what Windows makes of names. That is: NFC; only letters, marks, digits, punctuation, symbols and
spaces, without the characters Windows forbids (control, format, bidirectional and surrogate characters are
none of these); no dot or space at either end; no device name of Windows; at most 255 octets of UTF-8, which
also is at most 255 units of UTF-16; never empty. (Rules of Windows: "Naming Files, Paths, and Namespaces".)
"""

from __future__ import annotations

import hashlib
import unicodedata
from datetime import tzinfo
from pathlib import Path
from typing import Final

from postscan.contracts.formats import extension_of
from postscan.core.errors import PostscanError
from postscan.filters.contract import JobFacts, SpooledDocument

MAX_NAME_BYTES: Final = 255
_MAX_USER_BYTES: Final = 64
_FORBIDDEN: Final = frozenset('/\\:*?"<>|')
# General categories: letters, marks, numbers, punctuation, symbols; spaces (Zs) become U+0020.
_ALLOWED_CATEGORIES: Final = frozenset("LMNPS")
_ENDS: Final = " ."
_DEVICES: Final = frozenset(
    {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$"}
    | {f"{port}{digit}" for port in ("COM", "LPT") for digit in "0123456789"}
)


class OutsideRoot(PostscanError):
    """A path would leave the folder it has to stay in."""

    advice = "Name a place inside the allowed folder, without links that lead out of it."


def safe_component(text: str, fallback: str, *, max_bytes: int = MAX_NAME_BYTES) -> str:
    """Return ``text`` as one file or folder name that is safe on every target (see the module).

    What may not stand in a name is left out, what is too long is cut at the end, and a device name of
    Windows gets a leading underscore. Applying it twice changes nothing more.

    :param fallback: what to use, made safe likewise, when nothing of ``text`` remains.
    :param max_bytes: the most octets of UTF-8 the name may have, at least 8.
    """
    for candidate in (text, fallback):
        name = _cut(safe_part(candidate).strip(_ENDS), max_bytes)
        if _is_device(name):
            name = _cut(f"_{name}", max_bytes)
        if name:
            return name
    return "_"


def document_name(
    job: JobFacts, document: SpooledDocument, *, attempt: int = 0, zone: tzinfo | None = None
) -> str:
    """Return a document's final name, as in ``Invoice_2026-11-21_143005_alice_001.tif``.

    What a processing filter called it is made safe and kept. Otherwise the name consists of root name, date,
    time, user and number (PostScanInstructions.DocumentRootName). The moment is that of the job's creation,
    so the name is the same whenever it is asked for.

    :param attempt: how many names are taken already; the second candidate ends in `` (2)``.
    :param zone: the time zone of date and time; the server's own when None.
    """
    counter = f" ({attempt + 1})" if attempt else ""
    end = f"{counter}.{extension_of(document.format).removeprefix('.')}"
    if document.name is not None and safe_part(document.name).strip(_ENDS):
        return _joined(document.name, end)
    moment = job.created.astimezone(zone)
    user = safe_component(job.user_name, "user", max_bytes=_MAX_USER_BYTES)
    rest = f"_{moment:%Y-%m-%d_%H%M%S}_{user}_{document.number:03d}"
    return _joined(job.document_root_name, rest + end)


def safe_part(text: str) -> str:
    """Return what of ``text`` may stand within a name; may be empty, and begin or end with dots or spaces."""
    kept = []
    # Normalizing first lets composed characters be judged as what they will be, and once more at the end
    # joins what stood apart only because of a character left out.
    for char in unicodedata.normalize("NFC", text):
        category = unicodedata.category(char)
        if category == "Zs":
            kept.append(" ")
        elif category[0] in _ALLOWED_CATEGORIES and char not in _FORBIDDEN:
            kept.append(char)
    return unicodedata.normalize("NFC", "".join(kept))


def user_folder(user_name: str, domain: str) -> str:
    """Return the folder of a user at a destination: ``user@domain`` (FileShareConfig.FileShares.ShareUNC).

    Two accounts never share a folder: where a name had to be changed, a hash of the true one is added.
    """
    wanted = unicodedata.normalize("NFC", f"{user_name}@{domain}" if domain else user_name)
    name = safe_component(wanted, "user")
    if name == wanted and "@" not in user_name + domain:
        return name
    identity = f"{len(user_name)}:{user_name}@{domain}".encode("utf-8", "surrogatepass")
    tag = "~" + hashlib.sha256(identity).hexdigest()[:12]
    return safe_component(wanted, "user", max_bytes=MAX_NAME_BYTES - len(tag)) + tag


def contained(root: Path, *parts: str) -> Path:
    """Join ``parts`` below ``root`` and return the path with every link resolved.

    :raises OutsideRoot: the result is not inside ``root`` (links count as what they lead to), or no path.
    """
    real_root = root.resolve()
    try:
        path = real_root.joinpath(*parts).resolve()
    except (ValueError, RuntimeError) as error:
        raise OutsideRoot(f"no path below {root}: {parts!r}") from error
    if not path.is_relative_to(real_root):
        raise OutsideRoot(f"{path} is not inside {real_root}")
    return path


def _joined(text: str, end: str) -> str:
    """Return ``text``, made safe and as much of it as there is room for, with ``end``, which is safe."""
    return safe_component(text, "Scan", max_bytes=MAX_NAME_BYTES - len(end.encode())) + end


def _cut(name: str, max_bytes: int) -> str:
    return name.encode()[:max_bytes].decode(errors="ignore").rstrip(_ENDS)


def _is_device(name: str) -> bool:
    # Windows looks only at what stands before the first dot, and takes superscript digits for digits.
    stem = unicodedata.normalize("NFKC", name.partition(".")[0]).rstrip(" ").upper()
    return stem in _DEVICES

"""What names were ever abused with, and what makes a name safe."""

from __future__ import annotations

import unicodedata

from hypothesis import strategies as st

# Everything a name was ever abused with, more often than chance would bring it up.
NASTY = st.lists(
    st.one_of(
        st.text(max_size=3),
        st.sampled_from(
            ("..", ".", "/", "\\", ":", " ", "CON", "nul", "COM1", "LPT¹", "CONIN$", "aux.txt", "\0", "\n")
        ),
        st.sampled_from(
            ("\u202e", "\u200b", "\ud800", "e\u0301", "\u00a0", "~", "😀", "字" * 90, "a" * 260, "%2e")
        ),
        st.characters(categories=["Cc", "Cf", "Cs", "Co", "Zl", "Zp", "Zs", "Mn"]),
    ),
    max_size=8,
).map("".join)
FORBIDDEN = set('/\\:*?"<>|')
DEVICES = {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$"} | {
    p + d for p in ("COM", "LPT") for d in "0123456789¹²³"
}


def assert_safe_everywhere(name: str) -> None:
    """Fail unless a file of this name can be written to any target."""
    assert name
    assert not FORBIDDEN & set(name)
    assert not {unicodedata.category(c) for c in name} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert name[0] not in " ."
    assert name[-1] not in " ."
    assert len(name.encode()) <= 255
    assert len(name.encode("utf-16-le")) <= 2 * 255
    assert unicodedata.is_normalized("NFC", name)
    assert name.split(".")[0].rstrip(" ").upper() not in DEVICES

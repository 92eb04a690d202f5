"""What is shipped cannot be told to die or to drop its defences: those switches are for test builds."""

from __future__ import annotations

from pathlib import Path

RELEASE = Path(__file__).resolve().parents[2] / "target/release"
# protocol/src/crash.rs and disarm.rs: the variables that the cargo features of the same names read.
SWITCHES = (b"RINGFENCE_CRASH_AT", b"RINGFENCE_DISARM")


def test_the_daemon_has_no_switches_for_tests() -> None:
    shipped = (RELEASE / "ringfenced").read_bytes()
    assert b"RINGFENCE_BIN" in shipped, "the search finds what is there"
    for switch in SWITCHES:
        assert switch not in shipped, switch.decode()


def test_the_daemon_of_tests_has_them() -> None:
    """So that the test above can fail: examples are built with the features of test builds."""
    for switch in SWITCHES:
        assert switch in (RELEASE / "examples/testd").read_bytes(), switch.decode()

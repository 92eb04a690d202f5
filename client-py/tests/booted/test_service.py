"""The service under a real systemd, from its installation to the last thing that it leaves.

Installed by the commands of systemd/README.md, used by ordinary users. The tests build on each other
as little as they can: whatever a test starts it leaves running or says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest

from conftest import eventually
from documents import blocks
from machine import CHECKOUT, Machine, NoMachineError, booted
from peer import Peer, peer

README = "systemd/README.md"
SERVICE, SOCKET = "ringfence.service", "ringfence.socket"
ECHO = "client.echo(b'hello')"

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """A machine with the service installed as the README says, and two users."""
    try:
        with booted() as running:
            running.script("useradd --no-create-home alice; useradd --no-create-home mallory")
            [install] = [block for block in blocks(README, "sh") if "usermod" in block]
            running.script(f"cd {CHECKOUT}/systemd\n{install}")
            can_use = running.attempt(running.python, "-c", "import ringfence, numpy", user="alice")
            assert can_use.returncode == 0, (
                f"other users cannot read this checkout or Python (umask 022?): {can_use.stdout}"
            )
            yield running
    except NoMachineError as error:
        pytest.skip(f"no machine can be booted: {error}")


@pytest.fixture(autouse=True)
def journal(machine: Machine) -> Iterator[None]:
    """Shown with a test that fails: what systemd and the daemons said meanwhile."""
    since = machine.run("date", "+%F %T").strip()
    yield
    print(machine.attempt("journalctl", "--quiet", f"--since={since}", "-o", "short-precise").stdout)


def person(
    machine: Machine, user: str, target: str | None = None, *within: str
) -> AbstractContextManager[Peer]:
    """A user's own process there, which has a client."""
    return peer(machine.command([*within, machine.python], user), target)


@pytest.fixture
def alice(machine: Machine) -> Iterator[Peer]:
    """A user of the group `ringfence`, connected to the default instance."""
    with person(machine, "alice") as someone:
        yield someone


def is_active(machine: Machine, unit: str) -> bool:
    return machine.property(unit, "ActiveState") == "active"


def doctor(machine: Machine, user: str, *flags: str) -> dict[str, dict[str, Any]]:
    """The doctor's checks by their names."""
    script = f"ringfence doctor --json {' '.join(flags)} 2>/dev/null"
    told = machine.attempt("sh", "-c", script, user=user).stdout
    return {check["name"]: check for check in json.loads(told)["checks"]}


def sessions(machine: Machine) -> list[dict[str, Any]]:
    """The rows of `ringfence status`, for root."""
    told = json.loads(machine.run("ringfence", "status", "--json"))
    rows: list[dict[str, Any]] = told["sessions"]
    return rows


def again(someone: Peer) -> None:
    """The same client object works again: at once, or after the one error that says why not."""
    answer = someone.attempt("client.echo(b'again')")
    if answer.startswith("! DaemonRestarted"):
        answer = someone.attempt("client.echo(b'again')")
    assert answer == "= b'again'"


def test_the_readme_installs_it(machine: Machine) -> None:
    for unit in (SERVICE, SOCKET):
        assert machine.run("systemctl", "is-enabled", unit) == "enabled\n"
        assert is_active(machine, unit), f"`enable --now` did not start {unit}"
    assert machine.property(SERVICE, "Type") == "notify", "so active means: it said READY=1"
    assert int(machine.run("id", "-u", "ringfence")) < 1000, "sysusers made no system user"
    assert machine.run("stat", "-c", "%U %G %a", "/run/ringfence") == "root root 755\n"
    socket = "/run/ringfence/default/control.sock"
    assert machine.run("stat", "-c", "%U %G %a", socket) == "ringfence ringfence 660\n"
    assert "ringfence" in machine.run("id", "-Gn", "alice").split()


def test_the_first_call_starts_it(machine: Machine) -> None:
    machine.run("systemctl", "stop", SERVICE)
    assert is_active(machine, SOCKET), "the socket stays when the service stops"
    assert not is_active(machine, SERVICE)
    assert machine.daemons() == []
    with person(machine, "alice") as alice:
        assert alice.ask(ECHO) == "b'hello'"
    assert is_active(machine, SERVICE)
    [daemon] = machine.daemons()
    assert daemon.startswith(f"{machine.main_pid(SERVICE)} /usr/bin/ringfenced --instance default")


def test_a_member_of_the_group_may_call(alice: Peer) -> None:
    assert alice.ask("client.daemon.autostarted") == "False", "it is the service, no daemon of hers"
    assert alice.ask(ECHO) == "b'hello'"
    alice.ask("(docs := client.vectors.create('docs', dim=2, exist_ok=True))")
    alice.ask("docs.add([7, 8], [[0, 1], [1, 0]])")
    assert alice.ask("docs.search([1, 0], 1).ids.tolist()") == "[8]"
    assert alice.ask("docs.search([0, 1], 1, exact=True).ids.tolist()") == "[7]"
    assert alice.ask("len(client.echo(bytes(8 << 20)))") == str(8 << 20)


def test_another_user_is_refused(machine: Machine) -> None:
    """As docs/errors.md says, RF5011, also for who names the instance. Nothing is started instead."""
    for target in ("", "'default'", "'/run/ringfence/default/control.sock'"):
        script = f"import ringfence; ringfence.connect({target})"
        refused = machine.attempt(machine.python, "-c", script, user="mallory")
        last = refused.stdout.splitlines()[-1]
        assert refused.returncode == 1 and "PermissionDenied: " in last, refused.stdout
        assert "/run/ringfence/default/control.sock" in last
    assert len(machine.daemons()) == 1
    check = doctor(machine, "mallory")["control_socket"]
    assert check["state"] == "fail" and "usermod -aG ringfence" in check["fix"]


def test_a_killed_daemon_comes_back_for_the_same_client(machine: Machine, alice: Peer) -> None:
    assert alice.ask(ECHO) == "b'hello'"
    before, restarts = machine.main_pid(SERVICE), int(machine.property(SERVICE, "NRestarts"))
    machine.run("kill", "-KILL", str(before))
    again(alice)
    eventually(lambda: is_active(machine, SERVICE), "systemd starts it again")
    assert machine.main_pid(SERVICE) not in (0, before)
    assert int(machine.property(SERVICE, "NRestarts")) == restarts + 1
    assert alice.ask("client.daemon.pid") == str(machine.main_pid(SERVICE))


def test_the_watchdog_ends_one_that_stands_still(machine: Machine, alice: Peer) -> None:
    assert alice.ask(ECHO) == "b'hello'"
    before = machine.main_pid(SERVICE)
    machine.run("kill", "-STOP", str(before))
    eventually(lambda: machine.main_pid(SERVICE) not in (0, before), "the watchdog of 10 s acts")
    again(alice)
    told = machine.run("journalctl", "--unit", SERVICE, "--grep", "Watchdog timeout")
    assert "Watchdog timeout" in told


def test_a_restart_by_hand_is_one_for_clients_too(machine: Machine, alice: Peer) -> None:
    epoch = alice.ask("client.daemon.epoch")
    machine.run("systemctl", "restart", SERVICE)
    again(alice)
    assert alice.ask("client.daemon.epoch") != epoch
    assert machine.property(SERVICE, "Result") == "success"


def test_the_sandbox_is_real(machine: Machine, alice: Peer) -> None:
    """Seen from inside the daemon's namespaces: by root, so it is the mounts that refuse."""
    assert alice.ask(ECHO) == "b'hello'"
    pid = machine.main_pid(SERVICE)
    inside = ["nsenter", f"--target={pid}", "--mount", "--wd=/"]
    for folder in ("/etc", "/usr/bin", "/var/lib", "/run", "/run/lock"):
        refused = machine.attempt(*inside, "touch", f"{folder}/ringfence-was-here")
        assert "Read-only file system" in refused.stdout, f"it can write to {folder}"
    for folder in ("/run/ringfence/default", "/var/lib/ringfence/default", "/tmp", "/dev/shm"):
        machine.run(*inside, "sh", "-c", f"touch {folder}/was-here && rm {folder}/was-here")
    lines = machine.run("cat", f"/proc/{pid}/status").splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[kind], 16) == 0, f"it has capabilities: {kind} {status[kind]}"
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    networks = machine.run("readlink", f"/proc/{pid}/ns/net", "/proc/1/ns/net").split()
    assert networks[0] != networks[1], "it has the machine's network"


def test_what_is_saved_survives(machine: Machine, alice: Peer) -> None:
    alice.ask("(kept := client.vectors.create('kept', dim=2)).add([1], [[0, 1]])")
    assert "rows=1" in alice.ask("kept.save()")
    machine.run("systemctl", "restart", SERVICE)
    again(alice)
    assert alice.ask("client.vectors.load('kept').count()") == "1"
    saved = machine.run("stat", "-c", "%U %a", "/var/lib/ringfence/default")
    assert saved == "ringfence 700\n"


def test_doctor_knows_the_unit(machine: Machine) -> None:
    checks = doctor(machine, "alice")
    assert checks["systemd_unit"]["found"] == "ringfence.service is active (running)"
    assert checks["daemon"]["state"] == checks["versions"]["state"] == "ok"
    assert not [check for check in checks.values() if check["state"] == "fail"], checks
    machine.run("systemctl", "stop", SOCKET)
    check = doctor(machine, "alice")["systemd_unit"]
    assert check["found"] == "ringfence.service is inactive (dead)"
    assert check["fix"] == "sudo systemctl enable --now ringfence.service"
    machine.script(check["fix"].removeprefix("sudo "))
    assert is_active(machine, SOCKET) and is_active(machine, SERVICE)


def test_a_wrong_configuration_is_not_tried_again_and_again(machine: Machine) -> None:
    unit = "ringfence@broken.service"
    folder = f"/etc/systemd/system/{unit}.d"
    machine.script(
        f"mkdir -p {folder}; printf '[Service]\\nEnvironment=RINGFENCE_SPIN_US=long\\n' > {folder}/a.conf;"
        "systemctl daemon-reload"
    )
    assert machine.attempt("systemctl", "start", unit).returncode != 0
    state = [machine.property(unit, key) for key in ("ActiveState", "ExecMainStatus", "NRestarts")]
    assert state == ["failed", "78", "0"]
    # Whoever waits at the socket has systemd try again.
    machine.run("systemctl", "stop", "ringfence@broken.socket")
    check = doctor(machine, "alice", "--target=broken")["systemd_unit"]
    assert check["state"] == "fail" and unit in check["fix"]
    machine.script(f"rm -r {folder}; systemctl daemon-reload; systemctl restart {unit}")
    with person(machine, "alice", "broken") as alice:
        assert alice.ask(ECHO) == "b'hello'"


def test_instances_are_apart(machine: Machine) -> None:
    [enable] = [block for block in blocks(README, "sh") if "ringfence@prices.service" in block]
    machine.script(enable)
    machine.script(enable.replace("prices", "orders"))
    with person(machine, "alice", "prices") as prices, person(machine, "alice", "orders") as orders:
        assert prices.ask("client.vectors.create('docs', dim=2).name") == "'docs'"
        assert orders.ask("client.vectors.list()") == "[]"
        pids = {prices.ask("client.daemon.pid"), orders.ask("client.daemon.pid")}
        assert pids == {str(machine.main_pid(f"ringfence@{name}.service")) for name in ("prices", "orders")}
        assert len(pids) == 2
        assert machine.names("prices") and machine.names("orders")
        epoch = orders.ask("client.daemon.epoch")
        machine.run("kill", "-KILL", str(machine.main_pid("ringfence@prices.service")))
        assert orders.ask(ECHO) == "b'hello'"
        again(prices)
        assert orders.ask("client.daemon.epoch") == epoch, "the death of one is nothing to the other"


def test_logind_spares_what_a_system_user_has_in_dev_shm(machine: Machine, alice: Peer) -> None:
    """A user who lingers has a session, so both log out here. With alice's file as the control."""
    conf = "/etc/systemd/logind.conf.d"
    machine.script(f"mkdir -p {conf}; printf '[Login]\\nRemoveIPC=yes\\n' > {conf}/zz.conf")
    machine.run("systemctl", "restart", "systemd-logind")
    machine.run("touch", "/dev/shm/hers", user="alice")
    before = machine.names("default")
    for user in ("alice", "ringfence"):
        machine.run("loginctl", "enable-linger", user)
    # Where logind keeps a file for each user who is there (sd-login's own source).
    users = "ls /run/systemd/users"
    eventually(lambda: len(machine.script(users).split()) == 2, "both have logged in")
    for user in ("alice", "ringfence"):
        machine.run("loginctl", "disable-linger", user)
    eventually(lambda: not machine.script(users), "both have logged out")
    assert machine.attempt("ls", "/dev/shm/hers").returncode != 0, "logind removes nothing: no test"
    assert machine.names("default") == before
    # What is large needs a new name, and what the daemon handed out still works.
    assert alice.ask("len(client.echo(bytes(8 << 20)))") == str(8 << 20)


def test_the_unit_needs_its_remove_ipc_no(machine: Machine) -> None:
    """With `yes` the end of the user's last unit takes what others of this user have there."""
    unit, folder = "ringfence@guest.service", "/run/systemd/system/ringfence@guest.service.d"
    machine.run("systemctl", "stop", "ringfence*.socket")
    for setting in ("no", "yes"):
        changed = f"printf '[Service]\\nRemoveIPC=yes\\n' > {folder}/a.conf"
        machine.script(f"mkdir -p {folder}; {changed if setting == 'yes' else ''}")
        machine.run("touch", "/dev/shm/by-hand", user="ringfence")
        machine.script(f"systemctl daemon-reload; systemctl start {unit}")
        machine.run("systemctl", "stop", "ringfence@guest.socket")
        left = machine.run("ls", "/dev/shm").split()
        assert left == (["by-hand"] if setting == "no" else []), f"RemoveIPC={setting}"
    machine.script(f"rm -r {folder}; systemctl daemon-reload; systemctl start {SERVICE}")


def test_who_a_client_in_a_user_namespace_is(machine: Machine) -> None:
    """Who it is outside: root in a namespace of one's own is nobody else here."""
    own = ("unshare", "--map-root-user")
    with person(machine, "alice", "default", *own) as alice:
        assert alice.ask("os.getuid()") == "0"
        assert alice.ask(ECHO) == "b'hello'"
        [row] = [r for r in sessions(machine) if "python" in r["name"] or r["name"] == "-c"]
        assert row["uid"] == int(machine.run("id", "-u", "alice"))
    script = "import ringfence; ringfence.connect('default')"
    refused = machine.attempt(*own, machine.python, "-c", script, user="mallory")
    assert "PermissionDenied: " in refused.stdout


@pytest.mark.parametrize("allowed", ["her", "any", "nobody"])
def test_a_daemon_in_a_user_namespace_knows_its_own_users_only(
    machine: Machine, allowed: str
) -> None:
    """Everybody else is 65534 to it, also who has a number that it knows, and is let in as that only."""
    unit, folder = "boxed.service", "/run/boxed"
    uid = machine.run("id", "-u", "alice").strip()
    settings = {
        "her": f"RINGFENCE_ALLOWED_UIDS=0,{uid}",
        "any": "RINGFENCE_ALLOW_ANY_UID=1",
        "nobody": "RINGFENCE_ALLOWED_UIDS=0,65534",
    }
    start = ["systemd-run", f"--unit={unit}", f"--setenv={settings[allowed]}"]
    start += ["--setenv=RINGFENCE_SOCKET_MODE=0666", "unshare", "--map-root-user", "ringfenced"]
    machine.run(*start, "--instance", "box", "--runtime-dir", folder)
    socket = f"{folder}/box/control.sock"
    try:
        eventually(lambda: machine.attempt("test", "-S", socket).returncode == 0, "it listens")
        script = f"import ringfence; print(ringfence.connect({socket!r}).echo(b'hello'))"
        asked = machine.attempt(machine.python, "-c", script, user="alice").stdout
        if allowed == "nobody":
            assert asked == "b'hello'\n"
        else:
            assert "PermissionDenied: user 65534 may not use instance `box`" in asked
    finally:
        machine.script(f"systemctl stop {unit}; rm -r {folder}")


def test_nothing_is_left_when_all_is_stopped(machine: Machine) -> None:
    with person(machine, "alice") as alice:
        assert alice.ask(ECHO) == "b'hello'"
        assert machine.names(), "the control"
        machine.run("systemctl", "stop", "ringfence*.socket")
        alice.fail("client.echo(b'x', timeout=0.1)")
        assert alice.fail("client.echo(b'x', timeout=1)").startswith("DaemonUnavailable")
    assert machine.daemons() == []
    assert machine.names() == []
    assert machine.run("ls", "-AR", "/run/ringfence") == "/run/ringfence:\n"
    active = "systemctl list-units --plain --no-legend --state=active,activating,failed 'ringfence*.s*'"
    assert machine.script(active) == ""

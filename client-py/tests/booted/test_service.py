"""The service under a real systemd, from its installation to the last thing that it leaves.

Installed by the commands of systemd/README.md, used by ordinary users. The tests build on each other
as little as they can: whatever a test starts it leaves running or says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from conftest import eventually
from documents import blocks
from machine import CHECKOUT, Machine, NoMachineError, booted
from people import Person, person

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


@pytest.fixture
def alice(machine: Machine) -> Iterator[Person]:
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


def again(someone: Person) -> None:
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


def test_a_member_of_the_group_may_call(alice: Person) -> None:
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


def test_a_killed_daemon_comes_back_for_the_same_client(machine: Machine, alice: Person) -> None:
    assert alice.ask(ECHO) == "b'hello'"
    before, restarts = machine.main_pid(SERVICE), int(machine.property(SERVICE, "NRestarts"))
    machine.run("kill", "-KILL", str(before))
    again(alice)
    eventually(lambda: is_active(machine, SERVICE), "systemd starts it again")
    assert machine.main_pid(SERVICE) not in (0, before)
    assert int(machine.property(SERVICE, "NRestarts")) == restarts + 1
    assert alice.ask("client.daemon.pid") == str(machine.main_pid(SERVICE))


def test_the_watchdog_ends_one_that_stands_still(machine: Machine, alice: Person) -> None:
    assert alice.ask(ECHO) == "b'hello'"
    before = machine.main_pid(SERVICE)
    machine.run("kill", "-STOP", str(before))
    eventually(lambda: machine.main_pid(SERVICE) not in (0, before), "the watchdog of 10 s acts")
    again(alice)
    told = machine.run("journalctl", "--unit", SERVICE, "--grep", "Watchdog timeout")
    assert "Watchdog timeout" in told


def test_a_restart_by_hand_is_one_for_clients_too(machine: Machine, alice: Person) -> None:
    epoch = alice.ask("client.daemon.epoch")
    machine.run("systemctl", "restart", SERVICE)
    again(alice)
    assert alice.ask("client.daemon.epoch") != epoch
    assert machine.property(SERVICE, "Result") == "success"


def test_the_sandbox_is_real(machine: Machine, alice: Person) -> None:
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
    interfaces = machine.run("cat", f"/proc/{pid}/net/dev").splitlines()[2:]
    assert [line.split(":")[0].strip() for line in interfaces] == ["lo"], "it has a network"


def test_what_is_saved_survives(machine: Machine, alice: Person) -> None:
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
    check = doctor(machine, "alice", "--target=broken")["systemd_unit"]
    assert check["state"] == "fail" and unit in check["fix"]
    # Whoever waited at the socket had systemd try, until it gave the socket up.
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


def test_nothing_is_left_when_all_is_stopped(machine: Machine) -> None:
    with person(machine, "alice") as alice:
        assert alice.ask(ECHO) == "b'hello'"
        assert machine.names(), "the control"
        machine.run("systemctl", "stop", "ringfence*.socket")
        alice.fail("client.echo(b'x', timeout=0.1)")
        assert alice.fail("client.echo(b'x', timeout=1)").startswith("DaemonUnavailable")
    assert machine.daemons() == []
    assert machine.names() == []
    assert machine.run("ls", "-A", "/run/ringfence") == ""
    active = "systemctl list-units --plain --no-legend --state=active,activating,failed 'ringfence*.s*'"
    assert machine.script(active) == ""

//! What the figures were measured on. Nothing here fails: what cannot be read is "unknown".

use std::path::Path;
use std::process::Command;

use serde::Serialize;

use crate::clock::Clock;
use crate::peer::{CLIENT_CORE, SERVER_CORE};

const UNKNOWN: &str = "unknown";

/// The record of the machine.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Processor, as it names itself.
    pub cpu: String,
    /// Cores this process could use before it pinned itself.
    pub cores: usize,
    /// Cores of the two sides.
    pub pinned: String,
    /// Kernel release.
    pub kernel: String,
    /// Frequency governor of the client's core.
    pub governor: String,
    /// The hypervisor's product, "none" on bare metal.
    pub hypervisor: String,
    /// Compiler found now; the one that built this is the same under `cargo run`.
    pub rustc: String,
    /// Interpreter of the Python cases.
    pub python: String,
    /// UTC.
    pub date: String,
    /// The time stamp counter.
    pub clock: String,
    /// "release" or "debug"; figures of the latter mean nothing.
    pub profile: &'static str,
}

impl Machine {
    /// Reads it all; `cores` is what there was before pinning.
    #[must_use]
    pub fn read(clock: &Clock, python: &Path, cores: usize) -> Self {
        let (cpu, virtual_machine) = cpu_info();
        let governor = format!("/sys/devices/system/cpu/cpu{CLIENT_CORE}/cpufreq/scaling_governor");
        Self {
            cpu,
            cores,
            pinned: format!("server {SERVER_CORE}, client {CLIENT_CORE}"),
            kernel: file("/proc/sys/kernel/osrelease"),
            governor: file(&governor),
            hypervisor: if virtual_machine {
                format!("yes (product: {})", file("/sys/class/dmi/id/product_name"))
            } else {
                String::from("none")
            },
            rustc: output(Command::new("rustc").arg("--version")),
            python: output(Command::new(python).arg("--version")),
            date: output(Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"])),
            clock: format!(
                "tsc {:.3} GHz, step {:.1} ns, reading {:.1} ns",
                clock.ghz(),
                clock.step_ns(),
                clock.overhead_ns()
            ),
            profile: if cfg!(debug_assertions) { "debug" } else { "release" },
        }
    }

    /// Name and value of each entry, for a reader.
    #[must_use]
    pub fn entries(&self) -> Vec<(&'static str, String)> {
        vec![
            ("cpu", format!("{} ({} cores)", self.cpu, self.cores)),
            ("pinned", self.pinned.clone()),
            ("kernel", self.kernel.clone()),
            ("governor", self.governor.clone()),
            ("hypervisor", self.hypervisor.clone()),
            ("rustc", self.rustc.clone()),
            ("python", self.python.clone()),
            ("date", self.date.clone()),
            ("clock", self.clock.clone()),
            ("profile", String::from(self.profile)),
        ]
    }
}

fn file(path: &str) -> String {
    std::fs::read_to_string(path).map_or_else(|_| UNKNOWN.into(), |text| text.trim().into())
}

fn output(command: &mut Command) -> String {
    let text = command.output().ok().filter(|output| output.status.success());
    let text = text.and_then(|output| String::from_utf8(output.stdout).ok());
    text.map_or_else(|| UNKNOWN.into(), |text| text.trim().into())
}

/// The model's name, and whether a hypervisor says that it is there.
fn cpu_info() -> (String, bool) {
    let text = file("/proc/cpuinfo");
    let value = |key: &str| {
        let line = text.lines().find(|line| line.starts_with(key));
        line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim())
    };
    let flags = value("flags").unwrap_or_default();
    let virtual_machine = flags.split_whitespace().any(|flag| flag == "hypervisor");
    (value("model name").unwrap_or(UNKNOWN).into(), virtual_machine)
}

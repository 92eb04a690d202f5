//! What a mutant is, and how one is written down.

use std::ops::Range;

/// A weakening.
pub(crate) struct Mutant {
    pub(crate) file: &'static str,
    pub(crate) text: &'static str,
    /// Which of the equal texts of its file.
    nth: usize,
    /// What it is replaced by; empty: it is left out.
    pub(crate) weak: &'static str,
    pub(crate) verdict: Verdict,
}

/// Who notices.
#[derive(Clone, Copy)]
pub(crate) enum Verdict {
    /// This test turns red.
    Killed(Test),
    /// Nobody can.
    Equivalent(&'static str),
}

/// The narrowest test of a target.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Test {
    pub(crate) package: &'static str,
    /// `lib`, or the name of a file of its tests.
    pub(crate) target: &'static str,
    pub(crate) name: &'static str,
}

impl Mutant {
    /// Where it stands in the text of its file.
    pub(crate) fn span(&self, text: &str) -> Range<usize> {
        let found = text.match_indices(self.text).nth(self.nth);
        let Some((start, _)) = found else { panic!("{}: not there", self.describe()) };
        start..start + self.text.len()
    }

    /// The test that must turn red.
    pub(crate) fn test(&self) -> Option<Test> {
        match self.verdict {
            Verdict::Killed(test) => Some(test),
            Verdict::Equivalent(_) => None,
        }
    }

    /// For a line of the report.
    pub(crate) fn describe(&self) -> String {
        let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let weak = if self.weak.is_empty() { "nothing".into() } else { one_line(self.weak) };
        let nth = if self.nth == 0 { String::new() } else { format!(" ({})", self.nth + 1) };
        format!("{}: `{}`{nth} -> {weak}", self.file, one_line(self.text))
    }

    pub(crate) const fn nth(mut self, nth: usize) -> Self {
        self.nth = nth;
        self
    }
}

pub(crate) const fn killed(
    file: &'static str,
    text: &'static str,
    weak: &'static str,
    by: Test,
) -> Mutant {
    Mutant { file, text, nth: 0, weak, verdict: Verdict::Killed(by) }
}

pub(crate) const fn same(file: &'static str, text: &'static str, why: &'static str) -> Mutant {
    Mutant { file, text, nth: 0, weak: "weaker", verdict: Verdict::Equivalent(why) }
}

pub(crate) const fn loom(name: &'static str) -> Test {
    Test { package: "ringfence-protocol", target: "loom", name }
}

pub(crate) const fn kill_model(name: &'static str) -> Test {
    Test { package: "ringfence-protocol", target: "kill_model", name }
}

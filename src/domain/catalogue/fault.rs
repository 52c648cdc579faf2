//! What is wrong with a catalogue file.

use std::fmt;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogueFault {
    /// Where, as a JSON pointer (RFC 6901).
    pub pointer: String,
    /// What, with the tier and feature by name.
    pub detail: String,
}

/// Everything that is wrong with a catalogue file; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogueFaults(pub Vec<CatalogueFault>);

impl fmt::Display for CatalogueFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.pointer.is_empty() {
            "the file"
        } else {
            &self.pointer
        };
        write!(f, "{place}: {}", self.detail)
    }
}

impl fmt::Display for CatalogueFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for CatalogueFaults {}

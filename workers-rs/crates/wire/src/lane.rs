//! The priority of a request.

/// The priority of a request, most urgent first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// Before everything else.
    Realtime,
    /// Before people's work.
    Critical,
    /// Before the usual.
    High,
    /// The usual.
    #[default]
    Normal,
    /// When nothing else waits.
    Low,
}

impl Lane {
    /// Every lane, most urgent first.
    pub const ALL: [Self; 5] = [Self::Realtime, Self::Critical, Self::High, Self::Normal, Self::Low];

    /// The word that subjects carry.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Realtime => "realtime",
            Self::Critical => "critical",
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }

    /// The lane that a word names.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|lane| lane.as_str() == word)
    }

    /// The position in [`Self::ALL`]: 0 is the most urgent.
    pub const fn index(self) -> usize {
        self as usize
    }
}

//! Which of a model's registered versions are served.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::entry::Entry;

/// The last part of the registry's key for a model's policy; a version stands there otherwise.
pub(crate) const KEY: &str = "policy";

/// Which versions are served; the highest of them answers whoever names none.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Policy {
    /// The highest one.
    #[default]
    Latest,
    /// Every one.
    All,
    /// These, where they are registered.
    Pinned(Vec<u32>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Versions {
    Word(String),
    List(Vec<u32>),
}

#[derive(Deserialize)]
struct Stored {
    versions: Versions,
}

impl Policy {
    /// Reads the value that stands under `<name>.policy`.
    ///
    /// # Errors
    /// The text of what is wrong.
    pub(crate) fn parse(key: &str, value: &[u8]) -> Result<Self, String> {
        let stored: Stored =
            serde_json::from_slice(value).map_err(|error| format!("registry entry '{key}' cannot be read: {error}"))?;
        match stored.versions {
            Versions::Word(word) if word == "latest" => Ok(Self::Latest),
            Versions::Word(word) if word == "all" => Ok(Self::All),
            Versions::List(list) if !list.is_empty() => Ok(Self::Pinned(list)),
            Versions::Word(word) => Err(format!(
                "registry entry '{key}': versions is '{word}'; allowed: latest, all, a list of versions"
            )),
            Versions::List(_) => Err(format!("registry entry '{key}': versions is empty")),
        }
    }

    /// The registered versions to serve, the highest first: it is what most callers wait for.
    pub(crate) fn pick(&self, versions: &BTreeMap<u32, Entry>) -> Vec<Entry> {
        let highest_first = versions.values().rev();
        match self {
            Self::Latest => highest_first.take(1).cloned().collect(),
            Self::All => highest_first.cloned().collect(),
            Self::Pinned(list) => highest_first
                .filter(|entry| list.contains(&entry.version))
                .cloned()
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_lists_are_read_and_nothing_else() {
        let parse = |text: &str| Policy::parse("m.policy", text.as_bytes());
        assert_eq!(parse(r#"{"versions": "latest"}"#), Ok(Policy::Latest));
        assert_eq!(parse(r#"{"versions": "all"}"#), Ok(Policy::All));
        assert_eq!(parse(r#"{"versions": [3, 1]}"#), Ok(Policy::Pinned(vec![3, 1])));
        for bad in [
            "{}",
            "[]",
            r#"{"versions": "some"}"#,
            r#"{"versions": []}"#,
            r#"{"versions": [-1]}"#,
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}

//! Rules for the manifests of members: everything that can be said once is said at the root.

use super::{File, Violation};

const INHERITED: [&str; 5] = ["version", "edition", "rust-version", "license", "publish"];

/// May say something else about lints, for a library that has unsafe in its interface.
const OWN_LINTS: [&str; 2] = ["tests/beside-lmdb/Cargo.toml", "tests/fuzz/Cargo.toml"];

/// A workspace of its own has nothing to inherit.
const APART: &str = "tests/tour/client/Cargo.toml";

pub(super) fn check(file: &File) -> Vec<Violation> {
    if file.path == APART {
        return Vec::new();
    }
    let mut found = Vec::new();
    let lines: Vec<&str> = file.text.lines().map(str::trim).collect();
    for key in INHERITED {
        let wanted = format!("{key}.workspace = true");
        if !lines.contains(&wanted.as_str()) {
            found.push(file.at(0, format!("write `{wanted}` under [package]")));
        }
    }
    if !OWN_LINTS.contains(&&*file.path)
        && !lines.windows(2).any(|pair| pair == ["[lints]", "workspace = true"])
    {
        found.push(file.at(0, "inherit the lints: `[lints]`, then `workspace = true`"));
    }
    let mut in_dependencies = false;
    for (number, line) in lines.iter().enumerate() {
        if line.starts_with('[') {
            let section = line.trim_matches(['[', ']']);
            in_dependencies = section.ends_with("dependencies");
            if section.contains("dependencies.") {
                found.push(file.at(number + 1, "one line each, under [dependencies]"));
            }
        } else if in_dependencies
            && line.contains('=')
            && !line.starts_with('#')
            && !line.contains("workspace = true")
        {
            found.push(file.at(number + 1, "versions live in the root: `name.workspace = true`"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[package]\nname = \"x\"\nversion.workspace = true\n\
        edition.workspace = true\nrust-version.workspace = true\nlicense.workspace = true\n\
        publish.workspace = true\n[dependencies]\na.workspace = true\n\
        b = { workspace = true, features = [\"c\"] }\n[lints]\nworkspace = true\n";

    fn found(text: String) -> usize {
        check(&File { path: "x/Cargo.toml".into(), text }).len()
    }

    #[test]
    fn members_inherit() {
        assert_eq!(found(GOOD.into()), 0);
        assert_eq!(found(GOOD.replace("edition.workspace = true", "edition = \"2024\"")), 1);
        assert_eq!(found(GOOD.replace("[lints]\nworkspace = true\n", "")), 1);
        assert_eq!(found(GOOD.replace("a.workspace = true", "a = \"1\"")), 1);
        assert_eq!(found(GOOD.replace("[lints]", "[dev-dependencies.d]\n[lints]")), 1);
    }
}

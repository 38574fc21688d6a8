//! Unsafe code is in one folder, and each block says why it is sound.

use std::path::{Path, PathBuf};

fn sources(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() && entry.file_name() != "target" {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found
}

/// The line without what follows `//`, so that comments are not taken for code.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

fn has_word(line: &str, word: &str) -> bool {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|part| part == word)
}

#[test]
fn unsafe_code_is_allowed_in_the_memory_folder_alone() {
    let mut allowing = 0;
    for path in ["src", "examples"].into_iter().flat_map(sources) {
        let text = std::fs::read_to_string(&path).unwrap();
        let place = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap();
        let lint = ["unsafe", "_code"].concat();
        let allows = text.lines().any(|line| {
            has_word(code(line), &lint)
                && ["allow", "expect", "warn"].iter().any(|w| has_word(line, w))
        });
        allowing += usize::from(allows);
        assert!(!allows || place.starts_with("src/memory"), "{}", place.display());
    }
    assert!(allowing > 0, "the search finds nothing");
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    assert!(std::fs::read_to_string(manifest).unwrap().contains("unsafe_code = \"deny\""));
}

#[test]
fn every_unsafe_block_says_why() {
    let keyword = ["un", "safe"].concat();
    let mut blocks = 0;
    for path in sources("src/memory") {
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = text.lines().collect();
        for (n, line) in lines.iter().enumerate() {
            let line = code(line);
            let is_extern = line.contains(&format!("{keyword} extern"));
            if !has_word(line, &keyword) || is_extern {
                continue;
            }
            let before = &lines[n.saturating_sub(8)..n];
            let is_function = line.contains(&format!("{keyword} fn "));
            // Methods of an unsafe trait are under the trait's contract.
            let of_trait = is_function && line.starts_with(' ');
            let word = if is_function { "# Safety" } else { "// SAFETY: " };
            let said =
                of_trait || before.iter().any(|line| line.trim_start_matches("///").contains(word));
            assert!(said, "{}:{}: {line}", path.display(), n + 1);
            blocks += usize::from(!is_function);
        }
    }
    assert!(blocks > 10, "the search finds {blocks} blocks");
}

//! The plan of the house: `src/lib.rs` lists the floors, and the `use` lines keep to them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A source file by its module path below the crate, `[]` for `lib.rs`.
type Module = Vec<String>;

fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(path);
        }
    }
}

fn module_of(src: &Path, file: &Path) -> Module {
    let mut parts: Vec<String> = file
        .strip_prefix(src)
        .unwrap()
        .with_extension("")
        .iter()
        .map(|part| part.to_str().unwrap().to_owned())
        .collect();
    if matches!(
        parts.last().map(String::as_str),
        Some("mod" | "lib" | "main")
    ) {
        parts.pop();
    }
    parts
}

/// The code of a file: without comments, and without its unit tests, which come last.
fn code(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    strip_comments(&text[..end])
}

fn strip_comments(text: &str) -> String {
    text.lines()
        .map(|line| line.split("//").next().unwrap_or(""))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Every path that code names: `use` trees taken apart, and paths in the middle of code.
fn paths(code: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for statement in code.split(';') {
        let start = statement
            .rfind("\nuse ")
            .or_else(|| statement.rfind("pub use "))
            .or_else(|| statement.rfind("pub(crate) use "));
        if let Some(tree) = start.and_then(|at| statement[at..].split_once("use ")) {
            leaves(tree.1.trim(), &[], &mut found);
        }
    }
    let anywhere = code
        .match_indices("crate::")
        .chain(code.match_indices("super::"));
    for (at, _) in anywhere {
        // Not the second half of `super::super::`, nor what only ends in such a word.
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c == ':' || c == '_' || c.is_ascii_alphanumeric()) {
            continue;
        }
        let rest = &code[at..];
        let end = rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))
            .unwrap_or(rest.len());
        found.push(split(&rest[..end]));
    }
    found
}

fn split(path: &str) -> Vec<String> {
    path.split("::")
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(ToOwned::to_owned)
        .collect()
}

fn leaves(tree: &str, prefix: &[String], found: &mut Vec<Vec<String>>) {
    let tree = tree.trim();
    let Some((head, group)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or(tree);
        let mut all = prefix.to_vec();
        all.extend(
            split(path)
                .into_iter()
                .filter(|part| part != "self" || prefix.is_empty()),
        );
        found.push(all);
        return;
    };
    let mut below = prefix.to_vec();
    below.extend(split(head));
    let group = &group[..group.rfind('}').unwrap()];
    let (mut depth, mut from) = (0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                leaves(&group[from..at], &below, found);
                from = at + 1;
            }
            _ => {}
        }
    }
    if !group[from..].trim().is_empty() {
        leaves(&group[from..], &below, found);
    }
}

/// The house as it stands: which files there are, and which of them each one uses.
struct House {
    /// The text of `lib.rs`.
    map: String,
    uses: BTreeMap<Module, BTreeSet<Module>>,
}

fn house() -> House {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = Vec::new();
    files(&src, &mut all);
    all.retain(|file| !file.ends_with("main.rs") && !file.ends_with("names_tests.rs"));
    let modules: BTreeSet<Module> = all.iter().map(|file| module_of(&src, file)).collect();
    let mut uses = BTreeMap::new();
    let mut map = String::new();
    for file in &all {
        let module = module_of(&src, file);
        let text = fs::read_to_string(file).unwrap();
        if module.is_empty() {
            map = text;
            continue;
        }
        let mut targets = BTreeSet::new();
        for path in paths(&code(&text)) {
            let Some(target) = resolve(&modules, &module, &path) else {
                continue;
            };
            if target != module && !target.is_empty() {
                targets.insert(target);
            }
        }
        uses.insert(module, targets);
    }
    House { map, uses }
}

/// The file that a path leads to, if it is one of this crate.
fn resolve(modules: &BTreeSet<Module>, from: &Module, path: &[String]) -> Option<Module> {
    let mut full: Module = match path.first()?.as_str() {
        "crate" => path[1..].to_vec(),
        "super" => {
            let mut at = from.clone();
            let mut rest = path;
            while rest.first().is_some_and(|part| part == "super") {
                at.pop();
                rest = &rest[1..];
            }
            at.extend_from_slice(rest);
            at
        }
        "self" => from.iter().chain(&path[1..]).cloned().collect(),
        // A child of this module, or another crate.
        child => {
            let mut own = from.clone();
            own.push(child.to_owned());
            if !modules.contains(&own) {
                return None;
            }
            from.iter().chain(path).cloned().collect()
        }
    };
    while !modules.contains(&full) {
        full.pop()?;
    }
    Some(full)
}

/// The floors from the top, each with the modules that stand on it, from the table in `lib.rs`.
fn floors(map: &str) -> Vec<(String, Vec<Module>)> {
    map.lines()
        .filter_map(|line| line.strip_prefix("//! | "))
        .skip(1)
        .map(|row| {
            let mut cells = row.split('|');
            let name = cells.next().unwrap().trim().to_owned();
            let modules = cells.next().unwrap().split('`').skip(1).step_by(2);
            (name, modules.map(split).collect())
        })
        .collect()
}

fn floor_of(floors: &[(String, Vec<Module>)], module: &Module) -> Option<usize> {
    let mut best: Option<(usize, usize)> = None;
    for (floor, (_, modules)) in floors.iter().enumerate() {
        for known in modules {
            if module.starts_with(known) && best.is_none_or(|(length, _)| known.len() > length) {
                best = Some((known.len(), floor));
            }
        }
    }
    best.map(|(_, floor)| floor)
}

#[test]
fn every_file_stands_on_a_floor_and_uses_nothing_above_it() {
    let house = house();
    let floors = floors(&house.map);
    assert!(floors.len() > 10, "the table in lib.rs was not read");
    let mut wrong = Vec::new();
    for (module, targets) in &house.uses {
        // A folder whose rooms stand on several floors, and that has no code of its own.
        if module.len() == 1 && floor_of(&floors, module).is_none() && targets.is_empty() {
            continue;
        }
        let Some(floor) = floor_of(&floors, module) else {
            wrong.push(format!("{} is on no floor of lib.rs", module.join("::")));
            continue;
        };
        for target in targets {
            match floor_of(&floors, target) {
                Some(other) if other >= floor => {}
                Some(other) => wrong.push(format!(
                    "{} ({}) uses {} ({}), which is above it",
                    module.join("::"),
                    floors[floor].0,
                    target.join("::"),
                    floors[other].0
                )),
                None => wrong.push(format!(
                    "{} uses {}, which is on no floor of lib.rs",
                    module.join("::"),
                    target.join("::")
                )),
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn every_floor_of_the_table_is_there() {
    let house = house();
    for (name, modules) in floors(&house.map) {
        for module in modules {
            assert!(
                house.uses.contains_key(&module),
                "{name}: there is no module {}",
                module.join("::")
            );
        }
    }
}

#[test]
fn no_files_need_each_other() {
    let house = house();
    let reach = |from: &Module| {
        let mut seen = BTreeSet::new();
        let mut next: Vec<&Module> = vec![from];
        while let Some(module) = next.pop() {
            for target in house.uses.get(module).into_iter().flatten() {
                if seen.insert(target) {
                    next.push(target);
                }
            }
        }
        seen
    };
    let mut circles = BTreeSet::new();
    for module in house.uses.keys() {
        let reached = reach(module);
        if reached.contains(module) {
            let circle: BTreeSet<String> = reached
                .iter()
                .filter(|other| reach(other).contains(module))
                .map(|other| other.join("::"))
                .collect();
            circles.insert(circle);
        }
    }
    assert!(
        circles.is_empty(),
        "files that need each other: {circles:#?}"
    );
}

#[test]
fn use_lines_are_read_as_they_are_written() {
    let text = "use crate::a::{self, b::{C, D as E}, f};\npub use rows::*;\n\nfn g() { crate::h::i(); }\n// crate::no\n";
    let read: Vec<String> = paths(&format!("\n{}", code(text)))
        .iter()
        .map(|path| path.join("::"))
        .collect();
    for path in [
        "crate::a",
        "crate::a::b::C",
        "crate::a::b::D",
        "crate::a::f",
        "rows::*",
        "crate::h::i",
    ] {
        assert!(read.iter().any(|found| found == path), "{path} in {read:?}");
    }
    assert!(!read.iter().any(|path| path == "crate::no"));
}

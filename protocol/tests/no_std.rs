//! The core needs nothing but `alloc`: no dependency that it links has its feature `std` on.
//!
//! Asked of the package alone: a build of the whole workspace unifies features and would hide or invent one. Procedural
//! macros run in the compiler and are left out.

use std::process::Command;

/// The names under which crates offer the standard library.
const STD: [&str; 3] = ["std", "use-std", "use_std"];

/// The lines of `cargo tree -e features` that say that the standard library is on.
fn std_features(tree: &str) -> Vec<&str> {
    let is_std = |line: &&str| STD.iter().any(|std| line.contains(&format!("feature \"{std}\"")));
    tree.lines().map(str::trim).filter(is_std).collect()
}

/// The packages that a tree names.
fn names(tree: &str, package: &str) -> bool {
    tree.lines().any(|line| line.trim().starts_with(&format!("{package} v")))
}

#[test]
fn no_dependency_of_the_core_has_std_on() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--package", "cartwheel-protocol", "--offline", "--prefix", "none"])
        .args(["--edges", "normal,features,no-proc-macro", "--no-dedupe"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo tree: {complaint}");
    let tree = String::from_utf8(output.stdout).expect("cargo writes UTF-8");
    for package in ["serde", "serde_core", "postcard", "cobs", "xxhash-rust"] {
        assert!(names(&tree, package), "{package} is not in the tree:\n{tree}");
    }
    assert_eq!(std_features(&tree), Vec::<&str>::new(), "in\n{tree}");
}

#[test]
fn a_std_feature_is_found() {
    let clean = "cartwheel-protocol v0.1.0\nserde v1.0.0\nserde feature \"alloc\"\n";
    assert_eq!(std_features(clean), Vec::<&str>::new());
    let bad = "cartwheel-protocol v0.1.0\n  postcard feature \"use-std\"\n  serde feature \"std\"\nserde v1.0.0\n";
    assert_eq!(std_features(bad), ["postcard feature \"use-std\"", "serde feature \"std\""]);
    assert!(names(bad, "serde") && !names(bad, "postcard"));
}

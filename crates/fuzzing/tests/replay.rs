//! The committed corpus: what fuzzing found worth keeping, and every input that failed once.

use std::path::PathBuf;

use fuzzing::TARGETS;

fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus").join(name);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|why| panic!("{folder:?}: {why}"));
    let paths = files.map(|file| file.expect("readable").path());
    paths.map(|path| (path.clone(), std::fs::read(path).expect("readable"))).collect()
}

#[test]
fn every_target_takes_its_corpus_and_nothing_at_all() {
    for target in TARGETS {
        let inputs = corpus(target.name);
        assert!(inputs.len() >= 10, "{}: {} inputs", target.name, inputs.len());
        (target.run)(&[]);
        for (path, input) in inputs {
            // The name of the input is the only trace of a panic in a body.
            println!("{}", path.display());
            (target.run)(&input);
        }
    }
}

#[test]
fn every_target_has_its_program() {
    let programs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/fuzz_targets");
    for target in TARGETS {
        let path = programs.join(format!("{}.rs", target.name));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|why| panic!("{path:?}: {why}"));
        assert!(text.contains(&format!("fuzzing::run(\"{}\"", target.name)), "{text}");
    }
}
